"""Table 1 of NASTransfer (Panda et al., AAAI 2021): classes and images of the eight proxies sampled from ImageNet.

The images are not here, so the sizes of the classes are made up: with as many classes and images as ImageNet has, its
smallest and largest class, and what is published about the spread. What a proxy holds follows from the sizes alone.
"""

from __future__ import annotations

import numpy as np
import pytest

from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.class_sampling import quotas_with_minimum
from nasbench.selectors.nastransfer import NASTRANSFER_PROXIES, preset
from nasbench.selectors.selection import proxy_size, select_proxy


def imagenet1k_sizes() -> np.ndarray:
    """1,000 classes of 732 to 1,300 images, most of them full, 1,281,167 in all (ILSVRC 2012)."""
    missing = np.floor(568 * (1 - np.arange(1000) / 65)).clip(0)
    missing[70] = 1_300_000 - 1_281_167 - missing.sum()
    return (1300 - missing).astype(np.int64)


def imagenet22k_sizes() -> np.ndarray:
    """21,841 classes of 1 to about 3,050 images, 14.2 million in all (Fall 2011 release).

    11,221 of them have 500 or more, 12,358,684 in all (ImageNet-21K-P, Ridnik et al. 2021); below that the number of
    classes is taken to fall linearly with the size, which fixes it: 40.84 classes of each size at 0, 1.64 at 500.
    """
    below, above = np.arange(10_620) + 0.5, (np.arange(11_221) + 0.5) / 11_221
    fall = (40.84 - 1.64) / 500
    small = (40.84 - np.sqrt(40.84**2 - 2 * fall * below)) / fall  # from the largest of the small ones down
    large = 500 + 2550 * above ** (2550 / (12_358_684 / 11_221 - 500) - 1)
    return np.concatenate([np.ceil(small.clip(1, 499)), np.round(large)]).astype(np.int64)


def of_sizes(sizes: np.ndarray) -> ExampleTable:
    return ExampleTable(
        dataset="", labels=np.repeat(np.arange(len(sizes)), np.random.default_rng(0).permutation(sizes))
    )


@pytest.fixture(scope="module")
def imagenet() -> dict[str, ExampleTable]:
    small, large = imagenet1k_sizes(), imagenet22k_sizes()
    assert (len(small), small.min(), small.max(), small.sum()) == (1000, 732, 1300, 1_281_167)
    assert (len(large), large.min(), large.max(), np.count_nonzero(large >= 500)) == (21_841, 1, 3050, 11_221)
    assert abs(large.sum() - 14_197_122) < 0.002 * 14_197_122
    return {"imagenet1k": of_sizes(small), "imagenet22k": of_sizes(large)}


def counts_of(name: str, imagenet: dict[str, ExampleTable], seed: int = 0) -> np.ndarray:
    """Images a class of a proxy."""
    table, chosen = imagenet[name.partition("-")[0]], preset(name)
    selector = SELECTORS.get(chosen.selector)(**chosen.options)
    k = proxy_size(selector, table, None, chosen.size, seed)
    rows = select_proxy(selector, table, k, seed).indices
    return np.bincount(table.labels[rows], minlength=int(table.labels.max()) + 1)


def test_the_table_s_eight_proxies_are_there() -> None:
    printed = {
        name: (chosen.selector.partition("-")[0], chosen.printed) for name, chosen in NASTRANSFER_PROXIES.items()
    }
    assert printed == {
        "imagenet1k-p1": ("random", 128_000),
        "imagenet1k-p2": ("random", 258_000),
        "imagenet1k-p3": ("random", 384_000),
        "imagenet1k-p4": ("random", 128_000),
        "imagenet1k-p5": ("uniform", 128_000),
        "imagenet22k-p1": ("random", 35_000 + 35_000),
        "imagenet22k-p2": ("uniform", 35_000 + 35_000),
        "imagenet22k-p3": ("uniform", 35_000 + 35_000),
    }


@pytest.mark.parametrize(
    ("name", "classes", "tolerance"),
    [("imagenet1k-p1", 100, 0.02), ("imagenet1k-p2", 200, 0.015), ("imagenet1k-p3", 300, 0.01)],
)
def test_all_images_of_random_classes_of_imagenet1k(name, classes, tolerance, imagenet) -> None:
    """The classes are random, so the sum is; with 732 to 1,300 images a class it cannot be far from the printed one."""
    for seed in range(5):
        counts = counts_of(name, imagenet, seed)
        assert np.count_nonzero(counts) == classes
        assert abs(counts.sum() / preset(name).printed - 1) < tolerance


def test_half_of_200_classes_and_a_tenth_of_all(imagenet) -> None:
    fourth, fifth = (counts_of(f"imagenet1k-p{number}", imagenet) for number in (4, 5))
    assert (fourth.sum(), np.count_nonzero(fourth)) == (128_000, 200)
    assert (fifth.sum(), np.count_nonzero(fifth)) == (128_000, 1000)
    sizes = np.bincount(imagenet["imagenet1k"].labels)
    assert np.abs(fourth[fourth > 0] / sizes[fourth > 0] - 0.5).max() < 0.01
    assert np.abs(fifth - sizes * 128_000 / 1_281_167).max() < 1


def test_100_random_classes_of_imagenet22k(imagenet) -> None:
    """65,000 images on average, as 14.2 million / 218.41; how far from it one draw lies follows from the sizes."""
    table = imagenet["imagenet22k"]
    spread = 10 * np.bincount(table.labels).std()
    counts = [counts_of("imagenet22k-p1", imagenet, seed) for seed in range(6)]
    sums = np.array([found.sum() for found in counts])
    assert all(np.count_nonzero(found) == 100 for found in counts)
    assert np.abs(sums - len(table) / 218.41).max() < 3 * spread
    assert abs(70_000 - len(table) / 218.41) < 2 * spread  # the printed 35K + 35K is such a draw


def test_100_uniform_classes_of_imagenet22k_come_out_at_the_average(imagenet) -> None:
    counts = counts_of("imagenet22k-p3", imagenet)
    assert np.count_nonzero(counts) == 100
    assert counts.sum() == pytest.approx(len(imagenet["imagenet22k"]) / 218.41, rel=0.01)
    assert counts.sum() == pytest.approx(70_000, rel=0.08)


def test_the_share_of_all_classes_that_meets_both_columns_leaves_the_printed_number_of_classes(imagenet) -> None:
    """13,377 classes in Table 1; the other reading, 35K in all, would leave 7,400 or so."""
    counts = counts_of("imagenet22k-p2", imagenet)
    assert counts.sum() == 70_000
    assert counts[counts > 0].min() == 2
    assert np.count_nonzero(counts) == pytest.approx(13_377, rel=0.04)
    sizes = np.bincount(imagenet["imagenet22k"].labels)
    assert np.count_nonzero(quotas_with_minimum(sizes, 35_000, 2)) < 0.6 * 13_377
    # 0.97 % of the 7.5 of 14.5 million images that train are 0.50 % of all
    assert 70_000 / len(imagenet["imagenet22k"]) == pytest.approx(0.0097 * 7.5 / 14.5, rel=0.03)
