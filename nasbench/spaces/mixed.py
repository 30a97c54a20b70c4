"""Mixed edges: nodes that sum all candidate operations on all edges, weighted from outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import ConfigError
from nasbench.spaces.ops import BatchNorm, ConvUnit, Noise, build, drop_path

POOLS = ("max_pool_3x3", "avg_pool_3x3")

Candidates = Mapping[str, tuple[tuple[str, ...], ...]]
"""Group -> for each edge its candidate operations. Edges are ordered by node, then by input state."""


class Weighted(NamedTuple):
    """One term of a node's sum.

    Attributes:
        weight: A scalar, or None where the output is weighted already.
        output: [N, C, H, W].
    """

    weight: Tensor | None
    output: Tensor


class GroupWeights(NamedTuple):
    """The weights of one group, taken apart for the cells.

    Attributes:
        weights: For each edge the weight (a scalar) of each operation, already times its edge normalisation.
        norm: For each edge the scalar that scales what bypasses the operations, or None for 1.
        active: bool [E, O], what is computed; None is all.
        drop_path: Probability of dropping a mixed edge while training.
        bias: For each edge the scalar that is added to all of its output, or None for 0.
    """

    weights: Sequence[Sequence[Tensor]]
    norm: Sequence[Tensor] | None
    active: npt.NDArray[np.bool_] | None
    drop_path: float
    bias: Tensor | None = None


def take_apart(
    shapes: Mapping[str, tuple[int, int]],
    edge_weights: Mapping[str, Tensor],
    edge_norm: Mapping[str, Tensor] | None,
    active: Mapping[str, npt.NDArray[np.bool_]] | None,
    drop_path: float,
    edge_bias: Mapping[str, Tensor] | None = None,
) -> dict[str, GroupWeights]:
    """Check a mixture against the groups' (E, O) and take it apart.

    Raises:
        ConfigError: A group is missing or has another shape.
    """
    for what, given, dims in (
        ("edge_weights", edge_weights, 2),
        ("edge_norm", edge_norm, 1),
        ("active", active, 2),
        ("edge_bias", edge_bias, 1),
    ):
        if given is None:
            continue
        seen = {group: tuple(value.shape) for group, value in given.items()}
        needed = {group: full[:dims] for group, full in shapes.items()}
        if seen != needed:
            raise ConfigError(f"{what} has shapes {seen}; {needed} are needed.")
    parts = {}
    for group, values in edge_weights.items():
        norm = None if edge_norm is None else edge_norm[group]
        weighted = values if norm is None else values * norm[:, None]
        parts[group] = GroupWeights(
            weights=[row.unbind() for row in weighted.unbind()],
            norm=None if norm is None else norm.unbind(),
            active=None if active is None else active[group],
            drop_path=drop_path,
            bias=None if edge_bias is None else edge_bias[group],
        )
    return parts


class Source(nn.Module):
    """What the edges that leave one state have in common, computed once.

    All edges from a state have the same stride. So the ReLU, the pools and the affine-free BN after a pool (equal
    input, no weights) are the same on each of them, as is the part that bypasses the operations in PC-DARTS.

    Args:
        channels: C of the cell's states.
        stride: Of the edges that leave this state.
        operations: Every operation on these edges.
        partial_channels: K; the operations see the first C/K channels.
        pool_norm: Whether an affine-free BN follows a pool.
    """

    def __init__(
        self, channels: int, stride: int, operations: set[str], partial_channels: int, pool_norm: bool
    ) -> None:
        super().__init__()
        self.stride = stride
        self.seen = channels // partial_channels
        self.pools = nn.ModuleDict()
        for name in POOLS:
            if name in operations:
                pool = build(name, self.seen, stride, affine=False)
                self.pools[name] = nn.Sequential(pool, BatchNorm(self.seen, affine=False)) if pool_norm else pool

    def forward(self, seen: Tensor, name: str) -> Tensor:
        """Map what the operations see of a state to one of its shared parts.

        Args:
            seen: [N, C/K, H, W].
            name: ``relu`` or an operation without weights.
        """
        if name == "relu":
            return F.relu(seen)
        return self.pools[name](seen) if name in self.pools else seen  # the latter is a skip connection or noise

    def bypass(self, state: Tensor) -> Tensor:
        """Return the channels of a state [N, C, H, W] that no operation sees, at the edges' resolution."""
        rest = state[:, self.seen :]
        return rest if self.stride == 1 else F.max_pool2d(rest, 2, stride=2, ceil_mode=True)


class Shared:
    """A state with its shared parts.

    Args:
        source: Computes them.
        state: [N, C, H, W].
        whole: Whether every part is wanted; else each is computed when it is asked for.
    """

    def __init__(self, source: Any, state: Tensor, whole: bool) -> None:
        self._source, self._state = source, state
        self._seen = state[:, : source.seen]
        self._parts: dict[str, Tensor] = {}
        if whole:  # before any edge, so that gradients are summed in one order whatever the edges are
            self._parts = {name: source(self._seen, name) for name in (*source.pools, "relu")}

    def __getitem__(self, name: str) -> Tensor:
        """Return a part, computed at the first call."""
        if name not in self._parts:
            self._parts[name] = self._source(self._seen, name)
        return self._parts[name]

    def bypass(self) -> Tensor:
        """Return the channels that no operation sees."""
        bypass: Tensor = self._source.bypass(self._state)
        return bypass


class Edge(nn.Module):
    """The operations of one edge that have weights (or random numbers) of their own; the rest is its `Source`."""

    def __init__(self, channels: int, stride: int, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        built = {name: build(name, channels, stride, affine=False) for name in names}
        self.operations = nn.ModuleDict(
            {name: operation for name, operation in built.items() if isinstance(operation, (ConvUnit, Noise))}
        )

    def forward(
        self, shared: Shared, weights: Sequence[Tensor], active: npt.NDArray[np.bool_] | None
    ) -> Iterator[Weighted]:
        """Yield the output of each active operation with its weight; ``none`` adds nothing and is left out."""
        for index, (name, weight) in enumerate(zip(self.names, weights, strict=True)):
            if name == "none" or (active is not None and not active[index]):
                continue
            operation: Any = self.operations[name] if name in self.operations else None  # noqa: SIM401 - no get there
            if isinstance(operation, ConvUnit):
                yield Weighted(None, operation.after_relu(shared["relu"], scale=weight))
            elif operation is not None:
                yield Weighted(weight, operation(shared[name]))
            else:
                yield Weighted(weight, shared[name])


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` runs of channels: output channel i*groups + g is channel i of run g."""
    batch, channels, height, width = x.shape
    runs = x.view(batch, groups, channels // groups, height, width)
    return runs.transpose(1, 2).reshape(batch, channels, height, width)


class MixedGraph(nn.Module):
    """Nodes that each sum their mixed edges from all earlier states.

    Args:
        channels: C of all states.
        input_stride: Stride of the edges that leave an input state; all others have stride 1.
        candidates: For each edge its operations.
        num_inputs: Input states.
        num_nodes: Nodes.
        partial_channels: K of PC-DARTS; 1 is DARTS.
        pool_norm: Whether an affine-free BN follows a pool.
    """

    def __init__(
        self,
        channels: int,
        input_stride: int,
        candidates: tuple[tuple[str, ...], ...],
        *,
        num_inputs: int,
        num_nodes: int,
        partial_channels: int,
        pool_norm: bool,
    ) -> None:
        super().__init__()
        if channels % partial_channels:
            raise ConfigError(f"partial_channels {partial_channels} must divide channels {channels}. Change either.")
        self.num_nodes = num_nodes
        self.partial_channels = partial_channels
        self.input_stride = input_stride
        sources = [source for node in range(num_nodes) for source in range(node + num_inputs)]
        strides = [input_stride if state < num_inputs else 1 for state in range(num_nodes + num_inputs - 1)]
        used: list[set[str]] = [set() for _ in strides]
        for source, names in zip(sources, candidates, strict=True):
            used[source].update(names)
        self.sources = nn.ModuleList(
            Source(channels, stride, names, partial_channels, pool_norm)
            for stride, names in zip(strides, used, strict=True)
        )
        self.edges = nn.ModuleList(
            Edge(channels // partial_channels, strides[source], names)
            for source, names in zip(sources, candidates, strict=True)
        )

    def forward(self, inputs: Sequence[Tensor], group: GroupWeights) -> list[Tensor]:
        """Return all states, the inputs first.

        Args:
            inputs: Each [N, C, H, W].
            group: Weights of the cell's edges.
        """
        states = list(inputs)
        shared: list[Shared] = []
        first = 0
        for _ in range(self.num_nodes):
            shared += [
                Shared(self.sources[index], states[index], group.active is None)
                for index in range(len(shared), len(states))
            ]
            terms: Iterable[Weighted] = (
                term for edge, source in enumerate(shared, first) for term in self._edge(edge, source, group)
            )
            total = weighted_sum(terms)
            node = self._zeros(states[0]) if total is None else total
            if group.bias is not None:
                node = node + group.bias[first : first + len(shared)].sum()
            if self.partial_channels > 1:
                parts = [source.bypass() for source in shared]
                bypass = _bypass(parts, group.norm and group.norm[first : first + len(shared)])
                node = _shuffle(torch.cat([node, bypass], dim=1), self.partial_channels)
            first += len(states)
            states.append(node)
        return states

    def _edge(self, edge: int, shared: Shared, group: GroupWeights) -> Iterator[Weighted]:
        """Yield the terms of an edge; where edges may be dropped, their sum after that."""
        active = None if group.active is None else group.active[edge]
        terms: Iterator[Weighted] = self.edges[edge](shared, group.weights[edge], active)
        if not (group.drop_path > 0 and self.training):
            yield from terms
            return
        total = weighted_sum(terms)
        if total is not None:
            yield Weighted(None, drop_path(total, group.drop_path))

    def _zeros(self, state: Tensor) -> Tensor:
        """Return what a node is where none of its operations adds anything."""
        stride = self.input_stride
        return torch.zeros_like(state[:, : state.shape[1] // self.partial_channels, ::stride, ::stride])


def weighted_sum(terms: Iterable[Weighted]) -> Tensor | None:
    """Return the sum of weight times output, or None where there is no term.

    Each term is added before the next one is computed, so that no more than two are held.
    """
    total: Tensor | None = None
    for weight, output in terms:
        if total is None:
            total = output if weight is None else weight * output
        else:
            total = total + output if weight is None else torch.addcmul(total, weight, output)
    return total


def _bypass(parts: Sequence[Tensor], edge_norm: Sequence[Tensor] | None) -> Tensor:
    """Return the sum of the channels that no operation sees.

    Concatenation and shuffle of an edge are linear and the same for each edge of a node, so they are done once
    on the sums.
    """
    if edge_norm is None:
        return sum(parts[1:], start=parts[0])
    total = edge_norm[0] * parts[0]
    for norm, part in zip(edge_norm[1:], parts[1:], strict=True):
        total = torch.addcmul(total, norm, part)
    return total
