"""Figures of a proxy: its share of each bin of a score, and of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from nasbench.analysis.palette import MUTED, SERIES
from nasbench.analysis.plots.frame import new_figure, svg_of
from nasbench.analysis.report_data import EntropyHistogram, ScoreHistogram
from nasbench.core.errors import ComparisonError


def entropy_histogram(histogram: EntropyHistogram) -> str:
    """Draw how the entropies of a dataset are spread, and what share of each bin a proxy takes.

    Args:
        histogram: Of one proxy.

    Returns:
        SVG text: above, the numbers of examples; below, the share of each bin that was taken, in percent.
    """
    edges = np.asarray(histogram.edges)
    before, after = np.asarray(histogram.before), np.asarray(histogram.after)
    if histogram.zeros_before:  # drawn as a bin of its own, left of the others
        edges = np.append(edges[0] - 2 * histogram.bin_width, edges)
        edges = np.insert(edges, 1, edges[0] + histogram.bin_width)
        before = np.concatenate([[histogram.zeros_before, 0], before])
        after = np.concatenate([[histogram.zeros_after, 0], after])
    zeros = " (leftmost: exactly 0)" if histogram.zeros_before else ""
    title = f"{histogram.proxy}: {histogram.selector}"
    return _shares(histogram.proxy, title, edges, before, after, f"log10 of entropy in nats{zeros}", "examples a bin")


def score_histogram(histogram: ScoreHistogram) -> str:
    """Draw how any score of a dataset is spread, and what share of each bin a proxy takes.

    Args:
        histogram: Of one proxy.

    Returns:
        SVG text as of `entropy_histogram`.
    """
    edges, before, after = (np.asarray(values) for values in (histogram.edges, histogram.before, histogram.after))
    title = f"{histogram.proxy}: {histogram.selector}"
    return _shares(histogram.proxy, title, edges, before, after, histogram.score, "examples a bin")


def class_counts(proxy: str, before: Sequence[int], after: Sequence[int]) -> str:
    """Draw how many examples of each class there are, and what share of them a proxy takes.

    Args:
        proxy: Its name.
        before: Examples of the dataset a class, [K].
        after: Examples of the proxy a class, [K].

    Returns:
        SVG text: above, the numbers of examples; below, the share of each class that was taken, in percent.

    Raises:
        ComparisonError: There is no class, or the lists have different lengths.
    """
    if not before or len(before) != len(after):
        raise ComparisonError(f"{len(before)} and {len(after)} class counts cannot be drawn; one a class is needed.")
    edges = np.arange(len(before) + 1, dtype=np.float64) - 0.5
    counts = np.asarray(before), np.asarray(after)
    return _shares(proxy, f"{proxy}: classes", edges, *counts, "class index", "examples a class", whole=True)


def _shares(
    proxy: str,
    title: str,
    edges: npt.NDArray[np.float64],
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    below: str,
    beside: str,
    *,
    whole: bool = False,
) -> str:
    """Draw counts before and after, and the share taken; ``whole`` puts whole numbers only below the axis."""
    share = 100.0 * after / np.maximum(before, 1)
    selected, total = int(after.sum()), int(before.sum())
    with new_figure(2, 1, (7.2, 3.6), sharex=True, height_ratios=(3, 1.2)) as (figure, axes):
        top, bottom = axes[:, 0]
        top.stairs(before, edges, fill=True, color=MUTED, alpha=0.35, label=f"whole set ({total:,})")
        top.stairs(after, edges, fill=True, color=SERIES[0], label=f"{proxy} ({selected:,})")
        top.set_ylabel(beside)
        top.set_title(title)
        if whole:  # no corner is free
            figure.legend(loc="outside lower center", ncols=2)
        else:
            top.legend(loc="upper left")
        bottom.stairs(share, edges, fill=True, color=SERIES[0])
        bottom.axhline(100.0 * selected / max(total, 1), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        bottom.set_ylim(0, 104)
        bottom.set_ylabel("taken, %")
        bottom.set_xlabel(below)
        if whole:
            bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for axis in (top, bottom):
            axis.grid(axis="y")
        return svg_of(figure)
