"""What tests must see of single edges, whose weights a supernet holds together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from nasbench.spaces.mixed import MixedGraph

Operation = tuple[MixedGraph, int, str]
"""A cell's graph, an edge, the name of an operation."""


def operations(network: nn.Module) -> Iterator[tuple[Operation, dict[str, Tensor]]]:
    """Every operation of every edge that has weights, with views of its weights and running statistics."""
    for graph in (module for module in network.modules() if isinstance(module, MixedGraph)):
        for edge, names in enumerate(graph.candidates):
            for name in names:
                state = graph.operation_state(edge, name)
                if state:
                    yield (graph, edge, name), state


def single_weights(network: nn.Module) -> list[Tensor]:
    """All weights, those of mixed edges one operation after the other."""
    inside = {id(p) for g in network.modules() if isinstance(g, MixedGraph) for p in g.banks.parameters()}
    others = [parameter.detach() for parameter in network.parameters() if id(parameter) not in inside]
    mixed = [value for _, state in operations(network) for key, value in state.items() if "running" not in key]
    assert sum(weight.numel() for weight in (*others, *mixed)) == sum(p.numel() for p in network.parameters())
    return [*others, *mixed]


def with_values(network: nn.Module, values: Sequence[Tensor | None]) -> nn.Module:
    """A copy of a network that holds other values, for example gradients, in place of its weights; None is zeros."""
    twin = copy.deepcopy(network)
    for parameter, value in zip(twin.parameters(), values, strict=True):
        parameter.data = torch.zeros_like(parameter) if value is None else value.detach().clone()
    return twin


def gradients_of_operations(network: nn.Module) -> dict[tuple[int, int, str], list[Tensor]]:
    """Number of the cell, edge and name -> the gradients of the operation's weights after a backward pass."""
    twin = with_values(network, [parameter.grad for parameter in network.parameters()])
    graphs = [module for module in twin.modules() if isinstance(module, MixedGraph)]
    return {
        (graphs.index(graph), edge, name): [value for key, value in state.items() if "running" not in key]
        for (graph, edge, name), state in operations(twin)
    }


def computed(network: nn.Module, forward: Callable[[], object]) -> list[tuple[int, str]]:
    """(edge, name) of the operations with weights that a forward pass in training mode computes, once for each cell.

    Those are the ones whose running statistics move.
    """
    before = [
        {key: value.clone() for key, value in state.items() if "running" in key} for _, state in operations(network)
    ]
    forward()
    found = []
    for ((_, edge, name), state), old in zip(operations(network), before, strict=True):
        moved = {not torch.equal(state[key], value) for key, value in old.items()}
        assert len(moved) == 1  # all of its BN, or none
        if moved == {True}:
            found.append((edge, name))
    return found


def operation_pairs(graph: nn.Module, edge: int, name: str, operation: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights of one operation on one edge in both networks."""
    own = [value for key, value in graph.operation_state(edge, name).items() if "running" not in key]
    yield from zip(own, operation.parameters(), strict=True)


def copy_to_plain(pairs: Iterable[tuple[Tensor, Tensor]], supernet: nn.Module, plain: nn.Module) -> None:
    """Copy weights from pair to pair, and see that none was forgotten."""
    copied = 0
    for source, target in pairs:
        target.data.copy_(source.data)
        copied += source.numel()
    assert copied == sum(p.numel() for p in supernet.parameters()) == sum(p.numel() for p in plain.parameters())
