"""The candidate operations as textbook modules: what `benchmarks.plain_supernet` and its siblings are built of.

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]`` and others; nothing runs here. Plain
`torch.nn`, one module an operation, ReLU first and batch normalisation last, and nothing of `nasbench.spaces`. Even
image sizes only, as in the published codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name


class Zero(nn.Module):
    """``none``: the input times zero, at the strided size."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros that depend on the input."""
        if self.stride == 1:
            return x.mul(0.0)
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class Halve(nn.Module):
    """ReLU, two pointwise convolutions of stride 2 side by side (the second one pixel further), BN."""

    def __init__(self, c_in: int, c_out: int, affine: bool) -> None:
        super().__init__()
        self.here = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.next = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, c_in, H, W] to [N, c_out, H/2, W/2]."""
        x = F.relu(x)
        output: Tensor = self.norm(torch.cat([self.here(x), self.next(x[:, :, 1:, 1:])], dim=1))
        return output


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, *, affine: bool, bias: bool = False) -> nn.Module:
    """Build ReLU, convolution, BN."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=bias),
        nn.BatchNorm2d(c_out, affine=affine),
    )


def depthwise(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> nn.Module:
    """Build ReLU, depthwise convolution, pointwise convolution, BN."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, dilation * (kernel // 2), dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )  # fmt: skip


def separable(channels: int, kernel: int, stride: int, affine: bool) -> nn.Module:
    """Build the separable convolution: the depthwise block twice, the stride in the first."""
    return nn.Sequential(
        depthwise(channels, kernel, stride, 1, affine), depthwise(channels, kernel, 1, 1, affine)
    )  # fmt: skip


def skip(channels: int, stride: int, affine: bool) -> nn.Module:
    """Build the identity, or `Halve` at stride 2."""
    return nn.Identity() if stride == 1 else Halve(channels, channels, affine)


Builder = Callable[[int, int, bool], nn.Module]

OPERATIONS: Mapping[str, Builder] = {
    "none": lambda c, stride, affine: Zero(stride),
    "max_pool_3x3": lambda c, stride, affine: nn.MaxPool2d(3, stride, 1),
    "avg_pool_3x3": lambda c, stride, affine: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    "skip_connect": skip,
    "sep_conv_3x3": lambda c, stride, affine: separable(c, 3, stride, affine),
    "sep_conv_5x5": lambda c, stride, affine: separable(c, 5, stride, affine),
    "dil_conv_3x3": lambda c, stride, affine: depthwise(c, 3, stride, 2, affine),
    "dil_conv_5x5": lambda c, stride, affine: depthwise(c, 5, stride, 2, affine),
    "nor_conv_1x1": lambda c, stride, affine: conv(c, c, 1, stride, affine=affine, bias=not affine),
    "nor_conv_3x3": lambda c, stride, affine: conv(c, c, 3, stride, affine=affine, bias=not affine),
}
"""Name -> builder of (channels, stride, affine)."""


def mixed_operation(name: str, channels: int, stride: int, *, pool_norm: bool) -> nn.Module:
    """Build an operation of a supernet: no scale and shift in its BN, and a BN after a pool if asked for."""
    operation = OPERATIONS[name](channels, stride, False)
    if pool_norm and "pool" in name:
        return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False))
    return operation
