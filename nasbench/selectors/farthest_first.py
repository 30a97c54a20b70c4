"""Farthest-first traversal without keeping, or even computing, all distances.

The plain algorithm lowers the distance of every point whenever a centre is chosen. Here each point keeps an upper
bound of its distance, which stays one while further centres are chosen, so only points whose bound is among the
largest need new distances:

- all n points: bounds only;
- thousands of candidates, those of the largest bounds: read, and brought up to date with all centres, unless some
  put them below the best bound that was left out before; those in the same part of space are looked at first;
- of these the `_LEADERS` of the largest bounds: all distances among them, by one matrix product. Centres are chosen
  from them until none lies farther than the best bound that was left out, which is known without looking.

A bound is lowered by matrix products in float64, whose last bits depend on the library and on the block. What is
chosen does not: products are trusted only as far as `slack_of` says, and where that leaves two points in doubt,
their distances are taken as `squared_distances` defines them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench.selectors.chosen_centres import Centres
from nasbench.selectors.feature_points import (
    FeatureRows,
    Floats,
    Points,
    Rows,
    as_centres,
    quick_distances,
    slack_of,
    squared_distances,
)

_CANDIDATE_BYTES = 128 * 2**20  # of the candidates' coordinates in float64
_CANDIDATE_SHARE = 6  # at most one in so many points is a candidate
_FEWEST_CANDIDATES = 1024
_LEADERS = 128
_CENTRES_AT_A_TIME = 512  # columns of one matrix product
_FEWEST_CENTRES = 128  # below that a product is slow, and points are read from memory too often
_LARGEST_HOMES = 0.3  # share of pairs of point and centre with the same home, above which homes save nothing
_NEAR_AT_A_TIME = 128  # centres of one home
_FEWEST_NEAR = 16  # below that a product costs more than it saves
_PAIRS_AT_A_TIME = 4096  # whose exact distances are taken at once
_EXACT_INTEGERS = 2.0**53  # float64 holds every whole number up to here


@dataclass(frozen=True, kw_only=True)
class Traversal:
    """Points in the order in which they became centres, and what that cost.

    Attributes:
        order: int64 [k], row numbers.
        num_rows: Points n that were chosen from.
        rows_read: Rows of features that were read; the plain algorithm reads n k.
        num_distances: Distances that were computed; the plain algorithm computes n k.
    """

    order: Rows
    num_rows: int
    rows_read: int
    num_distances: int


class _Key(NamedTuple):
    """What is compared: the larger distance is farther, and of equal ones the lower row."""

    distance: float
    row: int

    def beats(self, other: _Key) -> bool:
        return self.distance > other.distance or (self.distance == other.distance and self.row < other.row)


_NOTHING = _Key(-np.inf, -1)


def farthest_first(
    features: npt.NDArray[np.floating],
    k: int,
    start: int,
    *,
    rows: Rows | None = None,
    candidates: int | None = None,
    leaders: int = _LEADERS,
) -> Traversal:
    """Choose k points, each the farthest from those before it; ties go to the lowest row.

    Memory: some 50 bytes a point, 128 MiB (twice that at the peak) for candidates, and 32 MiB for centres; nothing
    grows with n k.

    Args:
        features: float [n, d], finite; may be mapped from a file that is larger than memory.
        k: How many, 1 <= k <= n (or the number of ``rows``).
        start: Row number of the first centre.
        rows: int64, the rows that take part, ascending; None for all.
        candidates: How many points are brought up to date at a time; changes speed and memory, never the result.
        leaders: Among how many of them all distances are taken; likewise.
    """
    source = FeatureRows(features, rows)
    first = start if rows is None else int(np.searchsorted(rows, start))
    search = _Search(source, k, first, candidates or _num_candidates(source), leaders)
    while len(search.centres) < k:
        search.advance()
    order = search.centres.rows
    return Traversal(
        order=order if rows is None else rows[order], num_rows=len(source), rows_read=source.num_read,
        num_distances=search.num_distances,
    )  # fmt: skip


def farthest_from_mean(features: npt.NDArray[np.floating], rows: Rows | None = None) -> int:
    """Return the row that lies farthest from the mean of all rows; of equal ones the lowest.

    Args:
        features: float [n, d].
        rows: int64, the rows that take part, ascending; None for all.
    """
    source = FeatureRows(features, rows)
    mean = np.zeros(source.dimensions)
    for _, block in source.blocks():
        mean += block.sum(axis=0) / len(source)
    best = _NOTHING
    for place, block in source.blocks():
        distances = squared_distances(block, mean)
        found = int(distances.argmax())
        key = _Key(float(distances[found]), place.start + found)
        best = key if key.beats(best) else best
    return best.row if rows is None else int(rows[best.row])


def _num_candidates(source: FeatureRows) -> int:
    fitting = _CANDIDATE_BYTES // (8 * max(source.dimensions, 1))
    return max(1, min(fitting, max(_FEWEST_CANDIDATES, len(source) // _CANDIDATE_SHARE)))


def _largest(upper: Floats, count: int) -> tuple[Rows, _Key]:
    """Return the places of the largest values, ascending, and the key of the best place that is left out."""
    if count >= len(upper):
        return np.arange(len(upper)), _NOTHING
    cut = len(upper) - count
    ordered = np.partition(upper, cut)  # for two places at once it is six times slower
    left, least = ordered[:cut].max(), ordered[cut]
    above, ties = np.flatnonzero(upper > least), np.flatnonzero(upper == least)
    wanted = count - len(above)
    best_left = ties[wanted] if left == least else np.argmax(upper == left)
    return np.sort(np.concatenate([above, ties[:wanted]])), _Key(float(left), int(best_left))


class _Search:
    """The state of a traversal: bounds of all points, and the centres so far."""

    def __init__(self, source: FeatureRows, k: int, first: int, candidates: int, leaders: int) -> None:
        self._source, self._k, self._candidates, self._leaders = source, k, candidates, leaders
        self.centres = Centres(source, k, first)
        self.num_distances = len(source)
        self._norms = np.empty(len(source))
        quick, whole = self._first_pass(self.centres.between(0, 1))
        self._longest = float(np.sqrt(self._norms.max()))
        # products of whole numbers have no rounding: every distance is what it should be, whatever the order
        self._exact_products = whole and 4 * self._longest**2 <= _EXACT_INTEGERS
        self._upper = quick + self._slack(slice(None))
        self._upper[first] = -np.inf
        self._exact = np.full(len(source), self._exact_products)
        self._seen = np.ones(len(source), dtype=np.int64)  # the bound accounts for so many of the centres
        self._near = np.ones(len(source), dtype=np.int64)  # and for so many of those of the point's home

    def _first_pass(self, start: Floats) -> tuple[Floats, bool]:
        quick, whole = np.empty(len(self._source)), True
        for place, block in self._source.blocks():
            self._norms[place] = np.einsum("ij,ij->i", block, block)
            quick[place] = self._norms[place] + block @ start[0, :-1] + start[0, -1]
            whole = whole and bool(np.all(block == np.rint(block)))
        return quick, whole

    def _slack(self, rows: Rows | slice) -> Floats:
        norms = self._norms[rows]
        return np.zeros(len(norms)) if self._exact_products else slack_of(norms, self._longest, self._source.dimensions)

    def advance(self) -> None:
        """Bring the points of the largest bounds up to date, and choose from them what can be chosen."""
        rows, outside = _largest(self._upper, self._candidates)
        points = Points(
            rows=rows, values=self._source.take_points(rows), norms=self._norms[rows],
            slack=self._slack(rows), upper=self._upper[rows], exact=self._exact[rows],
        )  # fmt: skip
        self._bring_up_to_date(points, outside)
        points = self._hopeful(points, outside, share=1.0)
        while len(self.centres) < self._k and len(points.rows) and _best(points)[1].beats(outside):
            self._choose_leaders(points, outside)
            self._seen[points.rows] = len(self.centres)
            points = self._hopeful(points, outside, share=0.5)

    def _hopeful(self, points: Points, outside: _Key, share: float) -> Points:
        """Note all bounds; return the points that may still beat the outside, if they are at most that share."""
        self._upper[points.rows], self._exact[points.rows] = points.upper, points.exact
        hopeful = np.flatnonzero(points.upper >= outside.distance)
        return points.part(hopeful) if len(hopeful) <= share * len(points.rows) else points

    def _bring_up_to_date(self, points: Points, outside: _Key) -> None:
        """Lower the bounds to all centres that they do not account for, unless they sink below the outside before."""
        seen = self._seen[points.rows]
        self._lower_at_home(points, seen, outside)
        for low, high in pairwise(self._steps(seen[points.upper >= outside.distance])):
            places = np.flatnonzero((seen < high) & (points.upper >= outside.distance))
            self._lower_to(points, places, self.centres.between(low, high))
            seen[places] = high
        self._seen[points.rows] = seen

    def _lower_at_home(self, points: Points, seen: Rows, outside: _Key) -> None:
        """Lower the bounds to the new centres of each point's home: most that sink below the outside do so by these."""
        homes, centre_homes, num = self.centres.homes_of(points.values), self.centres.homes, self.centres.num_homes
        pairs = np.bincount(homes, minlength=num) @ np.bincount(centre_homes, minlength=num)
        if pairs > _LARGEST_HOMES * len(homes) * len(centre_homes):
            return
        near = np.maximum(self._near[points.rows], seen)
        for home in range(num):
            members = np.flatnonzero(homes == home)
            numbers = np.flatnonzero(centre_homes == home)
            numbers = numbers[numbers >= near[members].min(initial=len(centre_homes))]
            if len(numbers) < _FEWEST_NEAR:
                continue
            for start in range(0, len(numbers), _NEAR_AT_A_TIME):
                part = numbers[start : start + _NEAR_AT_A_TIME]
                places = members[(near[members] <= part[-1]) & (points.upper[members] >= outside.distance)]
                self._lower_to(points, places, self.centres.take(part))
                near[places] = part[-1] + 1
        self._near[points.rows] = near

    def _lower_to(self, points: Points, places: Rows, centres: Floats) -> None:
        if len(places):
            points.lower_to(places, points.nearest(centres, places))
            self.num_distances += len(places) * len(centres)

    def _steps(self, seen: Rows) -> list[int]:
        """Return where to cut the centres, so that few are looked at twice and no step is small."""
        total = len(self.centres)
        cuts = [int(seen.min(initial=total))]
        for age in np.unique(np.append(seen, np.arange(cuts[0], total, _CENTRES_AT_A_TIME))).tolist():
            if age - cuts[-1] >= _FEWEST_CENTRES and total - age >= _FEWEST_CENTRES:
                cuts.append(age)
        return [*cuts, total] if cuts[-1] < total else cuts

    def _choose_leaders(self, points: Points, outside: _Key) -> None:
        """Choose centres among the points of the largest bounds, or at least make one bound exact."""
        places, left_out = _largest(points.upper, self._leaders)
        inside = _Key(left_out.distance, int(points.rows[left_out.row]))
        rival = inside if inside.beats(outside) else outside
        leaders = points.part(places)
        coordinates = as_centres(leaders.values)
        between = quick_distances(leaders.values, leaders.norms, coordinates)
        self.num_distances += between.size
        chosen: list[int] = []
        while len(self.centres) < self._k:
            best, key = _best(leaders)
            if not key.beats(rival):
                break
            if not leaders.exact[best] and self._settle_doubt(leaders, best, rival):
                continue
            self.centres.add(key.row)
            chosen.append(best)
            leaders.choose(best)
            leaders.lower_to(slice(None), between[best])
        if chosen:
            points.lower_to(slice(None), points.nearest(coordinates[chosen]))
            self.num_distances += len(points.rows) * len(chosen)
        points.put_back(places, leaders)

    def _settle_doubt(self, leaders: Points, best: int, rival: _Key) -> bool:
        """Make the bounds exact between which rounding could decide; return whether there was any doubt."""
        surely = leaders.upper[best] - 2 * leaders.slack[best]
        doubtful = leaders.upper >= surely
        if np.count_nonzero(doubtful) == 1 and rival.distance < surely:
            return False
        places = np.flatnonzero(doubtful & ~leaders.exact)
        values, norms = leaders.values[places], leaders.norms[places]
        highest = leaders.upper[places] + leaders.slack[places]
        least = np.full(len(places), np.inf)
        for low in range(0, len(self.centres), _CENTRES_AT_A_TIME):
            centres = self.centres.between(low, low + _CENTRES_AT_A_TIME)
            near = np.nonzero(quick_distances(values, norms, centres) <= highest[:, np.newaxis])
            for start in range(0, len(near[0]), _PAIRS_AT_A_TIME):
                point, centre = (part[start : start + _PAIRS_AT_A_TIME] for part in near)
                others = np.ascontiguousarray(centres[centre, :-1] / -2.0)
                exact = squared_distances(np.ascontiguousarray(values[point, :-1]), others)
                np.minimum.at(least, point, exact)
            self.num_distances += len(places) * len(centres)
        leaders.upper[places], leaders.exact[places] = least, True
        return True


def _best(points: Points) -> tuple[int, _Key]:
    place = int(points.upper.argmax())
    return place, _Key(float(points.upper[place]), int(points.rows[place]))
