"""Figures of a study's report: comparison, trainings, costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from nasbench.analysis.palette import BAD, FAINT, GOOD, MUTED, SERIES
from nasbench.analysis.plots.frame import new_figure, svg_of
from nasbench.analysis.report_data import CostRow, TrainingCurve
from nasbench.analysis.tables import ComparisonRow
from nasbench.core.errors import ComparisonError


def comparison(rows: Sequence[ComparisonRow], title: str = "") -> str:
    """Draw Top-1 of every training and RI with its interval, one line a row.

    Args:
        rows: In the order in which they are shown, from the top.
        title: For example the dataset.

    Returns:
        SVG text. Left: dots are trainings, bars means; a grey band spans the random cells' means. Right: RI,
        green where promoted, red where refused.
    """
    if not rows:
        raise ComparisonError("there is no row to draw. Compare cells first.")
    heights = np.arange(len(rows))[::-1]
    with new_figure(1, 2, (8.4, 1.15 + 0.42 * len(rows)), sharey=True, width_ratios=(1.1, 1)) as (figure, axes):
        left, right = axes[0]
        for row, height in zip(rows, heights, strict=True):
            colour = MUTED if row.verdict == "baseline" else SERIES[0]
            means = [100 * float(np.mean(cell)) for cell in row.top1]
            if row.verdict == "baseline":
                left.axvspan(min(means), max(means), color=MUTED, alpha=0.12, linewidth=0)
            for offset, cell in zip(np.linspace(-0.18, 0.18, len(row.top1) + 2)[1:-1], row.top1, strict=True):
                values = [100 * value for value in cell]
                left.plot(values, [height + offset] * len(cell), "o", color=colour, alpha=0.75)
            left.vlines(float(np.mean(means)), height - 0.3, height + 0.3, color=colour, linewidth=2.2)
            _draw_interval(right, row, float(height))
        right.axvline(0, color=MUTED, linewidth=1)
        left.set_yticks(heights, [row.label for row in rows])
        left.set_ylim(-0.6, len(rows) - 0.4)
        left.set_xlabel("Top-1, % (after training from scratch)")
        right.set_xlabel("relative improvement over random sampling, %")
        left.set_title(title)
        for axis in (left, right):
            axis.grid(axis="x")
            axis.tick_params(axis="y", length=0)
        return svg_of(figure)


def _draw_interval(axis: Axes, row: ComparisonRow, height: float) -> None:
    interval = row.relative_improvement
    if interval is None:
        axis.plot([0], [height], "D", color=MUTED)
        return
    colour = {"promoted": GOOD, "refused": BAD}.get(row.verdict, SERIES[0])
    axis.hlines(height, interval.low, interval.high, color=colour, linewidth=2.4)
    axis.vlines([interval.low, interval.high], height - 0.12, height + 0.12, color=colour, linewidth=1.6)
    axis.plot([interval.estimate], [height], "o", color=colour, markersize=6.5)


def training_curves(curves: Sequence[TrainingCurve], dataset: str) -> str:
    """Draw test accuracy over the epochs of every training on one dataset; groups share a colour.

    Args:
        curves: All trainings; those on other datasets are left out.
        dataset: Which dataset.

    Raises:
        ComparisonError: There is no training on that dataset.
    """
    shown = [curve for curve in curves if curve.dataset == dataset]
    groups = sorted({curve.group for curve in shown}, key=lambda name: ("random-sampling" not in name, name))
    if not groups:
        raise ComparisonError(f"there is no training on {dataset!r} to draw. Augment first.")
    with new_figure(1, 1, (7.2, 3.2)) as (figure, axes):
        axis = axes[0, 0]
        for number, group in enumerate(groups):
            colour = MUTED if "random-sampling" in group else SERIES[number % len(SERIES)]
            for index, curve in enumerate(curve for curve in shown if curve.group == group):
                values = [100 * record["test_top1"] for record in curve.records]
                axis.plot(
                    np.arange(1, len(values) + 1), values, color=colour, alpha=0.8, linewidth=1.2,
                    label=group if index == 0 else None,
                )  # fmt: skip
        axis.set_title(f"training from scratch on {dataset}")
        axis.set_xlabel("epoch")
        axis.set_ylabel("test Top-1, %")
        axis.grid(axis="y")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
        return svg_of(figure)


def cost_bars(costs: Sequence[CostRow]) -> str:
    """Draw the wall time of each stage, in the order in which they come, with the number of its items.

    Args:
        costs: One an item of a stage.

    Raises:
        ComparisonError: There is none.
    """
    if not costs:
        raise ComparisonError("there is no cost to draw. Run the stages first.")
    stages = list(dict.fromkeys(cost.stage for cost in costs))
    items = [[cost.seconds for cost in costs if cost.stage == stage] for stage in stages]
    heights = np.arange(len(stages))[::-1]
    with new_figure(1, 1, (7.2, 0.8 + 0.32 * len(stages))) as (figure, axes):
        axis = axes[0, 0]
        for height, seconds in zip(heights, items, strict=True):
            starts = np.concatenate([[0.0], np.cumsum(seconds)[:-1]])
            axis.barh([height] * len(seconds), seconds, left=starts, height=0.62, color=SERIES[0], linewidth=0)
            axis.vlines(starts[1:], height - 0.31, height + 0.31, color=FAINT, linewidth=0.8)
            number = f", {len(seconds)} items" if len(seconds) > 1 else ""
            axis.annotate(f"{sum(seconds):,.1f} s{number}", (sum(seconds), height), (5, 0), textcoords="offset points",
                          va="center", fontsize=8)  # fmt: skip
        axis.set_yticks(heights, stages)
        axis.set_xlim(0, 1.25 * max(1e-9, *(sum(seconds) for seconds in items)))
        axis.set_xlabel("seconds of wall time")
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x")
        return svg_of(figure)
