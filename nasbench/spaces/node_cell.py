"""Cells whose operations sit on nodes (NAS-Bench-1Shot1, after NAS-Bench-101), mixed or discrete."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import GenotypeError, nearest
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.group_weights import Weighted, weighted_sum
from nasbench.spaces.ops import drop_path
from nasbench.spaces.sizes import STAGES, check_stages

INPUT = 0
"""The state that is the cell's input; its nodes are states 1 to n."""


class Slices(NamedTuple):
    """A cell's output.

    Attributes:
        output: [N, slices * C, H, W], the slices that are there side by side.
        kept: Which of a supernet's n slices these are.
    """

    output: Tensor
    kept: tuple[int, ...]


class SlicedConv(nn.Conv2d):
    """A convolution of stride 1 that keeps the size, and that may be given only some slices of its input."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, padding=kernel // 2, bias=False)

    def forward(self, input: Tensor, kept: tuple[int, ...] = ()) -> Tensor:  # noqa: A002 - the base class's name
        """Map [N, c_in, H, W] to [N, c_out, H, W].

        Args:
            input: All c_in channels, or slices of them; those that are left out count as zero.
            kept: Which slices, where not all are there.
        """
        if input.shape[1] == self.in_channels:
            return F.conv2d(input, self.weight, padding=self.padding)
        width = input.shape[1] // len(kept)
        weight = torch.cat([self.weight.narrow(1, index * width, width) for index in kept], dim=1)
        return F.conv2d(input, weight, padding=self.padding)


class ConvBnRelu(nn.Module):
    """Convolution without bias, BN with scale and shift, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = SlicedConv(c_in, c_out, kernel)
        self.norm = BatchNorm(c_out)

    def forward(self, x: Tensor, kept: tuple[int, ...] = ()) -> Tensor:
        """Map [N, c_in, H, W], or the kept slices of it, to [N, c_out, H, W]."""
        return F.relu(self.norm(self.conv(x, kept)))


NODE_OPERATIONS: Mapping[str, Callable[[int], nn.Module]] = {
    "maxpool3x3": lambda channels: nn.MaxPool2d(3, stride=1, padding=1),
    "conv3x3-bn-relu": lambda channels: ConvBnRelu(channels, channels, 3),
    "conv1x1-bn-relu": lambda channels: ConvBnRelu(channels, channels),
}
"""Every operation that a node may have; no BN follows the pool."""


def _build(name: str, channels: int) -> nn.Module:
    if name not in NODE_OPERATIONS:
        raise GenotypeError(
            f"there is no operation {name!r} on nodes. Known: {', '.join(NODE_OPERATIONS)}."
            f"{nearest(name, NODE_OPERATIONS)}"
        )
    return NODE_OPERATIONS[name](channels)


class Term(NamedTuple):
    """Something that is summed with a weight.

    Attributes:
        which: Number of a state, or of an operation.
        weight: A scalar; None is 1.
    """

    which: int
    weight: Tensor | None = None


class Wiring(NamedTuple):
    """What the cells compute in one forward pass.

    Attributes:
        parents: For each node the states that it sums.
        operations: For each node the operations that it mixes.
        output: The states that make the cell's output, in ascending order.
        drop_path: Probability of dropping a node's operations for an image while training.
    """

    parents: tuple[tuple[Term, ...], ...]
    operations: tuple[tuple[Term, ...], ...]
    output: tuple[Term, ...]
    drop_path: float

    @property
    def needed(self) -> tuple[int, ...]:
        """Return the nodes from which the output can be reached; the others are loose ends."""
        return reaching(
            [[term.which for term in terms] for terms in self.parents], [term.which for term in self.output]
        )


def reaching(parents: Sequence[Collection[int]], output: Collection[int]) -> tuple[int, ...]:
    """Return the nodes 1 to n from which the output can be reached, in ascending order.

    Args:
        parents: For each node the states that it sums.
        output: The states that make the output.
    """
    needed = set(output) - {INPUT}
    for node in range(len(parents), 0, -1):
        if node in needed:
            needed |= set(parents[node - 1]) - {INPUT}
    return tuple(sorted(needed))


class NodeCellPlan(NamedTuple):
    """Place of one cell in the network.

    Attributes:
        c_in: Channels of its input.
        channels: C of its nodes.
        halves: Whether a max pool halves the resolution before it.
    """

    c_in: int
    channels: int
    halves: bool


def plan_node_cells(shape: NetworkShape, num_slices: int) -> tuple[NodeCellPlan, ...]:
    """Lay out the cells: max pool and twice the channels before cells L/3 and 2L/3.

    Args:
        shape: Size of the network.
        num_slices: Slices of C channels that a cell's output has.

    Raises:
        ConfigError: The number of cells is no multiple of 3, or a stem or auxiliary head is asked for that there is
            not.
    """
    check_stages(shape)
    length = shape.num_cells // STAGES
    widths = [shape.channels << index // length for index in range(shape.num_cells)]
    inputs = [shape.channels, *(num_slices * width for width in widths[:-1])]
    halves = [index in {length, 2 * length} for index in range(shape.num_cells)]
    return tuple(NodeCellPlan(*plan) for plan in zip(inputs, widths, halves, strict=True))


class NodeCell(nn.Module):
    """Nodes that each sum their parents and apply their operations; the output puts chosen nodes side by side.

    Formula: b_j = sum_o p_j^o o(q_j^0 P_j(x) + sum_{0<i<j} q_j^i b_i); y = [r^1 b_1, ..., r^n b_n] + r^0 P_{n+1}(x),
    with P a conv1x1-bn-relu, to C channels for a node and to n * C for the output. Where x is no part of the
    output, only the chosen b_j stand there.

    Args:
        plan: Its place in the network.
        operations: For each node its candidates; none where the node is not needed.
        projected: Nodes that may have an edge from the input, n + 1 for the output.
        partial_channels: K; the operations see the first C/K channels.
    """

    def __init__(
        self,
        plan: NodeCellPlan,
        operations: Sequence[Sequence[str]],
        projected: Collection[int],
        partial_channels: int = 1,
    ) -> None:
        super().__init__()
        self.num_nodes = len(operations)
        self.channels, self.halves, self.partial_channels = plan.channels, plan.halves, partial_channels
        self.seen = plan.channels // partial_channels
        widths = dict.fromkeys(range(1, self.num_nodes + 1), plan.channels)
        widths[self.num_nodes + 1] = self.num_nodes * plan.channels
        self.projections = nn.ModuleDict(
            {str(node): ConvBnRelu(plan.c_in, width) for node, width in widths.items() if node in projected}
        )
        self.operations = nn.ModuleList(
            nn.ModuleList(_build(name, self.seen) for name in names) for names in operations
        )

    def forward(self, state: Slices, wiring: Wiring) -> Slices:
        """Map the output of the cell before to this cell's."""
        if self.halves:
            state = Slices(F.max_pool2d(state.output, 2, stride=2, padding=1), state.kept)
        nodes: dict[int, Tensor] = {}
        for node in wiring.needed:
            nodes[node] = self._node(node, state, nodes, wiring)
        return self._output(state, nodes, wiring.output)

    def _projected(self, state: Slices, node: int) -> Tensor:
        projected: Tensor = self.projections[str(node)](state.output, state.kept)
        return projected

    def _zeros(self, state: Slices, channels: int) -> Tensor:
        batch, _, height, width = state.output.shape
        return state.output.new_zeros(batch, channels, height, width)

    def _node(self, node: int, state: Slices, nodes: Mapping[int, Tensor], wiring: Wiring) -> Tensor:
        total = weighted_sum(
            Weighted(weight, self._projected(state, node) if parent == INPUT else nodes[parent])
            for parent, weight in wiring.parents[node - 1]
        )
        if total is None:
            total = self._zeros(state, self.channels)
        seen = total[:, : self.seen]
        operations: Any = self.operations[node - 1]
        mixed = weighted_sum(Weighted(weight, operations[index](seen)) for index, weight in wiring.operations[node - 1])
        if mixed is None:
            mixed = self._zeros(state, self.seen)
        if wiring.drop_path > 0 and self.training:
            mixed = drop_path(mixed, wiring.drop_path)
        if self.partial_channels == 1:
            return mixed
        return F.channel_shuffle(torch.cat([mixed, total[:, self.seen :]], dim=1), self.partial_channels)

    def _output(self, state: Slices, nodes: Mapping[int, Tensor], output: Sequence[Term]) -> Slices:
        everything = tuple(range(self.num_nodes))
        weights = dict(output)
        slices = {node: _times(nodes[node], weight) for node, weight in weights.items() if node != INPUT}
        if INPUT in weights:
            whole = _times(self._projected(state, self.num_nodes + 1), weights[INPUT])
            parts = whole.chunk(self.num_nodes, dim=1)
            both = [part + slices[node] if node in slices else part for node, part in enumerate(parts, start=1)]
            return Slices(torch.cat(both, dim=1), everything)
        if not slices:
            return Slices(self._zeros(state, self.num_nodes * self.channels), everything)
        return Slices(torch.cat(list(slices.values()), dim=1), tuple(node - 1 for node in slices))


def _times(x: Tensor, weight: Tensor | None) -> Tensor:
    return x if weight is None else weight * x
