"""The published entropy lists of Na et al. (IJCAI 2021): edges, counts, and what P1, P2 and P3 take of them.

Figures: facts/differentiable_search.md, section 2 (computed there from the published lists and code).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nasbench.core.table import ExampleTable, load_table
from nasbench.selectors import SELECTORS
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.histogram import BIN_WIDTHS, histogram_edges, log_histogram
from nasbench.selectors.selection import select_proxy, size_for

SVHN_COUNTS = (
    1, 0, 0, 3, 16, 23, 59, 112, 209, 348, 443, 723, 1155, 1656, 2469, 3419, 4327, 5459, 6210, 6649, 6542, 6085, 5416,
    4595, 3689, 3056, 2444, 2207, 2013, 2152, 1447, 330,
)  # fmt: skip
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


def _selector(name: str, dataset: str) -> ProxySelector:
    return SELECTORS.get(f"entropy-tails-{name}")(bin_width=BIN_WIDTHS[dataset])


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
