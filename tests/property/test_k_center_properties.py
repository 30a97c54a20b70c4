"""Greedy k-center on small sets of points of every kind, with ties and duplicates."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nasbench.core.table import ExampleTable
from nasbench.selectors import chosen_centres
from nasbench.selectors import farthest_first as traversal
from nasbench.selectors.farthest_first import farthest_first
from nasbench.selectors.feature_points import squared_distances
from nasbench.selectors.k_center import KCenter

ELEMENTS = st.one_of(
    st.integers(-2, 2).map(float),  # ties and duplicates
    st.integers(0, 3).map(lambda number: float(np.float32(number / 10 + 1000))),  # ties blurred by rounding
    st.floats(-1000.0, 1000.0, width=32),
    st.floats(-(2.0**-100), 2.0**-100, width=32),
    st.floats(-(2.0**100), 2.0**100, width=32),
)
POINTS = st.tuples(st.integers(1, 14), st.integers(1, 4)).flatmap(
    lambda shape: arrays.arrays(np.float32, shape, elements=ELEMENTS)
)


def distances(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    return np.array([squared_distances(wide, centre) for centre in wide])


def plain(apart: np.ndarray, k: int, start: int) -> list[int]:
    order = [start]
    while len(order) < k:
        nearest = apart[order].min(axis=0)
        nearest[order] = -1.0
        order.append(int(nearest.argmax()))
    return order


@settings(max_examples=120, deadline=None)
@given(POINTS, st.data())
def test_equals_the_plain_algorithm_in_blocks_of_any_size(features: np.ndarray, data: st.DataObject) -> None:
    k, start = data.draw(st.integers(1, len(features))), data.draw(st.integers(0, len(features) - 1))
    candidates, leaders = data.draw(st.integers(1, 15)), data.draw(st.integers(1, 15))
    got = farthest_first(features, k, start, candidates=candidates, leaders=leaders)
    assert got.order.tolist() == plain(distances(features), k, start)


@settings(max_examples=80, deadline=None)
@given(POINTS, st.data())
def test_where_centres_are_looked_for_first_changes_nothing(features: np.ndarray, data: st.DataObject) -> None:
    """With few homes, few centres kept and every product allowed, small sets take the ways of large ones."""
    k, start = data.draw(st.integers(1, len(features))), data.draw(st.integers(0, len(features) - 1))
    candidates, leaders = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chosen_centres, "_NUM_HOMES", data.draw(st.integers(1, 4)))
        patch.setattr(chosen_centres, "_KEPT_BYTES", data.draw(st.sampled_from([0, 200, 2000])))
        patch.setattr(chosen_centres, "_READ_AT_A_TIME", data.draw(st.integers(1, 5)))
        patch.setattr(traversal, "_FEWEST_NEAR", 1)
        patch.setattr(traversal, "_NEAR_AT_A_TIME", data.draw(st.integers(1, 3)))
        patch.setattr(traversal, "_LARGEST_HOMES", 1.0)
        patch.setattr(traversal, "_FEWEST_CENTRES", data.draw(st.integers(1, 3)))
        got = farthest_first(features, k, start, candidates=candidates, leaders=leaders)
    assert got.order.tolist() == plain(distances(features), k, start)


@settings(max_examples=60, deadline=None)
@given(POINTS, st.data())
def test_radius_is_at_most_twice_the_optimum(features: np.ndarray, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, min(4, len(features))))
    apart = np.sqrt(distances(features))
    best = min(apart[list(centres)].min(axis=0).max() for centres in combinations(range(len(features)), k))
    table = ExampleTable(dataset="", labels=np.zeros(len(features), dtype=np.int64), features=features)
    rows = KCenter().select(table, k, np.random.default_rng(data.draw(st.integers(0, 9))))
    assert apart[rows].min(axis=0).max() <= 2 * best * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 1000))
def test_renumbering_the_rows_renumbers_the_centres_where_nothing_is_tied(num: int, dimensions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, order = rng.standard_normal((num, dimensions)).astype(np.float32), rng.permutation(num)
    k, start = int(rng.integers(1, num + 1)), int(rng.integers(num))
    moved = farthest_first(features[order], k, int(np.flatnonzero(order == start)[0])).order
    if dimensions > 1 or k < 3:  # on a line the middle of two centres can be tied
        assert order[moved].tolist() == farthest_first(features, k, start).order.tolist()


@settings(max_examples=30, deadline=None)
@given(POINTS, st.booleans())
def test_k_equal_n_takes_all(features: np.ndarray, balance: bool) -> None:
    labels = np.arange(len(features)) % 3
    table = ExampleTable(dataset="", labels=labels, features=features)
    rows = KCenter(class_balance=balance).select(table, len(features), np.random.default_rng(0))
    assert rows.tolist() == list(range(len(features)))
