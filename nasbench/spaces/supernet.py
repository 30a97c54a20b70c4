"""The supernet: all candidate operations on all edges, mixed by edge weights that come in as an argument."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import ConfigError
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.network import CellPlan, Classifier, build_stem, plan_cells, preprocessors
from nasbench.spaces.ops import BatchNorm, ConvUnit, build

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


class Source(nn.Module):
    """What the edges that leave one state have in common, computed once.

    All edges from a state have the same stride. So the ReLU, the pools and the affine-free BN after a pool (equal
    input, no weights) are the same on each of them, as is the part that bypasses the operations in PC-DARTS.

    Args:
        channels: C of the cell's states.
        stride: Of the edges that leave this state.
        operations: Every operation on these edges.
        partial_channels: K; the operations see the first C/K channels.
    """

    def __init__(self, channels: int, stride: int, operations: set[str], partial_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.seen = channels // partial_channels
        self.pools = nn.ModuleDict(
            {
                name: nn.Sequential(build(name, self.seen, stride, affine=False), BatchNorm(self.seen, affine=False))
                for name in POOLS
                if name in operations
            }
        )

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        """Map a state [N, C, H, W] to ``relu`` [N, C/K, H, W] and the outputs of operations without weights."""
        seen = state[:, : self.seen]
        shared = {name: pool(seen) for name, pool in self.pools.items()}
        shared |= {"relu": F.relu(seen), "skip_connect": seen}
        if self.seen < state.shape[1]:
            rest = state[:, self.seen :]
            shared["bypass"] = rest if self.stride == 1 else F.max_pool2d(rest, 2, stride=2, ceil_mode=True)
        return shared


class Edge(nn.Module):
    """The operations of one edge that have weights of their own; the rest is the state's `Source`."""

    def __init__(self, channels: int, stride: int, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        built = {name: build(name, channels, stride, affine=False) for name in names}
        self.operations = nn.ModuleDict(
            {name: operation for name, operation in built.items() if isinstance(operation, ConvUnit)}
        )

    def forward(self, shared: Mapping[str, Tensor], weights: Sequence[Tensor]) -> Iterator[Weighted]:
        """Yield each operation's output with its weight; ``none`` adds nothing and is left out."""
        for name, weight in zip(self.names, weights, strict=True):
            if name in self.operations:
                unit: Any = self.operations[name]
                yield Weighted(None, unit.after_relu(shared["relu"], scale=weight))
            elif name != "none":
                yield Weighted(weight, shared[name])


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` runs of channels: output channel i*groups + g is channel i of run g."""
    batch, channels, height, width = x.shape
    runs = x.view(batch, groups, channels // groups, height, width)
    return runs.transpose(1, 2).reshape(batch, channels, height, width)


class MixedCell(nn.Module):
    """A cell in which each node sums its mixed edges from all earlier states; output: all nodes concatenated.

    Args:
        plan: Its place in the network.
        candidates: For each edge its operations.
        num_nodes: Intermediate nodes.
        partial_channels: K of PC-DARTS; 1 is DARTS.
    """

    def __init__(
        self, plan: CellPlan, candidates: tuple[tuple[str, ...], ...], num_nodes: int, partial_channels: int
    ) -> None:
        super().__init__()
        self.num_nodes = num_nodes
        self.partial_channels = partial_channels
        self.preprocess0, self.preprocess1 = preprocessors(plan, affine=False)
        sources = [source for node in range(num_nodes) for source in range(node + 2)]
        strides = [plan.stride if state < 2 else 1 for state in range(num_nodes + 1)]
        used: list[set[str]] = [set() for _ in strides]
        for source, names in zip(sources, candidates, strict=True):
            used[source].update(names)
        self.sources = nn.ModuleList(
            Source(plan.channels, stride, names, partial_channels) for stride, names in zip(strides, used, strict=True)
        )
        self.edges = nn.ModuleList(
            Edge(plan.channels // partial_channels, strides[source], names)
            for source, names in zip(sources, candidates, strict=True)
        )

    def forward(
        self, s0: Tensor, s1: Tensor, weights: Sequence[Sequence[Tensor]], edge_norm: Sequence[Tensor] | None
    ) -> Tensor:
        """Map the outputs of cells k-2 and k-1 to this cell's.

        Args:
            s0: Output of cell k-2.
            s1: Output of cell k-1.
            weights: For each edge the weight (a scalar) of each operation, already times ``edge_norm``.
            edge_norm: For each edge the scalar that scales what bypasses the operations.
        """
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        shared: list[dict[str, Tensor]] = []
        first = 0
        for _ in range(self.num_nodes):
            shared += [self.sources[index](states[index]) for index in range(len(shared), len(states))]
            arriving = range(first, first + len(states))
            node = _mix(
                term
                for edge, source in zip(arriving, shared, strict=True)
                for term in self.edges[edge](source, weights[edge])
            )
            if self.partial_channels > 1:
                bypass = _bypass([source["bypass"] for source in shared], edge_norm and edge_norm[first:])
                node = _shuffle(torch.cat([node, bypass], dim=1), self.partial_channels)
            first += len(states)
            states.append(node)
        return torch.cat(states[2:], dim=1)


def _mix(terms: Iterable[Weighted]) -> Tensor:
    """Return the sum of weight times output."""
    total: Tensor | None = None
    for weight, output in terms:
        if total is None:
            total = output if weight is None else weight * output
        else:
            total = total + output if weight is None else torch.addcmul(total, weight, output)
    if total is None:
        raise ConfigError("the edges of a node have no operation but 'none'; give them another candidate.")
    return total


def _bypass(parts: Sequence[Tensor], edge_norm: Sequence[Tensor] | None) -> Tensor:
    """Return the sum of the channels that no operation sees.

    Concatenation and shuffle of an edge are linear and the same for each edge of a node, so they are done once
    on the sums.
    """
    if edge_norm is None:
        return sum(parts[1:], start=parts[0])
    return _mix(Weighted(norm, part) for norm, part in zip(edge_norm, parts, strict=False))


class Supernet(nn.Module):
    """The DARTS supernet and its partial-channel variant; weights w only, alphas live in the searcher.

    Formula: node_j = sum_{i<j} beta_ij sum_o p_ij^o o(x_i), with p the edge weights (for example a softmax of the
    alphas) and beta the edge normalisation (1 where none is given). With K > 1 only the first C/K channels of x_i
    go through the operations; the others bypass them, and the channels are shuffled in K groups.

    Reference: Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, Eq. 2; Xu et al., PC-DARTS, ICLR 2020,
    arXiv:1907.05737, Eq. 2 and 3.
    Differs from the paper: the DARTS paper uses batch statistics always, its code uses running ones in evaluation
    mode; ``batch_statistics`` chooses. Partial channels are the first ones with a shuffle, as in the PC-DARTS code,
    not a random sample. Odd sizes are allowed.

    Args:
        shape: Size of the network; both stems have width 3C.
        candidates: Group (``"normal"``, ``"reduce"``) -> for each edge its candidate operations.
        num_nodes: Intermediate nodes of a cell.
        partial_channels: K; must divide ``shape.channels``.
        batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

    Raises:
        ConfigError: K does not divide C, an auxiliary head is asked for, or there are fewer than three cells.
    """

    def __init__(
        self,
        shape: NetworkShape,
        candidates: Candidates,
        *,
        num_nodes: int = 4,
        partial_channels: int = 1,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        if partial_channels < 1 or shape.channels % partial_channels:
            raise ConfigError(
                f"partial_channels {partial_channels} must divide channels {shape.channels}. Change either of them."
            )
        if shape.auxiliary:
            raise ConfigError("a supernet has no auxiliary head; set auxiliary to false for the search.")
        plans = plan_cells(shape, 3 * shape.channels, dict.fromkeys(candidates, num_nodes))
        self.shapes = {group: (len(edges), len(edges[0])) for group, edges in candidates.items()}
        self.kinds = tuple(plan.kind for plan in plans)
        self.stem = build_stem(shape, 3 * shape.channels)
        self.cells = nn.ModuleList(
            MixedCell(plan, candidates[plan.kind], num_nodes, partial_channels) for plan in plans
        )
        self.classifier = Classifier(num_nodes * plans[-1].channels, shape.num_classes)
        self.use_batch_statistics(batch_statistics)

    def use_batch_statistics(self, enabled: bool) -> None:
        """Choose the statistics of evaluation mode: the batch's own (True) or the running ones (False)."""
        for module in self.modules():
            if isinstance(module, BatchNorm):
                module.batch_statistics = enabled

    def forward(
        self, images: Tensor, edge_weights: Mapping[str, Tensor], edge_norm: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Classify images.

        Args:
            images: [N, c, H, W].
            edge_weights: Group -> [E, O], shared by all cells of that kind.
            edge_norm: Group -> [E], or None for 1 everywhere.

        Returns:
            Logits [N, K].

        Raises:
            ConfigError: A group is missing or has another shape.
        """
        self._check(edge_weights, edge_norm)
        norms: dict[str, Sequence[Tensor]] = {}
        if edge_norm is not None:
            norms = {group: values.unbind() for group, values in edge_norm.items()}
            edge_weights = {group: values * edge_norm[group][:, None] for group, values in edge_weights.items()}
        weights = {group: [row.unbind() for row in values.unbind()] for group, values in edge_weights.items()}
        s0, s1 = self.stem(images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            s0, s1 = s1, cell(s0, s1, weights[kind], norms.get(kind))
        logits: Tensor = self.classifier(s1)
        return logits

    def _check(self, edge_weights: Mapping[str, Tensor], edge_norm: Mapping[str, Tensor] | None) -> None:
        for what, given, dims in (("edge_weights", edge_weights, 2), ("edge_norm", edge_norm, 1)):
            if given is None:
                continue
            seen = {group: tuple(value.shape) for group, value in given.items()}
            needed = {group: full[:dims] for group, full in self.shapes.items()}
            if seen != needed:
                raise ConfigError(f"{what} has shapes {seen}; {needed} are needed.")
