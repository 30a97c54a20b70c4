"""Figures of searches over their epochs: alphas as lines, and what warns of a collapse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasbench.analysis.layout import edge_panels
from nasbench.analysis.local_optimum import SKIP_SHARE, State, local_optima
from nasbench.analysis.palette import BAD, FAINT, MUTED, SERIES, operation_colours
from nasbench.analysis.plots.frame import new_figure, svg_of
from nasbench.analysis.plots.heat_map import alphas_title
from nasbench.analysis.search_trajectory import SearchTrajectory
from nasbench.core.errors import ComparisonError

_LEAST_NATS = 0.02
_LEAST_WIDTH = 5.85  # inches; room for the title
_STATES: dict[State, tuple[str, str]] = {
    "none": ("no alarm", FAINT),
    "skips": ("mostly skip connections", SERIES[1]),
    "parameter-free": ("no operation with parameters", BAD),
}


@contextmanager
def _panels(trajectory: SearchTrajectory, group: str) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure and, for each edge, the axis of its panel; title and labels are there."""
    weights = trajectory.weights(group)
    panels = edge_panels(weights.shape[1], trajectory.edges.get(group, ()))
    num_rows, num_columns = 1 + max(row for row, _, _ in panels), 1 + max(column for _, column, _ in panels)
    size = (max(1.75 * num_columns + 0.6, _LEAST_WIDTH), 1.25 * num_rows + 1.3)
    # Margins are set by hand, as fitting so many panels takes seconds.
    with new_figure(num_rows, num_columns, size, layout=None, sharex=True, sharey=True) as (figure, axes):
        figure.subplots_adjust(
            left=0.6 / size[0], right=1 - 0.1 / size[0], bottom=0.85 / size[1], top=1 - 0.55 / size[1],
            wspace=0.1, hspace=0.32,
        )  # fmt: skip
        used = {(row, column) for row, column, _ in panels}
        for place in {(row, column) for row in range(num_rows) for column in range(num_columns)} - used:
            axes[place].remove()
        figure.suptitle(alphas_title(trajectory, group), x=0.1 / size[0], ha="left", fontsize=9.5, fontweight="bold")
        for row, column, name in panels:
            label = name if len(panels) > 1 else ""
            axes[row, column].set_title(label, fontsize=8, fontweight="normal", color=MUTED, pad=3)
            axes[row, column].xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=1))
            axes[row, column].tick_params(labelsize=7.5, labelbottom=(row + 1, column) not in used)
        yield figure, [axes[row, column] for row, column, _ in panels]


def alpha_trajectory(trajectory: SearchTrajectory, group: str) -> str:
    """Draw softmax(alpha) of every edge over the epochs.

    Args:
        trajectory: Of one search.
        group: Which alphas, for example ``normal``.

    Returns:
        SVG text: one small panel an edge; where the edges are those of a cell, a row of panels a node.

    Raises:
        ComparisonError: No epoch, or its alphas have another form than the operations.
    """
    weights, candidates = trajectory.weights(group), trajectory.candidates(group)
    colours = operation_colours([name for names in candidates for name in names])
    epochs = np.arange(1, len(weights) + 1)
    with _panels(trajectory, group) as (figure, panels):
        for edge, axis in enumerate(panels):
            for index, operation in enumerate(candidates[edge]):
                axis.plot(
                    epochs, weights[:, edge, index], color=colours[operation], label=operation,
                    marker="o" if len(epochs) == 1 else None, markersize=2.5, linewidth=1.3,
                )  # fmt: skip
            axis.grid(axis="y")
        shown = {label: line for axis in panels for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(list(shown.values()), list(shown), loc="lower left", ncols=4, fontsize=8)
        return svg_of(figure)


def search_health(trajectories: Sequence[SearchTrajectory]) -> str:
    """Draw what warns of a collapse, over the epochs of every search.

    Args:
        trajectories: Searches with at least one epoch.

    Returns:
        SVG text: mean entropy of softmax(alpha), share of skip connections and of all parameter-free operations
        in the derived genotype, and accuracy of the supernet.

    Raises:
        ComparisonError: There is no epoch.
    """
    shown = (
        ("alpha_entropy", "alpha entropy, nats", 1.0),
        ("skip_share", "skip connections, %", 100.0),
        ("parameter_free_share", "parameter-free operations, %", 100.0),
        ("one_shot_top1", "one-shot Top-1, % (not retrained)", 100.0),
    )
    if not any(trajectory.records for trajectory in trajectories):
        raise ComparisonError("there is no epoch of a search to draw. Search first.")
    with new_figure(1, len(shown), (10.4, 2.9)) as (figure, axes):
        for number, trajectory in enumerate(trajectories):
            for axis, (key, _, factor) in zip(axes[0], shown, strict=True):
                epochs = [epoch for epoch, record in enumerate(trajectory.records, 1) if key in record]
                axis.plot(
                    epochs, [factor * trajectory.records[epoch - 1][key] for epoch in epochs], marker="o",
                    color=SERIES[number % len(SERIES)], linestyle="-" if number < len(SERIES) else "--",
                    label=trajectory.title,
                )  # fmt: skip
        for axis, (key, name, _) in zip(axes[0], shown, strict=True):
            axis.set_title(name, fontsize=8.5)
            axis.set_xlabel("epoch")
            axis.grid(axis="y")
            axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
            if key.endswith("share"):
                axis.set_ylim(-4, 104)
            elif key == "alpha_entropy":
                _widen(axis, _LEAST_NATS)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
        return svg_of(figure)


def _widen(axis: Axes, least: float) -> None:
    """Let the vertical axis span at least so much: alphas that hardly moved are to look so."""
    low, high = axis.get_ylim()
    if high - low < least:
        axis.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def _runs(marked: Sequence[bool]) -> list[tuple[float, float]]:
    """Return the stretches of epochs that are marked, as left border and width."""
    steps = np.flatnonzero(np.diff([False, *marked, False])).tolist()
    return [(start + 0.5, end - start) for start, end in zip(steps[::2], steps[1::2], strict=True)]


def local_optimum_alarm(trajectories: Sequence[SearchTrajectory], skip_share: float = SKIP_SHARE) -> str:
    """Draw in which epochs the derived cells of each search were a local optimum, and say how it ended.

    Args:
        trajectories: Searches; see `nasbench.analysis.local_optimum.local_optima` for what is judged.
        skip_share: Share of skip connections above which there is an alarm, 0 to 1.

    Returns:
        SVG text: a line of coloured epochs a search, and since when it has been there.

    Raises:
        ComparisonError: No search has an epoch with the shares, or the threshold is out of range.
    """
    found = local_optima(trajectories, skip_share)
    if not found:
        raise ComparisonError("there is no epoch of a search to judge. Search first.")
    longest = max(len(search.states) for search in found)
    heights = np.arange(len(found))[::-1]
    with new_figure(1, 1, (8.4, 1.25 + 0.3 * len(found))) as (figure, axes):
        axis = axes[0, 0]
        for state, (label, colour) in _STATES.items():
            axis.barh([0], [0], color=colour, label=label)  # for the legend, whether it occurs or not
            for height, search in zip(heights, found, strict=True):
                runs = _runs([seen == state for seen in search.states])
                axis.broken_barh(runs, (height - 0.33, 0.66), color=colour, linewidth=0)
        for height, search in zip(heights, found, strict=True):
            shares = f"{100 * search.skip_share:.0f} % skips, {100 * search.parameter_free_share:.0f} % parameter-free"
            since = "no alarm" if search.since is None else f"since epoch {search.since}"
            axis.annotate(
                f"{since}: {shares}", (longest + 0.5, height), (6, 0), textcoords="offset points", va="center",
                fontsize=8, color=_STATES[search.alarm][1] if search.since else MUTED, annotation_clip=False,
            )  # fmt: skip
        axis.set_yticks(heights, [search.title for search in found])
        axis.set_xlim(0.5, longest + 0.5)
        axis.set_ylim(-0.6, len(found) - 0.4)
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axis.set_xlabel("epoch")
        axis.set_title(f"local optimum alarm (above {100 * skip_share:.0f} % skip connections, or nothing to learn)")
        figure.legend(loc="outside lower left", ncols=3, fontsize=8)
        return svg_of(figure)
