"""What holds for any scores: sizes, order, histograms, and the distribution of weighted sampling."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from nasbench.core.errors import ConfigError, ProxyMismatchError, ScoreError, SelectionError
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.entropy_tails import EntropyTailsDeterministic, EntropyTailsP1, EntropyTailsP2, EntropyTailsP3
from nasbench.selectors.histogram import histogram_edges, log_histogram
from nasbench.selectors.selection import describe, select_proxy, size_for, weighted_sample

ENTROPIES = st.lists(
    st.one_of(
        st.just(0.0),
        st.sampled_from([1e-3, 1e-2, 10**-0.5, 1.0]),  # on edges
        st.floats(min_value=1e-300, max_value=10.0, allow_nan=False),
        st.floats(min_value=1e-6, max_value=3.0, allow_nan=False),
    ),
    min_size=1,
    max_size=60,
)
WIDTHS = st.sampled_from([0.2, 0.25, 0.3, 0.5, 1.0, 7.0])
NAMES = st.sampled_from([name for name in SELECTORS.names() if name != "whole"])


def _table(entropy: list[float] | npt.NDArray[np.float64]) -> ExampleTable:
    return ExampleTable(
        dataset="", labels=np.arange(len(entropy)) % 3, columns={"entropy": np.asarray(entropy, dtype=np.float64)}
    )


@given(entropy=ENTROPIES, name=NAMES, data=st.data())
@settings(max_examples=150, deadline=None)
def test_exactly_k_sorted_unique_rows(entropy: list[float], name: str, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(entropy)))
    proxy = select_proxy(SELECTORS.get(name)(), _table(entropy), k, data.draw(st.integers(0, 9)))
    assert len(set(proxy.indices.tolist())) == len(proxy) == k
    assert proxy.indices.tolist() == sorted(proxy.indices.tolist())
    assert proxy.indices[0] >= 0
    assert proxy.indices[-1] < len(entropy)


@given(entropy=ENTROPIES)
@settings(deadline=None)
def test_bottom_is_nested_and_complements_top(entropy: list[float]) -> None:
    table, rng = _table(entropy), np.random.default_rng(0)
    top, bottom = SELECTORS.get("entropy-top-k")(), SELECTORS.get("entropy-bottom-k")()
    former: set[int] = set()
    for k in range(1, len(entropy) + 1):
        rows = set(bottom.select(table, k, rng).tolist())
        assert former < rows
        assert max(table.column("entropy")[sorted(rows)]) <= min([math.inf, *np.delete(entropy, sorted(rows))])
        if k < len(entropy):
            assert rows.isdisjoint(top.select(table, len(entropy) - k, rng).tolist())
        former = rows


@given(entropy=ENTROPIES, ratio=st.floats(0.01, 0.99), data=st.data())
@settings(deadline=None)
def test_deterministic_tails_are_the_two_ends(entropy: list[float], ratio: float, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(entropy)))
    table, rng = _table(entropy), np.random.default_rng(0)
    low = math.floor(ratio * k + 0.5)
    expected: set[int] = set()
    if low:
        expected |= set(SELECTORS.get("entropy-bottom-k")().select(table, low, rng).tolist())
    if k > low:
        expected |= set(SELECTORS.get("entropy-top-k")().select(table, k - low, rng).tolist())
    assert set(EntropyTailsDeterministic(low_entropy_ratio=ratio).select(table, k, rng).tolist()) == expected


@given(entropy=ENTROPIES, width=WIDTHS)
@settings(max_examples=200, deadline=None)
def test_histogram_counts_every_example_once(entropy: list[float], width: float) -> None:
    values = np.asarray(entropy)
    histogram = log_histogram(values, width)
    assert histogram.counts.sum() + histogram.num_zeros == len(values)
    assert histogram.num_zeros == np.count_nonzero(values == 0) == np.count_nonzero(histogram.bin_of < 0)
    assert np.array_equal(histogram.heights[histogram.bin_of] > 0, np.ones(len(values), dtype=bool))
    some = values[values > 0]
    if len(some):
        assert np.allclose(np.diff(histogram.edges), width)
        bins = histogram.bin_of[values > 0]
        logarithms = np.log10(some)
        assert np.all(histogram.edges[bins] <= logarithms + 1e-9)
        assert np.all(logarithms <= histogram.edges[bins + 1] + 1e-9)


@given(entropy=ENTROPIES, width=WIDTHS, kind=st.sampled_from([EntropyTailsP1, EntropyTailsP2, EntropyTailsP3]))
@settings(max_examples=200, deadline=None)
def test_probabilities_are_a_distribution_alike_within_a_bin(
    entropy: list[float], width: float, kind: type[EntropyTailsP1]
) -> None:
    found = kind(bin_width=width).probabilities(_table(entropy))
    assert np.all(found > 0)
    assert found.sum() == pytest.approx(1.0)
    bins = log_histogram(np.asarray(entropy), width).bin_of
    for number in set(bins.tolist()):
        assert len(set(found[bins == number].tolist())) == 1


def test_weights_follow_equations_3_to_5() -> None:
    """Bins of 1, 0, 4 and 2 examples, by hand."""
    entropy = [10**-3.75, *[10**-2.75] * 4, *[10**-2.25] * 2]
    table = _table(entropy)
    rows = np.array([1, 4, 4, 4, 4, 2, 2])
    for selector, weight in (
        (EntropyTailsP1(), {1: 4.0, 4: 1.0, 2: 3.0}),  # max - height + 1
        (EntropyTailsP2(), {1: 0.25, 4: 0.25, 2: 0.25}),  # 1 / bins
        (EntropyTailsP3(), {1: 1.0, 4: 0.25, 2: 0.5}),  # 1 / height
    ):
        inner = np.array([weight[height] / height for height in rows])
        assert selector.probabilities(table) == pytest.approx(inner / inner.sum())


def test_all_values_equal_is_uniform() -> None:
    for kind in (EntropyTailsP1, EntropyTailsP2, EntropyTailsP3):
        for value in (0.0, 1.0, 0.3):
            assert kind().probabilities(_table([value] * 5)) == pytest.approx(np.full(5, 0.2))


def test_values_on_edges_belong_above_and_the_highest_to_the_last_bin() -> None:
    histogram = log_histogram(np.array([1e-3, 10**-2.5, 1e-2]), 0.5)
    assert histogram.edges.tolist() == [-3.0, -2.5, -2.0]
    assert histogram.bin_of.tolist() == [0, 1, 1]


def test_zeros_are_a_bin_of_their_own() -> None:
    histogram = log_histogram(np.array([0.0, 0.02, 0.0, 0.0]), 0.5)
    assert (histogram.num_zeros, histogram.counts.sum()) == (3, 1)
    assert EntropyTailsP1().probabilities(_table([0.0, 0.02, 0.0, 0.0])) == pytest.approx(
        [1 / 12, 0.75, 1 / 12, 1 / 12]
    )


def test_negative_entropy_is_refused() -> None:
    with pytest.raises(ScoreError, match=r"row 1 is -0\.1"):
        log_histogram(np.array([0.5, -0.1]), 0.5)


def test_edges_where_the_width_does_not_divide() -> None:
    edges = histogram_edges(-2.95, 0.2, 0.3)
    assert np.allclose(np.diff(edges), 0.3)
    assert edges[0] <= -2.95
    assert edges[-1] >= 0.2


def _inclusion(probability: npt.NDArray[np.float64], k: int) -> dict[tuple[int, ...], float]:
    """Exact probability of every subset of k under successive sampling, by enumeration of the orders."""
    found: dict[tuple[int, ...], float] = {}
    for order in itertools.permutations(range(len(probability)), k):
        chance, left = 1.0, 1.0
        for row in order:
            chance *= probability[row] / left
            left -= probability[row]
        key = tuple(sorted(order))
        found[key] = found.get(key, 0.0) + chance
    return found


@pytest.mark.parametrize("k", [1, 2, 3])
def test_weighted_sample_is_successive_sampling(k: int) -> None:
    probability = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
    exact = _inclusion(probability, k)
    rng, draws = np.random.default_rng(7), 20_000
    counts = dict.fromkeys(exact, 0)
    for _ in range(draws):
        counts[tuple(weighted_sample(probability, k, rng).tolist())] += 1
    assert chisquare(list(counts.values()), [draws * chance for chance in exact.values()]).pvalue > 1e-3


def test_weighted_sample_has_the_distribution_of_choice() -> None:
    probability, draws = np.array([0.5, 0.2, 0.2, 0.1]), 10_000
    ours, theirs = np.zeros(4), np.zeros(4)
    rng, other = np.random.default_rng(1), np.random.default_rng(2)
    for _ in range(draws):
        ours[weighted_sample(probability, 2, rng)] += 1
        theirs[other.choice(4, 2, replace=False, p=probability)] += 1
    assert ours / draws == pytest.approx(theirs / draws, abs=4.5 * math.sqrt(0.5 / draws))


def test_p1_takes_each_bin_as_often_as_enumerated() -> None:
    """Seven examples in bins of 1, 4 and 2; k = 3; shares of the bins over many seeds, chi-square."""
    table = _table([10**-3.75, *[10**-2.75] * 4, *[10**-2.25] * 2])
    bins = np.array([0, 1, 1, 1, 1, 2, 2])
    expected: dict[tuple[int, ...], float] = {}
    for rows, chance in _inclusion(EntropyTailsP1().probabilities(table), 3).items():
        key = tuple(np.bincount(bins[list(rows)], minlength=3).tolist())
        expected[key] = expected.get(key, 0.0) + chance
    draws = 3_000
    counts = dict.fromkeys(expected, 0)
    for seed in range(draws):
        rows = select_proxy(EntropyTailsP1(), table, 3, seed).indices
        counts[tuple(np.bincount(bins[rows], minlength=3).tolist())] += 1
    assert chisquare(list(counts.values()), [draws * chance for chance in expected.values()]).pvalue > 1e-3


@pytest.mark.parametrize("name", ["random", "entropy-tails-p1", "entropy-tails-p2", "entropy-tails-p3"])
def test_random_selectors_follow_a_permutation_in_distribution(name: str) -> None:
    """Rows are drawn by position, so equal seeds differ; how often an example is taken does not depend on its place."""
    entropy, order = np.array([1e-5, 1e-3, 1e-3, 0.1, 0.1, 0.12, 0.15, 2.0]), np.array([7, 3, 0, 5, 1, 6, 2, 4])
    plain, moved, draws = np.zeros(8), np.zeros(8), 3_000
    selector, table, permuted = SELECTORS.get(name)(), _table(entropy), _table(entropy[order])
    rng = np.random.default_rng(11)
    for _ in range(draws):
        plain[selector.select(table, 3, rng)] += 1
        moved[order[selector.select(permuted, 3, rng)]] += 1
    assert plain / draws == pytest.approx(moved / draws, abs=4.5 * math.sqrt(0.5 / draws))


@pytest.mark.parametrize(
    ("fraction", "num", "k"), [(0.1, 73_257, 7_325), (0.1, 1_437, 143), (0.29, 100, 29), (1.0, 7, 7)]
)
def test_size_of_a_fraction_is_rounded_down(fraction: float, num: int, k: int) -> None:
    assert size_for(fraction, None, num) == k


def test_size_is_taken_as_it_is() -> None:
    assert size_for(None, 1_500, 50_000) == 1_500


@pytest.mark.parametrize(
    ("fraction", "size"),
    [
        (None, None),
        (0.5, 5),
        (0.0, None),
        (1.1, None),
        (math.nan, None),
        (0.001, None),
        (None, 0),
        (None, 101),
        (None, -3),
    ],
)
def test_impossible_sizes_are_refused(fraction: float | None, size: int | None) -> None:
    with pytest.raises(SelectionError):
        size_for(fraction, size, 100)


def test_describe_tells_classes_and_entropy_before_and_after() -> None:
    table = _table([1e-4, 1e-4, 0.0, 0.5, 0.5, 2.0])
    proxy = select_proxy(SELECTORS.get("entropy-bottom-k")(), table, 2, 0)
    told = describe(table, proxy)
    assert (told["num_examples"], told["num_selected"], told["fraction"]) == (6, 2, pytest.approx(1 / 3))
    assert told["classes"] == {"before": [2, 2, 2], "after": [1, 0, 1]}
    entropy = told["entropy"]
    assert (entropy["zeros_before"], entropy["zeros_after"], entropy["bin_width"]) == (1, 1, 0.5)
    assert (sum(entropy["before"]), sum(entropy["after"])) == (5, 1)
    assert entropy["edges"][0] == -4.0
    assert entropy["before"][0] == 2
    assert entropy["after"][0] == 1


def test_describe_uses_the_selectors_bins_and_checks_the_table() -> None:
    table = _table([1e-4, 1e-3, 0.5, 2.0])
    proxy = select_proxy(EntropyTailsP1(bin_width=0.25), table, 2, 0)
    assert describe(table, proxy)["entropy"]["bin_width"] == 0.25
    bare = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64))
    assert "entropy" not in describe(bare, proxy)
    with pytest.raises(ProxyMismatchError):
        describe(_table([0.1, 0.2, 0.3]), proxy)


def test_describe_refuses_a_bin_width_that_there_is_not() -> None:
    table = _table([1e-4, 1e-3, 0.5, 2.0])
    proxy = select_proxy(EntropyTailsP1(), table, 2, 0)
    foreign = dataclasses.replace(proxy, selector={**proxy.selector, "bin_width": "cifar1"})
    with pytest.raises(ConfigError, match=r"'cifar1' is no preset.*'svhn'.*Did you mean 'cifar10'\?"):
        describe(table, foreign)


def test_describe_refuses_labels_that_no_class_has() -> None:
    """Counting them would take an array as long as the largest is high."""
    labels = np.array([0, 1, 10**12, 1])
    table = ExampleTable(dataset="", labels=labels)
    proxy = select_proxy(SELECTORS.get("random")(), table, 2, 0)
    with pytest.raises(ScoreError, match=r"label 1000000000000 in row 2 is no class index; allowed are 0 to 10000000"):
        describe(table, proxy)
    fewer = ExampleTable(dataset="", labels=np.array([0, 1, 10_000, 1]))
    assert len(describe(fewer, proxy)["classes"]["before"]) == 10_001
