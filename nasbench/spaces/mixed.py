"""Mixed edges: nodes that sum all candidate operations on all edges, weighted from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from nasbench.core.errors import ConfigError
from nasbench.spaces import few_launches
from nasbench.spaces.banks import Bank, Notes, SeparableBank, update_statistics
from nasbench.spaces.fan import Fan, build_bank
from nasbench.spaces.group_weights import GroupWeights, Weighted, weighted_sum
from nasbench.spaces.ops import Noise, drop_path

Candidates = Mapping[str, tuple[tuple[str, ...], ...]]
"""Group -> for each edge its candidate operations. Edges are ordered by node, then by input state."""


class MixedGraph(nn.Module):
    """Nodes that each sum their mixed edges from all earlier states.

    The edges that leave one state (a `Fan`) are computed together. The weights of an operation lie in one `Bank` for
    all edges that have it.

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
        self.candidates = candidates
        self.num_inputs, self.num_nodes = num_inputs, num_nodes
        self.partial_channels = partial_channels
        self.input_stride = input_stride
        seen = channels // partial_channels
        fans = []
        for state in range(num_inputs + num_nodes - 1):
            stride = input_stride if state < num_inputs else 1
            nodes = range(max(0, state - num_inputs + 1), num_nodes)
            edges = tuple(self._first_edge(node) + state for node in nodes)
            fans.append(Fan(seen, stride, edges, tuple(candidates[edge] for edge in edges), pool_norm))
        self.fans = nn.ModuleList(fans)
        self.banks = nn.ModuleDict()
        self.sizes: dict[str, list[int]] = {}
        for name in sorted({name for names in candidates for name in names}):
            self._add_bank(name, fans, seen)
        self.noise = nn.ModuleList(Noise(fan.stride) for fan in fans)

    def _add_bank(self, name: str, fans: Sequence[Fan], channels: int) -> None:
        """Build the bank of an operation, if it has weights, with the rows of the fans one after the other."""
        sizes = [fan.num_rows(name) for fan in fans]
        bank = build_bank(name, channels, sum(sizes))
        if bank is None:
            return
        self.banks[name], self.sizes[name] = bank, sizes
        for number, fan in enumerate(fans):
            fan.first_rows[name] = sum(sizes[:number])

    def _first_edge(self, node: int) -> int:
        """Return the number of the edge into a node from state 0."""
        return sum(range(self.num_inputs, self.num_inputs + node))

    def forward(self, inputs: Sequence[Tensor], group: GroupWeights) -> list[Tensor]:
        """Return all states, the inputs first.

        Args:
            inputs: Each [N, C, H, W].
            group: Weights of the cell's edges.
        """
        states, arriving = list(inputs), list[dict[int, list[Weighted]]]()
        weights, fans, banks = self._weights_of_fans(inputs[0]), self._fans, self._banks
        notes: Notes = []
        for node in range(self.num_nodes):
            for index in range(len(arriving), len(states)):
                arriving.append(fans[index](states[index], banks, weights[index], group, notes))
            states.append(self._node(node, states, arriving, group))
        update_statistics(notes)
        return states

    def operation_state(self, edge: int, name: str) -> dict[str, Tensor]:
        """Return views of the weights and running statistics of one operation on one edge.

        Their names are those of the same operation in a discrete network, so that it can load them; and what is copied
        into them is the supernet's from then on. An operation without weights has none.

        Raises:
            ConfigError: The edge does not have this operation.
        """
        if name not in self.candidates[edge]:
            raise ConfigError(f"edge {edge} has no operation {name!r}, but {', '.join(self.candidates[edge])}.")
        row = self.rows.get((edge, name))
        return {} if row is None else self._banks[name].operation_state(row)

    @cached_property
    def rows(self) -> Mapping[tuple[int, str], int]:
        """Edge and operation -> row of the operation's bank, for all operations with weights."""
        found: dict[tuple[int, str], int] = {}
        for fan in self._fans:
            for name in self.banks:
                if fan.num_rows(name):
                    having = [edge for edge, names in zip(fan.edges, fan.candidates, strict=True) if name in names]
                    found |= {(edge, name): fan.first_rows[name] + row for row, edge in enumerate(having)}
        return found

    @property
    def _fans(self) -> list[Fan]:
        return [fan for fan in self.fans if isinstance(fan, Fan)]

    @property
    def _banks(self) -> dict[str, Bank]:
        return {name: bank for name, bank in self.banks.items() if isinstance(bank, Bank)}

    def _weights_of_fans(self, state: Tensor) -> list[dict[str, Sequence[Tensor]]]:
        weights: list[dict[str, Sequence[Tensor]]] = [{} for _ in self.fans]
        for name, bank in self._banks.items():
            whole = None
            if isinstance(bank, SeparableBank) and few_launches.wanted_for(state):  # once for all fans
                whole = bank.all_widened(self._largest_kernel(bank.form))
            for own, size, parts in zip(weights, self.sizes[name], bank.split(self.sizes[name], whole), strict=True):
                if size:
                    own[name] = parts
        return weights

    def _largest_kernel(self, form: tuple[int, int]) -> int:
        """Return the width of the widest kernel among separable convolutions of a form."""
        return max(
            bank.kernel for bank in self._banks.values() if isinstance(bank, SeparableBank) and bank.form == form
        )

    def _node(
        self, node: int, states: Sequence[Tensor], arriving: Sequence[Mapping[int, list[Weighted]]], group: GroupWeights
    ) -> Tensor:
        """Return the sum of a node's edges."""
        first = self._first_edge(node)
        total = weighted_sum(
            term
            for source, state in enumerate(states)
            for term in self._edge(first + source, source, state, arriving[source], group)
        )
        if total is None:
            total = self._zeros(states[0])
        if group.bias is not None:
            total = total + group.bias[first : first + len(states)].sum()
        if self.partial_channels > 1:
            parts = [fan.bypass(state) for fan, state in zip(self._fans, states, strict=False)]
            bypass = _bypass(parts, group.norm and group.norm[first : first + len(states)])
            total = _shuffle(torch.cat([total, bypass], dim=1), self.partial_channels)
        return total

    def _edge(
        self, edge: int, source: int, state: Tensor, arriving: Mapping[int, list[Weighted]], group: GroupWeights
    ) -> list[Weighted]:
        """Return the terms of an edge with its noise; where edges may be dropped, their sum after that."""
        terms, names = [*arriving.get(edge, ())], self.candidates[edge]
        if "noise" in names and (group.active is None or group.active[edge, names.index("noise")]):
            seen = state[:, : state.shape[1] // self.partial_channels]
            terms.append(Weighted(group.weights[edge][names.index("noise")], self.noise[source](seen)))
        if terms and group.drop_path > 0 and self.training:
            total = weighted_sum(terms)
            return [] if total is None else [Weighted(None, drop_path(total, group.drop_path))]
        return terms

    def _zeros(self, state: Tensor) -> Tensor:
        """Return what a node is where none of its operations adds anything."""
        stride = self.input_stride
        return torch.zeros_like(state[:, : state.shape[1] // self.partial_channels, ::stride, ::stride])


def use_recomputation(network: nn.Module, enabled: bool) -> None:
    """Choose whether the separable convolutions of mixed edges are computed again in the backward pass.

    That saves the larger part of a supernet's activations and costs about another forward pass; numbers are the same.

    Raises:
        ConfigError: It is enabled, and the network has no such convolutions.
    """
    fans = [module for module in network.modules() if isinstance(module, Fan)]
    names = {name.rpartition("_")[0] for fan in fans for own in fan.candidates for name in own}
    if enabled and not names & {"sep_conv", "dil_conv"}:
        raise ConfigError("recompute: true has no effect on a space without separable convolutions. Leave it out.")
    for fan in fans:
        fan.recompute = enabled


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` runs of channels: output channel i*groups + g is channel i of run g."""
    batch, channels, height, width = x.shape
    runs = x.view(batch, groups, channels // groups, height, width)
    return runs.transpose(1, 2).reshape(batch, channels, height, width)


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
