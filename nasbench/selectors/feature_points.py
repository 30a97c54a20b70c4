"""Rows of features as points between which distances are taken, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasbench.core.pages import release_pages

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

_BLOCK_BYTES = 16 * 2**20  # of float64 that are read at a time
_POINTS_AT_A_TIME = 1024  # rows of one matrix product, so that it stays in the processor's cache


def squared_distances(points: Floats, others: Floats) -> Floats:
    """Return the squared Euclidean distances by which everything is decided.

    Differences in float64, squared, and summed by NumPy along the contiguous last axis: the result for a pair does
    not depend on which other pairs are computed with it, nor on its order.

    Args:
        points: float64 [m, d], C-contiguous.
        others: float64 [m, d] or [d].

    Returns:
        float64 [m].
    """
    distances: Floats = np.square(points - others).sum(axis=1)
    return distances


class FeatureRows:
    """Some rows of a feature matrix that may be larger than memory.

    Args:
        features: float [n, d]; if it is mapped from a file, its pages are given back after each block.
        rows: int64 [m], the rows that count, ascending; None for all. Further on they are called 0 to m-1.

    Attributes:
        num_read: Rows read so far.
    """

    def __init__(self, features: npt.NDArray[np.floating], rows: Rows | None = None) -> None:
        self._features = features
        self._rows = rows
        self.num_read = 0
        self._block = max(1, _BLOCK_BYTES // (8 * max(self.dimensions, 1)))

    def __len__(self) -> int:
        return len(self._features) if self._rows is None else len(self._rows)

    @property
    def dimensions(self) -> int:
        """Columns d of the features."""
        return int(self._features.shape[1])

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield all rows in order, as float64 blocks with their places."""
        for start in range(0, len(self), self._block):
            place = slice(start, min(start + self._block, len(self)))
            block = np.empty((place.stop - start, self.dimensions))
            self._read_into(block, place if self._rows is None else self._rows[place])
            yield place, block

    def take_points(self, rows: Rows) -> Floats:
        """Return rows by number with a column of ones, float64 [len(rows), d+1]."""
        taken = np.empty((len(rows), self.dimensions + 1))
        taken[:, -1] = 1.0
        for start in range(0, len(rows), self._block):
            part = rows[start : start + self._block]
            self._read_into(taken[start : start + len(part), :-1], part if self._rows is None else self._rows[part])
        return taken

    def _read_into(self, target: Floats, rows: Rows | slice) -> None:
        target[:] = self._features[rows]
        release_pages(self._features)
        self.num_read += len(target)


@dataclass(kw_only=True, eq=False)
class Points:
    """Points with an upper bound of their squared distance to the nearest centre; the bounds change.

    Attributes:
        rows: int64 [m], ascending.
        values: float64 [m, d+1], the coordinates and a column of ones.
        norms: float64 [m], squared lengths.
        slack: float64 [m], how far a distance by `quick_distances` may lie from `squared_distances`.
        upper: float64 [m], upper bounds; -inf for centres. The true value is at least ``upper - 2 slack``.
        exact: bool [m], whether ``upper`` is the value itself.
    """

    rows: Rows
    values: Floats
    norms: Floats
    slack: Floats
    upper: Floats
    exact: npt.NDArray[np.bool_]

    def part(self, places: Rows) -> Points:
        """Return a copy of some of the points."""
        fields = ("rows", "values", "norms", "slack", "upper", "exact")
        return Points(**{name: getattr(self, name)[places] for name in fields})

    def put_back(self, places: Rows, part: Points) -> None:
        """Take over the bounds of a part."""
        self.upper[places] = part.upper
        self.exact[places] = part.exact

    def lower_to(self, places: Rows | slice, quick: Floats) -> None:
        """Lower bounds to the quick distances from new centres.

        An exact value stays so unless a new centre may be nearer.
        """
        upper, slack, exact = self.upper[places], self.slack[places], self.exact[places]
        lowered = np.minimum(upper, quick + slack)
        if exact.any():
            keep = exact & ((quick - slack > upper) | (upper == 0))
            lowered[keep] = upper[keep]
            self.exact[places] = keep | (slack == 0)
        self.upper[places] = lowered

    def choose(self, place: int) -> None:
        """Make a point a centre."""
        self.upper[place] = -np.inf

    def nearest(self, centres: Floats, places: Rows | None = None) -> Floats:
        """Return the quick distance of points to the nearest of some centres.

        Args:
            centres: float64 [r, d+1] of `as_centres`.
            places: Of which points; None for all.
        """
        norms = self.norms if places is None else self.norms[places]
        found = np.empty(len(norms))
        for start in range(0, len(norms), _POINTS_AT_A_TIME):
            part = slice(start, start + _POINTS_AT_A_TIME)
            values = self.values[part if places is None else places[part]]
            found[part] = (centres @ values.T).min(axis=0)  # along rows, which is several times faster
        return found + norms


def as_centres(points: Floats) -> Floats:
    """Return what points are multiplied with, float64 [r, d+1]: -2 c and the squared length of c.

    Args:
        points: float64 [r, d+1], c and a column of ones.
    """
    centres = -2.0 * points
    np.einsum("ij,ij->i", points[:, :-1], points[:, :-1], out=centres[:, -1])
    return centres


def quick_distances(values: Floats, norms: Floats, centres: Floats) -> Floats:
    """Return |x|^2 - 2 x c + |c|^2 by one matrix product, float64 [m, r].

    Differs from `squared_distances` by rounding: at most by `slack_of`.
    """
    return values @ centres.T + norms[:, np.newaxis]


def slack_of(norms: Floats, longest: float, dimensions: int) -> Floats:
    """Return how far quick distances from points to centres may lie from the defined ones.

    In any order of summation a product of d+1 terms is off by at most (d+1) u (2 |x||c| + |c|^2), u = 2^-53, and
    the squared lengths and the defined distance by about d u of their own size; all are below (|x| + |c|)^2, of
    which 4 (d + 8) u is an upper bound of their sum. Twice the bound leaves room for adding and taking it away.

    Args:
        norms: float64 [m], squared lengths of the points.
        longest: Largest length of a centre.
        dimensions: d.
    """
    return 8.0 * (dimensions + 8) * 2.0**-53 * np.square(np.sqrt(norms) + longest)
