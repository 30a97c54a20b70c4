"""Relative improvement over random sampling, with an interval over cells and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nasbench.analysis.statistics import check_cells
from nasbench.config.component import component
from nasbench.core.errors import ComparisonError
from nasbench.core.seeding import generator

FEW_CELLS = 5
"""Below so many cells on a side the interval is said to be too short; five is NASTransfer's number."""


@component
class Interval:
    """A relative improvement and what is known of it.

    Attributes:
        estimate: RI in percent, of the means.
        low: Lower end of the interval, in percent.
        high: Upper end, in percent.
        confidence: Nominal share of intervals that hold the truth, 0 to 1.
        statement: What the interval does not cover; empty where nothing needs saying.
    """

    estimate: float
    low: float
    high: float
    confidence: Annotated[float, Field(gt=0, lt=1)]
    statement: str = ""


def relative_improvement(method: float, random: float) -> float:
    """Return RI = 100 (Acc_m - Acc_r) / Acc_r, in percent.

    Reference: Panda et al., NASTransfer, AAAI 2021, arXiv:2006.13314, the metric of Table 2.

    Args:
        method: Acc_m, Top-1 of the searched cells.
        random: Acc_r, mean Top-1 of cells sampled (not searched) at random from the same space and trained
            alike; both in [0, 1], or both in percent.

    Raises:
        ComparisonError: A value is not finite, Acc_m is negative, or Acc_r is not above 0.

    Example:
        >>> round(relative_improvement(71.58, 67.57), 2)
        5.93
    """
    if not (math.isfinite(method) and math.isfinite(random) and method >= 0 and random > 0):
        raise ComparisonError(
            f"no relative improvement of {method} over {random}: accuracies must be finite and not negative, "
            f"and that of random sampling above 0. Check the runs, or train longer."
        )
    return 100.0 * (method - random) / random


def bootstrap_interval(
    method: Sequence[Sequence[float]],
    random: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return RI with a percentile interval of the hierarchical bootstrap.

    Each resample draws, on each side by itself, as many cells as there are with replacement, then for each
    drawn cell as many of its seeds as it has, with replacement; a cell counts once however many seeds it has.
    The same arguments give the same interval.

    Limits: the bootstrap of C cells understates the variance of their mean by the factor (C - 1) / C, and its
    interval never reaches beyond the cells seen. With two cells the interval of their mean is the span
    between the two, which holds the true mean about every second time, whatever the confidence asked for.
    `Interval.statement` says so where a side has fewer than five. With a single cell only its seeds vary;
    with a single cell and seed nothing does on that side, and if that holds on both sides
    low = estimate = high.

    Args:
        method: Top-1 of the searched cells, [cells][seeds]; rows may differ in length.
        random: Top-1 of the randomly sampled cells, likewise.
        confidence: Nominal coverage, above 0 and below 1.
        resamples: Number of bootstrap resamples, at least 100.
        seed: Of the resampling.

    Raises:
        ComparisonError: A side is empty, a value is not finite, negative, or (random) not above 0, or an
            option is out of range.

    Example:
        >>> bootstrap_interval([[0.75]], [[0.5]]).estimate
        50.0
    """
    if not 0 < confidence < 1 or resamples < 100:
        raise ComparisonError(
            f"confidence {confidence} must lie between 0 and 1, and resamples {resamples} be at least 100."
        )
    for name, cells in (("method", method), ("random", random)):
        check_cells(cells, name)
    if min(min(cell) for cell in random) <= 0:
        raise ComparisonError("a randomly sampled cell has Top-1 0: RI is not defined. Train longer.")
    estimate = relative_improvement(_mean(method), _mean(random))
    ours = _resampled_means(method, resamples, generator(seed, "bootstrap", "method"))
    theirs = _resampled_means(random, resamples, generator(seed, "bootstrap", "random"))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(100.0 * (ours - theirs) / theirs, [tail, 1.0 - tail])
    return Interval(
        estimate=estimate,
        low=min(float(low), estimate),  # equal but for rounding where nothing varies
        high=max(float(high), estimate),
        confidence=confidence,
        statement=_statement(method, random),
    )


def _mean(cells: Sequence[Sequence[float]]) -> float:
    return float(np.mean([np.mean(cell) for cell in cells]))


def _resampled_means(
    cells: Sequence[Sequence[float]], resamples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return float64 [resamples]: means over drawn cells of means over drawn seeds."""
    seeds = np.array([len(cell) for cell in cells])
    table = np.zeros((len(cells), int(seeds.max())))  # [C, S], rows filled up with zeros
    for row, cell in enumerate(cells):
        table[row, : len(cell)] = cell
    drawn = rng.integers(len(cells), size=(resamples, len(cells)))  # [R, C]
    num = seeds[drawn][..., None]  # [R, C, 1]
    columns = (rng.random((*drawn.shape, table.shape[1])) * num).astype(np.int64)  # [R, C, S], below num
    values = np.where(np.arange(table.shape[1]) < num, table[drawn[..., None], columns], 0.0)
    means: npt.NDArray[np.float64] = (values.sum(axis=2) / num[..., 0]).mean(axis=1)
    return means


def _statement(method: Sequence[Sequence[float]], random: Sequence[Sequence[float]]) -> str:
    parts = []
    for name, cells in (("searched", method), ("randomly sampled", random)):
        if len(cells) == 1 and len(cells[0]) == 1:
            parts.append(f"one {name} cell with one seed: nothing is known of its spread")
        elif len(cells) == 1:
            parts.append(f"one {name} cell: the interval covers its training seeds, not other cells")
        elif len(cells) < FEW_CELLS:
            parts.append(f"only {len(cells)} {name} cells: the interval is too short")
    return "; ".join(parts)
