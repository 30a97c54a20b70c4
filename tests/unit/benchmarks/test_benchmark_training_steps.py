"""The benchmarks of the optimiser's step and of the discrete network, at a size of nothing."""

from __future__ import annotations

import pytest
import torch

from benchmarks import discrete_network, optimizer_step
from benchmarks.common import BenchmarkError


def test_the_optimizer_is_timed_against_loop_and_foreach() -> None:
    lines = optimizer_step.measured(optimizer_step.QUICK_SIZES[0], rounds=1)
    assert [line.name.rsplit(" ", 1)[1] for line in lines] == ["loop", "foreach"]
    assert all(line.figures["weights"] == 72854 for line in lines)
    assert all(line.figures["plain_tensors"] == 548 >= line.figures["ours_tensors"] for line in lines)


def test_both_forms_of_the_plain_optimizer_move_the_weights_alike() -> None:
    moved = []
    for foreach in (False, True):
        step, weights = optimizer_step.plain_step(optimizer_step.QUICK_SIZES[0], foreach)
        before = weights[0].detach().clone()
        step()
        assert not torch.equal(before, weights[0])
        norm = torch.linalg.vector_norm(torch.stack([weight.grad.norm() for weight in weights]))
        assert float(norm) == pytest.approx(optimizer_step.CLIP, rel=1e-3)
        moved.append(weights)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*moved, strict=True))


def test_supernets_of_other_sizes_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(optimizer_step, "our_step", lambda size: (lambda: None, [torch.ones(3)]))
    monkeypatch.setattr(optimizer_step, "plain_step", lambda size, foreach: (lambda: None, [torch.ones(2)]))
    with pytest.raises(BenchmarkError, match="ours has 3 weights, the plain supernet 2"):
        optimizer_step.measured(optimizer_step.QUICK_SIZES[0], rounds=1)


def test_the_discrete_network_is_timed_against_both_memory_formats() -> None:
    size = discrete_network.QUICK_SIZES[0]
    lines = discrete_network.measured(size, rounds=1)
    assert [line.name.rsplit(" ", 1)[1] for line in lines] == ["NCHW", "channels_last"]
    assert lines[0].figures["weights"] == discrete_network.check(size) == 2858
    assert all(line.figures["images_per_s"] > 0 for line in lines)
    assert set(discrete_network.ours(quick=True)) == {f"DARTS_V2, {size}"}
