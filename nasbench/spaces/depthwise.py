"""Depthwise convolution with the same values as PyTorch's and a backward pass that is fast on CPU.

Two rewritings, both exact up to the order of summation:

* With stride 2, dilation 2 and even padding only the even rows and columns of the input are read; so it is a
  convolution of stride 1 and dilation 1 on ``x[:, :, ::2, ::2]``.
* At stride 1 the gradient of the input is a convolution of the output's gradient with the mirrored kernel, and the
  gradient of a kernel wider than three columns is that of its column blocks. A dilated kernel's gradient is that of
  an undilated one on the four grids of even and odd rows and columns.

On other devices than the CPU the ordinary operator is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

_BLOCK = 3
"""Columns of a kernel for which the CPU library's weight gradient is fast."""


def _grids(x: Tensor) -> Tensor:
    """Map [N, C, H, W] (H, W even) to its four grids of even and odd rows and columns [4N, C, H/2, W/2]."""
    batch, channels, height, width = x.shape
    split = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    grids = split.permute(2, 4, 0, 1, 3, 5).reshape(4 * batch, height // 2, width // 2, channels)
    return grids.permute(0, 3, 1, 2)  # channels_last memory


def _kernel_gradient(grad: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Return the gradient [C, 1, k, k] of the kernel of a stride-1 depthwise convolution that keeps the size."""
    kernel = weight.shape[-1]
    if dilation == 2 and not (x.shape[2] % 2 or x.shape[3] % 2):
        grad, x, dilation = _grids(grad), _grids(x), 1
    padding = dilation * (kernel // 2)
    if dilation > 1 or kernel <= _BLOCK:
        return _native_kernel_gradient(grad, x, weight, [padding, padding], dilation)
    padded = F.pad(x, (padding, padding))
    blocks = []
    for first in range(0, kernel, _BLOCK):
        columns = min(_BLOCK, kernel - first)
        part = padded[..., first : first + x.shape[3] + columns - 1]
        blocks.append(_native_kernel_gradient(grad, part, weight[..., first : first + columns], [padding, 0], dilation))
    return torch.cat(blocks, dim=-1)


def _native_kernel_gradient(grad: Tensor, x: Tensor, weight: Tensor, padding: list[int], dilation: int) -> Tensor:
    gradient: Tensor = torch.ops.aten.convolution_backward(
        grad, x.contiguous(memory_format=torch.channels_last), weight.contiguous(), None, [1, 1], padding,
        [dilation, dilation], False, [0, 0], x.shape[1], [False, True, False],
    )[1]  # fmt: skip
    return gradient


class _SameDepthwise(torch.autograd.Function):
    """Depthwise convolution of stride 1 that keeps height and width; differentiable twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, None, 1, padding, dilation, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        padding = ctx.dilation * (weight.shape[-1] // 2)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = F.conv2d(grad, weight.flip(2, 3), None, 1, padding, ctx.dilation, groups=x.shape[1])
        if ctx.needs_input_grad[1]:
            grad_weight = _kernel_gradient(grad, x, weight, ctx.dilation)
        return grad_x, grad_weight, None


class DepthwiseConv2d(nn.Conv2d):
    """One k x k filter for each channel, no bias, padded so that stride 1 keeps the size.

    Args:
        channels: C, in and out.
        kernel: k, odd.
        stride: 1 or 2.
        dilation: 1 or 2.

    Shape: [N, C, H, W] -> [N, C, ceil(H/stride), ceil(W/stride)].
    """

    def __init__(self, channels: int, kernel: int, stride: int, dilation: int) -> None:
        super().__init__(
            channels, channels, kernel, stride=stride, padding=dilation * (kernel // 2), dilation=dilation,
            groups=channels, bias=False,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the base class
        """Convolve."""
        stride, dilation, even_padding = self.stride[0], self.dilation[0], int(self.padding[0]) % 2 == 0
        if input.device.type != "cpu" or (stride == 2 and not (dilation == 2 and even_padding)):
            return super().forward(input)
        if stride == 2:
            input, dilation = input[:, :, ::2, ::2], 1  # noqa: A001 - as above
        output: Tensor = _SameDepthwise.apply(
            input.contiguous(memory_format=torch.channels_last), self.weight, dilation
        )
        return output
