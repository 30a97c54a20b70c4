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

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

_BLOCK = 3
"""Columns of a kernel for which the CPU library's weight gradient is fast."""


def convolve(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """Return the depthwise convolution of [N, D, H, W] with [D, 1, k, k], padded so that stride 1 keeps the size."""
    weight = _reaching(weight, x, dilation)
    padding = [dilation * (size // 2) for size in weight.shape[2:]]
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


def gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    dilation: int,
    wanted: Sequence[bool],
    windows: Windows | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `convolve` with respect to its input and its weight.

    Args:
        grad: Of the output.
        x: The input.
        weight: [D, 1, k, k].
        stride: 1 or 2.
        dilation: 1 or 2.
        wanted: Which of both; the other is None.
        windows: Of x, where other convolutions read the same x.
    """
    inner = _reaching(weight, x, dilation)
    if stride > 1 or not x.is_cpu:
        padding = [dilation * (size // 2) for size in inner.shape[2:]]
        grad_x, grad_inner = torch.ops.aten.convolution_backward(
            grad, x, inner, None, [stride, stride], padding, [dilation, dilation], False, [0, 0], x.shape[1],
            [*wanted, False],
        )[:2]  # fmt: skip
    else:
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = convolve(grad, inner.flip(2, 3), 1, dilation) if wanted[0] else None
        grad_inner = _kernel_gradient(grad, x, inner, dilation, windows or Windows()) if wanted[1] else None
    if grad_inner is not None and inner is not weight:
        rows, columns = ((whole - part) // 2 for whole, part in zip(weight.shape[2:], inner.shape[2:], strict=True))
        grad_inner = F.pad(grad_inner, (columns, columns, rows, rows))
    return grad_x, grad_inner


def _reaching(weight: Tensor, x: Tensor, dilation: int) -> Tensor:
    """Return the inner part of a kernel, of whose rest a small image sees nothing but padding."""
    halves = [size // 2 for size in weight.shape[2:]]
    rows, columns = (min(half, (size - 1) // dilation) for half, size in zip(halves, x.shape[2:], strict=True))
    if [rows, columns] == halves:
        return weight
    return weight[:, :, halves[0] - rows :, halves[1] - columns :][:, :, : 2 * rows + 1, : 2 * columns + 1].contiguous()


def _grids(x: Tensor) -> Tensor:
    """Map [N, C, H, W] (H, W even) to its four grids of even and odd rows and columns [4N, C, H/2, W/2]."""
    batch, channels, height, width = x.shape
    split = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    grids = split.permute(2, 4, 0, 1, 3, 5).reshape(4 * batch, height // 2, width // 2, channels)
    return grids.permute(0, 3, 1, 2)  # channels_last memory


class Windows:
    """What kernel gradients read of one input, so that convolutions of the same input make it once.

    It is forgotten when each of those that will ask have done so.
    """

    def __init__(self) -> None:
        self._users = 0
        self._made: dict[object, Tensor] = {}

    def join(self) -> Windows:
        """Count one more convolution that will ask."""
        self._users += 1
        return self

    def leave(self) -> None:
        """Count one of them as done."""
        self._users -= 1
        if self._users <= 0:
            self._made.clear()

    def made(self, key: object, make: Callable[[], Tensor]) -> Tensor:
        """Return what was made under this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _kernel_gradient(grad: Tensor, x: Tensor, weight: Tensor, dilation: int, windows: Windows) -> Tensor:
    """Return the gradient [C, 1, k, l] of the kernel of a stride-1 depthwise convolution that keeps the size."""
    gridded = dilation == 2 and not (x.shape[2] % 2 or x.shape[3] % 2)
    if gridded:
        whole = x
        grad, x, dilation = _grids(grad), windows.made("grids", lambda: _grids(whole)), 1
    rows, columns = weight.shape[2:]
    padding = [dilation * (rows // 2), dilation * (columns // 2)]
    if dilation > 1 or columns <= _BLOCK:
        return _native_kernel_gradient(grad, x, weight, padding, dilation)
    blocks = []
    for first in range(0, columns, _BLOCK):
        block = weight[..., first : first + _BLOCK]
        left = padding[1] - first  # columns of zeros that this block's output begins with
        sides = (left, block.shape[-1] - 1 - left)  # negative: columns that it does not see
        part = windows.made((gridded, sides), partial(F.pad, x, sides))
        blocks.append(_native_kernel_gradient(grad, part, block, [padding[0], 0], dilation))
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
        return convolve(x, weight, 1, dilation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        return *gradients(grads[0], x, weight, 1, ctx.dilation, ctx.needs_input_grad[:2]), None


def depthwise(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Return `convolve`, differentiable (twice, too), by the fastest way for the device.

    Args:
        x: [N, D, H, W].
        weight: [D, 1, k, k], k odd.
        stride: 1 or 2.
        dilation: 1 or 2.

    Returns:
        [N, D, ceil(H/stride), ceil(W/stride)].
    """
    even_padding = dilation * (weight.shape[-1] // 2) % 2 == 0
    if not x.is_cpu or (stride == 2 and not (dilation == 2 and even_padding)):
        return convolve(x, weight, stride, dilation)
    if stride == 2:
        x, dilation = x[:, :, ::2, ::2], 1
    output: Tensor = _SameDepthwise.apply(x.contiguous(memory_format=torch.channels_last), weight, dilation)
    return output


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
        return depthwise(input, self.weight, self.stride[0], self.dilation[0])
