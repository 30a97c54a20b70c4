"""NAS-Bench-1Shot1: weights, architecture parameters and counts of cells.

Source: section 9.2 of the fact sheet on differentiable search. Weights and counts were computed there from the
published code and by an enumeration of its own; the paper's own counts (6,240, 29,160 and 363,648 architectures with
loose ends) did not come out of any simple rule there and are no golden.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from math import prod

import pytest
from counted import without_values

from nasbench.core.genotype import Genotype
from nasbench.spaces import SPACES
from nasbench.spaces.base import NetworkShape, SearchSpace
from nasbench.training.cost import count_parameters

NAMES = ("nas-bench-1shot1-1", "nas-bench-1shot1-2", "nas-bench-1shot1-3")
PAPER = NetworkShape(num_cells=9, channels=16, num_classes=10)

Edges = frozenset[tuple[int, int]]


def build(name: str) -> SearchSpace:
    return SPACES.get(name)()


@pytest.mark.parametrize(("name", "weights"), list(zip(NAMES, (1_101_402, 1_101_402, 1_509_594), strict=True)))
def test_supernet_weights(name: str, weights: int) -> None:
    with without_values():
        supernet = build(name).supernet(PAPER)
    assert count_parameters(supernet) == weights


@pytest.mark.parametrize(("name", "numbers"), list(zip(NAMES, (24, 26, 35), strict=True)))
def test_architecture_parameters(name: str, numbers: int) -> None:
    assert sum(rows * candidates for rows, candidates in build(name).alpha_shapes.values()) == numbers


PARENTS = ((1, 2, 2, 2, 2), (1, 1, 2, 2, 3), (1, 1, 1, 2, 2, 2))
"""Of each node and of the output (table of section 9.2)."""


@pytest.mark.parametrize(("name", "parents"), list(zip(NAMES, PARENTS, strict=True)))
def test_parents_of_every_sample(name: str, parents: tuple[int, ...]) -> None:
    space = build(name)
    assert sum(parents) == 9
    for genes in ([0] * len(space.choices), [len(choice.candidates) - 1 for choice in space.choices]):
        cell = space.cells(Genotype(space=name, genes=tuple(genes)))["cell"]
        assert (*map(len, cell.nodes), len(cell.concat)) == parents


def test_the_second_node_of_space_1_has_no_choice_of_parents() -> None:
    space = build(NAMES[0])
    assert "node2" not in space.alpha_shapes
    assert {choice.name for choice in space.choices if "parents" in choice.name} == {
        "node3/parents", "node4/parents", "output/parents"
    }  # fmt: skip
    cell = space.cells(Genotype(space=NAMES[0], genes=(0,) * len(space.choices)))["cell"]
    assert cell.nodes[1] == (("projection", 0), ("skip_connect", 1))


@pytest.mark.parametrize(
    ("name", "connectivity", "cells"),
    [(NAMES[0], 180, 14_580), (NAMES[1], 360, 29_160), (NAMES[2], 5_400, 1_312_200)],
)
def test_space_size(name: str, connectivity: int, cells: int) -> None:
    space = build(name)
    assert prod(len(choice.candidates) for choice in space.choices if "parents" in choice.name) == connectivity
    assert space.cardinality == cells


def test_operations_in_published_order() -> None:
    for name in NAMES:
        assert build(name).operations["operations"] == ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu")


def pruned_edges(space: SearchSpace) -> set[Edges]:
    """The edges of every cell of the space, without those into nodes from which the output cannot be reached."""
    found = set()
    for genes in product(*(range(len(choice.candidates)) for choice in space.choices if "parents" in choice.name)):
        operations = (0,) * (len(space.choices) - len(genes))
        cell = space.cells(Genotype(space=space.name, genes=(*operations, *genes)))["cell"]
        output = len(cell.nodes) + 1
        edges = {(source, node) for node, arriving in enumerate(cell.nodes, start=1) for _, source in arriving}
        edges |= {(state, output) for state in cell.concat}
        while loose := {b for _, b in edges} - {a for a, _ in edges} - {output}:
            edges = {edge for edge in edges if edge[1] not in loose}
        found.add(frozenset(edges))
    return found


def numbered_anew(edges: Edges) -> tuple[int, Edges]:
    """How many nodes are left, and the edges with these in a row."""
    number = {node: index for index, node in enumerate(sorted({node for edge in edges for node in edge}))}
    return len(number) - 2, frozenset((number[a], number[b]) for a, b in edges)


def renamings(nodes: int, edges: Edges) -> Iterator[tuple[tuple[int, ...], Edges]]:
    """Every renaming of the nodes with what it makes of the edges; the input and the output keep their names."""
    for order in permutations(range(1, nodes + 1)):
        names = (0, *order, nodes + 1)
        yield names, frozenset((names[a], names[b]) for a, b in edges)


def num_cycles(names: tuple[int, ...]) -> int:
    """Cycles of a renaming of the nodes."""
    left, cycles = set(range(1, len(names) - 1)), 0
    while left:
        node = min(left)
        cycles += 1
        while node in left:
            left.remove(node)
            node = names[node]
    return cycles


def num_cells(nodes: int, edges: Edges) -> int:
    """Ways to give each node one of three operations, up to renaming (Burnside: the mean of 3^cycles)."""
    symmetries = [names for names, renamed in renamings(nodes, edges) if renamed == edges]
    return sum(3 ** num_cycles(names) for names in symmetries) // len(symmetries)


@pytest.mark.parametrize(
    ("name", "adjacencies", "cells"), [(NAMES[0], 66, 2_685), (NAMES[1], 190, 7_773), (NAMES[2], 876, 55_854)]
)
def test_cells_without_loose_ends_up_to_isomorphism(name: str, adjacencies: int, cells: int) -> None:
    pruned = pruned_edges(build(name))
    assert len(pruned) == adjacencies
    graphs = {numbered_anew(edges) for edges in pruned}
    total, seen = 0, set()
    for nodes, edges in graphs:
        if (nodes, edges) not in seen:  # the first of its class
            seen |= {(nodes, renamed) for _, renamed in renamings(nodes, edges)}
            total += num_cells(nodes, edges)
    assert total == cells
