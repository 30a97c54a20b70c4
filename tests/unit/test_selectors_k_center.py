"""Greedy k-center: the lazy traversal chooses exactly what the plain algorithm chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasbench.core.pages import release_pages
from nasbench.core.table import ExampleTable
from nasbench.selectors import chosen_centres
from nasbench.selectors import farthest_first as traversal
from nasbench.selectors.balance import class_quotas
from nasbench.selectors.farthest_first import farthest_first, farthest_from_mean
from nasbench.selectors.feature_points import as_centres, quick_distances, slack_of, squared_distances
from nasbench.selectors.k_center import KCenter


def plain(features: np.ndarray, k: int, start: int) -> list[int]:
    """Sener and Savarese, Algorithm 1, by the same distances: lower every point's distance at every centre."""
    wide = features.astype(np.float64)
    order, nearest = [start], squared_distances(wide, wide[start])
    while len(order) < k:
        nearest[order] = -1.0
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, squared_distances(wide, wide[order[-1]]))
    return order


def table(features: np.ndarray, labels: np.ndarray | None = None) -> ExampleTable:
    given = np.zeros(len(features), dtype=np.int64) if labels is None else labels
    return ExampleTable(dataset="", labels=given, features=features)


def cloud(num: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num, dimensions)).astype(np.float32)


@pytest.mark.parametrize("dimensions", [1, 3, 40])
def test_many_points_in_blocks_of_every_kind(dimensions: int) -> None:
    features = cloud(3000, dimensions)
    want = plain(features, 400, 17)
    for candidates, leaders in ((None, 128), (60, 7), (500, 1)):
        got = farthest_first(features, 400, 17, candidates=candidates, leaders=leaders)
        assert got.order.tolist() == want


def test_fewer_distances_are_computed_than_by_the_plain_algorithm() -> None:
    got = farthest_first(cloud(20_000, 8), 500, 0)
    assert got.num_distances < 0.7 * 20_000 * 500
    assert got.rows_read < 20 * 20_000  # the plain algorithm reads 500 x 20,000


def test_points_in_clusters_are_mostly_compared_with_centres_of_their_part_of_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    features = np.maximum(rng.standard_normal((10, 32))[rng.integers(0, 10, 12_000)] + cloud(12_000, 32), 0)
    got = farthest_first(features.astype(np.float32), 1200, 0)
    monkeypatch.setattr(traversal, "_LARGEST_HOMES", 0.0)
    all_centres = farthest_first(features.astype(np.float32), 1200, 0)
    assert np.array_equal(got.order, all_centres.order)
    assert got.num_distances < 0.7 * all_centres.num_distances


@pytest.mark.parametrize("kept", [0, 40 * 17 * 8, 2**25])
def test_many_duplicates_and_centres_whose_coordinates_are_read_again(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_centres, "_KEPT_BYTES", kept)
    features = np.repeat(cloud(300, 16), 5, axis=0)
    got = farthest_first(features, 700, 7, candidates=200, leaders=30)
    assert got.order.tolist() == plain(features, 700, 7)


def test_bounds_that_rounding_blurs_are_settled_by_the_defined_distance() -> None:
    """Far from the origin products lose 9 digits, while a lattice of tenths is full of ties and of duplicates."""
    rng = np.random.default_rng(3)
    features = (rng.integers(0, 4, (300, 3)) / 10 + [3000, 0, 0]).astype(np.float32)
    wide = features.astype(np.float64)
    norms = np.square(wide).sum(axis=1)
    points = np.hstack([wide, np.ones((300, 1))])
    quick = quick_distances(points, norms, as_centres(points))
    defined = np.array([squared_distances(wide, centre) for centre in wide]).T
    assert np.abs(quick - defined).max() > 1e-10  # or nothing would be settled
    assert np.all(np.abs(quick - defined) <= slack_of(norms, float(np.sqrt(norms.max())), 3)[:, np.newaxis])
    assert farthest_first(features, 300, 5, candidates=40, leaders=6).order.tolist() == plain(features, 300, 5)


def test_a_defined_distance_does_not_depend_on_its_neighbours() -> None:
    points, centre = cloud(257, 130).astype(np.float64), cloud(1, 130, 9).astype(np.float64)[0]
    whole = squared_distances(points, centre)
    assert np.array_equal(whole, [squared_distances(point[np.newaxis], centre)[0] for point in points])
    assert np.array_equal(whole, squared_distances(np.tile(centre, (257, 1)), points))


def test_duplicates_come_last_and_in_order_of_rows() -> None:
    features = np.repeat(cloud(5, 3), 4, axis=0)  # rows 0 to 3 are equal, and so on
    order = farthest_first(features, 20, 6).order.tolist()
    assert sorted(order[:5]) == [0, 6, 8, 12, 16]  # the start, and the lowest row of every other point
    assert order[5:] == [1, 2, 3, 4, 5, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19]


def test_of_equal_distances_the_lowest_row_is_taken() -> None:
    features = np.array([[0, 0], [3, 4], [5, 0], [0, -5], [-4, 3]], dtype=np.float32)  # all 5 from row 0
    assert farthest_first(features, 2, 0, candidates=2, leaders=1).order.tolist() == [0, 1]
    assert farthest_first(features[::-1].copy(), 2, 4, candidates=2, leaders=1).order.tolist() == [4, 0]


def test_some_rows_only() -> None:
    features, rows = cloud(200, 4), np.arange(3, 200, 3)
    got = farthest_first(features, 20, 6, rows=rows).order
    assert got.tolist() == rows[plain(features[rows], 20, 1)].tolist()
    assert farthest_from_mean(features, rows) == rows[farthest_from_mean(features[rows])]


def test_features_in_a_file_give_the_same_and_are_given_back(tmp_path: Path) -> None:
    features = cloud(4000, 16)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r", allow_pickle=False)
    assert np.array_equal(farthest_first(mapped, 50, 3).order, farthest_first(features, 50, 3).order)
    assert farthest_from_mean(mapped) == farthest_from_mean(features)


def test_what_was_written_to_a_map_is_not_given_back(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", cloud(4, 2))
    for mode in ("c", "r+"):
        mapped = np.load(tmp_path / "features.npy", mmap_mode=mode, allow_pickle=False)
        mapped[:] = 7
        release_pages(np.asarray(mapped)[1:])
        assert np.all(mapped == 7)


def test_start_in_the_paper_s_way_is_drawn_and_otherwise_is_farthest_from_the_mean() -> None:
    features = cloud(50, 3)
    firsts = {int(KCenter().select(table(features), 1, np.random.default_rng(seed))[0]) for seed in range(30)}
    assert len(firsts) > 10
    wide = features.astype(np.float64)
    farthest = int(np.square(wide - wide.mean(axis=0)).sum(axis=1).argmax())
    chosen = {tuple(KCenter(start="farthest-from-mean").select(table(features), 7, np.random.default_rng(seed)))
              for seed in range(3)}  # fmt: skip
    assert chosen == {tuple(sorted(plain(features, 7, farthest)))}


def test_class_balance_covers_every_class_by_itself() -> None:
    features = cloud(90, 3)
    labels = np.random.default_rng(1).integers(0, 4, 90)
    rows = KCenter(start="farthest-from-mean", class_balance=True).select(
        table(features, labels), 21, np.random.default_rng(0)
    )
    quotas = class_quotas(labels, 21)
    assert np.array_equal(np.bincount(labels[rows], minlength=4), quotas)
    for number, quota in enumerate(quotas.tolist()):
        members = np.flatnonzero(labels == number)
        want = plain(features[members], quota, farthest_from_mean(features[members]))
        assert set(rows[labels[rows] == number]) == set(members[want])
