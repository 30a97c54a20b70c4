"""What NAS-Bench-201 and its five-vertex variant share: cells of one input with one operation on every edge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import GenotypeError, nearest
from nasbench.core.genotype import Cell, Choice, Genotype
from nasbench.spaces.base import Alphas, EdgeNorm, NetworkShape, SearchSpace, Trait
from nasbench.spaces.sizes import check_stages

if TYPE_CHECKING:
    from nasbench.spaces.chain_network import ChainNetwork, ChainSupernet

GROUP = "cell"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Candidate operations in the index order of the benchmark; all of them can be chosen, ``none`` too."""

Zeros = Literal["operation", "symbol", "dropped"]
"""What `EdgeCells.canonical` makes of zero; see there."""

ZERO, INPUT = "#", "0"


class EdgeCells(SearchSpace):
    """One kind of cell: node 0 is its input, every node has an edge from every earlier one, and the last is its output.

    Every edge keeps its one operation. Edges are ordered by node, then by input: 1<-0, 2<-0, 2<-1, 3<-0, and so on;
    so are the choices, the genes and the rows of the alphas. All edges have stride 1 and keep the width.

    Attributes:
        num_nodes: Nodes beside the input; there are num_nodes * (num_nodes + 1) / 2 edges.
    """

    num_nodes: ClassVar[int]
    traits: ClassVar[frozenset[Trait]] = frozenset({"edges", "partial-channels", "drop-path"})

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The operation of each edge, named for example ``edge/2<-1``."""
        return _choices(self.num_nodes)

    @property
    def alpha_shapes(self) -> Mapping[str, tuple[int, int]]:
        """One group, ``cell``: [edges, 5]."""
        return {GROUP: (len(self.choices), len(OPERATIONS))}

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """The same five on every edge."""
        return {GROUP: OPERATIONS}

    @property
    def edges_of_nodes(self) -> Mapping[str, tuple[tuple[int, ...], ...]]:
        """Edge 0 enters node 1, edges 1-2 node 2, edges 3-5 node 3, and so on."""
        return {GROUP: tuple(tuple(range(sum(range(n)), sum(range(n + 1)))) for n in range(1, self.num_nodes + 1))}

    def discretize(self, alphas: Alphas, edge_norm: EdgeNorm | None = None) -> Genotype:
        """Derive the genotype: each edge takes its operation with the largest alpha, ``none`` as any other.

        Ties go to the earlier operation. Edges do not compete, so that ``edge_norm`` changes nothing.

        Raises:
            GenotypeError: The group is missing, has another shape, or is not finite.
        """
        return Genotype(space=self.name, genes=tuple(self.checked(alphas, GROUP).argmax(axis=1).tolist()))

    def one_hot(self, genotype: Genotype) -> dict[str, npt.NDArray[np.float64]]:
        """Return edge weights [edges, 5] that are 1 for the chosen operations and 0 elsewhere."""
        self.check(genotype)
        return {GROUP: np.eye(len(OPERATIONS))[list(genotype.genes)]}

    def cells(self, genotype: Genotype) -> dict[str, Cell]:
        """Return the cell; every edge stands in it, those with ``none`` too."""
        self.check(genotype)
        names = [OPERATIONS[gene] for gene in genotype.genes]
        nodes = tuple(
            tuple((names[edge], source) for source, edge in enumerate(edges)) for edges in self.edges_of_nodes[GROUP]
        )
        return {GROUP: Cell(nodes=nodes, concat=(self.num_nodes,), num_inputs=1)}

    def genotype(self, cells: Mapping[str, Cell]) -> Genotype:
        """Return the genotype of a cell, whatever the order of the edges of a node.

        Raises:
            GenotypeError: Another number of cells, inputs, nodes or edges, another output than the last node, or an
                operation that this space does not have.
        """
        if set(cells) != {GROUP}:
            raise GenotypeError(f"the cells are {sorted(cells)}; space {self.name!r} has one, {GROUP!r}.")
        cell = cells[GROUP]
        if (cell.num_inputs, len(cell.nodes), cell.concat) != (1, self.num_nodes, (self.num_nodes,)):
            raise GenotypeError(
                f"the cell has {cell.num_inputs} inputs, {len(cell.nodes)} nodes and the output {cell.concat}; space "
                f"{self.name!r} has 1 input, {self.num_nodes} nodes and the output ({self.num_nodes},)."
            )
        if cell.node_operations or cell.width is not None:
            raise GenotypeError(
                f"the cells of space {self.name!r} have no operations on nodes and no width of their own."
            )
        names: list[str] = []
        for node, edges in enumerate(cell.nodes, start=1):
            ordered = sorted(edges, key=lambda edge: edge[1])
            if [source for _, source in ordered] != list(range(node)):
                raise GenotypeError(
                    f"node {node} has edges {edges}; one from each of states 0 to {node - 1} is needed."
                )
            names += [operation for operation, _ in ordered]
        return self._of_operations(names)

    def to_string(self, genotype: Genotype) -> str:
        """Return the published architecture string, ``|op~0|+|op~0|op~1|+...``: ``op~j`` is an edge from node j.

        Raises:
            GenotypeError: The genotype is not of this space.
        """
        nodes = self.cells(genotype)[GROUP].nodes
        return "+".join(f"|{'|'.join(f'{operation}~{source}' for operation, source in edges)}|" for edges in nodes)

    def from_string(self, text: str) -> Genotype:
        """Return the genotype of an architecture string, the inverse of `to_string`.

        Raises:
            GenotypeError: Another number of nodes or edges, edges out of order, an unknown operation, or anything else
                between them, spaces included.
        """
        groups = text.split("+")
        if len(groups) != self.num_nodes:
            raise GenotypeError(
                f"{text!r} has {len(groups)} nodes (apart by '+'); space {self.name!r} has {self.num_nodes} beside the "
                f"input. Give a string of this space."
            )
        names: list[str] = []
        for node, group in enumerate(groups, start=1):
            found = re.fullmatch("".join(rf"\|([^|~]+)~{source}" for source in range(node)) + r"\|", group)
            if found is None:
                wanted = "|" + "".join(f"<operation>~{source}|" for source in range(node))
                raise GenotypeError(f"node {node} of {text!r} is written {group!r}; the form is {wanted!r}.")
            names += found.groups()
        return self._of_operations(names)

    def canonical(self, genotype: Genotype, *, zeros: Zeros = "symbol") -> str:
        """Return what a cell computes as text; it is equal for cells that differ in the way they are written only.

        A skip connection is the identity and the order of a node's terms does not count: where x_1 = skip(x_0), the
        node conv(x_1) + x_0 is the same as skip(x_1) + conv(x_0).

        Reference: the rule by which the benchmark's published code counts unique cells is ``zeros="symbol"``.
        Differs from the networks: cells of one text need not be one network. The text does not say whether two equal
        terms are two convolutions or one that is read twice, and a convolution of zero counts as zero, though its BN
        adds a learned shift; of NAS-Bench-201's 6,466 texts, 578 hold cells of different size. A store of training
        results that must be exact goes by ``Genotype.fingerprint``.

        Args:
            genotype: Of this space.
            zeros: ``operation``: ``none`` is an operation like others; ``symbol``: ``none``, and any operation on a
                node that is just ``none``, is the term ``#`` of its node's sum; ``dropped``: such terms are left out,
                and only a node without other terms is ``#``. NAS-Bench-201 has 12,751, 6,466 and 5,390 such texts; with
                five vertices the last two are 3,979,358 and 2,798,078.

        Raises:
            GenotypeError: The genotype is not of this space.
        """
        states = [INPUT]
        for edges in self.cells(genotype)[GROUP].nodes:
            terms = sorted(_term(operation, states[source], zeros) for operation, source in edges)
            if zeros == "dropped":
                terms = [term for term in terms if term != ZERO] or [ZERO]
            states.append("+".join(terms))
        return states[-1]

    def check_network(self, shape: NetworkShape) -> None:
        """Refuse what has no three equally long stages, or another stem or an auxiliary head."""
        check_stages(shape)

    def supernet(
        self, shape: NetworkShape, *, partial_channels: int = 1, batch_statistics: bool = False
    ) -> ChainSupernet:
        """Build the supernet.

        Args:
            shape: Size of the network; ``num_cells`` is 3N.
            partial_channels: K of PC-DARTS; 1 mixes all channels.
            batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

        Raises:
            ConfigError: See `nasbench.spaces.chain_network.ChainSupernet`.
        """
        from nasbench.spaces.chain_network import ChainSupernet

        return ChainSupernet(
            shape,
            self.candidates,
            num_nodes=self.num_nodes,
            partial_channels=partial_channels,
            batch_statistics=batch_statistics,
        )

    def network(self, genotype: Genotype, shape: NetworkShape) -> ChainNetwork:
        """Build the discrete network.

        Raises:
            GenotypeError: The genotype is not of this space.
            ConfigError: See `nasbench.spaces.chain_network.ChainNetwork`.
        """
        from nasbench.spaces.chain_network import ChainNetwork

        return ChainNetwork(self.cells(genotype)[GROUP], shape)

    def _of_operations(self, names: Sequence[str]) -> Genotype:
        for name, choice in zip(names, self.choices, strict=True):
            if name not in OPERATIONS:
                raise GenotypeError(
                    f"{choice.name!r} has operation {name!r}; allowed are {', '.join(OPERATIONS)}."
                    f"{nearest(name, OPERATIONS)}"
                )
        return Genotype(space=self.name, genes=tuple(OPERATIONS.index(name) for name in names))


@cache
def _choices(num_nodes: int) -> tuple[Choice, ...]:
    return tuple(
        Choice(name=f"edge/{node}<-{source}", candidates=OPERATIONS)
        for node in range(1, num_nodes + 1)
        for source in range(node)
    )


def _term(operation: str, state: str, zeros: Zeros) -> str:
    """Return one term of a node's sum as text."""
    if zeros != "operation" and (operation == "none" or state == ZERO):
        return ZERO
    return state if operation == "skip_connect" else f"({state})@{operation}"
