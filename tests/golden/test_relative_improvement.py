"""RI against NASTransfer's own figures and against a second, fully numeric source.

Figures: facts/sampling_search.md, sections 1.5 to 1.9 (NASTransfer, AAAI 2021, Tables 2 to 4; Yang et al. 2020).
"""

from __future__ import annotations

import numpy as np
import pytest

from nasbench.analysis.relative_improvement import bootstrap_interval, relative_improvement

TABLE3_CIFAR10_TO_IMAGENET = {"NSGANet": 69.86, "ENAS": 56.58, "DARTS": 71.58, "NAO": 68.24}
TABLE2_CIFAR10_TO_IMAGENET = {"NSGANet": 3.39, "ENAS": -16.26, "DARTS": 5.93, "NAO": 0.99}
ACC_R = 67.57
DARTS = (97.47, 97.15, 97.41, 97.05, 96.93, 97.13, 97.40, 97.34)
RANDOM = (97.05, 96.85, 96.57, 97.09, 96.76, 97.10, 96.94, 97.02)


def _random_range(top1: float, printed: float) -> tuple[float, float]:
    """Acc_r that Top-1 and RI, both printed to two decimals, allow."""
    ends = [(top1 + t) / (1 + (printed + r) / 100) for t in (-0.005, 0.005) for r in (-0.005, 0.005)]
    return min(ends), max(ends)


@pytest.mark.parametrize("name", sorted(TABLE3_CIFAR10_TO_IMAGENET))
def test_table_2_follows_from_table_3(name: str) -> None:
    found = relative_improvement(TABLE3_CIFAR10_TO_IMAGENET[name], ACC_R)
    assert round(found, 2) == TABLE2_CIFAR10_TO_IMAGENET[name]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("NSGANet", 67.5613, 67.5775),
        ("ENAS", 67.5563, 67.5763),
        ("DARTS", 67.5650, 67.5808),
        ("NAO", 67.5628, 67.5793),
    ],
)
def test_rounding_intervals_of_the_common_baseline(name: str, low: float, high: float) -> None:
    found = _random_range(TABLE3_CIFAR10_TO_IMAGENET[name], TABLE2_CIFAR10_TO_IMAGENET[name])
    assert found == pytest.approx((low, high), abs=6e-5)
    for baseline in (low + 1e-3, high - 1e-3):  # inside, RI agrees to the printed digits; outside it does not
        assert (
            abs(relative_improvement(TABLE3_CIFAR10_TO_IMAGENET[name], baseline) - TABLE2_CIFAR10_TO_IMAGENET[name])
            < 0.0125
        )
    for baseline in (low - 0.02, high + 0.02):
        assert (
            round(relative_improvement(TABLE3_CIFAR10_TO_IMAGENET[name], baseline), 2)
            != TABLE2_CIFAR10_TO_IMAGENET[name]
        )


def test_intersection_holds_the_baseline_to_two_decimals() -> None:
    ranges = [
        _random_range(TABLE3_CIFAR10_TO_IMAGENET[n], TABLE2_CIFAR10_TO_IMAGENET[n]) for n in TABLE3_CIFAR10_TO_IMAGENET
    ]
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    assert (low, high) == pytest.approx((67.5650, 67.5763), abs=6e-5)
    assert low < ACC_R < high


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (70.45, {"NSGANet": -0.84, "ENAS": -19.69, "DARTS": 1.60, "NAO": -3.14}),
        (71.35, {"NSGANet": -2.09, "ENAS": -20.70, "DARTS": 0.32, "NAO": -4.36}),
    ],
)
def test_printed_random_architectures_are_not_the_baseline(baseline: float, expected: dict[str, float]) -> None:
    found = {name: round(relative_improvement(top1, baseline), 2) for name, top1 in TABLE3_CIFAR10_TO_IMAGENET.items()}
    assert found == expected
    assert found != TABLE2_CIFAR10_TO_IMAGENET


def test_nsganet_of_table_4_contradicts_table_2() -> None:
    assert round(relative_improvement(68.38, ACC_R), 2) == 1.20


def test_enas_with_the_other_augment_seed_changes_sign() -> None:
    assert round(relative_improvement(72.69, ACC_R), 2) == 7.58


@pytest.mark.parametrize(
    ("top1", "printed"),
    [(28.83, -0.72), (30.83, 6.16), (29.93, 3.06), (30.91, 6.44), (29.51, 1.62), (29.63, 2.03), (30.62, 5.44)],
)
def test_imagenet22k_with_one_baseline(top1: float, printed: float) -> None:
    low, high = _random_range(30.91, 6.44)
    assert (low, high) == pytest.approx((29.034, 29.046), abs=6e-4)
    assert relative_improvement(top1, 29.04) == pytest.approx(printed, abs=0.02)


@pytest.mark.parametrize(
    ("top1", "printed"),
    [
        (61.38, -9.16), (71.71, 6.12), (72.01, 6.57), (69.30, 2.56), (62.83, -7.02), (70.84, 4.84), (68.17, 0.89),
        (68.85, 1.90), (68.19, 0.92), (59.63, -11.75), (54.93, -18.71), (65.76, -2.68),
    ],
)  # fmt: skip
def test_implied_top1_on_imagenet1k(top1: float, printed: float) -> None:
    assert relative_improvement(top1, ACC_R) == pytest.approx(printed, abs=0.0085)


def test_second_source_of_cells() -> None:
    assert (np.mean(DARTS), np.mean(RANDOM)) == pytest.approx((97.235, 96.922), abs=6e-4)
    interval = bootstrap_interval([[value] for value in DARTS], [[value] for value in RANDOM])
    assert round(interval.estimate, 2) == 0.32
    assert interval.low < 0.32 < interval.high


@pytest.mark.parametrize(
    ("method", "random", "printed"), [(96.881, 96.461, 0.44), (95.854, 95.844, 0.01), (96.180, 96.642, -0.48)]
)
def test_second_source_of_means(method: float, random: float, printed: float) -> None:
    assert round(relative_improvement(method, random), 2) == printed
