"""Edges that are computed together: the same numbers however they are grouped, in fewer steps and less memory."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.activation_memory import held_for_backward
from benchmarks.dispatch_count import count_operations, off_cpu_counts
from benchmarks.network_steps import Size
from nasbench.core.errors import ConfigError
from nasbench.searchers.hypergradient import frozen
from nasbench.spaces import compiled, fan_pass, few_launches
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import use_batch_statistics
from nasbench.spaces.darts import Darts
from nasbench.spaces.group_weights import GroupWeights
from nasbench.spaces.mixed import MixedGraph, use_recomputation
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.spaces.robust_darts import RobustDartsS1, RobustDartsS2, RobustDartsS4
from tests.kernels import needs_kernels
from tests.mixed_edges import operations
from tests.space_cases.two_input_cells import PlainSupernet, pairs, plain_supernet

SHAPE = NetworkShape(num_cells=3, channels=4, num_classes=5, in_channels=2, image_size=8)


WAYS = ["few bytes", "few launches", pytest.param("kernels", marks=needs_kernels)]
"""How a CPU computes, how other devices do, and how a CPU computes by the compiled kernels."""


@contextmanager
def computing(way: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(few_launches, "ON_CPU", way == "few launches")
    with compiled.used(way == "kernels"):
        yield


def weights_of(space, dtype=torch.float64) -> dict[str, Tensor]:
    rng = np.random.default_rng(3)
    return {
        group: torch.tensor(rng.dirichlet(np.ones(full[1]), full[0]), dtype=dtype, requires_grad=True)
        for group, full in space.alpha_shapes.items()
    }


def images_of(dtype=torch.float64, size=(8, 8), count=4) -> Tensor:
    return torch.tensor(np.random.default_rng(5).normal(size=(count, 2, *size)), dtype=dtype)


def supernet_of(space, seed=0) -> nn.Module:
    torch.manual_seed(seed)
    return space.supernet(SHAPE)


def gradients(network: nn.Module, images: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    loss = F.cross_entropy(network(images, weights), torch.arange(len(images)) % 5)
    return [loss, *torch.autograd.grad(loss, [*weights.values(), *network.parameters()])]


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-10) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("space", [Darts(), RobustDartsS1()], ids=lambda space: space.name)
@pytest.mark.parametrize("size", [(8, 8), (7, 11), (2, 2)])
def test_it_does_not_matter_how_edges_are_grouped(space, size, monkeypatch):
    network, images, weights = supernet_of(space).double(), images_of(size=size), weights_of(space)
    found = []
    for at_once, alike in ((1, 0), (1, 1 << 40), (1 << 40, 0), (1 << 40, 1 << 40)):
        monkeypatch.setattr(fan_pass, "AT_ONCE_BYTES", at_once)
        monkeypatch.setattr(fan_pass, "ALIKE_BYTES", alike)
        found.append(gradients(network, images, weights))
    for other in found[1:]:
        assert_same(other, found[0])


def draw_running_statistics(network: nn.Module) -> None:
    """Let every channel have other running statistics than 0 and 1."""
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)


@pytest.mark.parametrize(
    "space", [Darts(), RobustDartsS1(), RobustDartsS2(), RobustDartsS4()], ids=lambda space: space.name
)
@pytest.mark.parametrize("size", [(8, 8), (7, 11), (2, 2)])
@pytest.mark.parametrize("mode", ["train", "eval", "batch", "some", "partial", "dropped"])
@pytest.mark.parametrize("way", WAYS[1:])
def test_another_way_gives_the_same_numbers(space, size, mode, way, monkeypatch):
    images, weights, found = images_of(size=size), weights_of(space), []
    rng = np.random.default_rng(1)
    active = {group: rng.random(full) < 0.4 for group, full in space.alpha_shapes.items()} if mode == "some" else None
    norms = {group: torch.rand(full[0]).double() for group, full in space.alpha_shapes.items()}
    options = {"some": {"active": active}, "partial": {"edge_norm": norms}, "dropped": {"drop_path": 0.3}}.get(mode, {})
    for one in ("few bytes", way):
        torch.manual_seed(0)
        network = space.supernet(SHAPE, partial_channels=2 if mode == "partial" else 1)
        network.double().train(mode not in ("eval", "batch"))
        use_batch_statistics(network, mode == "batch")
        draw_running_statistics(network)
        torch.manual_seed(1)
        with computing(one, monkeypatch):
            loss = F.cross_entropy(network(images, weights, **options), torch.arange(len(images)) % 5)
            inputs = [*weights.values(), *network.parameters()]
            given = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
            with torch.no_grad():  # with running statistics, too, the kernels compute
                again = network(images, weights, **options)
        found.append([loss, again, *given, *network.buffers()])
    assert_same(found[1], found[0])


@pytest.fixture(params=WAYS)
def either_way(request, monkeypatch):
    with computing(request.param, monkeypatch):
        yield request.param


@pytest.mark.usefixtures("either_way")
def test_recomputation_gives_the_same_numbers_and_holds_less():
    space = Darts()
    network, images, weights = supernet_of(space), images_of(torch.float32, count=8), weights_of(space, torch.float32)
    known = list(network.parameters())
    kept, held = gradients(network, images, weights), held_for_backward(lambda: network(images, weights), known)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    use_recomputation(network, True)
    again = gradients(network, images, weights)
    assert all(torch.equal(a, b) for a, b in zip(again, kept, strict=True))
    assert held_for_backward(lambda: network(images, weights), known) < held / 2
    use_recomputation(network, False)
    assert any(not torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


@pytest.mark.usefixtures("either_way")
def test_recomputation_moves_the_running_statistics_once():
    networks = [supernet_of(Darts()).double() for _ in range(2)]
    use_recomputation(networks[1], True)
    for network in networks:
        gradients(network, images_of(), weights_of(Darts()))
    for a, b in zip(networks[0].buffers(), networks[1].buffers(), strict=True):
        assert torch.equal(a, b)


def test_recomputation_is_refused_where_it_has_no_effect():
    with pytest.raises(ConfigError, match="recompute: true has no effect"):
        use_recomputation(supernet_of(NasBench201()), True)
    use_recomputation(supernet_of(NasBench201()), False)


@pytest.mark.usefixtures("either_way")
def test_second_derivatives_equal_the_textbook():
    """What the dominant eigenvalue of RobustDARTS is made of: a gradient's gradient, in the alphas and the weights."""
    space = Darts()
    network = supernet_of(space).double()
    plain = plain_supernet(space, SHAPE, network)
    images, weights, found = images_of(), weights_of(space), []
    for one in (network, plain):
        loss = one(images, weights).square().sum()
        first = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        product = sum((part * torch.linspace(-1, 1, part.numel()).double().view_as(part)).sum() for part in first)
        found.append(torch.autograd.grad(product, [*weights.values(), one.stem[0].weight if one is plain else
                                                   next(one.stem.parameters())]))  # fmt: skip
    assert_same(list(found[0]), list(found[1]), 1e-8)


@pytest.mark.usefixtures("either_way")
def test_float32_is_no_further_from_float64_than_the_textbook():
    """Logits of a network that has been trained a little, so that statistics are not those of fresh weights."""
    space, errors = Darts(), []
    network = supernet_of(space)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    images, weights = images_of(count=16), {group: w.detach() for group, w in weights_of(space).items()}
    plain = plain_supernet(space, SHAPE, network)
    exact = plain_supernet(space, SHAPE, network).double()
    for source, target in pairs(network, exact):
        target.data.copy_(source.data.double())
    with torch.no_grad():
        expected = exact(images, weights)
        for one in (network, plain):
            logits = one(images.float(), {group: w.float() for group, w in weights.items()})
            errors.append((logits.double() - expected).square().mean().sqrt())
    assert errors[0] <= 2 * errors[1]


def test_few_operations_are_executed():
    """A ceiling for what runs in a step, whatever the machine."""
    space, counts = Darts(), []
    shape = dataclasses.replace(SHAPE, num_cells=4)
    weights, images = weights_of(space, torch.float32), images_of(torch.float32)
    for network in (space.supernet(shape), PlainSupernet(space.candidates, shape)):

        def step(one=network):
            F.cross_entropy(one(images, weights), torch.arange(len(images)) % 5).backward()

        counts.append(sum(count_operations(step).values()))
    assert counts[0] <= 4_400
    assert counts[0] <= 0.65 * counts[1]


def test_a_quarter_of_the_operations_is_executed_off_the_cpu():
    """Numbers on the meta device have no values, but take the path of a GPU's."""
    counts = [count.total() for count in off_cpu_counts(Size(channels=4, cells=8, batch=2, side=32))]
    assert counts[0] <= 3_190
    assert 4 * counts[0] <= counts[1]


def test_mixed_precision_stays_near_with_few_launches(monkeypatch):
    monkeypatch.setattr(few_launches, "ON_CPU", True)
    space, found, buffers = Darts(), [], []
    images, weights = images_of(torch.float32, count=16), weights_of(space, torch.float32)
    for enabled in (False, True):
        network = supernet_of(space)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(gradients(network, images, weights))
        buffers.append(list(network.buffers()))
    assert (found[1][0] - found[0][0]).abs() < 0.1
    for exact, near in zip(found[0][1:3], found[1][1:3], strict=True):  # of the alphas
        assert F.cosine_similarity(exact.flatten(), near.flatten(), dim=0) > 0.95
    for exact, near in zip(*buffers, strict=True):
        assert exact.dtype == near.dtype
        torch.testing.assert_close(near, exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("way", WAYS[:2])  # the kernels make no copy
def test_recomputation_keeps_no_copy_of_the_input(way, monkeypatch):
    """Not only what autograd holds: nothing else may keep the input that is there once for each edge."""
    made: list[weakref.ref[Tensor]] = []
    original = fan_pass.repeated

    def repeated(x: Tensor, n: int) -> Tensor:
        output = original(x, n)
        if n > 1:
            made.append(weakref.ref(output))
        return output

    monkeypatch.setattr(fan_pass, "repeated", repeated)
    monkeypatch.setattr(few_launches, "ON_CPU", way == "few launches")
    network = supernet_of(Darts())
    use_recomputation(network, True)
    logits = network(images_of(torch.float32), weights_of(Darts(), torch.float32))
    assert logits.requires_grad
    assert made
    assert not [reference for reference in made if reference() is not None]


def test_an_operation_is_read_and_written_edge_by_edge():
    network = supernet_of(Darts())
    states = dict(operations(network))
    (graph, edge, name), state = next(item for item in states.items() if item[0][1:] == (4, "sep_conv_3x3"))
    assert set(state) == {
        "body.0.weight", "body.1.weight", "body.2.running_mean", "body.2.running_var", "body.4.weight",
        "body.5.weight", "norm.running_mean", "norm.running_var",
    }  # fmt: skip
    others = [value.clone() for key, own in states.items() if key != (graph, edge, name) for value in own.values()]
    for value in state.values():
        value.fill_(7.0)
    assert all((value == 7.0).all() for value in graph.operation_state(edge, name).values())
    left = [value for key, own in states.items() if key != (graph, edge, name) for value in own.values()]
    assert all(torch.equal(a, b) for a, b in zip(left, others, strict=True))
    with pytest.raises(ConfigError, match="edge 4 has no operation 'nor_conv_1x1'"):
        graph.operation_state(4, "nor_conv_1x1")
    assert graph.operation_state(4, "skip_connect") == {}


def test_weights_are_few_large_tensors():
    network = Darts().supernet(dataclasses.replace(SHAPE, num_cells=8, channels=16, in_channels=3, num_classes=10))
    plain = PlainSupernet(Darts().candidates, dataclasses.replace(SHAPE, num_cells=8, channels=16, in_channels=3))
    assert len(list(network.parameters())) == 123
    assert len(list(plain.parameters())) == 1_399


def test_one_pixel_has_no_statistics():
    graph = MixedGraph(4, 1, (("sep_conv_3x3",),), num_inputs=1, num_nodes=1, partial_channels=1, pool_norm=True)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        graph([torch.ones(1, 4, 1, 1)], GroupWeights(torch.ones(1, 1)))


def test_frozen_weights_get_no_gradient_and_are_put_back():
    weights = [torch.ones(2, requires_grad=True), torch.ones(2)]
    with frozen(weights):
        assert not (weights[0] * 2).requires_grad
    assert [weight.requires_grad for weight in weights] == [True, False]
