"""K-means after Lloyd, and distances to centres, over features that may be mapped from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasbench.selectors.ranks import lowest

Metric = Literal["euclidean", "manhattan", "cosine"]
"""How far a row is from a centre."""

Init = Literal["k-means++", "random"]
"""How the first centres are chosen."""

_BLOCK = 2_097_152  # numbers of the features turned into float64 at a time: 16 MiB
_SEEDING = 16_777_216  # numbers among which k-means++ chooses: 128 MiB
_TOLERANCE = 1e-4  # of the mean variance of a dimension; Lloyd stops when all centres together move less

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Features as float64, standardised where asked, never all at once.

    Attributes:
        features: float32 [n, d]; may be mapped.
        shift: float64 [d], is subtracted.
        scale: float64 [d], all above 0; what is left is divided by it.
    """

    features: npt.NDArray[np.float32]
    shift: Array
    scale: Array

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def of(cls, features: npt.NDArray[np.float32], *, standardize: bool) -> Points:
        """Take features as they are, or each dimension with mean 0 and (where it varies) variance 1."""
        size = features.shape[1]
        plain = cls(features=features, shift=np.zeros(size), scale=np.ones(size))
        if not standardize:
            return plain
        mean, variance = plain.moments()
        return cls(features=features, shift=mean, scale=np.sqrt(np.where(variance > 0, variance, 1.0)))

    def rows(self, rows: slice | npt.NDArray[np.int64]) -> Array:
        """Return some rows, float64 [m, d]."""
        return (self.features[rows] - self.shift) / self.scale

    def blocks(self, rows: npt.NDArray[np.int64] | None = None) -> Iterator[tuple[slice, Array]]:
        """Yield all rows, or the given ones, in order: their places and float64 [b, d]."""
        step = max(1, _BLOCK // self.features.shape[1])
        for start in range(0, len(self) if rows is None else len(rows), step):
            place = slice(start, start + step)
            yield place, self.rows(place if rows is None else rows[place])

    def moments(self) -> tuple[Array, Array]:
        """Return mean and variance of each dimension, float64 [d]."""
        mean = self.mean()
        squares = np.zeros(len(mean))
        for _, block in self.blocks():
            squares += np.sum((block - mean) ** 2, axis=0)
        return mean, squares / len(self)

    def mean(self, rows: npt.NDArray[np.int64] | None = None) -> Array:
        """Return the mean of all rows, or of the given ones, float64 [d]."""
        total = np.zeros(self.features.shape[1])
        for _, block in self.blocks(rows):
            total += block.sum(axis=0)
        return total / (len(self) if rows is None else len(rows))

    def each(self, distance: Callable[[Array], Array], rows: npt.NDArray[np.int64] | None = None) -> Array:
        """Return a number for every row, float64 [n], from a function of blocks [b, d]."""
        found = np.empty(len(self) if rows is None else len(rows))
        for place, block in self.blocks(rows):
            found[place] = distance(block)
        return found


def distance(points: Array, centres: Array, metric: Metric) -> Array:
    """Return the distance of each row from its centre.

    Args:
        points: float64 [b, d].
        centres: float64 [d], or [b, d].
        metric: ``euclidean`` (of flat arrays the Frobenius norm), ``manhattan``, or ``cosine``: 1 minus the cosine of
            the angle, 1 where one of both is 0.

    Returns:
        float64 [b], at least 0 but for rounding.
    """
    if metric == "cosine":
        return np.asarray(1.0 - np.sum(_unit(points) * _unit(centres), axis=-1))
    difference = points - centres
    if metric == "manhattan":
        return np.asarray(np.abs(difference).sum(axis=1))
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", difference, difference)))


def nearest_distance(points: Array, centres: Array, metric: Metric) -> Array:
    """Return the distance of each row [b, d] from the nearest of K centres [K, d], float64 [b]."""
    if metric == "euclidean":
        return distance(points, centres[nearest(points, centres)], metric)
    if metric == "cosine":
        return np.asarray(1.0 - (_unit(points) @ _unit(centres).T).max(axis=1))
    found = distance(points, centres[0], metric)
    for centre in centres[1:]:
        np.minimum(found, distance(points, centre, metric), out=found)
    return found


def nearest(points: Array, centres: Array) -> npt.NDArray[np.int64]:
    """Return which centre is nearest by Euclidean distance, int64 [b]; of equally near ones the first."""
    scores = 0.5 * np.einsum("ij,ij->i", centres, centres) - points @ centres.T  # half of |x-c|^2, less |x|^2
    return np.asarray(np.argmin(scores, axis=1), dtype=np.int64)


def _unit(vectors: Array) -> Array:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def kmeans(
    points: Points, num_clusters: int, rng: np.random.Generator, *, init: Init, num_inits: int, max_iterations: int
) -> Array:
    """Return the centres of the best of some runs of Lloyd's algorithm.

    References: Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 28, 1982; Arthur and
    Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007.

    A row belongs to the nearest centre, of equally near ones to the first. A centre without rows is put on the row
    that is farthest from its own centre (of several the first), unless all rows lie on centres. Each pass reads the
    features once, block by block.

    Args:
        points: n rows.
        num_clusters: K, 1 <= K <= n.
        rng: The only source of randomness.
        init: ``random`` rows, or ``k-means++``: each further one with probability in proportion to its squared
            distance from the nearest chosen one. Where the features have more than 16.8 million numbers, k-means++
            chooses among as many random rows as have that many.
        num_inits: Runs with other first centres; that with the least sum of squared distances counts.
        max_iterations: At most so many passes a run.

    Returns:
        float64 [K, d].
    """
    _, variance = points.moments()
    tolerance = _TOLERANCE * float(variance.mean())
    runs = (
        _lloyd(points, _first_centres(points, num_clusters, rng, init), max_iterations, tolerance)
        for _ in range(num_inits)
    )
    if num_inits == 1:
        return next(runs)
    return min(runs, key=lambda centres: float(np.sum(_own_distances(points, centres) ** 2)))  # of equal ones the first


def _own_distances(points: Points, centres: Array) -> Array:
    return points.each(lambda block: nearest_distance(block, centres, "euclidean"))


def _first_centres(points: Points, num_clusters: int, rng: np.random.Generator, init: Init) -> Array:
    if init == "random":
        return points.rows(np.sort(rng.choice(len(points), num_clusters, replace=False)))
    most = max(10 * num_clusters, _SEEDING // points.features.shape[1])
    if len(points) <= most:
        among = points.rows(slice(None))
    else:
        among = points.rows(np.sort(rng.choice(len(points), most, replace=False)))
    chosen = [int(rng.integers(len(among)))]
    squares = _squares(among, among[chosen[0]])
    for _ in range(num_clusters - 1):
        cumulative = np.cumsum(squares)
        if cumulative[-1] > 0:
            row = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
            row = min(row, int(np.flatnonzero(squares)[-1]))
        else:  # fewer different rows than clusters
            row = int(rng.integers(len(among)))
        chosen.append(row)
        np.minimum(squares, _squares(among, among[row]), out=squares)
    return among[chosen]


def _squares(points: Array, centre: Array) -> Array:
    found = np.empty(len(points))
    step = max(1, _BLOCK // points.shape[1])
    for start in range(0, len(points), step):
        difference = points[start : start + step] - centre
        found[start : start + step] = np.einsum("ij,ij->i", difference, difference)
    return found


def _lloyd(points: Points, centres: Array, max_iterations: int, tolerance: float) -> Array:
    for _ in range(max_iterations):
        sums, counts = np.zeros_like(centres), np.zeros(len(centres), dtype=np.int64)
        for _, block in points.blocks():
            own = nearest(block, centres)
            order = np.argsort(own, kind="stable")
            present, starts = np.unique(own[order], return_index=True)
            sums[present] += np.add.reduceat(block[order], starts, axis=0)
            counts += np.bincount(own, minlength=len(centres))
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            apart = _own_distances(points, centres)
            far = lowest(-apart, len(empty))
            far = far[apart[far] > 0]
            moved[empty[: len(far)]] = points.rows(far)
        shift = float(np.sum((moved - centres) ** 2))
        centres = moved
        if shift <= tolerance:
            break
    return centres
