"""Chains by the compiled kernels: the same function as plain steps, and whole networks of NAS-Bench-201 by them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasbench.core.genotype import Genotype
from nasbench.spaces import chain_call, compiled, kernel_library
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import use_batch_statistics
from nasbench.spaces.chain_forms import ChainForm, Link, Part, Shape
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.spaces.nas_bench_201_five_vertices import NasBench201FiveVertices
from nasbench.spaces.ops import build
from tests.kernels import needs_kernels

pytestmark = needs_kernels

EPS = 1e-5
WIDTHS = [1, 3, 4, 8, 16, 20, 48]
SIZES = [(8, 8), (7, 11), (17, 16), (1, 2)]


class Made:
    """A chain with drawn tensors."""

    def __init__(self, seed: int, widths: Sequence[int], size: tuple[int, int], batch: int = 3) -> None:
        torch.manual_seed(seed)
        self.states = [Shape(width, *size) for width in widths]
        self.links: list[Link] = []
        self.tensors: list[Tensor] = []
        self.factors = torch.randn(16, dtype=torch.float64).requires_grad_()
        x = torch.randn(batch, widths[0], *size, dtype=torch.float64)
        self.x = x.to(memory_format=torch.channels_last).requires_grad_()

    def drawn(self, *shape: int) -> Part:
        self.tensors.append(torch.randn(shape, dtype=torch.float64).requires_grad_())
        return Part(len(self.tensors) - 1, None)

    def halve(self, *states: int) -> None:
        for number in states:
            width, height, own = self.states[number]
            self.states[number] = Shape(width, -(-height // 2), -(-own // 2))

    def add(self, source: int, target: int, kind: str, *, kernel=0, stride=1, dilation=1, norm="batch", factor=None,
            bias=False, affine=False):  # fmt: skip
        parts: dict[str, Part] = {}
        (c_in, *_), (c_out, *_) = self.states[source], self.states[target]
        if kind == "separable":
            parts["depthwise"] = self.drawn(c_in, 1, kernel, kernel)
        if kernel:
            side = 1 if kind == "separable" else kernel
            parts["weight"] = self.drawn(c_out, c_in, side, side)
        if bias:
            parts["bias"] = self.drawn(c_out)
        if affine:
            parts |= {"gain": self.drawn(c_out), "shift": self.drawn(c_out)}
        mode = norm if kernel else "none"
        self.links.append(Link(source, target, kind, factor, kernel, stride, dilation, mode, tuple(parts.items())))

    @property
    def form(self) -> ChainForm:
        return ChainForm(tuple(self.states), tuple(sorted(self.links, key=lambda link: link.source)), EPS)

    def both(self) -> list[list[Tensor | None]]:
        """Output and all gradients, by the kernels and in plain steps."""
        results = []
        inputs = [self.x, self.factors, *self.tensors]
        form, running = self.form, [None] * len(self.links)
        for compute in (
            lambda: chain_call.chain(self.x, form, self.factors, self.tensors, running),
            lambda: form.plain(self.factors, self.x, *self.tensors),
        ):
            output = compute()
            torch.manual_seed(1)
            grad = torch.randn(output.shape, dtype=torch.float64).to(output.dtype)
            results.append([output, *torch.autograd.grad(output, inputs, grad, allow_unused=True)])
        return results

    def single(self) -> None:
        """Go on in single precision."""
        self.x = self.x.detach().float().requires_grad_()
        self.factors = self.factors.detach().float().requires_grad_()
        self.tensors = [tensor.detach().float().requires_grad_() for tensor in self.tensors]


def cell(seed: int, width: int, size: tuple[int, int], batch: int = 3) -> Made:
    """Every kind of link between states of one width, with several that leave and enter a state."""
    made = Made(seed, [width] * 4, size, batch)
    made.add(0, 1, "convolution", kernel=3, factor=0, bias=True)
    made.add(0, 1, "skip_connect", factor=1)
    made.add(0, 2, "convolution", kernel=1, affine=True)
    made.add(0, 2, "separable", kernel=5, dilation=2, factor=2)
    made.add(1, 2, "avg_pool_3x3", factor=3)
    made.add(1, 2, "one", factor=4)
    made.add(1, 3, "convolution", kernel=3, factor=5)
    made.add(1, 3, "separable", kernel=3, affine=True)
    made.add(2, 3, "convolution", kernel=3, bias=True, affine=True, factor=6)
    made.add(0, 3, "avg_pool_3x3")
    made.add(2, 3, "skip_connect")
    return made


def block(seed: int, widths: Sequence[int], size: tuple[int, int], batch: int = 3) -> Made:
    """Half the pixels and other channels: what lies between stages, and separable convolutions of stride 2."""
    made = Made(seed, [*widths, widths[1]], size, batch)
    made.halve(1, 2)
    made.add(0, 1, "convolution", kernel=3, stride=2, affine=True)
    made.add(0, 1, "separable", kernel=7, stride=2, factor=0)
    made.add(0, 2, "separable", kernel=3, stride=2, dilation=2)
    made.add(0, 2, "projection", kernel=1, norm="none", factor=1)
    made.add(1, 2, "convolution", kernel=3, affine=True)
    return made


def assert_equal(results, tolerance: float = 1e-10) -> None:
    found, expected = results
    assert [part is None for part in found] == [part is None for part in expected]
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if b is not None]
    largest = max(float(b.detach().abs().max()) for _, b in pairs)  # biases before a BN have none, but for rounding
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(1.0, largest))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", SIZES)
def test_links_between_states_of_one_width_equal_plain_steps(width, size):
    assert_equal(cell(0, width, size).both(), 1e-10 if width > 1 and size != (1, 2) else 1e-7)


@pytest.mark.parametrize("widths", [(1, 2), (4, 8), (16, 32), (20, 7), (16, 16), (3, 16)])
@pytest.mark.parametrize("size", [(8, 8), (7, 11), (18, 17)])
def test_links_that_halve_the_pixels_equal_plain_steps(widths, size):
    assert_equal(block(1, widths, size).both())


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_separable_convolutions_of_every_form(kernel, dilation, stride):
    made = Made(2, [6, 9], (9, 10))
    if stride == 2:
        made.halve(1)
    made.add(0, 1, "separable", kernel=kernel, dilation=dilation, stride=stride, affine=True)
    assert_equal(made.both())


def test_batches_that_do_not_divide():
    for batch in (1, 2, 9, 13):
        assert_equal(cell(3, 5, (6, 7), batch).both())


def test_what_leads_nowhere_has_no_gradient():
    made = Made(4, [4] * 4, (5, 6))
    made.add(0, 1, "convolution", kernel=3, factor=0)  # to a state that nothing leaves
    made.add(0, 2, "convolution", kernel=1, factor=1)
    made.add(1, 2, "one", factor=2)
    made.add(2, 3, "skip_connect", factor=3)
    found, expected = made.both()
    assert expected[3] is None
    assert_equal([found, expected])


def test_states_that_nothing_enters_are_zero():
    made = Made(5, [4] * 3, (5, 6))
    made.add(1, 2, "convolution", kernel=3, bias=True, affine=True)
    made.add(1, 2, "skip_connect")
    found, expected = made.both()
    assert expected[1] is None
    assert_equal([found, expected])


@pytest.mark.parametrize("wanted", ["factors", "x", "tensors"])
def test_only_what_is_wanted(wanted):
    made = cell(6, 8, (6, 6))
    asked = {"factors": [made.factors], "x": [made.x], "tensors": made.tensors}[wanted]
    for tensor in (made.x, made.factors, *made.tensors):
        tensor.requires_grad_(any(tensor is one for one in asked))
    form, running = made.form, [None] * len(made.links)
    results = [
        torch.autograd.grad(output.square().sum(), asked)
        for output in (
            chain_call.chain(made.x, form, made.factors, made.tensors, running),
            form.plain(made.factors, made.x, *made.tensors),
        )
    ]
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


def test_second_derivatives():
    made = cell(7, 4, (5, 6))
    form, running = made.form, [None] * len(made.links)
    inputs, results = [made.x, made.factors, *made.tensors], []
    for output in (
        chain_call.chain(made.x, form, made.factors, made.tensors, running),
        form.plain(made.factors, made.x, *made.tensors),
    ):
        first = torch.autograd.grad((output**3).sum(), inputs, create_graph=True)
        results.append(torch.autograd.grad(sum(part.square().sum() for part in first), inputs))
    largest = max(part.abs().max() for part in results[1])
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-10 * float(largest))


@pytest.mark.parametrize("highest", [0, 1])
@pytest.mark.parametrize("width", [4, 16, 20])
def test_every_set_of_instructions_computes_the_same(highest, width):
    cases = [cell(8, width, (9, 8)), block(8, (width, 2 * width), (9, 8))]
    for made in cases:
        made.single()
    best = [made.both()[0] for made in cases]
    library = kernel_library.library()
    library.nasbench_limit_level(highest)
    try:
        other = [made.both()[0] for made in cases]
    finally:
        library.nasbench_limit_level(2)
    for found, expected in zip(other, best, strict=True):
        largest = max(part.abs().max() for part in expected[1:])
        for a, b in zip(found, expected, strict=True):
            assert (a - b).abs().max() <= 2e-5 * max(1, float(largest))


def test_bits_depend_on_neither_threads_nor_earlier_calls():
    made = cell(9, 16, (9, 8), 11)
    made.single()
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3, 1):
            torch.set_num_threads(number)
            found.append(made.both()[0])
            block(10, (4, 7), (3, 5), 2).both()  # leaves other numbers in the scratch memory
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


@pytest.mark.parametrize("make", [lambda: cell(11, 16, (16, 16), 8), lambda: block(11, (16, 32), (16, 16), 8)])
def test_single_precision_is_no_further_from_double_than_pytorch(make):
    made = make()
    exact = made.both()[1]
    made.single()
    for mine, theirs, expected in zip(*made.both(), exact, strict=True):
        distances = [float((part.detach().double() - expected.detach()).norm()) for part in (mine, theirs)]
        assert distances[0] <= 2 * distances[1] + 1e-6 * float(expected.detach().norm())


def test_tensors_that_were_kept_elsewhere():
    for made in (cell(12, 4, (5, 6)), cell(12, 16, (5, 6))):
        expected = made.both()[1]
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: t.detach().clone(memory_format=torch.contiguous_format),
            lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape),  # at an address of no use to lanes
        ):
            found = made.both()[0]
        assert_equal([found, expected])


def test_what_is_not_a_number_stays_so():
    made = cell(13, 4, (5, 6))
    with torch.no_grad():
        made.x[0, 0, 0, 0] = float("nan")
        output = chain_call.chain(made.x, made.form, made.factors, made.tensors, [None] * len(made.links))
    assert output.isnan().any(dim=(0, 2, 3)).all()


def test_what_is_refused():
    made = cell(14, 4, (5, 6))
    running = [None] * len(made.links)
    with pytest.raises(TypeError, match=r"of the input's type, torch.float32"):
        chain_call.chain(made.x.float(), made.form, made.factors, made.tensors, running)
    lone = Made(14, [4, 4], (1, 1), 1)
    lone.add(0, 1, "convolution", kernel=3)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        chain_call.chain(lone.x, lone.form, lone.factors, lone.tensors, [None])
    fixed = Made(14, [4, 4], (5, 6))
    fixed.add(0, 1, "convolution", kernel=3, norm="running")
    tables = [(torch.zeros(4).double(), torch.ones(4).double(), 0.1)]
    with pytest.raises(RuntimeError, match="no gradient with running statistics"):
        chain_call.chain(fixed.x, fixed.form, fixed.factors, fixed.tensors, tables)


def used(network: nn.Module, compute, mode: str, inputs: Sequence[Tensor]) -> list[list[Tensor | None]]:
    """Logits, gradients and buffers of a network without and with the kernels, from the same start."""
    results, start = [], {name: value.clone() for name, value in network.state_dict().items()}
    for enabled in (False, True):
        network.load_state_dict(start)
        network.train(mode in {"train", "drop path"})
        use_batch_statistics(network, mode == "batch")
        with compiled.used(enabled), torch.set_grad_enabled(mode != "eval"):
            logits = compute()
            asked = [*inputs, *network.parameters()]
            loss = logits.square().sum()
            given = [] if mode == "eval" else torch.autograd.grad(loss, asked, allow_unused=True)
        floats = [buffer.clone() for buffer in network.buffers() if buffer.is_floating_point()]
        results.append([logits, *given, *floats])
    return results


SHAPE = NetworkShape(num_cells=6, channels=10, num_classes=5, in_channels=2, image_size=9)


@pytest.mark.parametrize("space", [NasBench201(), NasBench201FiveVertices()], ids=lambda space: space.name)
@pytest.mark.parametrize("mode", ["train", "eval", "batch"])
@pytest.mark.parametrize("sample", [None, 0, 1, 2, 3, "biased"])
def test_supernets_are_a_call_for_each_stage_with_gradients_and_for_each_part_without(
    space, mode, sample, kernel_calls
):
    torch.manual_seed(0)
    network = space.supernet(SHAPE).double()
    ((edges, operations),) = space.alpha_shapes.values()
    weights = torch.randn(edges, operations).double().requires_grad_()
    added = torch.randn(edges).double().requires_grad_() if sample == "biased" else None
    active = None
    if sample is not None:
        generator = np.random.default_rng(0 if added is not None else sample)
        active = {"cell": np.eye(operations, dtype=bool)[generator.integers(operations, size=edges)]}
    images = torch.randn(3, 2, 9, 9).double()

    def compute() -> Tensor:
        bias = None if added is None else {"cell": added}
        return network(images, {"cell": weights}, active=active, edge_bias=bias)

    results = used(network, compute, mode, [weights, *([] if added is None else [added])])
    assert_equal(results[::-1], 1e-9)
    assert kernel_calls == (["chain_forward"] * 8 if mode == "eval" else ["chain_forward"] * 3 + ["chain_backward"] * 3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["train", "eval", "batch", "eval with gradients", "drop path"])
def test_discrete_networks(seed, mode, kernel_calls):
    torch.manual_seed(seed)
    genes = tuple(np.random.default_rng(seed).integers(5, size=6).tolist())
    network = NasBench201().network(Genotype(space="nas-bench-201", genes=genes), SHAPE).double()
    images = torch.randn(3, 2, 9, 9).double().requires_grad_()

    def compute() -> Tensor:
        torch.manual_seed(1)
        logits: Tensor = network(images, drop_path=0.3 if mode == "drop path" else 0.0).logits
        return logits

    assert_equal(used(network, compute, mode, [images])[::-1], 1e-9)
    whole = {"train": ["chain_forward"] * 3 + ["chain_backward"] * 3, "eval": ["chain_forward"] * 8}
    assert kernel_calls == whole.get("train" if mode == "batch" else mode, kernel_calls)
    assert mode != "eval with gradients" or not kernel_calls


@pytest.mark.parametrize(("channels", "kernels"), [(4, False), (8, True)])
def test_narrow_steps_of_chosen_operations_hold_no_more_than_pytorchs(channels, kernels, kernel_calls):
    space = NasBench201()
    network = space.supernet(NetworkShape(num_cells=3, channels=channels, num_classes=5, in_channels=2, image_size=8))
    images, weights, active = (
        torch.randn(2, 2, 8, 8),
        {"cell": torch.ones(6, 5)},
        {"cell": np.eye(5, dtype=bool)[[3] * 6]},
    )
    with compiled.used():
        network(images, weights, active=active)
        assert bool(kernel_calls) == kernels
        for given in (None, active):  # all operations, of which the textbook holds more; and no gradient to hold for
            kernel_calls.clear()
            with torch.set_grad_enabled(given is None):
                network(images, weights, active=given)
            assert kernel_calls


@pytest.mark.parametrize("part", ["cells.0", "cells.1.graph", "blocks.2", "blocks.2.first.norm"])
def test_who_listens_to_a_part_is_told(part, kernel_calls):
    network, told = NasBench201().supernet(SHAPE), []
    network.get_submodule(f"chain.{part}").register_forward_hook(lambda *_: told.append(part))
    with compiled.used():
        network(torch.randn(2, 2, 9, 9), {"cell": torch.ones(6, 5)})
    assert told
    assert kernel_calls.count("chain_forward") != 1


def test_partial_channels_and_dropped_edges_are_computed_cell_by_cell(kernel_calls):
    space = NasBench201()
    for network, given in (
        (space.supernet(SHAPE, partial_channels=2), {}),
        (space.supernet(SHAPE), {"drop_path": 0.2}),
    ):
        with compiled.used():
            network(torch.randn(2, 2, 9, 9), {"cell": torch.ones(6, 5)}, **given)
    assert "forward" in kernel_calls  # the fans
    assert set(kernel_calls) == {"forward", "chain_forward"}  # and the residual blocks' convolutions


@pytest.mark.parametrize("channels", [4, 16, 36])
@pytest.mark.parametrize("name", ["sep_conv_3x3", "sep_conv_5x5", "dil_conv_5x5", "nor_conv_1x1", "nor_conv_3x3"])
@pytest.mark.parametrize("stride", [1, 2])
def test_operations_with_scale_and_shift(channels, name, stride, kernel_calls):
    torch.manual_seed(0)
    operation = build(name, channels, stride, True).double()
    for parameter in operation.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x = torch.randn(3, channels, 7, 6).double().requires_grad_()
    assert_equal(used(operation, lambda: operation(x), "train", [x])[::-1], 1e-9)
    assert bool(kernel_calls) == ((name, stride) != ("nor_conv_1x1", 2))  # which no network has
