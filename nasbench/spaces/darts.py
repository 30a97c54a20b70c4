"""The DARTS search space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.errors import GenotypeError
from nasbench.core.genotype import Cell, Choice, Genotype
from nasbench.spaces import SPACES
from nasbench.spaces.base import Alphas, NetworkShape, SearchSpace

if TYPE_CHECKING:
    from nasbench.spaces.network import Network
    from nasbench.spaces.supernet import Supernet

KINDS = ("normal", "reduce")
NUM_NODES = 4
STATES = range(2, 2 + NUM_NODES)
"""Intermediate nodes by the number of their state; node i has edges from states 0 to i-1."""

NUM_EDGES = sum(STATES)
PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Candidate operations in alpha order; ``none`` can be mixed in, never chosen."""

CHOSEN = PRIMITIVES[1:]


def _first_edge(node: int) -> int:
    return sum(range(2, node))


@SPACES.register
@component
class Darts(SearchSpace):
    """Cells of four nodes; each node keeps two of its incoming edges, with one of seven operations each.

    Formula: |cells| = prod_{i=2}^{5} C(i, 2) * 7^2 = 180 * 7^8 = 1,037,664,180 for each of the two kinds.
    Reference: Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, arXiv:1806.09055, sections 2.1 and
    2.4, appendix A.1.
    Differs from the paper: the genotype keeps no order between the two edges of a node, so that equal cells have
    equal genes; ties between edges go to the lower input and ties between operations to the earlier one, as in the
    published code.

    Attributes:
        name: ``"darts"``.

    Shape: alphas ``{"normal": [14, 8], "reduce": [14, 8]}``; the edges of node 2 from states 0, 1, then those of
    node 3 from states 0, 1, 2, and so on.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> space = Darts()
        >>> genotype = space.sample(np.random.default_rng(0))
        >>> space.genotype(space.cells(genotype)) == genotype
        True
    """

    name: ClassVar[str] = "darts"

    @property
    def choices(self) -> tuple[Choice, ...]:
        """For each kind and node: the pair of inputs, the operation of the lower and of the higher input."""
        return tuple(
            choice
            for kind in KINDS
            for node in STATES
            for choice in (
                Choice(
                    name=f"{kind}/node{node}/inputs",
                    candidates=tuple(f"{low},{high}" for low, high in combinations(range(node), 2)),
                ),
                Choice(name=f"{kind}/node{node}/lower_operation", candidates=CHOSEN),
                Choice(name=f"{kind}/node{node}/higher_operation", candidates=CHOSEN),
            )
        )

    @property
    def alpha_shapes(self) -> Mapping[str, tuple[int, int]]:
        """14 edges, 8 operations for each kind."""
        return dict.fromkeys(KINDS, (NUM_EDGES, len(PRIMITIVES)))

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """The same eight for both kinds."""
        return dict.fromkeys(KINDS, PRIMITIVES)

    def discretize(self, alphas: Alphas) -> Genotype:
        """Derive the genotype: each node keeps the two edges whose best operation is strongest.

        The strength of an edge is the largest softmax weight of an operation other than ``none``; as ``none`` is in
        the softmax's denominator, raw alphas of different edges cannot be compared.

        Args:
            alphas: Before the softmax.

        Raises:
            GenotypeError: A group is missing, has another shape, or is not finite.
        """
        genes: list[int] = []
        for kind in KINDS:
            weights = _softmax(self._checked(alphas, kind))[:, 1:]
            for node in STATES:
                edges = weights[_first_edge(node) : _first_edge(node) + node]
                low, high = sorted(np.argsort(-edges.max(axis=1), kind="stable")[:2].tolist())
                genes += _genes(node, (int(edges[low].argmax()), low), (int(edges[high].argmax()), high))
        return Genotype(space=self.name, genes=tuple(genes))

    def _checked(self, alphas: Alphas, kind: str) -> npt.NDArray[np.float64]:
        shape = self.alpha_shapes[kind]
        if kind not in alphas:
            raise GenotypeError(f"alphas have the groups {sorted(alphas)}; {kind!r} is missing.")
        values = np.asarray(alphas[kind], dtype=np.float64)
        if values.shape != shape:
            raise GenotypeError(f"alphas of {kind!r} have shape {values.shape}; {shape} is needed.")
        if not np.isfinite(values).all():
            raise GenotypeError(f"alphas of {kind!r} are not all finite. Lower the learning rate of the search.")
        return values

    def one_hot(self, genotype: Genotype) -> dict[str, npt.NDArray[np.float64]]:
        """Return edge weights [14, 8] that are 1 for the chosen operations and 0 elsewhere."""
        weights = {kind: np.zeros(shape) for kind, shape in self.alpha_shapes.items()}
        for kind, cell in self.cells(genotype).items():
            for node, edges in zip(STATES, cell.nodes, strict=True):
                for operation, source in edges:
                    weights[kind][_first_edge(node) + source, PRIMITIVES.index(operation)] = 1.0
        return weights

    def cells(self, genotype: Genotype) -> dict[str, Cell]:
        """Return the normal and the reduction cell; the edges of a node are ordered by input."""
        self.check(genotype)
        genes = iter(genotype.genes)
        return {
            kind: Cell(
                nodes=tuple(_edges(node, next(genes), next(genes), next(genes)) for node in STATES),
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
        genes = tuple(gene for kind in KINDS for gene in _cell_genes(kind, cells[kind]))
        return Genotype(space=self.name, genes=genes)

    def supernet(self, shape: NetworkShape, *, partial_channels: int = 1, batch_statistics: bool = False) -> Supernet:
        """Build the supernet of 14 edges with 8 operations each.

        Args:
            shape: Size of the network.
            partial_channels: K of PC-DARTS; 1 is DARTS.
            batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

        Raises:
            ConfigError: See `nasbench.spaces.supernet.Supernet`.
        """
        from nasbench.spaces.supernet import Supernet

        candidates = dict.fromkeys(KINDS, (PRIMITIVES,) * NUM_EDGES)
        return Supernet(
            shape,
            candidates,
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


def _softmax(alphas: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    raised = np.exp(alphas - alphas.max(axis=1, keepdims=True))
    weights: npt.NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return weights


def _pairs(node: int) -> list[tuple[int, int]]:
    return list(combinations(range(node), 2))


def _genes(node: int, lower: tuple[int, int], higher: tuple[int, int]) -> list[int]:
    """Return the three genes of a node from (operation index, input) of its edges."""
    return [_pairs(node).index((lower[1], higher[1])), lower[0], higher[0]]


def _edges(node: int, pair: int, lower: int, higher: int) -> tuple[tuple[str, int], ...]:
    low, high = _pairs(node)[pair]
    return (CHOSEN[lower], low), (CHOSEN[higher], high)


def _cell_genes(kind: str, cell: Cell) -> Iterator[int]:
    if len(cell.nodes) != NUM_NODES or sorted(cell.concat) != list(STATES):
        raise GenotypeError(
            f"the {kind} cell has {len(cell.nodes)} nodes and concatenates {cell.concat}; "
            f"space 'darts' has {NUM_NODES} nodes and concatenates all of them."
        )
    for node, edges in zip(STATES, cell.nodes, strict=True):
        ordered = sorted(edges, key=lambda edge: edge[1])
        if len({source for _, source in ordered}) != 2 or len(ordered) != 2:
            raise GenotypeError(
                f"node {node} of the {kind} cell has edges {edges}; two from different states are needed."
            )
        for operation, _ in ordered:
            if operation not in CHOSEN:
                raise GenotypeError(
                    f"node {node} of the {kind} cell has operation {operation!r}; allowed are {', '.join(CHOSEN)}."
                )
        (lower, low), (higher, high) = ordered
        yield from _genes(node, (CHOSEN.index(lower), low), (CHOSEN.index(higher), high))
