"""What holds for any scores: sizes, order, histograms, and the distribution of weighted sampling."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import ConfigError, ProxyMismatchError, ScoreError, SelectionError
from nasbench.core.table import FEATURES, ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors import histogram as histogram_module
from nasbench.selectors.balance import class_quotas
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.entropy_tails import EntropyTailsDeterministic, EntropyTailsP1, EntropyTailsP2, EntropyTailsP3
from nasbench.selectors.histogram import histogram_edges, log_histogram
from nasbench.selectors.ranks import highest, lowest
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
BALANCED = [name for name in SELECTORS.names() if "class_balance" in fields_of(SELECTORS.get(name)())]
NESTED = sorted(set(BALANCED) - {"entropy-tails-deterministic"})
LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60)


def _table(entropy: list[float] | npt.NDArray[np.float64], labels: list[int] | None = None) -> ExampleTable:
    """Every column that a selector reads holds the entropies; the features are their logarithms."""
    values = np.asarray(entropy, dtype=np.float64)
    names = {"entropy"}.union(*(SELECTORS.get(name).needs for name in SELECTORS.names())) - {FEATURES}
    return ExampleTable(
        dataset="",
        labels=np.arange(len(values)) % 3 if labels is None else np.asarray(labels),
        columns=dict.fromkeys(sorted(names), values),
        features=np.log(values + 1e-300).astype(np.float32)[:, None],
    )


def _selector(name: str, **fields: Any) -> ProxySelector:
    """Of few clusters, as the tables are small."""
    return parse(SELECTORS.get(name), ({"num_clusters": 1} if name == "km-or" else {}) | fields)


@given(entropy=ENTROPIES, name=NAMES, data=st.data())
@settings(max_examples=150, deadline=None)
def test_exactly_k_sorted_unique_rows(entropy: list[float], name: str, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(entropy)))
    balance = {"class_balance": data.draw(st.booleans())} if name in BALANCED else {}
    proxy = select_proxy(_selector(name, **balance), _table(entropy), k, data.draw(st.integers(0, 9)))
    assert len(set(proxy.indices.tolist())) == len(proxy) == k
    assert proxy.indices.tolist() == sorted(proxy.indices.tolist())
    assert proxy.indices[0] >= 0
    assert proxy.indices[-1] < len(entropy)


@given(entropy=ENTROPIES, name=st.sampled_from(SELECTORS.names()))
@settings(deadline=None)
def test_as_many_as_there_are_is_all(entropy: list[float], name: str) -> None:
    rows = _selector(name).select(_table(entropy), len(entropy), np.random.default_rng(0))
    assert rows.tolist() == list(range(len(entropy)))


@given(entropy=ENTROPIES, name=st.sampled_from(NESTED), seed=st.integers(0, 9))
@settings(deadline=None)
def test_proxies_of_one_seed_are_nested(entropy: list[float], name: str, seed: int) -> None:
    """Ties and chance included; only the deterministic tails move both ends."""
    table, former = _table(entropy), set[int]()
    for k in range(1, len(entropy) + 1, max(1, len(entropy) // 7)):
        rows = set(_selector(name).select(table, k, np.random.default_rng(seed)).tolist())
        assert former < rows
        former = rows


@given(labels=LABELS, name=st.sampled_from([*BALANCED, "cc-rs", "cc-or"]), data=st.data())
@settings(max_examples=150, deadline=None)
def test_balance_keeps_class_shares_within_one_example(labels: list[int], name: str, data: st.DataObject) -> None:
    num, k = len(labels), data.draw(st.integers(1, len(labels)))
    entropy = data.draw(st.lists(st.sampled_from([0.0, 1e-5, 0.1, 0.2, 1.0]), min_size=num, max_size=num))
    selector = _selector(name, **({"class_balance": True} if name in BALANCED else {}))
    rows = selector.select(_table(entropy, labels), k, np.random.default_rng(0))
    found, sizes = np.bincount(np.asarray(labels)[rows], minlength=6), np.bincount(labels, minlength=6)
    assert np.abs(found - k * sizes / num).max() < 1
    assert found.tolist() == [*class_quotas(np.asarray(labels), k).tolist(), 0, 0, 0, 0, 0][:6]


@given(labels=LABELS, data=st.data())
@settings(deadline=None)
def test_quotas_are_those_of_the_largest_remainders(labels: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(labels)))
    exact = [Fraction(k * labels.count(number), len(labels)) for number in range(max(labels) + 1)]
    remainders = sorted(range(len(exact)), key=lambda number: (math.floor(exact[number]) - exact[number], number))
    up = set(remainders[: k - sum(map(math.floor, exact))])
    expected = [math.floor(share) + (number in up) for number, share in enumerate(exact)]
    assert class_quotas(np.asarray(labels), k).tolist() == expected


@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=40), data=st.data())
def test_lowest_and_highest_are_the_ends_of_the_stable_order(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values)))
    order = sorted(range(len(values)), key=lambda row: (values[row], row))
    array = np.asarray(values, dtype=np.float64)
    assert lowest(array, k).tolist() == sorted(order[:k])
    assert highest(array, k).tolist() == sorted(order[len(order) - k :])
    assert lowest(array, k).dtype == highest(array, k).dtype == np.int64


@given(entropy=ENTROPIES, width=st.sampled_from([0.001, 0.2, 0.25, 0.3, 0.5, 7.0]), block=st.sampled_from([3, 32_768]))
@settings(max_examples=200, deadline=None)
def test_a_bin_is_the_one_that_a_search_among_the_edges_finds(entropy: list[float], width: float, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram_module, "_BLOCK", block)
        values = np.asarray(entropy)
        histogram = log_histogram(values, width)
    logarithms = np.log10(values[values > 0])
    found = np.searchsorted(histogram.edges, logarithms, side="right") - 1
    assert np.array_equal(histogram.bin_of[values > 0], np.clip(found, 0, max(len(histogram.counts) - 1, 0)))


@given(width=st.sampled_from([0.001, 0.01, 0.1, 0.2, 0.25, 0.3, 0.5, 1.0]), steps=st.lists(st.integers(0, 40)))
@settings(deadline=None)
def test_values_on_and_beside_an_edge_are_in_the_right_bin(width: float, steps: list[int]) -> None:
    on = [10 ** (-9 + width * step) for step in [*steps, 41]]
    values = np.array([near for value in on for near in (np.nextafter(value, 0), value, np.nextafter(value, 9))])
    histogram = log_histogram(values, width)
    found = np.searchsorted(histogram.edges, np.log10(values), side="right") - 1
    assert np.array_equal(histogram.bin_of, np.clip(found, 0, len(histogram.counts) - 1))


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


@pytest.mark.parametrize("kind", [EntropyTailsP1, EntropyTailsP2, EntropyTailsP3])
def test_the_tails_draw_what_a_weighted_sample_of_their_probabilities_draws(kind: type[EntropyTailsP1]) -> None:
    table = _table(np.exp(np.random.default_rng(0).normal(-4, 3, 70_000)))
    for k in (1, 7_000, 69_999):
        expected = weighted_sample(kind().probabilities(table), k, np.random.default_rng(k))
        assert np.array_equal(kind().select(table, k, np.random.default_rng(k)), expected)


def test_balanced_tails_sample_each_class_by_the_probabilities_of_the_whole() -> None:
    """Two classes of four rows, two of each are drawn; every pair as often as enumerated, chi-square."""
    entropy = np.array([1e-5, 1e-3, 1e-3, 0.1, 0.1, 0.12, 0.15, 2.0])
    table = _table(entropy, [0, 1, 0, 1, 0, 1, 0, 1])
    selector, draws, rng = EntropyTailsP1(class_balance=True), 2_000, np.random.default_rng(3)
    drawn = [selector.select(table, 4, rng) for _ in range(draws)]
    for number in (0, 1):
        rows = np.flatnonzero(table.labels == number)
        part = selector.probabilities(table)[rows]
        exact = _inclusion(part / part.sum(), 2)
        counts = dict.fromkeys(exact, 0)
        for chosen in drawn:
            counts[tuple(np.flatnonzero(np.isin(rows, chosen)).tolist())] += 1
        assert chisquare(list(counts.values()), [draws * chance for chance in exact.values()]).pvalue > 1e-3


def test_forgetting_shuffles_ties_and_nothing_else() -> None:
    events = np.array([2.0, 0.0, 1.0, 1.0, 1.0, 1.0, 9.0])
    table = ExampleTable(dataset="", labels=np.zeros(7, dtype=np.int64), columns={"forgetting_events": events})
    hard, easy, draws = _selector("forgetting"), _selector("forgetting", keep="easy"), 2_000
    rng, counts = np.random.default_rng(5), np.zeros((2, 7))
    for _ in range(draws):
        counts[0, hard.select(table, 4, rng)] += 1
        counts[1, easy.select(table, 2, rng)] += 1
    assert counts[0, [0, 6, 1]].tolist() == [draws, draws, 0]
    assert counts[1, [1, 0, 6]].tolist() == [draws, 0, 0]
    assert chisquare(counts[0, 2:6]).pvalue > 1e-3
    assert chisquare(counts[1, 2:6]).pvalue > 1e-3


def test_class_conditional_random_is_uniform_within_each_class() -> None:
    labels, draws, rng = [1, 0, 1, 0, 1, 0, 0, 0], 3_000, np.random.default_rng(2)
    counts = np.zeros(8)
    for _ in range(draws):
        counts[_selector("cc-rs").select(_table([0.1] * 8, labels), 4, rng)] += 1
    sizes = class_quotas(np.asarray(labels), 4)
    assert sizes.tolist() == [3, 1]  # 2.5 and 1.5: of equal remainders the lower class
    for number in (0, 1):
        found = counts[np.asarray(labels) == number]
        assert found.sum() == draws * sizes[number]
        assert chisquare(found).pvalue > 1e-3


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
        drawn = select_proxy(EntropyTailsP1(), table, 3, seed).indices
        counts[tuple(np.bincount(bins[drawn], minlength=3).tolist())] += 1
    assert chisquare(list(counts.values()), [draws * chance for chance in expected.values()]).pvalue > 1e-3


@pytest.mark.parametrize(
    "name",
    [
        "random", "cc-rs", "km-or", "k-center", "random-classes", "uniform-classes", "entropy-tails-p1",
        "entropy-tails-p2", "entropy-tails-p3",
    ],
)  # fmt: skip
def test_random_selectors_follow_a_permutation_in_distribution(name: str) -> None:
    """Rows are drawn by position, so equal seeds differ; how often an example is taken does not depend on its place."""
    entropy, order = np.array([1e-5, 1e-3, 2e-3, 0.1, 0.11, 0.13, 0.2, 2.0]), np.array([7, 3, 0, 5, 1, 6, 2, 4])
    plain, moved, draws = np.zeros(8), np.zeros(8), 300 if name in {"km-or", "k-center"} else 1_000
    selector = parse(SELECTORS.get(name), {"num_clusters": 3, "max_iterations": 2} if name == "km-or" else {})
    labels = np.arange(8) % 3
    table, permuted = _table(entropy, labels.tolist()), _table(entropy[order], labels[order].tolist())
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


def test_describe_has_a_histogram_of_every_score() -> None:
    columns = {"entropy": np.array([1e-4, 1e-3, 0.5, 2.0]), "transfer_loss": np.array([0.0, 10.0, 20.0, 20.0])}
    columns |= {"first_learned": np.full(4, 3.0), "huge": np.array([-1.5e308, 0.0, 1.5e308, 1.5e308])}
    table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=columns)
    told = describe(table, select_proxy(_selector("tl"), table, 2, 0))
    assert list(told["scores"]) == ["transfer_loss", "first_learned", "huge", "entropy"]
    assert told["scores"]["entropy"] == told["entropy"]
    loss = told["scores"]["transfer_loss"]
    assert loss["edges"] == [float(edge) for edge in range(21)]
    assert (loss["before"], loss["after"]) == ([1, *[0] * 9, 1, *[0] * 8, 2], [1, *[0] * 9, 1, *[0] * 9])
    assert told["scores"]["first_learned"] == {"edges": [3.0, 3.0], "before": [4], "after": [2]}
    assert sum(told["scores"]["huge"]["before"]) == 4
    json.dumps(told, allow_nan=False)


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
