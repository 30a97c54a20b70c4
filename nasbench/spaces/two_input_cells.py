"""What DARTS and the spaces made from it share: cells of two inputs, four nodes, two edges kept a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import GenotypeError
from nasbench.core.genotype import Cell, Choice, Genotype
from nasbench.spaces.base import Alphas, EdgeNorm, NetworkShape, SearchSpace, Trait, softmax

if TYPE_CHECKING:
    from nasbench.spaces.network import Network
    from nasbench.spaces.supernet import Supernet

KINDS = ("normal", "reduce")
NUM_NODES = 4
STATES = range(2, 2 + NUM_NODES)
"""Intermediate nodes by the number of their state; node i has edges from states 0 to i-1."""

NUM_EDGES = sum(STATES)
NUM_KEPT = 2
NONE = "none"
"""The operation that can be mixed in, never chosen."""


def first_edge(node: int) -> int:
    """Return the number of the edge into a node from state 0."""
    return sum(range(2, node))


class TwoInputCells(SearchSpace):
    """A normal and a reduction cell of four nodes; each node keeps two of its incoming edges, with one operation each.

    A subclass says which operations each edge has. Edges are ordered by node, then by input: those of node 2 from
    states 0, 1, then those of node 3 from states 0, 1, 2, and so on, 14 in all.
    """

    traits: ClassVar[frozenset[Trait]] = frozenset({"edges", "partial-channels", "drop-path"})
    num_kept: ClassVar[int | None] = NUM_KEPT

    @property
    def edges_of_nodes(self) -> Mapping[str, tuple[tuple[int, ...], ...]]:
        """For both kinds: 0-1, 2-4, 5-8, 9-13."""
        nodes = tuple(tuple(range(first_edge(node), first_edge(node) + node)) for node in STATES)
        return dict.fromkeys(KINDS, nodes)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """For each kind and node: the pair of inputs, the operation of the lower and of the higher input.

        Where the operations differ between edges, a gene is the position among those that can be chosen there.
        """
        return tuple(
            choice
            for kind in KINDS
            for node in STATES
            for choice in (
                Choice(
                    name=f"{kind}/node{node}/inputs",
                    candidates=tuple(f"{low},{high}" for low, high in combinations(range(node), 2)),
                ),
                Choice(name=f"{kind}/node{node}/lower_operation", candidates=self._choosable(self.operations[kind])),
                Choice(name=f"{kind}/node{node}/higher_operation", candidates=self._choosable(self.operations[kind])),
            )
        )

    @property
    def alpha_shapes(self) -> Mapping[str, tuple[int, int]]:
        """14 edges for each kind."""
        return {kind: (NUM_EDGES, len(names)) for kind, names in self.operations.items()}

    @staticmethod
    def _choosable(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name != NONE)

    def discretize(self, alphas: Alphas, edge_norm: EdgeNorm | None = None) -> Genotype:
        """Derive the genotype: each node keeps the two edges whose best operation is strongest.

        The strength of an edge is the largest softmax weight of an operation other than ``none``, times its
        ``edge_norm`` if there is one; as ``none`` is in the softmax's denominator, raw alphas of different edges
        cannot be compared. Ties between edges go to the lower input, between operations to the earlier one.

        Raises:
            GenotypeError: A group is missing, has another shape, or is not finite.
        """
        genes: list[int] = []
        for kind in KINDS:
            allowed = np.array([[name != NONE for name in names] for names in self.candidates[kind]])
            weights = np.where(allowed, softmax(self.checked(alphas, kind)), -1.0)
            best = weights.argmax(axis=1)
            strength = weights.max(axis=1)
            ranks = [int(row[:column].sum()) for row, column in zip(allowed, best, strict=True)]  # without ``none``
            if edge_norm is not None:
                strength = strength * np.asarray(edge_norm[kind], dtype=np.float64)
            for node in STATES:
                edges = slice(first_edge(node), first_edge(node) + node)
                low, high = sorted(np.argsort(-strength[edges], kind="stable")[:NUM_KEPT].tolist())
                genes += _genes(node, (ranks[edges][low], low), (ranks[edges][high], high))
        return Genotype(space=self.name, genes=tuple(genes))

    def one_hot(self, genotype: Genotype) -> dict[str, npt.NDArray[np.float64]]:
        """Return edge weights [14, O] that are 1 for the chosen operations and 0 elsewhere."""
        weights = {kind: np.zeros(shape) for kind, shape in self.alpha_shapes.items()}
        for kind, cell in self.cells(genotype).items():
            for node, edges in zip(STATES, cell.nodes, strict=True):
                for operation, source in edges:
                    edge = first_edge(node) + source
                    weights[kind][edge, self.candidates[kind][edge].index(operation)] = 1.0
        return weights

    def cells(self, genotype: Genotype) -> dict[str, Cell]:
        """Return the normal and the reduction cell; the edges of a node are ordered by input."""
        self.check(genotype)
        genes = iter(genotype.genes)
        return {
            kind: Cell(
                nodes=tuple(self._edges(kind, node, (next(genes), next(genes), next(genes))) for node in STATES),
                concat=tuple(STATES),
            )
            for kind in KINDS
        }

    def genotype(self, cells: Mapping[str, Cell]) -> Genotype:
        """Return the genotype of two cells, whatever the order of the edges of a node.

        Raises:
            GenotypeError: Another number of cells, nodes or edges, two edges from one input, or an operation that
                cannot be chosen.
        """
        if set(cells) != set(KINDS):
            raise GenotypeError(f"the cells are {sorted(cells)}; space {self.name!r} has 'normal' and 'reduce'.")
        genes = tuple(gene for kind in KINDS for gene in self._cell_genes(kind, cells[kind]))
        return Genotype(space=self.name, genes=genes)

    def supernet(self, shape: NetworkShape, *, partial_channels: int = 1, batch_statistics: bool = False) -> Supernet:
        """Build the supernet of 14 edges.

        Args:
            shape: Size of the network.
            partial_channels: K of PC-DARTS; 1 is DARTS.
            batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

        Raises:
            ConfigError: See `nasbench.spaces.supernet.Supernet`.
        """
        from nasbench.spaces.supernet import Supernet

        return Supernet(
            shape,
            self.candidates,
            num_nodes=NUM_NODES,
            partial_channels=partial_channels,
            batch_statistics=batch_statistics,
        )

    def network(self, genotype: Genotype, shape: NetworkShape) -> Network:
        """Build the discrete network.

        Raises:
            GenotypeError: The genotype is not of this space.
            ConfigError: See `nasbench.spaces.network.Network`.
        """
        from nasbench.spaces.network import build_network

        return build_network(self.cells(genotype), shape)

    def _edges(self, kind: str, node: int, genes: tuple[int, int, int]) -> tuple[tuple[str, int], ...]:
        sources = _pairs(node)[genes[0]]
        return tuple(
            (self._choosable(self.candidates[kind][first_edge(node) + source])[gene], source)
            for source, gene in zip(sources, genes[1:], strict=True)
        )

    def _cell_genes(self, kind: str, cell: Cell) -> Iterator[int]:
        if len(cell.nodes) != NUM_NODES or sorted(cell.concat) != list(STATES):
            raise GenotypeError(
                f"the {kind} cell has {len(cell.nodes)} nodes and concatenates {cell.concat}; "
                f"space {self.name!r} has {NUM_NODES} nodes and concatenates all of them."
            )
        for node, edges in zip(STATES, cell.nodes, strict=True):
            ordered = sorted(edges, key=lambda edge: edge[1])
            if len({source for _, source in ordered}) != NUM_KEPT or len(ordered) != NUM_KEPT:
                raise GenotypeError(
                    f"node {node} of the {kind} cell has edges {edges}; two from different states are needed."
                )
            found = []
            for operation, source in ordered:
                allowed = self._choosable(self.candidates[kind][first_edge(node) + source])
                if operation not in allowed:
                    raise GenotypeError(
                        f"node {node} of the {kind} cell has operation {operation!r}; allowed are {', '.join(allowed)}."
                    )
                found.append((allowed.index(operation), source))
            yield from _genes(node, found[0], found[1])


def _pairs(node: int) -> list[tuple[int, int]]:
    return list(combinations(range(node), 2))


def _genes(node: int, lower: tuple[int, int], higher: tuple[int, int]) -> list[int]:
    """Return the three genes of a node from (operation index, input) of its edges."""
    return [_pairs(node).index((lower[1], higher[1])), lower[0], higher[0]]
