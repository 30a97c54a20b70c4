"""Candidate operations of the DARTS family, as the published code defines them.

Inside a cell an operation maps [N, C, H, W] to [N, C, ceil(H/stride), ceil(W/stride)]; no convolution has a bias.

Reference: Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, section 3.1 and appendix A.1.
Differs from the paper: the stride-2 skip pads odd sizes with zeros and splits odd widths unevenly, where the
published code fails; for even sizes and widths nothing differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import GenotypeError, nearest
from nasbench.spaces import compiled
from nasbench.spaces.depthwise import DepthwiseConv2d
from nasbench.spaces.separable import Moments


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that may use the batch's statistics in evaluation mode.

    Attributes:
        batch_statistics: In evaluation mode: True normalises by the batch (the paper's text), False by the
            running statistics (the published code). Without effect in training mode.
    """

    batch_statistics: bool = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class's name
        """Normalise [N, C, H, W] over all but the channels."""
        running = (self.running_mean, self.running_var) if self.training or not self.by_batch else (None, None)
        return F.batch_norm(input, *running, self.weight, self.bias, self.by_batch, self.momentum or 0.0, self.eps)

    @property
    def by_batch(self) -> bool:
        """Whether the batch's statistics are used, and not the running ones."""
        return self.training or self.batch_statistics

    def tables(self) -> tuple[Tensor, Tensor]:
        """Return the running mean and variance.

        Raises:
            TypeError: There are none.
        """
        if self.running_mean is None or self.running_var is None:
            raise TypeError("these statistics were built without running ones.")
        return self.running_mean, self.running_var

    def move(self, running: Sequence[Tensor], moments: Sequence[Tensor], pixels: int) -> None:
        """Move running statistics towards those of a batch.

        Args:
            running: Mean and variance, or some of their entries; changed in place.
            moments: Mean and (biased) variance of the batch.
            pixels: N * H * W.

        Raises:
            ValueError: There is no more than one pixel, whose variance means nothing.
        """
        if pixels < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got {pixels}")
        mean, variance = moments
        for before, now in zip(running, (mean, variance * (pixels / (pixels - 1))), strict=True):
            before.lerp_(now, self.momentum or 0.0)


def use_batch_statistics(network: nn.Module, enabled: bool) -> None:
    """Choose the statistics of a network's evaluation mode: the batch's own (True) or the running ones (False)."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.batch_statistics = enabled


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


def is_heard(module: nn.Module) -> bool:
    """Whether somebody listens to a module, as the counter of multiply-adds does; then it has to be called."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds)


class KernelUnit(ConvUnit):
    """ReLU, convolutions with their BNs, by `nasbench.spaces.compiled` where that is in use.

    Args:
        body: Convolutions, with the BN between them.
        channels: C, in and out.
        affine: Whether the BNs have a learned scale and shift.
        form: What the kernels are told of it.
        stride: Of the first convolution.
    """

    def __init__(self, body: nn.Module, channels: int, affine: bool, form: compiled.Form, stride: int) -> None:
        super().__init__(body, channels, affine)
        self.form, self.stride = form._replace(affine=affine), stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the operation's output."""
        if not compiled.wanted_for(x):
            return super().forward(x)
        parts = [*(self.body if isinstance(self.body, nn.Sequential) else [self.body]), self.norm]
        norms = [part for part in parts if isinstance(part, BatchNorm)]
        if not self._has_kernel(norms) or any(map(is_heard, [self.body, *parts])):
            return super().forward(x)
        tables = [norm.tables() for norm in norms]
        running = None if norms[0].by_batch else [Moments(*(table[None] for table in pair)) for pair in tables]
        operation = compiled.Operation(self.form, self._weights(parts, norms), running)
        (output,), known = compiled.fan(x, self.stride, [operation], [], x.new_ones(1, 1), norms[0].eps)
        for norm, pair, (mean, variance) in zip(norms, tables, known.operations[0], strict=True):
            if norm.training:
                norm.move(pair, (mean[0], variance[0]), output.numel() // output.shape[1])
        return output

    def _has_kernel(self, norms: Sequence[BatchNorm]) -> bool:
        """Whether there is one for what is done here: not for gradients with running statistics."""
        if len({(norm.training, norm.by_batch, norm.eps) for norm in norms}) > 1:
            return False
        return not (self.form.dense and self.stride > 1) and (norms[0].by_batch or not torch.is_grad_enabled())

    def _weights(self, parts: Sequence[nn.Module], norms: Sequence[BatchNorm]) -> list[Tensor]:
        """Return all weights, each with an axis of one edge, in the order of `nasbench.spaces.compiled.Operation`."""
        convolutions = [part for part in parts if isinstance(part, nn.Conv2d)]
        weights = [convolution.weight.flatten(1)[None] for convolution in convolutions]
        if self.form.dense:
            biases = [convolution.bias for convolution in convolutions]
            weights += [weights[0].new_empty(0) if bias is None else bias[None] for bias in biases]
        else:
            weights = [*weights[::2], *weights[1::2]]
        affine = [norm.weight for norm in norms] + [norm.bias for norm in norms]
        return weights + [part[None] for part in affine if part is not None]


def _separable(channels: int, kernel: int, stride: int, dilation: int) -> tuple[nn.Module, nn.Module]:
    depthwise = DepthwiseConv2d(channels, kernel, stride, dilation)
    return depthwise, nn.Conv2d(channels, channels, 1, bias=False)


def sep_conv(channels: int, stride: int, affine: bool, *, kernel: int) -> ConvUnit:
    """Build the separable convolution: (ReLU, depthwise, pointwise, BN) twice, the stride in the first."""
    first = _separable(channels, kernel, stride, 1)
    second = _separable(channels, kernel, 1, 1)
    body = nn.Sequential(*first, BatchNorm(channels, affine=affine), nn.ReLU(), *second)
    return KernelUnit(body, channels, affine, compiled.Form((0,), kernel, repeats=2), stride)


def dil_conv(channels: int, stride: int, affine: bool, *, kernel: int) -> ConvUnit:
    """Build ReLU, depthwise convolution of dilation 2, pointwise convolution, BN: once."""
    body = nn.Sequential(*_separable(channels, kernel, stride, 2))
    return KernelUnit(body, channels, affine, compiled.Form((0,), kernel, dilation=2), stride)


def nor_conv(channels: int, stride: int, affine: bool, *, kernel: int) -> ConvUnit:
    """Build NAS-Bench-201's convolution: ReLU, convolution (with a bias where the BN has none), BN."""
    body = nn.Conv2d(channels, channels, kernel, stride=stride, padding=kernel // 2, bias=not affine)
    return KernelUnit(body, channels, affine, compiled.Form((0,), kernel, dense=True), stride)


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
