"""K-means of our own, distances, and the two selections that remove outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nasbench.config.component import parse
from nasbench.core.errors import SelectionError
from nasbench.core.seeding import generator
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors import kmeans as module
from nasbench.selectors.kmeans import Init, Metric, Points, distance, kmeans, nearest, nearest_distance

DEFAULTS: dict[str, Any] = {"init": "k-means++", "num_inits": 1, "max_iterations": 300}


def blobs(num: int = 400, size: int = 3, centres: int = 4, seed: int = 0) -> npt.NDArray[np.float32]:
    """Well separated groups, row by row in turn."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(0, 30, (centres, size))
    return (middle[np.arange(num) % centres] + rng.normal(0, 1, (num, size))).astype(np.float32)


def inertia(points: Points, centres: npt.NDArray[np.float64]) -> float:
    return float(np.sum(points.each(lambda block: nearest_distance(block, centres, "euclidean")) ** 2))


def table(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64] | None = None) -> ExampleTable:
    return ExampleTable(
        dataset="", labels=np.zeros(len(features), dtype=np.int64) if labels is None else labels, features=features
    )


def test_well_separated_groups_are_found() -> None:
    features = blobs()
    found = kmeans(Points.of(features, standardize=False), 4, np.random.default_rng(0), **DEFAULTS)
    means = np.array([features[number::4].mean(axis=0, dtype=np.float64) for number in range(4)])
    order = [int(np.argmin(np.linalg.norm(found - mean, axis=1))) for mean in means]
    assert sorted(order) == [0, 1, 2, 3]
    assert found[order] == pytest.approx(means, rel=1e-6)


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_it_is_as_good_as_a_well_kept_library(init: Init) -> None:
    from sklearn.cluster import KMeans

    features = np.random.default_rng(3).normal(size=(600, 5)).astype(np.float32)
    points = Points.of(features, standardize=False)
    ours = [
        inertia(points, kmeans(points, 12, np.random.default_rng(seed), init=init, num_inits=5, max_iterations=300))
        for seed in range(3)
    ]
    theirs = [
        KMeans(12, init=init, n_init=5, random_state=seed).fit(features.astype(np.float64)).inertia_
        for seed in range(3)
    ]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.02)


def test_more_runs_are_never_worse_and_a_pass_never_makes_it_worse() -> None:
    features = np.random.default_rng(4).normal(size=(300, 4)).astype(np.float32)
    points = Points.of(features, standardize=False)

    def of(**fields: Any) -> float:
        return inertia(points, kmeans(points, 20, np.random.default_rng(1), **(DEFAULTS | fields)))

    passes = [of(max_iterations=number) for number in (1, 2, 3, 5, 300)]
    assert passes == sorted(passes, reverse=True)
    assert passes[0] > passes[-1]
    runs = [of(num_inits=number, max_iterations=3) for number in (1, 2, 5, 20)]
    assert runs == sorted(runs, reverse=True)
    assert runs[0] > runs[-1]


def test_careful_seeding_hits_every_group_where_random_rows_do_not() -> None:
    features = blobs(num=400, centres=12, seed=5)
    points = Points.of(features, standardize=False)
    worst = {}
    for init in ("k-means++", "random"):
        worst[init] = [
            inertia(points, kmeans(points, 12, np.random.default_rng(seed), init=init, num_inits=1, max_iterations=1))
            for seed in range(20)
        ]
    assert np.median(worst["k-means++"]) < np.median(worst["random"]) / 3


def test_blocks_and_a_mapped_file_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = blobs(num=500, size=6, seed=6)
    np.save(tmp_path / "rows.npy", features)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r", allow_pickle=False)
    labels = np.arange(500) % 7
    for name in ("km-or", "cc-or"):
        selector = parse(SELECTORS.get(name), {"num_clusters": 9, "standardize": True} if name == "km-or" else {})
        expected = selector.select(table(features, labels), 100, generator(0, "x"))
        with monkeypatch.context() as patch:
            patch.setattr(module, "_BLOCK", 50)
            assert np.array_equal(selector.select(table(mapped, labels), 100, generator(0, "x")), expected)


def test_seeding_of_a_large_set_reads_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    features = blobs(num=900, centres=3, seed=7)
    points = Points.of(features, standardize=False)
    asked: list[int] = []
    rows = Points.rows

    def spy(self: Points, which: Any) -> npt.NDArray[np.float64]:
        found = rows(self, which)
        asked.append(len(found))
        return found

    monkeypatch.setattr(module, "_SEEDING", 300)
    monkeypatch.setattr(module, "_BLOCK", 90)
    monkeypatch.setattr(Points, "rows", spy)
    found = kmeans(points, 3, np.random.default_rng(0), **DEFAULTS)
    assert max(asked) == 100
    monkeypatch.undo()
    assert inertia(points, found) == pytest.approx(
        inertia(points, kmeans(points, 3, np.random.default_rng(1), **DEFAULTS)), rel=1e-6
    )


def test_duplicates_and_empty_clusters() -> None:
    """Three different rows, five clusters: two centres fall on others, and no row is away from a centre."""
    features = np.repeat(np.array([[0.0], [5.0], [9.0]], dtype=np.float32), 10, axis=0)
    points = Points.of(features, standardize=False)
    for init in ("k-means++", "random"):
        for seed in range(6):
            found = kmeans(points, 5, np.random.default_rng(seed), init=init, num_inits=1, max_iterations=50)
            assert found.shape == (5, 1)
            assert inertia(points, found) == 0
    same = Points.of(np.ones((8, 2), dtype=np.float32), standardize=True)
    assert inertia(same, kmeans(same, 3, np.random.default_rng(0), **DEFAULTS)) == 0


def test_distances_by_hand() -> None:
    rows, centres = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 2.0]])
    expected: dict[Metric, tuple[list[float], list[float]]] = {
        "euclidean": ([5.0, 0.0, 1.0], [13**0.5, 0.0, 1.0]),
        "manhattan": ([7.0, 0.0, 1.0], [5.0, 0.0, 1.0]),
        "cosine": ([1.0, 1.0, 1.0], [0.2, 1.0, 1.0]),
    }
    for metric, (first, least) in expected.items():
        assert distance(rows, centres[0], metric) == pytest.approx(first)
        assert distance(rows, np.tile(centres[0], (3, 1)), metric) == pytest.approx(first)
        assert nearest_distance(rows, centres, metric) == pytest.approx(least)
    assert nearest(np.array([[1.0], [0.0]]), np.array([[2.0], [0.0], [2.0]])).tolist() == [0, 1]  # a tie: the first


def test_standardised_dimensions_have_mean_0_and_variance_1() -> None:
    features = np.random.default_rng(8).normal([5, -3, 0], [1, 100, 0], (200, 3)).astype(np.float32)
    mean, variance = Points.of(features, standardize=True).moments()
    assert mean == pytest.approx([0, 0, 0], abs=1e-9)
    assert variance == pytest.approx([1, 1, 0])  # the last one does not vary, and is left


def test_outliers_go_first() -> None:
    features = blobs(num=200, seed=9)
    far = np.array([3, 50, 51, 199])
    features[far] += np.float32(12)
    plain, labels = table(features), np.arange(200) % 4
    kept = parse(SELECTORS.get("km-or"), {"num_clusters": 4}).select(plain, 196, np.random.default_rng(0))
    assert set(range(200)) - set(kept.tolist()) == set(far.tolist())
    kept = SELECTORS.get("cc-or")().select(table(features, labels), 190, np.random.default_rng(0))
    assert set(far.tolist()).isdisjoint(kept.tolist())
    assert np.bincount(labels[kept]).tolist() == [48, 48, 47, 47]


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
def test_class_outliers_are_the_farthest_of_each_class(metric: Metric) -> None:
    rng = np.random.default_rng(10)
    features, labels = rng.normal(1, 1, (120, 4)).astype(np.float32), rng.integers(0, 3, 120)
    kept = parse(SELECTORS.get("cc-or"), {"metric": metric}).select(
        table(features, labels), 60, np.random.default_rng(0)
    )
    for number in range(3):
        rows = np.flatnonzero(labels == number)
        middle = features[rows].mean(axis=0, dtype=np.float64)
        order = rows[np.argsort(distance(features[rows].astype(np.float64), middle, metric), kind="stable")]
        mine = kept[labels[kept] == number]
        assert np.array_equal(np.sort(order[: len(mine)]), mine)


def test_more_clusters_than_examples_are_refused() -> None:
    with pytest.raises(SelectionError, match="num_clusters 100 is more than the 7 examples"):
        SELECTORS.get("km-or")().select(table(blobs(num=7)), 3, np.random.default_rng(0))
