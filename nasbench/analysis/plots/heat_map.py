"""The alphas of a search as a heat map, written as SVG by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import to_hex

from nasbench.analysis.layout import edge_panels
from nasbench.analysis.palette import MUTED
from nasbench.analysis.plots.by_hand import CHARACTER, MARGIN, page, text
from nasbench.analysis.search_trajectory import SearchTrajectory, group_name

_LEVELS = 32

# Pixels.
_TOP = 42  # upper border of the first panel
_ROW = 12  # height of an operation
_PANEL = 150  # largest width of a panel
_BETWEEN = 14  # two panels beside each other
_BENEATH = 32  # a panel: room for its epochs and the name of the next
_SWATCH = 6  # width of a level in the colour bar


def alphas_title(trajectory: SearchTrajectory, group: str) -> str:
    """Return what stands on top of a picture of a group's alphas."""
    num_epochs = len(trajectory.records)
    return f"{trajectory.title}: softmax(alpha) of {group_name(group)}, epochs 1 to {num_epochs}"


def alpha_heat_map(trajectory: SearchTrajectory, group: str) -> str:
    """Draw softmax(alpha) of every edge as a heat map: an operation a row, an epoch a column.

    Where `alpha_trajectory` shows how far apart operations are, this shows at a glance when an edge made up its mind.
    The colours span what occurs in the group, in 32 levels, as the colour bar says. It is no bitmap; neighbours of one
    level are one rectangle, so that 50 epochs of a DARTS cell take some 30 kilobytes.

    Args:
        trajectory: Of one search.
        group: Which alphas, for example ``normal``.

    Returns:
        SVG text: one small panel an edge; where the edges are those of a cell, a row of panels a node.

    Raises:
        ComparisonError: No epoch, or its alphas have another form than the operations.
    """
    weights, candidates = trajectory.weights(group), trajectory.candidates(group)
    panels = edge_panels(weights.shape[1], trajectory.edges.get(group, ()))
    sheet = _Sheet(len(weights), candidates, [(row, column) for row, column, _ in panels])
    middle, half = float(weights.max() + weights.min()) / 2, max(2e-3, float(weights.max() - weights.min())) / 2
    levels = ((weights - middle + half) / (2 * half) * _LEVELS).astype(np.int64).clip(0, _LEVELS - 1)
    colours = [to_hex(colour) for colour in colormaps["cividis"](np.linspace(0, 1, _LEVELS))]
    parts = list(_maps(sheet, levels, colours))
    for edge, (_, _, name) in enumerate(panels):
        parts += sheet.words(edge, name if len(panels) > 1 else "")
    parts += _bar(MARGIN + sheet.labels, sheet.bottom, colours, [middle - half, middle + half])
    width = max(sheet.right, MARGIN + sheet.labels + _SWATCH * _LEVELS + 100) + MARGIN
    return page(width, sheet.bottom + 36, alphas_title(trajectory, group), parts)


@dataclass(frozen=True)
class _Sheet:
    """Where the panels of a map stand, in pixels.

    Attributes:
        num_epochs: Columns of each panel.
        candidates: For each panel the names of its rows.
        places: For each panel its row and column on the sheet.
    """

    num_epochs: int
    candidates: Sequence[Sequence[str]]
    places: Sequence[tuple[int, int]]

    @property
    def epoch(self) -> float:
        """Width of an epoch, whole pixels where there is room for them."""
        return _PANEL // self.num_epochs if self.num_epochs <= _PANEL else _PANEL / self.num_epochs

    @property
    def labels(self) -> int:
        """Width of the operations' names."""
        return round(6 + CHARACTER * max(len(name) for names in self.candidates for name in names))

    @property
    def apart(self) -> bool:
        """Whether each panel has names of its own."""
        return len(set(map(tuple, self.candidates))) > 1

    @property
    def height(self) -> int:
        return _ROW * len(self.candidates[0])

    @property
    def right(self) -> float:
        return max(self.corner(edge)[0] for edge in range(len(self.places))) + self.epoch * self.num_epochs

    @property
    def bottom(self) -> int:
        return max(self.corner(edge)[1] for edge in range(len(self.places))) + self.height + _BENEATH

    def corner(self, edge: int) -> tuple[float, int]:
        """Return the upper left corner of a panel."""
        row, column = self.places[edge]
        step = self.epoch * self.num_epochs + _BETWEEN + (self.labels if self.apart else 0)
        return MARGIN + self.labels + step * column, _TOP + (self.height + _BENEATH) * row

    def words(self, edge: int, name: str) -> Iterator[str]:
        """Yield a panel's name, those of its operations, and its first and last epoch where no panel is below."""
        (row, column), (left, top) = self.places[edge], self.corner(edge)
        if name:
            yield text(left, top - 5, name, size=11, colour=MUTED)
        for number, operation in enumerate(self.candidates[edge] if column == 0 or self.apart else ()):
            yield text(left - 5, top + _ROW * number + 9.5, operation, anchor="end")
        if (row + 1, column) not in self.places:
            below = top + self.height + 12
            yield text(left, below, "1", colour=MUTED)
            if self.num_epochs > 1:
                right = left + self.epoch * self.num_epochs
                yield text(right, below, str(self.num_epochs), colour=MUTED, anchor="end")


def _maps(sheet: _Sheet, levels: npt.NDArray[np.int64], colours: Sequence[str]) -> Iterator[str]:
    """Yield levels [epochs, edges, rows] as rectangles, all of one level as one shape, neighbours in a row as one."""
    shapes: list[list[str]] = [[] for _ in colours]
    for edge in range(levels.shape[1]):
        left, top = sheet.corner(edge)
        for row, values in enumerate(levels[:, edge].T):
            starts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist()]
            for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
                width = sheet.epoch * (end - start)
                rectangle = f"M{left + sheet.epoch * start:g} {top + _ROW * row}h{width:g}v{_ROW}h-{width:g}z"
                shapes[int(values[start])].append(rectangle)
    for colour, rectangles in zip(colours, shapes, strict=True):
        if rectangles:
            yield f'<path d="{"".join(rectangles)}" fill="{colour}" shape-rendering="crispEdges"/>'


def _bar(left: float, top: float, colours: Sequence[str], span: Sequence[float]) -> Iterator[str]:
    """Yield the colour bar, and the weights at its ends and between them."""
    for level, colour in enumerate(colours):
        yield (
            f'<rect x="{left + _SWATCH * level:g}" y="{top:g}" width="{_SWATCH}" height="10" fill="{colour}" '
            f'shape-rendering="crispEdges"/>'
        )
    width = _SWATCH * len(colours)
    for share in (0.0, 0.5, 1.0):
        value = span[0] + share * (span[1] - span[0])
        yield text(left + share * width, top + 22, f"{value:.3f}", colour=MUTED, anchor="middle")
    yield text(left + width + 14, top + 9, "softmax(alpha)")
