"""The compiled kernels: the same function as plain steps, in every form that they are asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nasbench.spaces import compiled, kernel_library
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import use_batch_statistics
from nasbench.spaces.compiled import Form, Operation, Term
from nasbench.spaces.darts import Darts
from nasbench.spaces.network import build_network
from nasbench.spaces.ops import build
from nasbench.spaces.published import published_cells
from nasbench.spaces.separable import Moments
from nasbench.training.cost import measure
from tests.kernels import needs_kernels

ROOT = Path(__file__).resolve().parents[2]
EPS = 1e-5
TERMS = [Term("skip_connect"), Term("avg_pool_3x3", norm=True), Term("max_pool_3x3", norm=True)]

pytestmark = needs_kernels


def made(form: Form, channels: int, dtype: torch.dtype) -> Operation:
    """An operation with drawn weights."""
    rows, size = len(form.edges), form.kernel**2
    shapes = [(rows, channels, size)] * form.repeats + [(rows, channels, channels)] * form.repeats
    if form.dense:
        shapes = [(rows, channels, channels * size), (rows, channels)]
    return Operation(form, [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes], None)


def plain_fan(x: Tensor, stride: int, operations: Sequence[Operation], terms, factors: Tensor) -> list[Tensor]:
    """Edge by edge with PyTorch's modules' functions."""
    channels, edges = x.shape[1], factors.shape[1]
    sums: list[Tensor | float] = [0.0] * edges
    for factor, (form, weights, _) in zip(factors, operations, strict=False):
        for row, edge in enumerate(form.edges):
            sums[edge] = sums[edge] + factor[edge] * plain_operation(F.relu(x), stride, form, [w[row] for w in weights])
    for factor, term in zip(factors[len(operations) :], terms, strict=True):
        value = x
        if term.kind == "avg_pool_3x3":
            value = F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
        elif term.kind == "max_pool_3x3":
            value = F.max_pool2d(x, 3, stride, padding=1)
        value = F.batch_norm(value, None, None, None, None, True, 0.0, EPS) if term.norm else value
        sums = [total + weight * value for total, weight in zip(sums, factor, strict=True)]
    assert all(isinstance(total, Tensor) and total.shape[1] == channels for total in sums)
    return sums


def plain_operation(x: Tensor, stride: int, form: Form, weights: list[Tensor]) -> Tensor:
    channels, k = x.shape[1], form.kernel
    for number in range(form.repeats):
        first, second = weights[number :: form.repeats]
        stride_here, padding = (1 if number else stride), form.dilation * (k // 2)
        if form.dense:
            x = F.conv2d(x, first.view(channels, channels, k, k), second, stride_here, padding)
        else:
            x = F.conv2d(F.relu(x), first.view(channels, 1, k, k), None, stride_here, padding, form.dilation, channels)
            x = F.conv2d(x, second.view(channels, channels, 1, 1))
        x = F.batch_norm(x, None, None, None, None, True, 0.0, EPS)
    return x


def draw(seed: int, channels: int, size, batch: int, stride: int, forms, terms, edges: int, dtype=torch.float64):
    torch.manual_seed(seed)
    x = torch.randn(batch, channels, *size, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    operations = [made(form, channels, dtype) for form in forms]
    factors = torch.rand(len(forms) + len(terms), edges, dtype=dtype, requires_grad=True)
    return x, stride, operations, terms, factors


def both(case, grads=None):
    """Outputs and all gradients, by the kernels and plainly."""
    x, stride, operations, terms, factors = case
    inputs = [x, factors, *(weight for own in operations for weight in own.weights)]
    results = []
    for outputs in (compiled.fan(x, stride, operations, terms, factors, EPS)[0], plain_fan(*case)):
        generator = torch.Generator().manual_seed(9)
        grads = [torch.randn(out.shape, dtype=out.dtype, generator=generator) for out in outputs]
        results.append([*outputs, *torch.autograd.grad(list(outputs), inputs, grads)])
    return results


SEPARABLE = [
    Form(tuple(range(3)), 3, 1, 2),
    Form(tuple(range(3)), 5, 1, 2),
    Form((0, 1, 2), 3, 2),
    Form((0, 1, 2), 5, 2),
]
SUBSETS = [Form((0, 2), 3, 1, 2), Form((1,), 7, 1, 2), Form((2,), 5, 2), Form((0, 1), 3, 2)]
DENSE = [Form((0, 1, 2), 3, dense=True), Form((1,), 1, dense=True), Form((0, 2), 3, 1, 2)]


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 8, 16, 20, 32])
@pytest.mark.parametrize(("size", "stride"), [((8, 8), 1), ((7, 11), 1), ((8, 8), 2), ((7, 11), 2), ((2, 2), 1)])
@pytest.mark.parametrize("forms", [SEPARABLE, SUBSETS], ids=["all edges", "some edges"])
def test_separable_convolutions_and_pools_equal_plain_steps(channels, size, stride, forms):
    terms = TERMS if stride == 1 else TERMS[1:]
    found, expected = both(draw(0, channels, size, 3, stride, forms, terms, 3))
    tolerance = 1e-10 if channels > 1 else 1e-6  # a single channel's normalised output hardly depends on its weights
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 4, 6, 8, 16, 20, 32, 48])
@pytest.mark.parametrize("size", [(8, 8), (7, 11), (17, 16), (1, 1)])
def test_ordinary_convolutions_and_bare_pools_equal_plain_steps(channels, size):
    terms = [Term("avg_pool_3x3"), Term("max_pool_3x3"), Term("skip_connect")]
    found, expected = both(draw(1, channels, size, 9, 1, DENSE, terms, 3))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_without_operations_or_terms():
    found, expected = both(draw(3, 4, (5, 6), 2, 1, [], TERMS, 3))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    found, expected = both(draw(3, 4, (5, 6), 2, 2, SEPARABLE, [], 3))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("highest", [0, 1])
@pytest.mark.parametrize("channels", [4, 8, 16, 20])
def test_every_set_of_instructions_computes_the_same(highest, channels):
    case = draw(4, channels, (9, 8), 3, 1, [*SEPARABLE, *DENSE], TERMS, 3, torch.float32)
    best, _ = both(case)
    library = kernel_library.library()
    library.nasbench_limit_level(highest)
    try:
        assert compiled.level() in ("baseline", "AVX2")[: highest + 1]
        other, _ = both(case)
    finally:
        library.nasbench_limit_level(2)
    for a, b in zip(other, best, strict=True):
        assert (a - b).abs().max() <= 2e-5 * max(1, b.detach().abs().max())


def test_bits_depend_on_neither_threads_nor_earlier_calls():
    case = draw(5, 16, (9, 8), 11, 1, [*SEPARABLE, *DENSE], TERMS, 3, torch.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3, 1):
            torch.set_num_threads(number)
            found.append(both(case)[0])
            both(draw(6, 4, (3, 5), 2, 2, SEPARABLE, TERMS[1:], 3))  # leaves other numbers in the scratch memory
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


def test_edges_that_nothing_was_asked_of():
    case = draw(7, 8, (6, 6), 3, 1, SEPARABLE, TERMS, 3)
    x, stride, operations, terms, factors = case
    results = [
        torch.autograd.grad(outputs[1].square().sum(), [x, factors, *operations[0].weights])
        for outputs in (compiled.fan(x, stride, operations, terms, factors, EPS)[0], plain_fan(*case))
    ]
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("wanted", ["factors", "x", "weights"])
def test_only_what_is_wanted(wanted):
    case = draw(8, 8, (6, 6), 3, 1, [*SEPARABLE, *DENSE], TERMS, 3)
    x, stride, operations, terms, factors = case
    weights = [weight for own in operations for weight in own.weights]
    asked = {"factors": [factors], "x": [x], "weights": weights}[wanted]
    for tensor in (x, factors, *weights):
        tensor.requires_grad_(any(tensor is one for one in asked))
    results = [
        torch.autograd.grad(sum(out.square().sum() for out in outputs), asked)
        for outputs in (compiled.fan(x, stride, operations, terms, factors, EPS)[0], plain_fan(*case))
    ]
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("forms", [SUBSETS, DENSE], ids=["separable", "ordinary"])
def test_second_derivatives(forms):
    case = draw(9, 4, (5, 6), 3, 1, forms, TERMS, 3)
    x, stride, operations, terms, factors = case
    inputs = [x, factors, *(weight for own in operations for weight in own.weights)]
    results = []
    for outputs in (compiled.fan(x, stride, operations, terms, factors, EPS)[0], plain_fan(*case)):
        loss = sum((out**3).sum() for out in outputs)
        first = torch.autograd.grad(loss, inputs, create_graph=True)
        results.append(torch.autograd.grad(sum(part.square().sum() for part in first), inputs))
    largest = max(part.abs().max() for part in results[1])  # a bias has none, but for rounding
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-10 * float(largest))


def test_running_statistics_have_no_gradient_and_too_much_is_refused():
    x, stride, (operation,), _, _ = draw(10, 4, (5, 6), 3, 1, SEPARABLE[2:3], [], 3)
    running = [Moments(torch.zeros(3, 4).double(), torch.ones(3, 4).double())]
    factors = torch.ones(1, 3).double()
    with pytest.raises(RuntimeError, match="no gradient with running statistics"):
        compiled.fan(x, stride, [operation._replace(running=running)], [], factors, EPS)
    with pytest.raises(ValueError, match="17 operations and 0 terms; the kernels take up to 16 and 3"):
        compiled.fan(x, stride, [operation] * 17, [], torch.ones(17, 3).double(), EPS)


def test_what_is_not_a_number_stays_so():
    x, stride, operations, _, factors = draw(11, 4, (5, 6), 3, 1, SEPARABLE, [], 3)
    with torch.no_grad():
        x[0, 0, 0, 0] = float("nan")
        outputs, _ = compiled.fan(x, stride, operations, [], factors, EPS)
        pooled, _ = compiled.fan(x, stride, [], [Term("max_pool_3x3")], factors[:1], EPS)
    assert all(out.isnan().any() for out in outputs)
    assert all(out[0, 0, :2, :2].isnan().all() for out in pooled)


def test_tensors_that_were_kept_elsewhere_and_outputs_that_are_changed():
    case = draw(13, 4, (5, 6), 3, 1, SEPARABLE, TERMS, 3)
    expected = both(case)[1]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(memory_format=torch.contiguous_format),
                                                  lambda t: t):  # fmt: skip
        found = both(case)[0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    compiled.fan(*case, EPS)[0][0].mul_(2)
    with pytest.raises(TypeError, match="of the input's type"):
        compiled.fan(case[0].float(), *case[1:], EPS)


def test_single_precision_is_no_further_from_double_than_pytorch():
    case = draw(12, 16, (16, 16), 8, 1, [*SEPARABLE, *DENSE], TERMS, 3)
    exact = both(case)[1]
    x, stride, operations, terms, factors = case
    with torch.no_grad():
        for own in operations:
            own.weights[:] = [weight.detach().float().requires_grad_() for weight in own.weights]
    single = (x.detach().float().requires_grad_(), stride, operations, terms, factors.detach().float().requires_grad_())
    found, plain = both(single)
    for a, b, expected in zip(found, plain, exact, strict=True):
        mine, theirs = ((one.double() - expected).norm() for one in (a, b))
        assert mine <= 2 * theirs + 1e-6 * expected.norm()


@pytest.mark.parametrize("channels", [4, 6])
@pytest.mark.parametrize("mode", ["train", "eval", "batch", "eval with gradients"])
def test_discrete_networks_compute_the_same(channels, mode):
    shape = NetworkShape(num_cells=3, channels=channels, num_classes=5, in_channels=2, image_size=8)
    results = []
    for enabled in (False, True):
        torch.manual_seed(0)
        network: nn.Module = build_network(published_cells("DARTS_V2"), shape).double()
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        network.train(mode == "train")
        use_batch_statistics(network, mode == "batch")
        images = torch.randn(4, 2, 8, 8, dtype=torch.float64)
        with compiled.used(enabled), torch.set_grad_enabled(mode != "eval"):
            logits = network(images).logits
            given = [] if mode == "eval" else torch.autograd.grad(logits.square().sum(), list(network.parameters()))
        results.append([logits, *given, *network.buffers()])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["sep_conv_3x3", "dil_conv_5x5", "nor_conv_3x3"])
def test_the_kernels_are_what_computes(name, kernel_calls):
    """So that the comparisons above do not compare PyTorch with itself."""
    operation, x = build(name, 4, 1, True), torch.randn(2, 4, 5, 5)
    operation(x).sum().backward()
    assert kernel_calls == []
    with compiled.used():
        operation(x).sum().backward()
        assert kernel_calls == ["chain_forward", "chain_backward"]
        supernet = Darts().supernet(NetworkShape(num_cells=3, channels=4, num_classes=5, in_channels=2, image_size=8))
        weights = {group: torch.full(full, 0.125) for group, full in Darts().alpha_shapes.items()}
        supernet(torch.randn(2, 2, 8, 8), weights)
        assert kernel_calls.count("forward") == 3 * 5  # every fan of every cell
        with torch.autocast("cpu"):
            operation(x)
        assert len(kernel_calls) == 2 + 3 * 5
    assert not compiled.wanted_for(x)


def test_multiply_adds_are_counted_all_the_same():
    shape = NetworkShape(num_cells=3, channels=4, num_classes=5, in_channels=2, image_size=8)
    network = build_network(published_cells("DARTS_V2"), shape)
    counted = measure(network, (2, 8, 8))
    with compiled.used():
        assert measure(network, (2, 8, 8)) == counted


@pytest.mark.parametrize("training", [True, False])
def test_one_pixel_has_no_statistics(training):
    operation = build("sep_conv_3x3", 4, 1, True).train(training)
    use_batch_statistics(operation, not training)
    with compiled.used(), pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        operation(torch.randn(1, 4, 1, 1))


def test_weights_of_other_channels_are_refused():
    with compiled.used(), pytest.raises(ValueError, match="not that of 8 channels in and 4 out"):
        build("sep_conv_3x3", 4, 1, True)(torch.randn(2, 8, 5, 5))


def test_frozen_statistics_stay():
    operation = build("sep_conv_3x3", 4, 1, True)
    operation.norm.eval()
    operation.body[2].eval()
    before = [buffer.clone() for buffer in operation.buffers()]
    with compiled.used(), torch.no_grad():
        operation(torch.randn(2, 4, 5, 5))
    assert operation.training
    assert all(map(torch.equal, before, operation.buffers()))


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
@pytest.mark.parametrize("part", ["body", "norm"])
def test_who_listens_to_a_part_is_told(kind, part):
    operation, told = build("sep_conv_3x3", 4, 1, True), []
    getattr(getattr(operation, part), kind)(lambda *_: told.append(part))
    with compiled.used():
        operation(torch.randn(2, 4, 5, 5, requires_grad=True)).sum().backward()
    assert told


def test_second_derivatives_of_some_edges():
    forms = [Form((0,), 3, 1, 2), Form((1,), 3, 2)]
    x, stride, operations, terms, factors = case = draw(14, 4, (5, 6), 3, 1, forms, TERMS, 2)
    inputs = [x, *operations[1].weights]
    results = []
    for outputs in (compiled.fan(x, stride, operations, terms, factors, EPS)[0], plain_fan(*case)):
        first = torch.autograd.grad((outputs[1] ** 3).sum(), inputs, create_graph=True)
        results.append(torch.autograd.grad(sum(part.square().sum() for part in first), inputs))
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-8)


def test_where_they_were_not_built_a_warning_says_so(monkeypatch):
    monkeypatch.setattr(compiled, "available", lambda: False)
    with pytest.warns(RuntimeWarning, match="kernels were not built [^|]* GCC"):
        compiled.use(True)
    assert not compiled.wanted_for(torch.ones(1, 4, 4, 4))


def test_kernels_of_other_sources_are_not_used(monkeypatch):
    monkeypatch.setattr(kernel_library, "_sources", lambda: 1)
    kernel_library.library.cache_clear()
    try:
        assert not kernel_library.available()
        assert kernel_library.level() == "none"
        monkeypatch.setattr(kernel_library, "_sources", lambda: None)  # where no sources lie beside it
        kernel_library.library.cache_clear()
        assert kernel_library.available()
    finally:
        kernel_library.library.cache_clear()


def test_the_package_installs_without_a_compiler(tmp_path):
    """The extension is optional: what it is built by may fail."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path / "lib"),
               "--build-temp", str(tmp_path / "temp")]  # fmt: skip
    without = {"PATH": "", "CC": "/nonexistent/cc"}
    done = subprocess.run(command, cwd=ROOT, env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.so"))
