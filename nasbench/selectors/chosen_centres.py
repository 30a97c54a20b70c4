"""The centres of a traversal in the order in which they were chosen, and which of them lie in the same part of space.

Most points lie near some centre of their own part of space, and for those the other centres need not be looked at to
know that they are near one. The parts are called homes here: the home of a point is the nearest of the first
`Centres.num_homes` centres.
"""

from __future__ import annotations

import numpy as np

from nasbench.selectors.feature_points import FeatureRows, Floats, Rows, as_centres

_NUM_HOMES = 16
_KEPT_BYTES = 32 * 2**20  # of coordinates in float64
_READ_AT_A_TIME = 512


class Centres:
    """Centres by number: number 0 was chosen first.

    Coordinates of the first of them are kept, up to 32 MiB; those of others are read whenever they are needed.

    Args:
        source: Where they are read.
        k: How many there will be.
        first: Row number of the first.

    Attributes:
        num_homes: How many homes there are.
    """

    def __init__(self, source: FeatureRows, k: int, first: int) -> None:
        self.num_homes = min(k, _NUM_HOMES)
        self._source = source
        self._rows = np.empty(k, dtype=np.int64)
        self._homes = np.empty(k, dtype=np.int64)
        self._num, self._num_known = 0, 0  # known: coordinates kept as far as they fit, and home found
        fitting = _KEPT_BYTES // (8 * (source.dimensions + 1))
        self._kept = np.empty((min(k, max(fitting, self.num_homes)), source.dimensions + 1))
        self.add(first)

    def __len__(self) -> int:
        return self._num

    @property
    def rows(self) -> Rows:
        """Row numbers, int64 [len], in the order of choosing."""
        return self._rows[: self._num]

    @property
    def homes(self) -> Rows:
        """The home of each centre, int64 [len]."""
        self._get_to_know()
        return self._homes[: self._num]

    def add(self, row: int) -> None:
        """Add a row as the next centre."""
        self._rows[self._num] = row
        self._num += 1

    def take(self, numbers: Rows) -> Floats:
        """Return centres by number, ascending, as `as_centres` does, float64 [len(numbers), d+1]."""
        self._get_to_know()
        if len(numbers) and numbers[-1] >= len(self._kept):
            return as_centres(self._source.take_points(self._rows[numbers]))
        taken: Floats = self._kept[numbers]
        return taken

    def between(self, low: int, high: int) -> Floats:
        """Return centres number low to high - 1, or to the last if there are fewer, as `take` does."""
        return self.take(np.arange(low, min(high, self._num)))

    def homes_of(self, points: Floats) -> Rows:
        """Return the homes of points, int64 [m]; while there are fewer centres than homes, the nearest of them.

        Args:
            points: float64 [m, d+1], coordinates and a column of ones.
        """
        self._get_to_know()
        return self._nearest_of_first(points)

    def _get_to_know(self) -> None:
        """Read the centres that were added, each once."""
        for low in range(self._num_known, self._num, _READ_AT_A_TIME):
            added = slice(low, min(low + _READ_AT_A_TIME, self._num))
            points = self._source.take_points(self._rows[added])
            self._kept[added] = as_centres(points)[: max(0, len(self._kept) - low)]
            self._homes[added] = self._nearest_of_first(points)
        self._num_known = self._num

    def _nearest_of_first(self, points: Floats) -> Rows:
        homes: Rows = (points @ self._kept[: min(self._num, self.num_homes)].T).argmin(axis=1)
        return homes
