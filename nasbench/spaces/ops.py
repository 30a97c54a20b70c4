"""Candidate operations of the DARTS family, as the published code defines them.

Inside a cell an operation maps [N, C, H, W] to [N, C, ceil(H/stride), ceil(W/stride)]; no convolution has a bias.

Reference: Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, section 3.1 and appendix A.1.
Differs from the paper: the stride-2 skip pads odd sizes with zeros and splits odd widths unevenly, where the
published code fails; for even sizes and widths nothing differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import GenotypeError, nearest
from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.chain_builder import ChainBuilder, ChainPart, by_kernels, knows
from nasbench.spaces.depthwise import DepthwiseConv2d


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Set whole images of [N, C, H, W] to zero with this probability p, and divide the others by 1 - p."""
    from torchvision.ops import stochastic_depth

    dropped: Tensor = stochastic_depth(x, probability, mode="row", training=True)
    return dropped


class ConvUnit(nn.Module):
    """ReLU, ``body``, BN.

    Args:
        body: Convolutions.
        channels: Of the output.
        affine: Whether the BN has a learned scale and shift.
    """

    def __init__(self, body: nn.Module, channels: int, affine: bool) -> None:
        super().__init__()
        self.body = body
        self.norm = BatchNorm(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the operation's output."""
        output: Tensor = self.norm(self.body(F.relu(x)))
        return output


class Zero(nn.Module):
    """The operation ``none``: zeros of the strided size."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros [N, C, ceil(H/stride), ceil(W/stride)]."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """The operation ``noise``: standard normal numbers of the strided size, whatever the input.

    No gradient reaches the input. It draws in training and evaluation, from PyTorch's current default generator.

    Reference: Zela et al., Understanding and Robustifying Differentiable Architecture Search, ICLR 2020,
    arXiv:1909.09656, section 3 (space S4).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return noise [N, C, ceil(H/stride), ceil(W/stride)], the same whatever the input's memory format."""
        strided = x[:, :, :: self.stride, :: self.stride]
        return torch.randn_like(strided, memory_format=torch.contiguous_format)


class HalvingConv(nn.Module):
    """Two pointwise convolutions of stride 2, the second one pixel down and right, side by side.

    Args:
        c_in: Input channels.
        c_out: Output channels; the first convolution makes c_out // 2 of them.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, c_in, H, W] to [N, c_out, ceil(H/2), ceil(W/2)]."""
        height, width = x.shape[-2:]
        shifted = F.pad(x, (0, width % 2, 0, height % 2))[:, :, 1:, 1:]
        return torch.cat([self.even(x), self.odd(shifted)], dim=1)


def factorized_reduce(c_in: int, c_out: int, affine: bool) -> ConvUnit:
    """Build ReLU, `HalvingConv`, BN: halves the resolution without losing a pixel."""
    return ConvUnit(HalvingConv(c_in, c_out), c_out, affine)


def relu_conv_bn(c_in: int, c_out: int, affine: bool) -> ConvUnit:
    """Build ReLU, pointwise convolution, BN."""
    return ConvUnit(nn.Conv2d(c_in, c_out, 1, bias=False), c_out, affine)


class KernelUnit(ConvUnit, ChainPart):
    """ReLU, convolutions with their BNs, by the compiled kernels where they are in use.

    Args:
        body: An ordinary convolution; or (depthwise, pointwise), with BN and ReLU between them if there are two such.
        channels: Of the output.
        affine: Whether the BNs have a learned scale and shift.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the operation's output."""
        known = by_kernels([[self]], x, (), called=True)
        return super().forward(x) if known is None else known

    def is_known(self, *given: Any) -> bool:
        """See the base class."""
        steps = self._steps
        return steps is not None and all(knows(convolutions) for convolutions, _ in steps)

    def link(self, chain: ChainBuilder, source: int, target: int | None = None) -> int:
        """See the base class; ``target`` is the state that it enters, or None to add one.

        Raises:
            TypeError: It is not known.
        """
        if (steps := self._steps) is None:
            raise TypeError("there are no kernels for this unit. Ask is_known first.")
        *before, (convolutions, norm) = steps
        for own, inner in before:
            source = chain.unit(source, own, inner)
        return chain.unit(source, convolutions, norm, target)

    @property
    def _steps(self) -> list[tuple[list[nn.Conv2d], BatchNorm]] | None:
        """Convolutions up to a BN, and that, in order, each after a ReLU; None where there is anything else."""
        steps: list[tuple[list[nn.Conv2d], BatchNorm]] = []
        convolutions: list[nn.Conv2d] = []
        rectified = True
        for part in (*(self.body if isinstance(self.body, nn.Sequential) else [self.body]), self.norm):
            if type(part) in {nn.Conv2d, DepthwiseConv2d} and rectified and len(convolutions) < 2:
                convolutions.append(part)
            elif type(part) is BatchNorm and convolutions and part.running_mean is not None:
                steps.append((convolutions, part))
                convolutions, rectified = [], False
            elif type(part) is nn.ReLU and not rectified:
                rectified = True
            else:
                return None
        return None if convolutions or rectified else steps


def _separable(channels: int, kernel: int, stride: int, dilation: int) -> tuple[nn.Module, nn.Module]:
    depthwise = DepthwiseConv2d(channels, kernel, stride, dilation)
    return depthwise, nn.Conv2d(channels, channels, 1, bias=False)


def sep_conv(channels: int, stride: int, affine: bool, *, kernel: int) -> ConvUnit:
    """Build the separable convolution: (ReLU, depthwise, pointwise, BN) twice, the stride in the first."""
    first = _separable(channels, kernel, stride, 1)
    second = _separable(channels, kernel, 1, 1)
    body = nn.Sequential(*first, BatchNorm(channels, affine=affine), nn.ReLU(), *second)
    return KernelUnit(body, channels, affine)


def dil_conv(channels: int, stride: int, affine: bool, *, kernel: int) -> ConvUnit:
    """Build ReLU, depthwise convolution of dilation 2, pointwise convolution, BN: once."""
    body = nn.Sequential(*_separable(channels, kernel, stride, 2))
    return KernelUnit(body, channels, affine)


def nor_conv(channels: int, stride: int, affine: bool, *, kernel: int) -> ConvUnit:
    """Build NAS-Bench-201's convolution: ReLU, convolution (with a bias where the BN has none), BN."""
    body = nn.Conv2d(channels, channels, kernel, stride=stride, padding=kernel // 2, bias=not affine)
    return KernelUnit(body, channels, affine)


def conv_7x1_1x7(channels: int, stride: int, affine: bool) -> ConvUnit:
    """Build ReLU, 1x7 and 7x1 convolution, BN (published AmoebaNet cells only)."""
    wide = nn.Conv2d(channels, channels, (1, 7), stride=(1, stride), padding=(0, 3), bias=False)
    tall = nn.Conv2d(channels, channels, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False)
    return ConvUnit(nn.Sequential(wide, tall), channels, affine)


def skip_connect(channels: int, stride: int, affine: bool) -> nn.Module:
    """Build the identity; at stride 2 a `factorized_reduce` that keeps the width."""
    return nn.Identity() if stride == 1 else factorized_reduce(channels, channels, affine)


class Builder(Protocol):
    """Makes an operation that keeps the number of channels."""

    def __call__(self, channels: int, stride: int, affine: bool) -> nn.Module:
        """Build it."""


def _with_kernel(build: Callable[..., nn.Module], kernel: int) -> Builder:
    def build_operation(channels: int, stride: int, affine: bool) -> nn.Module:
        return build(channels, stride, affine, kernel=kernel)

    return build_operation


OPERATIONS: Mapping[str, Builder] = {
    "none": lambda channels, stride, affine: Zero(stride),
    "max_pool_3x3": lambda channels, stride, affine: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda channels, stride, affine: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    "skip_connect": skip_connect,
    "sep_conv_3x3": _with_kernel(sep_conv, 3),
    "sep_conv_5x5": _with_kernel(sep_conv, 5),
    "sep_conv_7x7": _with_kernel(sep_conv, 7),
    "dil_conv_3x3": _with_kernel(dil_conv, 3),
    "dil_conv_5x5": _with_kernel(dil_conv, 5),
    "conv_7x1_1x7": conv_7x1_1x7,
    "nor_conv_1x1": _with_kernel(nor_conv, 1),
    "nor_conv_3x3": _with_kernel(nor_conv, 3),
    "noise": lambda channels, stride, affine: Noise(stride),
}
"""Every operation that a cell may name."""


def build(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """Build an operation.

    Args:
        name: A key of `OPERATIONS`.
        channels: C, in and out.
        stride: 1 or 2.
        affine: Whether its BN has a learned scale and shift (False in a supernet).

    Raises:
        GenotypeError: There is no such operation.
    """
    if name not in OPERATIONS:
        raise GenotypeError(
            f"there is no operation {name!r}. Known: {', '.join(OPERATIONS)}.{nearest(name, OPERATIONS)}"
        )
    return OPERATIONS[name](channels, stride, affine)
