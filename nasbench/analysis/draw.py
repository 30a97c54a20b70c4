"""Draw cells as SVG, by hand, so that the text stays text and equal cells give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from nasbench.analysis.layout import HEAD, ROW, Edge, Layout, Vertex, place, vertex_height, vertex_rows
from nasbench.analysis.palette import CARD, FAINT, FONT, INK, MUTED, operation_colour
from nasbench.core.files import write_text
from nasbench.core.genotype import Cell

_MARGIN = 16.0
_TITLE = 34.0  # height of a cell's heading
_BETWEEN = 64.0  # between two layers, for the edges
_CHARACTER = 7.4  # width of a character at 12 pixels, on the safe side
_HEADING_CHARACTER = 8.8  # of a bold one at 13 pixels
_END = 76.0  # width of the boxes of inputs and output
_HEADINGS = {"normal": "normal cell", "reduce": "reduction cell"}
_INPUTS = ("c(k-2)", "c(k-1)")  # a cell of one input has the last of them
_PLAIN = frozenset({"", "skip_connect", "identity"})  # edges that hand a state on to a node with an operation


def draw_cells(cells: Mapping[str, Cell], title: str = "") -> str:
    """Return the cells of a genotype as one SVG picture.

    Data runs from left to right. Each box is a node (the sum of its inputs); its rows are its incoming edges, each
    with its candidate operation, in the colour of the edge that ends there; an edge without a connection (``none``) is
    dashed. Grey edges lead to the output, the concatenation of the nodes, or hand on the only one. Where operations
    sit on nodes, the box shows the node's, and its edges are grey, or named beside the heading if they do something.

    Args:
        cells: By kind, for example ``SearchSpace.cells(genotype)``; drawn below each other.
        title: Put on top; empty for none.

    Returns:
        SVG text with a fixed size in pixels; neutral colours can be replaced with `palette.themed`.
    """
    parts: list[str] = []
    top, width = _MARGIN, 0.0
    if title:
        parts.append(_text(_MARGIN, top + 14, title, size=15, weight="bold"))
        top += 28
    for kind, cell in cells.items():
        layout = place(cell)
        columns = _columns(layout, cell)
        parts.append(_text(_MARGIN, top + 14, _heading(kind, cell), size=13, colour=MUTED, weight="bold"))
        parts += _legend(cell, _heading(kind, cell), top)
        top += _TITLE
        parts += [_draw_edge(edge, layout, columns, cell, top) for edge in layout.edges]
        parts += [
            _draw_box(vertex, layout, columns, cell, top)
            for layer in layout.layers
            for vertex in layer
            if vertex[0] != "lane"
        ]
        top += layout.height + _MARGIN
        width = max(
            width, columns[-1][1] + _MARGIN, _MARGIN + 9.5 * len(title), _legend_end(cell, _heading(kind, cell))
        )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{top:.0f}" '
        f'viewBox="0 0 {width:.0f} {top:.0f}" role="img" aria-label="{escape(title or "cells")}" '
        f'font-family="{FONT}">\n{body}\n</svg>\n'
    )


def write_drawing(path: Path | str, cells: Mapping[str, Cell], title: str = "") -> None:
    """Draw cells into an SVG file (see `draw_cells`).

    Raises:
        FileWriteError: The file cannot be written.
    """
    write_text(path, draw_cells(cells, title))


def _heading(kind: str, cell: Cell) -> str:
    words = _HEADINGS.get(kind, kind)
    return words if cell.width is None else f"{words}, {cell.width} channels"


def _edge_kinds(cell: Cell) -> list[str]:
    """Return what the edges into nodes with operations do beside handing a state on."""
    names = dict.fromkeys(operation for edges in cell.nodes for operation, _ in edges)
    return [name for name in names if name not in _PLAIN] if cell.node_operations else []


def _legend(cell: Cell, heading: str, top: float) -> list[str]:
    left, parts = _MARGIN + _HEADING_CHARACTER * len(heading) + 20, []
    for name in _edge_kinds(cell):
        line = f"fill:none;stroke:{operation_colour(name)};stroke-width:2"
        parts.append(f'<path d="M{left:.1f} {top + 9.5:.1f}h24" style="{line}"/>')
        parts.append(_text(left + 30, top + 13.5, name, colour=MUTED))
        left += 30 + _CHARACTER * len(name) + 16
    return parts


def _legend_end(cell: Cell, heading: str) -> float:
    names = _edge_kinds(cell)
    left = _MARGIN + _HEADING_CHARACTER * len(heading) + 20
    return left + sum(46 + _CHARACTER * len(name) for name in names) if names else 0.0


def _columns(layout: Layout, cell: Cell) -> list[tuple[float, float]]:
    """Return left and right border of each layer."""
    rows = (row for layer in layout.layers for vertex in layer for row in vertex_rows(vertex, cell))
    longest = max((len(row) for row in rows), default=0)
    node = max(_END, _CHARACTER * longest + 28)
    borders = []
    left = _MARGIN
    for number in range(len(layout.layers)):
        right = left + (_END if number in {0, len(layout.layers) - 1} else node)
        borders.append((left, right))
        left = right + _BETWEEN
    return borders


def _draw_box(vertex: Vertex, layout: Layout, columns: list[tuple[float, float]], cell: Cell, top: float) -> str:
    kind, state, _ = vertex
    left, right = columns[_layer_of(vertex, layout)]
    height = vertex_height(vertex, cell)
    upper = top + layout.centres[vertex] - height / 2
    inputs = _INPUTS[-cell.num_inputs :]
    name = "c(k)" if kind == "out" else inputs[state] if state < len(inputs) else f"node {state}"
    parts = [
        (
            f'<rect x="{left:.1f}" y="{upper:.1f}" width="{right - left:.1f}" height="{height:.1f}" rx="6" '
            f'style="fill:{CARD};stroke:{FAINT};stroke-width:1.2"/>'
        ),
        _text((left + right) / 2, upper + 16.5, name, weight="bold", anchor="middle"),
    ]
    for number, operation in enumerate(_rows(vertex, layout, cell)):
        middle = upper + HEAD + ROW * number + (ROW - 4) / 2
        colour = operation_colour(operation)
        parts.append(
            f'<rect x="{left + 8:.1f}" y="{middle - 8:.1f}" width="5" height="16" rx="2" style="fill:{colour}"/>'
        )
        parts.append(_text(left + 18, middle + 4.3, operation))
    return "\n".join(parts)


def _rows(vertex: Vertex, layout: Layout, cell: Cell) -> tuple[str, ...]:
    """Return the operations in a box; those of edges in the order in which the edges end there."""
    if cell.node_operations:
        return vertex_rows(vertex, cell)
    kind, state, _ = vertex
    return tuple(edge.operation for edge in layout.edges if kind == "state" and edge.target == state)


def _draw_edge(edge: Edge, layout: Layout, columns: list[tuple[float, float]], cell: Cell, top: float) -> str:
    plain = not edge.operation or (bool(cell.node_operations) and edge.operation in _PLAIN)
    colour = MUTED if plain else operation_colour(edge.operation)
    x = columns[_layer_of(edge.path[0], layout)][1]
    y = top + layout.centres[edge.path[0]]
    commands = [f"M{x:.1f} {y:.1f}"]
    for vertex in edge.path[1:]:
        left, right = columns[_layer_of(vertex, layout)]
        goal = top + (_port(edge, layout, cell) if vertex == edge.path[-1] else layout.centres[vertex])
        stop = left - 5 if vertex == edge.path[-1] else left  # room for the arrow's head
        bend = (stop - x) / 2
        commands.append(f"C{x + bend:.1f} {y:.1f} {stop - bend:.1f} {goal:.1f} {stop:.1f} {goal:.1f}")
        x, y = stop, goal
        if vertex != edge.path[-1]:
            commands.append(f"H{right:.1f}")
            x = right
    thin = f"fill:none;stroke:{colour};stroke-width:{1.3 if plain else 2};stroke-opacity:0.85"
    if edge.operation == "none":
        thin += ";stroke-dasharray:3 4"
    head = f"M{x - 2:.1f} {y - 4:.1f}L{x + 5:.1f} {y:.1f}L{x - 2:.1f} {y + 4:.1f}Z"
    return f'<path d="{"".join(commands)}" style="{thin}"/>\n<path d="{head}" style="fill:{colour}"/>'


def _port(edge: Edge, layout: Layout, cell: Cell) -> float:
    """Return the height at which an edge enters its box."""
    target = edge.path[-1]
    centre = layout.centres[target]
    if edge.target < 0 or cell.node_operations:
        beside = [other for other in layout.edges if other.target == edge.target]
        step, room = (5.0, HEAD) if edge.target < 0 else (10.0, HEAD + ROW)
        return centre + (beside.index(edge) - (len(beside) - 1) / 2) * min(step, room / len(beside))
    rows = [other for other in layout.edges if other.target == edge.target]
    upper = centre - vertex_height(target, cell) / 2
    return upper + HEAD + ROW * rows.index(edge) + (ROW - 4) / 2


def _layer_of(vertex: Vertex, layout: Layout) -> int:
    return next(number for number, layer in enumerate(layout.layers) if vertex in layer)


def _text(
    x: float, y: float, words: str, *, size: int = 12, colour: str = INK, weight: str = "normal", anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'style="fill:{colour}">{escape(words)}</text>'
    )
