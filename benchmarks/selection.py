"""P1, P2 and P3 against selecting row by row, and on as many rows as ImageNet-22K has images.

Run as ``python -m benchmarks.selection [--quick] [--json FILE]``.

Two plain ways stand beside ours, both with the same distribution: one takes the steps of the published code (walk up
the bins until the value is below an edge, row after row; then NumPy's weighted choice without replacement), the other
is what a careful programmer would write in a loop (bisection, and a heap of the k first of an exponential race).
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.common import Result, compare, measure, parse_options, peak_memory_of, report
from nasbench.config.component import parse
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.histogram import histogram_edges

BIN_WIDTH = 0.5
NAMES = ("p1", "p2", "p3")
Rows = npt.NDArray[np.int64]
Selection = Callable[[], Rows]
PlainWay = Callable[[str, npt.NDArray[np.float64], int, int], Rows]
"""(p1, p2 or p3; entropies; k; seed) -> rows"""
LARGE = 14_200_000
"""Images of ImageNet-22K (Fall 2011)."""


def synthetic_table(num: int, seed: int = 0) -> ExampleTable:
    """Return entropies spread like those of ResNet-20 on CIFAR-10: log10 from about -21 to 0.2, skewed to the left."""
    rng = np.random.default_rng(seed)
    logarithms = np.clip(0.2 - rng.gamma(2.4, 2.0, num), -20.7, 0.2)
    return ExampleTable(
        dataset="", labels=np.zeros(num, dtype=np.int64), columns={"entropy": np.power(10.0, logarithms)}
    )


def _weights(name: str, heights: list[int]) -> list[float]:
    if name == "p1":
        return [float(max(heights) - height + 1) if height else 0.0 for height in heights]
    return [1.0 if name == "p2" else 1.0 / height if height else 0.0 for height in heights]


def walk_the_bins(name: str, entropy: npt.NDArray[np.float64], k: int, seed: int) -> Rows:
    """Select as the published code does: walk up the bins for each row, collect the rows; then a weighted choice."""
    logarithms = np.log10(entropy)
    edges = histogram_edges(float(logarithms.min()), float(logarithms.max()), BIN_WIDTH)
    members: list[list[int]] = [[] for _ in edges[1:]]
    for row, value in enumerate(logarithms):
        for number in range(len(edges) - 1):
            if edges[number] <= value < edges[number + 1]:
                members[number].append(row)
                break
        else:
            members[-1].append(row)
    weights = _weights(name, [len(rows) for rows in members])
    rows, probability = [], []
    for weight, inside in zip(weights, members, strict=True):
        for row in inside:
            rows.append(row)
            probability.append(weight / len(inside))
    total = np.asarray(probability)
    return np.sort(np.random.default_rng(seed).choice(rows, size=k, replace=False, p=total / total.sum()))


def bisect_and_heap(name: str, entropy: npt.NDArray[np.float64], k: int, seed: int) -> Rows:
    """Select in one careful loop: bisection for the bin, a heap for the first k of the race."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    logarithms = [math.log10(value) for value in entropy.tolist()]
    edges = histogram_edges(min(logarithms), max(logarithms), BIN_WIDTH).tolist()
    last = len(edges) - 2
    bins = [min(bisect_right(edges, value) - 1, last) for value in logarithms]
    heights = [0] * (last + 1)
    for number in bins:
        heights[number] += 1
    share = [weight / max(height, 1) for weight, height in zip(_weights(name, heights), heights, strict=True)]
    times = ((draw.expovariate(1.0) / share[number], row) for row, number in enumerate(bins))
    return np.asarray(sorted(row for _, row in heapq.nsmallest(k, times)))


def _same_size(ours: Rows, plain: Rows) -> bool:
    return len(ours) == len(plain) == len(np.unique(plain))


def _selection(name: str, table: ExampleTable, k: int) -> Selection:
    selector = parse(SELECTORS.get(f"entropy-tails-{name}"), {"bin_width": BIN_WIDTH})
    return lambda: selector.select(table, k, np.random.default_rng(0))


def _row_by_row(way: PlainWay, name: str, table: ExampleTable, k: int) -> Selection:
    return lambda: way(name, table.column("entropy"), k, 0)


def small(num: int, rounds: int) -> list[Result]:
    """Time P1 to P3 against both plain ways."""
    table = synthetic_table(num)
    return [
        compare(
            f"{name}, {num:,} rows, k = {k:,}; {how}",
            _selection(name, table, k), _row_by_row(way, name, table, k),
            rounds=rounds, check=_same_size, warm_up=True,
        )
        for how, way in (("walking the bins", walk_the_bins), ("bisection and heap", bisect_and_heap))
        for name in NAMES
        for k in (num // 10, num // 2)
    ]  # fmt: skip


def large(num: int, rounds: int) -> list[Result]:
    """Time P1 to P3 alone, with the memory that they take above their input."""
    table, k, results = synthetic_table(num), num // 10, []
    for name in NAMES:
        select = _selection(name, table, k)
        peak = peak_memory_of(select) / 1e6
        result = measure(f"{name}, {num:,} rows, k = {k:,}", select, rounds=rounds)
        results.append(result.with_figures(peak_mb_above_input=peak))
    return results


def main() -> None:
    """Time the small size against both plain ways, the large one alone with its peak memory."""
    options = parse_options("P1, P2 and P3 against selecting row by row; ImageNet-22K's number of rows.")
    results = small(2_000, 2) + large(200_000, 2) if options.quick else small(50_000, 5) + large(LARGE, 5)
    report("selection", results, options.json)


if __name__ == "__main__":
    main()
