"""The candidate operations do what section 1 of the DARTS fact sheet says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasbench.core.errors import GenotypeError
from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.darts import PRIMITIVES
from nasbench.spaces.depthwise import DepthwiseConv2d
from nasbench.spaces.ops import OPERATIONS, build, factorized_reduce

C = 4
WEIGHTS = {
    "none": 0,
    "max_pool_3x3": 0,
    "avg_pool_3x3": 0,
    "skip_connect": 0,
    "sep_conv_3x3": 2 * (9 * C + C * C),
    "sep_conv_5x5": 2 * (25 * C + C * C),
    "sep_conv_7x7": 2 * (49 * C + C * C),
    "dil_conv_3x3": 9 * C + C * C,
    "dil_conv_5x5": 25 * C + C * C,
    "conv_7x1_1x7": 14 * C * C,
    "nor_conv_1x1": C * C,
    "nor_conv_3x3": 9 * C * C,
    "noise": 0,
}
ALONE = ("conv_7x1_1x7", "nor_conv_1x1", "nor_conv_3x3")
BATCH_NORMS = {"sep_conv_3x3": 2, "sep_conv_5x5": 2, "sep_conv_7x7": 2, "dil_conv_3x3": 1, "dil_conv_5x5": 1}
REACH = {
    "max_pool_3x3": [-1, 0, 1],
    "avg_pool_3x3": [-1, 0, 1],
    "skip_connect": [0],
    "sep_conv_3x3": [-2, -1, 0, 1, 2],
    "sep_conv_5x5": [-4, -3, -2, -1, 0, 1, 2, 3, 4],
    "sep_conv_7x7": [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6],
    "dil_conv_3x3": [-2, 0, 2],
    "dil_conv_5x5": [-4, -2, 0, 2, 4],
    "conv_7x1_1x7": [-3, -2, -1, 0, 1, 2, 3],
    "nor_conv_1x1": [0],
    "nor_conv_3x3": [-1, 0, 1],
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_primitives_stand_in_the_papers_order() -> None:
    assert tuple(OPERATIONS)[:5] == PRIMITIVES[:5]
    assert set(PRIMITIVES) == set(OPERATIONS) - {"sep_conv_7x7", "noise", *ALONE}


@pytest.mark.parametrize("name", OPERATIONS)
def test_weights_with_and_without_affine_batch_norm(name: str) -> None:
    bias = C if name.startswith("nor_conv") else 0  # NAS-Bench-201 has one where the BN has none
    assert count(build(name, C, 1, affine=False)) == WEIGHTS[name] + bias
    norms = BATCH_NORMS.get(name, 1 if name in ALONE else 0)
    assert count(build(name, C, 1, affine=True)) == WEIGHTS[name] + norms * 2 * C
    assert not any(isinstance(m, nn.Conv2d) and m.bias is not None for m in build(name, C, 2, affine=True).modules())


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [(8, 8), (7, 7), (5, 8), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_sizes(name: str, size: tuple[int, int], stride: int) -> None:
    output = build(name, C, stride, affine=False)(torch.randn(3, C, *size))
    assert output.shape == (3, C, -(-size[0] // stride), -(-size[1] // stride))


TWICE = ("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7")


@pytest.mark.parametrize(
    ("name", "stride"),
    [(name, 1) for name in REACH] + [(name, 2) for name in REACH if name not in {*TWICE, "skip_connect"}],
)
def test_reach(name: str, stride: int) -> None:
    """Which columns the middle output sees: sep_conv is applied twice, dil_conv leaves out every other column."""
    torch.manual_seed(0)
    operation = build(name, C, stride, affine=False).eval()
    seen = torch.zeros(24)
    for _ in range(60 if name == "max_pool_3x3" else 1):  # a maximum shows one pixel a draw
        x = (torch.rand(1, C, 24, 24) + 1).requires_grad_()
        (gradient,) = torch.autograd.grad(operation(x)[0, 0, 12 // stride, 12 // stride], x)
        seen += gradient.abs().sum(dim=(0, 1, 2))
    assert (seen.nonzero().flatten() - 12).tolist() == REACH[name]


def test_average_pool_does_not_count_the_padding() -> None:
    assert torch.allclose(build("avg_pool_3x3", C, 1, affine=False)(torch.ones(1, C, 4, 4)), torch.ones(1, C, 4, 4))


def test_none_is_zero_even_of_infinity() -> None:
    assert not build("none", C, 2, affine=False)(torch.full((1, C, 4, 4), torch.inf)).any()


def test_stride_one_skip_is_the_identity() -> None:
    assert isinstance(build("skip_connect", C, 1, affine=True), nn.Identity)


@pytest.mark.parametrize("size", [6, 5])
def test_factorized_reduce_reads_even_and_odd_pixels(size: int) -> None:
    operation = factorized_reduce(1, 3, affine=False).eval()
    halves = operation.body
    assert (halves.even.out_channels, halves.odd.out_channels) == (1, 2)
    with torch.no_grad():
        halves.even.weight.fill_(1.0)
        halves.odd.weight.fill_(1.0)
    image = torch.arange(1.0, size * size + 1).reshape(1, 1, size, size)
    padded = torch.zeros(7, 7)
    padded[:size, :size] = image
    output = operation.body(image)[0]
    assert torch.equal(output[0], image[0, 0, ::2, ::2])
    assert torch.equal(output[1], padded[1 : size + 1 : 2, 1 : size + 1 : 2])
    assert torch.equal(output[2], output[1])


def test_convolutions_ignore_negative_input() -> None:
    for name in ("sep_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7"):
        operation = build(name, C, 1, affine=False).eval()
        assert not operation(-torch.rand(1, C, 6, 6)).any()


def test_batch_norm_equals_pytorchs() -> None:
    torch.manual_seed(0)
    for affine in (False, True):
        mine, theirs = BatchNorm(C, affine=affine), nn.BatchNorm2d(C, affine=affine)
        for _ in range(3):
            x = torch.randn(5, C, 3, 3)
            assert torch.equal(mine(x), theirs(x))
        assert torch.equal(mine.eval()(x), theirs.eval()(x))
        mine.batch_statistics = True
        assert torch.equal(mine(x), theirs.train()(x))


def test_unknown_operation() -> None:
    with pytest.raises(GenotypeError, match=r"no operation 'sep_conv_3x4'.*Did you mean 'sep_conv_3x3'"):
        build("sep_conv_3x4", C, 1, affine=False)


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (6, 9), (1, 1)])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (7, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolution_equals_pytorchs(size: tuple[int, int], kernel: int, dilation: int, stride: int) -> None:
    torch.manual_seed(0)
    mine = DepthwiseConv2d(C, kernel, stride, dilation).double()
    padding = dilation * (kernel // 2)
    theirs = nn.Conv2d(C, C, kernel, stride, padding, dilation, groups=C, bias=False).double()
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(3, C, *size, dtype=torch.float64, requires_grad=True)

    def derivatives(layer: nn.Module) -> list[torch.Tensor]:
        output = layer(x)
        first = torch.autograd.grad(output.pow(3).sum(), [x, layer.weight], create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), [x, layer.weight])
        return [output, *first, *second]

    for ours, reference in zip(derivatives(mine), derivatives(theirs), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-10)


def test_noise_ignores_its_input_lets_no_gradient_pass_and_draws_in_evaluation_too() -> None:
    noise = build("noise", C, 2, affine=True).eval()
    x = torch.full((4, C, 8, 8), 1e9, requires_grad=True)
    torch.manual_seed(0)
    first, second = noise(x), noise(x)
    torch.manual_seed(0)
    assert torch.equal(noise(torch.zeros_like(x)), first)
    assert not torch.equal(first, second)
    assert not first.requires_grad
    assert abs(float(first.mean())) < 0.5
    assert 0.7 < float(first.std()) < 1.3
