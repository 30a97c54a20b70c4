"""The three search spaces of NAS-Bench-1Shot1: operations on nodes, parents chosen for each node."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.errors import ConfigError, GenotypeError, nearest
from nasbench.core.genotype import Cell, Choice, Genotype
from nasbench.spaces import SPACES
from nasbench.spaces.base import Alphas, EdgeNorm, NetworkShape, SearchSpace, Trait
from nasbench.spaces.sizes import check_stages

if TYPE_CHECKING:
    from nasbench.spaces.node_network import NodeNetwork, NodeSupernet

CELL, OPERATIONS, OUTPUT = "cell", "operations", "output"
NODE_OPERATIONS = ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu")
"""Candidate operations of every node, in alpha order."""

PROJECTION, IDENTITY = "projection", "skip_connect"
"""What an edge does that comes from the cell's input, and one that comes from a node."""


class NodeCells(SearchSpace):
    """One kind of cell; each node has one of three operations on the sum of its parents, a set of fixed size.

    State 0 is the cell's input, states 1 to n are the nodes; a node's parents are chosen among the states before it,
    the output's among all states. Where a node has as many parents as there are states before it, nothing is chosen.
    A node that nothing follows is allowed (a loose end): it is a gene like any other, and does not change what the
    cell computes.

    Reference: Zela, Siems and Hutter, NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot Neural Architecture
    Search, ICLR 2020, arXiv:2001.10422 (not re-read: as its published code has it); Ying et al., NAS-Bench-101, ICML
    2019, arXiv:1902.09635.
    Differs from the paper: a genotype counts once for each choice of its loose ends and for each order of its nodes;
    the paper's own numbers of architectures are other ones. In the code an architecture is the one before the last
    epoch of the search; here it is the one after it. See `nasbench.spaces.node_network` for the networks.

    Attributes:
        num_parents: For each node how many parents it has.
        num_output_parents: How many states make the cell's output.
    """

    num_parents: ClassVar[tuple[int, ...]]
    num_output_parents: ClassVar[int]
    traits: ClassVar[frozenset[Trait]] = frozenset({"partial-channels", "drop-path"})

    @property
    def _connections(self) -> dict[str, tuple[int, int]]:
        """Group -> (states to choose from, how many are chosen), nodes first, then the output."""
        nodes = {f"node{node}": (node, count) for node, count in enumerate(self.num_parents, start=1) if count < node}
        return {**nodes, OUTPUT: (len(self.num_parents) + 1, self.num_output_parents)}

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The operation of each node, the parents of each node that has a choice, the output's parents."""
        operations = [
            Choice(name=f"node{node}/operation", candidates=NODE_OPERATIONS)
            for node in range(1, len(self.num_parents) + 1)
        ]
        parents = [
            Choice(
                name=f"{group}/parents",
                candidates=tuple(",".join(map(str, chosen)) for chosen in combinations(range(states), count)),
            )
            for group, (states, count) in self._connections.items()
        ]
        return (*operations, *parents)

    @property
    def alpha_shapes(self) -> Mapping[str, tuple[int, int]]:
        """``operations``: [n, 3]; one row of states for each node that has a choice, and for ``output``."""
        connections = {group: (1, states) for group, (states, _) in self._connections.items()}
        return {OPERATIONS: (len(self.num_parents), len(NODE_OPERATIONS)), **connections}

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """The three operations; of the other groups the states: ``input``, ``node1``, and so on."""
        names = ("input", *(f"node{node}" for node in range(1, len(self.num_parents) + 1)))
        return {OPERATIONS: NODE_OPERATIONS, **{group: names[:n] for group, (n, _) in self._connections.items()}}

    def discretize(self, alphas: Alphas, edge_norm: EdgeNorm | None = None) -> Genotype:
        """Derive the genotype: the strongest operation of each node, the k strongest parents of each set.

        Ties go to the earlier operation and to the lower state. A softmax over a row does not change its order.

        Raises:
            GenotypeError: A group is missing, has another shape, or is not finite.
            ConfigError: There is an edge normalisation, which this space has no use for.
        """
        if edge_norm is not None:
            raise ConfigError(
                f"space {self.name!r} takes no edge_norm: its alphas are not those of edges. Leave it out."
            )
        genes = self.checked(alphas, OPERATIONS).argmax(axis=1).tolist()
        for group, (states, count) in self._connections.items():
            order = np.argsort(-self.checked(alphas, group)[0], kind="stable")
            genes.append(_number_of(tuple(sorted(order[:count].tolist())), states))
        return Genotype(space=self.name, genes=tuple(genes))

    def one_hot(self, genotype: Genotype) -> dict[str, npt.NDArray[np.float64]]:
        """Return weights that are 1 for the chosen operations and for every chosen parent, and 0 elsewhere."""
        weights = {group: np.zeros(shape) for group, shape in self.alpha_shapes.items()}
        weights[OPERATIONS][range(len(self.num_parents)), self._operation_genes(genotype)] = 1.0
        for group, parents in self._chosen(genotype).items():
            weights[group][0, list(parents)] = 1.0
        return weights

    def cells(self, genotype: Genotype) -> dict[str, Cell]:
        """Return the cell; the edges of a node are ordered by state, and loose ends stand in it too."""
        chosen = self._chosen(genotype)
        parents = [chosen.get(f"node{node}", tuple(range(node))) for node in range(1, len(self.num_parents) + 1)]
        return {
            CELL: Cell(
                nodes=tuple(tuple((_edge(state), state) for state in states) for states in parents),
                concat=chosen[OUTPUT],
                num_inputs=1,
                node_operations=tuple(NODE_OPERATIONS[gene] for gene in self._operation_genes(genotype)),
            )
        }

    def genotype(self, cells: Mapping[str, Cell]) -> Genotype:
        """Return the genotype of a cell, whatever the order of a node's edges and of the output's states.

        Raises:
            GenotypeError: Another number of cells, inputs, nodes or parents, a parent that is named twice, or an
                operation that this space does not have.
        """
        if set(cells) != {CELL}:
            raise GenotypeError(f"the cells are {sorted(cells)}; space {self.name!r} has one, {CELL!r}.")
        cell = cells[CELL]
        if (cell.num_inputs, len(cell.nodes), cell.width) != (1, len(self.num_parents), None):
            raise GenotypeError(
                f"the cell has {cell.num_inputs} inputs, {len(cell.nodes)} nodes and the width {cell.width}; space "
                f"{self.name!r} has 1 input, {len(self.num_parents)} nodes and no width of its own."
            )
        genes = [_operation(node, cell) for node in range(1, len(cell.nodes) + 1)]
        for node, (edges, count) in enumerate(zip(cell.nodes, self.num_parents, strict=True), start=1):
            if any(operation != _edge(state) for operation, state in edges):
                raise GenotypeError(
                    f"node {node} has edges {edges}; one from state 0 is {PROJECTION!r}, any other is {IDENTITY!r}."
                )
            parents = _set_of([state for _, state in edges], count, f"node {node}")
            if count < node:
                genes.append(_number_of(parents, node))
        output = _set_of(cell.concat, self.num_output_parents, "the output")
        genes.append(_number_of(output, len(cell.nodes) + 1))
        return Genotype(space=self.name, genes=tuple(genes))

    def check_network(self, shape: NetworkShape) -> None:
        """Refuse what has no three equally long stages, or another stem or an auxiliary head."""
        check_stages(shape)

    def supernet(
        self, shape: NetworkShape, *, partial_channels: int = 1, batch_statistics: bool = False
    ) -> NodeSupernet:
        """Build the supernet.

        Args:
            shape: Size of the network; ``num_cells`` is a multiple of 3.
            partial_channels: K of PC-DARTS; 1 mixes all channels.
            batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

        Raises:
            ConfigError: See `nasbench.spaces.node_network.NodeSupernet`.
        """
        from nasbench.spaces.node_network import NodeGroups, NodeSupernet

        names = [f"node{node}" for node in range(1, len(self.num_parents) + 1)]
        parents = tuple(name if name in self._connections else None for name in names)
        return NodeSupernet(
            shape,
            NodeGroups(OPERATIONS, parents, OUTPUT),
            self.alpha_shapes,
            NODE_OPERATIONS,
            partial_channels=partial_channels,
            batch_statistics=batch_statistics,
        )

    def network(self, genotype: Genotype, shape: NetworkShape) -> NodeNetwork:
        """Build the discrete network.

        Raises:
            GenotypeError: The genotype is not of this space.
            ConfigError: See `nasbench.spaces.node_network.NodeNetwork`.
        """
        from nasbench.spaces.node_network import NodeNetwork

        return NodeNetwork(self.cells(genotype)[CELL], shape)

    def _operation_genes(self, genotype: Genotype) -> list[int]:
        self.check(genotype)
        return list(genotype.genes[: len(self.num_parents)])

    def _chosen(self, genotype: Genotype) -> dict[str, tuple[int, ...]]:
        """Return the chosen states of every connection group."""
        self.check(genotype)
        genes = genotype.genes[len(self.num_parents) :]
        return {
            group: tuple(combinations(range(states), count))[gene]
            for (group, (states, count)), gene in zip(self._connections.items(), genes, strict=True)
        }


def _edge(state: int) -> str:
    return PROJECTION if state == 0 else IDENTITY


def _number_of(chosen: tuple[int, ...], states: int) -> int:
    """Return the gene of a set of states, in ascending order."""
    return tuple(combinations(range(states), len(chosen))).index(chosen)


def _set_of(states: list[int] | tuple[int, ...], count: int, whose: str) -> tuple[int, ...]:
    if len(set(states)) != count or len(states) != count:
        raise GenotypeError(f"{whose} has the parents {tuple(states)}; {count} different ones are needed.")
    return tuple(sorted(states))


def _operation(node: int, cell: Cell) -> int:
    if not cell.node_operations:
        raise GenotypeError("the cell has no node_operations; name one for each node.")
    name = cell.node_operations[node - 1]
    if name not in NODE_OPERATIONS:
        raise GenotypeError(
            f"node {node} has operation {name!r}; allowed are {', '.join(NODE_OPERATIONS)}."
            f"{nearest(name, NODE_OPERATIONS)}"
        )
    return NODE_OPERATIONS.index(name)


@SPACES.register
@component
class NasBench1Shot1Space1(NodeCells):
    """Four nodes of 1, 2, 2, 2 parents, the output 2: space 1 of NAS-Bench-1Shot1.

    Formula: b_j = o_j(sum_{i in I_j} b_i), b_0 the projected input of the cell,
    |cells| = 3 * 6 * 10 * 3^4 = 14,580.
    Reference: Zela et al., NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot NAS, ICLR 2020, arXiv:2001.10422.
    Differs from the paper: see `NodeCells`.

    Attributes:
        name: ``"nas-bench-1shot1-1"``.

    Shape: alphas ``{"operations": [4, 3], "node3": [1, 3], "node4": [1, 4], "output": [1, 5]}``, 24 numbers;
    nodes 1 and 2 have no choice of parents.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> import numpy as np
        >>> space = NasBench1Shot1Space1()
        >>> genotype = space.sample(np.random.default_rng(0))
        >>> space.discretize(space.one_hot(genotype)) == genotype
        True
    """

    name: ClassVar[str] = "nas-bench-1shot1-1"
    num_parents: ClassVar[tuple[int, ...]] = (1, 2, 2, 2)
    num_output_parents: ClassVar[int] = 2
    connection_groups: ClassVar[frozenset[str]] = frozenset({"node3", "node4", OUTPUT})


@SPACES.register
@component
class NasBench1Shot1Space2(NodeCells):
    """Four nodes of 1, 1, 2, 2 parents, the output 3: space 2 of NAS-Bench-1Shot1.

    Formula: b_j = o_j(sum_{i in I_j} b_i), b_0 the projected input of the cell,
    |cells| = 2 * 3 * 6 * 10 * 3^4 = 29,160.
    Reference: Zela et al., NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot NAS, ICLR 2020, arXiv:2001.10422.
    Differs from the paper: see `NodeCells`.

    Attributes:
        name: ``"nas-bench-1shot1-2"``.

    Shape: alphas ``{"operations": [4, 3], "node2": [1, 2], "node3": [1, 3], "node4": [1, 4],
    "output": [1, 5]}``, 26 numbers.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> import numpy as np
        >>> space = NasBench1Shot1Space2()
        >>> genotype = space.sample(np.random.default_rng(0))
        >>> space.discretize(space.one_hot(genotype)) == genotype
        True
    """

    name: ClassVar[str] = "nas-bench-1shot1-2"
    num_parents: ClassVar[tuple[int, ...]] = (1, 1, 2, 2)
    num_output_parents: ClassVar[int] = 3
    connection_groups: ClassVar[frozenset[str]] = frozenset({"node2", "node3", "node4", OUTPUT})


@SPACES.register
@component
class NasBench1Shot1Space3(NodeCells):
    """Five nodes of 1, 1, 1, 2, 2 parents, the output 2: space 3 of NAS-Bench-1Shot1.

    Formula: b_j = o_j(sum_{i in I_j} b_i), b_0 the projected input of the cell,
    |cells| = 2 * 3 * 6 * 10 * 15 * 3^5 = 1,312,200.
    Reference: Zela et al., NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot NAS, ICLR 2020, arXiv:2001.10422.
    Differs from the paper: see `NodeCells`.

    Attributes:
        name: ``"nas-bench-1shot1-3"``.

    Shape: alphas ``{"operations": [5, 3], "node2": [1, 2], "node3": [1, 3], "node4": [1, 4], "node5": [1, 5],
    "output": [1, 6]}``, 35 numbers.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> import numpy as np
        >>> space = NasBench1Shot1Space3()
        >>> genotype = space.sample(np.random.default_rng(0))
        >>> space.discretize(space.one_hot(genotype)) == genotype
        True
    """

    name: ClassVar[str] = "nas-bench-1shot1-3"
    num_parents: ClassVar[tuple[int, ...]] = (1, 1, 1, 2, 2)
    num_output_parents: ClassVar[int] = 2
    connection_groups: ClassVar[frozenset[str]] = frozenset({"node2", "node3", "node4", "node5", OUTPUT})
