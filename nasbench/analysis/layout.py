"""Where the nodes and edges of a drawn cell lie: layers from left to right, few crossings, no overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression

from nasbench.core.errors import ComparisonError
from nasbench.core.genotype import Cell

HEAD = 24.0  # of a box: its name
ROW = 22.0  # of a box: one operation
_LANE = 12.0  # height kept free for an edge that passes a layer
_GAP = 16.0  # between two boxes of a layer
_SWEEPS = 12

Vertex = tuple[str, int, int]
"""("state", s, 0); ("out", 0, 0); or ("lane", edge number, layer) where an edge passes a layer."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An edge of the drawing.

    Attributes:
        operation: Its name; empty for an edge into the output.
        source: State that it leaves.
        target: State that it enters, or -1 for the output.
        path: The vertices that it passes, both ends included.
    """

    operation: str
    source: int
    target: int
    path: tuple[Vertex, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A placed cell.

    Attributes:
        layers: Vertices of each layer, from top to bottom.
        centres: Vertical centre of each vertex, in pixels from the top of the drawing.
        edges: All edges; those into one state stand in the order of its operation rows.
        height: Of the drawing, in pixels.
    """

    layers: tuple[tuple[Vertex, ...], ...]
    centres: Mapping[Vertex, float]
    edges: tuple[Edge, ...]
    height: float


def vertex_height(vertex: Vertex, cell: Cell) -> float:
    """Return how high a vertex is drawn, in pixels."""
    return _LANE if vertex[0] == "lane" else HEAD + ROW * len(vertex_rows(vertex, cell))


def vertex_rows(vertex: Vertex, cell: Cell) -> tuple[str, ...]:
    """Return the operations that stand in a vertex's box: of its edges, or its own; none in an input or the output."""
    kind, state, _ = vertex
    node = state - cell.num_inputs
    if kind != "state" or node < 0:
        return ()
    return cell.node_operations[node : node + 1] or tuple(operation for operation, _ in cell.nodes[node])


def place(cell: Cell) -> Layout:
    """Lay out a cell.

    A state stands one layer behind the last of its inputs; an edge that passes layers gets a lane in each of them, so
    that it never runs behind a box. The order within layers is improved by sweeps of the barycentre heuristic
    (Sugiyama, Tagawa and Toda 1981), of which the best by number of crossings is kept; heights are then the least
    squares fit to straight edges.

    Args:
        cell: What is drawn.
    """
    depth = _depths(cell)
    edges = _edges(cell, depth)
    layers = _ordered(edges, depth)
    centres = _centres(layers, edges, cell)
    edges = tuple(sorted(edges, key=lambda edge: (edge.target, centres[edge.path[-2]])))
    height = max(centres[vertex] + vertex_height(vertex, cell) / 2 for layer in layers for vertex in layer)
    return Layout(layers=layers, centres=centres, edges=edges, height=height)


def edge_panels(num_edges: int, names: Sequence[str] = ()) -> list[tuple[int, int, str]]:
    """Return where the small panel of each row of alphas stands: row, column, and its name.

    Args:
        num_edges: E; where it is 2 + 3 + ... (a DARTS cell) or 1 + 2 + ... (a cell of one input), there is a row a node
            and a column a source state, else rows of five.
        names: What the rows of alphas are called where they are no edges of such cells; then rows of five as well.

    Raises:
        ComparisonError: Another number of names than edges.
    """
    if names and len(names) != num_edges:
        raise ComparisonError(f"{len(names)} names for {num_edges} rows of alphas. Name each.")
    for inputs in () if names else (2, 1):
        nodes = round((np.sqrt(8 * num_edges + (2 * inputs - 1) ** 2) - (2 * inputs - 1)) / 2)
        if num_edges > 1 and nodes * (nodes + 2 * inputs - 1) // 2 == num_edges:
            sources = [(node, source) for node in range(nodes) for source in range(node + inputs)]
            return [(node, source, f"{source} to {node + inputs}") for node, source in sources]
    return [(edge // 5, edge % 5, names[edge] if names else f"edge {edge}") for edge in range(num_edges)]


def _depths(cell: Cell) -> dict[Vertex, int]:
    depth = dict.fromkeys(range(cell.num_inputs), 0)
    for index, node in enumerate(cell.nodes, cell.num_inputs):
        depth[index] = 1 + max((depth[source] for _, source in node), default=0)
    found: dict[Vertex, int] = {("state", state, 0): layer for state, layer in depth.items()}
    found["out", 0, 0] = 1 + max(depth.values())
    return found


def _edges(cell: Cell, depth: Mapping[Vertex, int]) -> tuple[Edge, ...]:
    nodes = enumerate(cell.nodes, cell.num_inputs)
    wanted = [(operation, source, index) for index, node in nodes for operation, source in node]
    wanted += [("", state, -1) for state in cell.concat]
    edges = []
    for number, (operation, source, target) in enumerate(wanted):
        start: Vertex = ("state", source, 0)
        end: Vertex = ("state", target, 0) if target >= 0 else ("out", 0, 0)
        lanes: list[Vertex] = [("lane", number, layer) for layer in range(depth[start] + 1, depth[end])]
        edges.append(Edge(operation=operation, source=source, target=target, path=(start, *lanes, end)))
    return tuple(edges)


def _ordered(edges: Sequence[Edge], depth: Mapping[Vertex, int]) -> tuple[tuple[Vertex, ...], ...]:
    layers: list[list[Vertex]] = [[] for _ in range(max(depth.values()) + 1)]
    for vertex, layer in depth.items():
        layers[layer].append(vertex)
    for edge in edges:
        for vertex in edge.path[1:-1]:
            layers[vertex[2]].append(vertex)
    best = [list(layer) for layer in layers]
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for number in range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1):
            beside = layers[number - 1 if forward else number + 1]
            layers[number] = _by_barycentre(layers[number], beside, edges)
        if _crossings(layers, edges) < _crossings(best, edges):
            best = [list(layer) for layer in layers]
    return tuple(tuple(layer) for layer in best)


def _by_barycentre(layer: list[Vertex], beside: list[Vertex], edges: Sequence[Edge]) -> list[Vertex]:
    place_of = {vertex: index for index, vertex in enumerate(beside)}
    middle: dict[Vertex, float] = {}
    for index, vertex in enumerate(layer):
        seen = [place_of[other] for other in _neighbours(vertex, edges) if other in place_of]
        middle[vertex] = float(np.mean(seen)) if seen else index * len(beside) / len(layer)
    return sorted(layer, key=lambda vertex: middle[vertex])  # stable, so ties keep their order


def _neighbours(vertex: Vertex, edges: Sequence[Edge]) -> list[Vertex]:
    found = []
    for edge in edges:
        if vertex in edge.path:
            at = edge.path.index(vertex)
            found += [*edge.path[max(at - 1, 0) : at], *edge.path[at + 1 : at + 2]]
    return found


def _crossings(layers: Sequence[Sequence[Vertex]], edges: Sequence[Edge]) -> int:
    row = {vertex: index for layer in layers for index, vertex in enumerate(layer)}
    column = {vertex: index for index, layer in enumerate(layers) for vertex in layer}
    hops = [(column[a], row[a], row[b]) for edge in edges for a, b in pairwise(edge.path)]
    return sum(
        one[0] == two[0] and (one[1] - two[1]) * (one[2] - two[2]) < 0
        for index, one in enumerate(hops)
        for two in hops[index + 1 :]
    )


def _centres(layers: Sequence[Sequence[Vertex]], edges: Sequence[Edge], cell: Cell) -> dict[Vertex, float]:
    centres: dict[Vertex, float] = {vertex: 0.0 for layer in layers for vertex in layer}
    for _ in range(_SWEEPS):
        for layer in layers:
            wished = [
                float(np.mean([centres[other] for other in _neighbours(vertex, edges)] or [0.0])) for vertex in layer
            ]
            heights = [vertex_height(vertex, cell) for vertex in layer]
            steps = [(above + below) / 2 + _GAP for above, below in pairwise(heights)]
            offsets = np.concatenate([[0.0], np.cumsum(steps)])
            fitted = isotonic_regression(np.asarray(wished) - offsets).x + offsets
            centres.update(zip(layer, fitted.tolist(), strict=True))
    top = min(centres[vertex] - vertex_height(vertex, cell) / 2 for vertex in centres)
    return {vertex: centre - top for vertex, centre in centres.items()}
