"""Figures of searches over their epochs: alphas as lines and as a heat map, and what warns of a collapse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from nasbench.analysis.layout import edge_panels
from nasbench.analysis.local_optimum import SKIP_SHARE, State, local_optima
from nasbench.analysis.palette import BAD, FAINT, MUTED, SERIES, operation_colours
from nasbench.analysis.plots.frame import new_figure, svg_of
from nasbench.analysis.report_data import SearchTrajectory
from nasbench.core.errors import ComparisonError

_LEVELS = 32  # of a heat map; a colour bar of 50 would become a bitmap
_LEAST_WIDTH = 5.85  # inches; room for the title
_NAMES = {"normal": "the normal cell", "reduce": "the reduce cell", "cell": "the cell"}
_STATES: dict[State, tuple[str, str]] = {
    "none": ("no alarm", FAINT),
    "skips": ("mostly skip connections", SERIES[1]),
    "parameter-free": ("no operation with parameters", BAD),
}


class _Grid(NamedTuple):
    """Inches of one panel, of the margins, and the space between panels as a share of their width."""

    width: float
    height: float
    left: float
    bottom: float
    spare: float  # in height beside the panels
    between: float = 0.1
    beneath: float = 0.32  # the same in height
    share_y: bool = True


@contextmanager
def _panels(trajectory: SearchTrajectory, group: str, grid: _Grid) -> Iterator[tuple[Figure, list[tuple[int, Axes]]]]:
    """Yield a figure and, for each edge, the column and the axis of its panel; title and labels are there."""
    weights = trajectory.weights(group)
    panels = edge_panels(weights.shape[1], trajectory.edges.get(group, ()))
    num_rows, num_columns = 1 + max(row for row, _, _ in panels), 1 + max(column for _, column, _ in panels)
    size = (max(grid.width * num_columns + grid.left, _LEAST_WIDTH), grid.height * num_rows + grid.spare)
    # Margins are set by hand, as fitting so many panels takes seconds.
    with new_figure(num_rows, num_columns, size, layout=None, sharex=True, sharey=grid.share_y) as (figure, axes):
        figure.subplots_adjust(
            left=grid.left / size[0], right=1 - 0.1 / size[0], bottom=grid.bottom / size[1], top=1 - 0.55 / size[1],
            wspace=grid.between, hspace=grid.beneath,
        )  # fmt: skip
        used = {(row, column) for row, column, _ in panels}
        for place in {(row, column) for row in range(num_rows) for column in range(num_columns)} - used:
            axes[place].remove()
        title = f"{trajectory.title}: softmax(alpha) of {_NAMES.get(group, group)}, epochs 1 to {len(weights)}"
        figure.suptitle(title, x=0.1 / size[0], ha="left", fontsize=9.5, fontweight="bold")
        for row, column, name in panels:
            label = name if len(panels) > 1 else ""
            axes[row, column].set_title(label, fontsize=8, fontweight="normal", color=MUTED, pad=3)
            axes[row, column].xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=1))
            axes[row, column].tick_params(labelsize=7.5, labelbottom=(row + 1, column) not in used)
        yield figure, [(column, axes[row, column]) for row, column, _ in panels]


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
    with _panels(trajectory, group, _Grid(1.75, 1.25, left=0.6, bottom=0.85, spare=1.3)) as (figure, panels):
        for edge, (_, axis) in enumerate(panels):
            for index, operation in enumerate(candidates[edge]):
                axis.plot(
                    epochs, weights[:, edge, index], color=colours[operation], label=operation,
                    marker="o" if len(epochs) == 1 else None, markersize=2.5, linewidth=1.3,
                )  # fmt: skip
            axis.grid(axis="y")
        shown = {
            label: line for _, axis in panels for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(list(shown.values()), list(shown), loc="lower left", ncols=4, fontsize=8)
        return svg_of(figure)


def alpha_heat_map(trajectory: SearchTrajectory, group: str) -> str:
    """Draw softmax(alpha) of every edge as a heat map: an operation a row, an epoch a column.

    Where `alpha_trajectory` shows how far apart operations are, this shows at a glance when an edge made up its mind.
    The colours span what occurs in the group, as the colour bar says; they are no bitmap.

    Args:
        trajectory: Of one search.
        group: Which alphas, for example ``normal``.

    Returns:
        SVG text: one small panel an edge; where the edges are those of a cell, a row of panels a node.

    Raises:
        ComparisonError: No epoch, or its alphas have another form than the operations.
    """
    weights, candidates = trajectory.weights(group), trajectory.candidates(group)
    uniform = len(set(candidates)) == 1
    height = 0.1 + 0.13 * weights.shape[2]
    grid = _Grid(
        1.75 if uniform else 2.5, height + 0.34, left=1.15, bottom=0.95, spare=1.4,
        between=0.1 if uniform else 0.85, beneath=0.34 / height, share_y=uniform,
    )  # fmt: skip
    centre, half = (weights.max() + weights.min()) / 2, max(2e-3, weights.max() - weights.min()) / 2
    colours = ListedColormap(colormaps["cividis"](np.linspace(0, 1, _LEVELS)))
    norm = BoundaryNorm(np.linspace(centre - half, centre + half, _LEVELS + 1), _LEVELS, clip=True)
    with _panels(trajectory, group, grid) as (figure, panels):
        for edge, (column, axis) in enumerate(panels):
            _draw_levels(axis, norm(weights[:, edge].T).filled(0), colours)
            axis.set_xlim(0.5, len(weights) + 0.5)
            axis.set_ylim(weights.shape[2] - 0.5, -0.5)
            axis.set_yticks(range(weights.shape[2]), candidates[edge])
            axis.tick_params(axis="y", length=0, labelleft=column == 0 or not uniform)
            axis.spines[["left", "bottom"]].set_visible(False)
        total = figure.get_size_inches()
        place = figure.add_axes((grid.left / total[0], 0.36 / total[1], 2.6 / total[0], 0.12 / total[1]))
        bar = figure.colorbar(ScalarMappable(norm, colours), cax=place, orientation="horizontal")
        ticks = np.linspace(centre - half, centre + half, 4).tolist()
        bar.set_ticks(ticks, labels=[f"{tick:.3f}" for tick in ticks])
        bar.ax.tick_params(labelsize=7.5, length=2)
        bar.minorticks_off()
        bar.outline.set_visible(False)
        figure.text((grid.left + 2.75) / total[0], 0.42 / total[1], "softmax(alpha)", fontsize=8, va="center")
        return svg_of(figure)


def _draw_levels(axis: Axes, levels: npt.NDArray[np.int64], colours: ListedColormap) -> None:
    """Draw levels [rows, epochs] as rectangles, all of one level as one shape, neighbours in a row as one.

    A thin line in the same colour covers the seams that viewers leave between shapes.
    """
    corners: dict[int, list[tuple[float, float]]] = {}
    for row, values in enumerate(levels):
        starts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
            left, right = start + 0.5, end + 0.5  # epochs count from 1
            rectangle = [
                (left, row - 0.5),
                (right, row - 0.5),
                (right, row + 0.5),
                (left, row + 0.5),
                (left, row - 0.5),
            ]
            corners.setdefault(int(values[start]), []).extend(rectangle)
    for level, points in sorted(corners.items()):
        codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(points) // 5)
        axis.add_patch(PathPatch(Path(points, codes), color=colours(level), linewidth=0.3, joinstyle="miter"))


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
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
        return svg_of(figure)


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
