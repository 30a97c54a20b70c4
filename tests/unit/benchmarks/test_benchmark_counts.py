"""Counting operations and the bytes held for the backward pass."""

from __future__ import annotations

import pytest
import torch

from benchmarks.activation_memory import held_for_backward, known_tensors, peak_of_tensors
from benchmarks.dispatch_count import OperationCounter, count_operations, num_tensors

MIB = 2**20


def test_what_computes_is_counted_forward_and_backward() -> None:
    x, w = torch.ones(3, 3), torch.ones(3, 3, requires_grad=True)
    with OperationCounter() as forward:
        loss = (x @ w).relu().sum()
    assert dict(forward.counts) == {"aten.mm.default": 1, "aten.relu.default": 1, "aten.sum.default": 1}
    backward = count_operations(loss.backward)
    assert backward["aten.threshold_backward.default"] == backward["aten.mm.default"] == 1
    assert count_operations(lambda: (x @ w).relu().sum().backward()).total() == forward.total + backward.total() + 1, (
        "the second gradient is added to the first"
    )


def test_views_and_fresh_memory_are_not_counted() -> None:
    x = torch.ones(4, 6)

    def look() -> None:
        x.view(24), x[1:, ::2], x.t(), x.detach(), x.expand(2, 4, 6), x.unbind(), x.chunk(2, dim=1), torch.empty(3)

    assert count_operations(look).total() == 0
    assert count_operations(lambda: x.t().contiguous()).total() == 1
    assert count_operations(lambda: x.mul_(2.0)).total() == 1, "an output that is an input written to is computed"


def test_held_bytes_are_those_of_distinct_storages_that_were_not_there() -> None:
    x, w = torch.ones(256, 1024), torch.ones(1024, 1024, requires_grad=True)

    def forward() -> torch.Tensor:
        y = (x @ w).relu()  # its output is kept, 1 MiB
        return (y.exp() * y[:, :]).sum()  # exp's output is kept; a view of y is not kept twice

    assert held_for_backward(forward) == 2 * MIB + x.nbytes
    assert held_for_backward(forward, [x, w]) == 2 * MIB


def test_peak_is_of_what_is_alive_at_one_time() -> None:
    def chain() -> None:
        total = torch.zeros(256, 1024)
        for _ in range(5):
            total = total + 1  # the old one is freed after the new one is there
        total.view(-1).add_(1)

    assert peak_of_tensors(chain) == 2 * MIB
    kept: list[torch.Tensor] = []
    assert peak_of_tensors(lambda: kept.extend(torch.zeros(256, 1024) for _ in range(3))) == 3 * MIB


def test_a_network_says_what_it_has_anyway() -> None:
    network = torch.nn.BatchNorm2d(4)
    assert num_tensors(network) == 2
    assert len(known_tensors(network, torch.ones(1))) == 2 + 3 + 1


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_recomputed_block_holds_less(recomputed: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    w = torch.ones(256, 1024, requires_grad=True)

    def block(x: torch.Tensor) -> torch.Tensor:
        return x.exp().exp().exp().sum()

    def forward() -> torch.Tensor:
        if recomputed:
            return checkpoint(block, w, use_reentrant=False)
        return block(w)

    assert held_for_backward(forward, [w]) == (0 if recomputed else 3 * MIB)
