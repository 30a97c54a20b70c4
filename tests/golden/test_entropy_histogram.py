"""The published entropy lists of Na et al. (IJCAI 2021): edges, counts, and what P1, P2 and P3 take of them.

Figures: facts/differentiable_search.md, section 2 (computed there from the published lists and code).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq
from scipy.stats import chi2

from nasbench.config.component import parse
from nasbench.core.table import ExampleTable, load_table
from nasbench.selectors import SELECTORS
from nasbench.selectors.histogram import BIN_WIDTHS, LogHistogram, histogram_edges, log_histogram
from nasbench.selectors.selection import select_proxy, size_for

FloatArray = npt.NDArray[np.float64]

SVHN_COUNTS = (
    1, 0, 0, 3, 16, 23, 59, 112, 209, 348, 443, 723, 1155, 1656, 2469, 3419, 4327, 5459, 6210, 6649, 6542, 6085, 5416,
    4595, 3689, 3056, 2444, 2207, 2013, 2152, 1447, 330,
)  # fmt: skip
CIFAR10_COUNTS = (
    1, 0, 0, 0, 0, 0, 1, 3, 3, 4, 6, 15, 11, 27, 40, 62, 131, 168, 288, 373, 495, 602, 874, 1057, 1332, 1674, 1940,
    2260, 2468, 2655, 2831, 3088, 2989, 3276, 3408, 3439, 3442, 3239, 2892, 2329, 1600, 949, 28,
)  # fmt: skip
CIFAR10_SHARES = {"p1": (0.748, 0.059, 0.193), "p2": (0.523, 0.211, 0.266), "p3": (0.683, 0.117, 0.200)}
DRAWS = {
    ("p1", 5000): "3b9ce476dae4", ("p1", 25000): "f671eea9b6ad",
    ("p2", 5000): "c44797c83779", ("p3", 5000): "04533e4a99d3",
}  # fmt: skip
FILES = {"cifar100": "cifar100-resnet56-entropy.tsv.gz", "svhn": "svhn-resnet20-entropy.tsv.gz"}
LISTS = {  # n, min, median, mean, max, lowest edge, highest edge, bins
    "cifar100": (50_000, 2.517e-17, 0.06450, 0.28706, 3.1714, -17.0, 1.0, 72),
    "svhn": (73_257, 1.584e-06, 0.01262, 0.10494, 2.2065, -6.0, 0.4, 32),
}
SHARES = {  # of the low, middle and high tercile at portion 0.1, and least and most examples a class, of one draw
    ("cifar100", "p1"): ((0.785, 0.118, 0.096), (8, 135)),
    ("cifar100", "p2"): ((0.646, 0.190, 0.164), (12, 123)),
    ("cifar100", "p3"): ((0.841, 0.070, 0.089), (8, 154)),
    ("svhn", "p1"): ((0.497, 0.026, 0.477), (370, 1844)),
    ("svhn", "p2"): ((0.437, 0.175, 0.388), (416, 1453)),
    ("svhn", "p3"): ((0.517, 0.076, 0.407), (351, 1969)),
}
NUM_SEEDS = 8


@cache
def _table(folder: Path, dataset: str) -> ExampleTable:
    return load_table(folder / FILES[dataset])


def _selector(name: str, dataset: str, *, class_balance: bool = False) -> Any:
    fields = {"bin_width": BIN_WIDTHS[dataset], "class_balance": class_balance}
    return parse(SELECTORS.get(f"entropy-tails-{name}"), fields)


@pytest.mark.shared
@pytest.mark.parametrize("dataset", sorted(FILES))
def test_list_has_the_published_figures(shared_data: Path, dataset: str) -> None:
    entropy = _table(shared_data, dataset).column("entropy")
    size, least, median, mean, most, *_ = LISTS[dataset]
    assert len(entropy) == size
    found = (entropy.min(), np.median(entropy), entropy.mean(), entropy.max())
    assert found == pytest.approx((least, median, mean, most), rel=5e-4)


@pytest.mark.shared
@pytest.mark.parametrize("dataset", sorted(FILES))
def test_histogram_has_the_published_edges(shared_data: Path, dataset: str) -> None:
    histogram = log_histogram(_table(shared_data, dataset).column("entropy"), BIN_WIDTHS[dataset])
    low, high, bins = LISTS[dataset][5:]
    assert (histogram.edges[0], histogram.edges[-1], len(histogram.counts)) == (low, high, bins)
    assert np.diff(histogram.edges) == pytest.approx(BIN_WIDTHS[dataset])
    assert (histogram.counts.sum(), histogram.num_zeros) == (LISTS[dataset][0], 0)


@pytest.mark.shared
def test_svhn_counts_are_the_published_ones(shared_data: Path) -> None:
    histogram = log_histogram(_table(shared_data, "svhn").column("entropy"), BIN_WIDTHS["svhn"])
    assert tuple(histogram.counts.tolist()) == SVHN_COUNTS


def test_cifar10_edges_follow_from_its_published_range() -> None:
    edges = histogram_edges(-20.772, 0.2076, BIN_WIDTHS["cifar10"])
    assert (edges[0], edges[-1], len(edges) - 1) == (-21.0, 0.5, 43)


@pytest.mark.shared
@pytest.mark.parametrize(("dataset", "name"), sorted(SHARES))
def test_selection_takes_the_published_shares(shared_data: Path, dataset: str, name: str) -> None:
    table = _table(shared_data, dataset)
    entropy = table.column("entropy")
    terciles = np.searchsorted(np.quantile(entropy, [1 / 3, 2 / 3]), entropy, side="left")
    k = size_for(0.1, None, len(table))
    drawn = [select_proxy(_selector(name, dataset), table, k, seed).indices for seed in range(NUM_SEEDS)]
    shares, (least, most) = SHARES[dataset, name]
    found = np.mean([np.bincount(terciles[rows], minlength=3) / k for rows in drawn], axis=0)
    # The published shares are of one draw: 3.5 standard errors of a share, at most 0.5 / sqrt(k) each.
    assert found == pytest.approx(np.array(shares), abs=3.5 * 0.5 / np.sqrt(k))
    classes = np.mean([np.bincount(table.labels[rows]) for rows in drawn], axis=0)
    assert len(classes) == len(np.unique(table.labels))
    assert least - 3 * np.sqrt(least) < classes.min()
    assert classes.max() < most + 3 * np.sqrt(most)
    assert classes.min() < 2 * least + 10  # the imbalance is as large as published
    assert classes.max() > most / 1.25


@pytest.mark.shared
def test_p1_empties_sparse_bins_and_shuts_the_fullest(shared_data: Path) -> None:
    table = _table(shared_data, "svhn")
    histogram = log_histogram(table.column("entropy"), BIN_WIDTHS["svhn"])
    chosen = select_proxy(_selector("p1", "svhn"), table, 7325, 0).indices
    taken = np.bincount(histogram.bin_of[chosen], minlength=len(histogram.counts))
    assert np.array_equal(taken[:7], histogram.counts[:7])  # up to 59 examples: whole
    assert taken[np.argmax(histogram.counts)] <= 5


def _expected(selector: Any, table: ExampleTable, k: int) -> tuple[LogHistogram, FloatArray, FloatArray]:
    """Return the histogram, and mean and variance of what is taken of each bin, for large n.

    After the time t of the exponential race a row of probability p has finished with probability 1 - exp(-p t); t is
    the one at which k are expected to have finished.
    """
    histogram = log_histogram(table.column("entropy"), selector.width)
    probability = np.zeros(len(histogram.counts))
    probability[histogram.bin_of] = selector.probabilities(table)

    def surplus(time: float) -> float:
        return float(np.sum(histogram.counts * -np.expm1(-probability * time)) - k)

    taken = -np.expm1(-probability * brentq(surplus, 0.0, 1e12))
    heights = histogram.counts.astype(np.float64)
    return histogram, heights * taken, heights * taken * (1 - taken)


@pytest.mark.shared
@pytest.mark.parametrize(("dataset", "name"), sorted(SHARES))
def test_every_bin_gets_its_expected_share_over_many_seeds(shared_data: Path, dataset: str, name: str) -> None:
    """Chi-square over the bins of which not all rows are taken."""
    table, seeds = _table(shared_data, dataset), 50
    selector = _selector(name, dataset)
    k = size_for(0.1, None, len(table))
    histogram, mean, variance = _expected(selector, table, k)
    found = np.zeros(len(mean))
    for seed in range(seeds):
        found += np.bincount(histogram.bin_of[select_proxy(selector, table, k, seed).indices], minlength=len(mean))
    free = variance > 0.5
    assert np.count_nonzero(free) > 15
    statistic = np.sum((found[free] - seeds * mean[free]) ** 2 / (seeds * variance[free]))
    assert 1e-3 < chi2.sf(statistic, np.count_nonzero(free) - 1) < 1 - 1e-3
    assert found[~free] == pytest.approx(seeds * mean[~free], abs=5 * np.sqrt(seeds * 0.5) + 1)


@pytest.mark.parametrize("name", sorted(CIFAR10_SHARES))
def test_cifar10s_published_heights_give_its_published_shares(name: str) -> None:
    """Rows of one bin are alike, so the heights alone say what each tercile gets."""
    entropy = 10 ** np.repeat(-20.75 + 0.5 * np.arange(43), CIFAR10_COUNTS)
    table = ExampleTable(dataset="", labels=np.zeros(len(entropy), dtype=np.int64), columns={"entropy": entropy})
    selector = _selector(name, "cifar10")
    histogram, mean, _ = _expected(selector, table, 5_000)
    assert tuple(histogram.counts.tolist()) == CIFAR10_COUNTS
    row = np.repeat(mean / np.maximum(histogram.counts, 1), histogram.counts)  # rows stand in order of entropy
    shares = np.array([part.sum() for part in np.array_split(row, 3)]) / 5_000
    assert shares == pytest.approx(CIFAR10_SHARES[name], abs=3.5 * 0.5 / np.sqrt(5_000))


@pytest.mark.shared
@pytest.mark.parametrize(("name", "k"), sorted(DRAWS))
def test_the_rows_drawn_for_a_seed_never_change(shared_data: Path, name: str, k: int) -> None:
    """Written down once: studies are committed with what they drew."""
    table, digest = _table(shared_data, "cifar100"), hashlib.sha256()
    for seed in range(20):
        digest.update(_selector(name, "cifar100").select(table, k, np.random.default_rng(seed)).tobytes())
    assert digest.hexdigest()[:12] == DRAWS[name, k]


@pytest.mark.shared
@pytest.mark.parametrize("dataset", sorted(FILES))
def test_balance_mends_the_published_imbalance_and_costs_little(shared_data: Path, dataset: str) -> None:
    """Section 2: P1 takes 8 to 135 of CIFAR-100's classes and 370 to 1,844 of SVHN's."""
    table = _table(shared_data, dataset)
    k = size_for(0.1, None, len(table))
    blind, balanced = (_selector("p1", dataset, class_balance=balance) for balance in (False, True))
    counts = [np.bincount(table.labels[select_proxy(selector, table, k, 0).indices]) for selector in (blind, balanced)]
    share = k * np.bincount(table.labels) / len(table)
    assert np.abs(counts[1] - share).max() < 1
    assert np.abs(counts[0] - share).max() > 0.5 * share.min()
