"""Separable convolutions of many edges at once, without their outputs ever being written down.

A unit is a depthwise convolution, a pointwise one and a BN without scale and shift. With z [P, C] the output of the
depthwise convolution at P = N * H * W pixels, minus its mean, Sigma = z^T z / P and V the pointwise weights, the BN's
output is

    u = z A^T,    A = diag(1 / sqrt(diag(V Sigma V^T) + eps)) V,

so that one product with the C x C matrix A does what a pointwise convolution, the reading of its statistics and the
normalisation do. The weight of the edge is one more factor of A, and a node's sum is the sum of such products. Neither
V z nor u is kept for the backward pass:

    d z = d u A + (2 / P) z (V^T diag(d var) V),    d A = d u^T z

where d u is taken minus its mean.

Reference: the units are those of Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, section 3.1; the BN is that of Ioffe
and Szegedy, ICML 2015, arXiv:1502.03167, Algorithm 1.
Differs from the papers: nothing but the order of summation. The variance of V z is computed from the covariance of z,
both centred first, so that nothing is lost to cancellation.

Shapes: N images, n edges, C channels of each; x [N, n*C, H, W], the channels of edge 0 first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.spaces.depthwise import Windows, convolve, depthwise, gradients


class Moments(NamedTuple):
    """Statistics of a BN's input.

    Attributes:
        mean: [n, C].
        variance: [n, C], biased.
    """

    mean: Tensor
    variance: Tensor


class InverseMoments(NamedTuple):
    """The same as PyTorch's BN returns it.

    Attributes:
        mean: [n, C].
        inverse: 1 / sqrt(variance + eps) [n, C].
    """

    mean: Tensor
    inverse: Tensor

    def moments(self, eps: float) -> Moments:
        """Return mean and variance."""
        return Moments(self.mean, self.inverse.pow(-2) - eps)


class Unit(NamedTuple):
    """A separable convolution on some of the edges that leave one state.

    Attributes:
        x: Input [N, m*C, H, W] of its m edges, after the ReLU.
        kernels: Depthwise weights [m*C, 1, k, k].
        mixing: Pointwise weights [m, C, C], output before input channel.
        stride: Of the depthwise convolution.
        dilation: Of the depthwise convolution.
        windows: Of x, where other units read the same x.
    """

    x: Tensor
    kernels: Tensor
    mixing: Tensor
    stride: int
    dilation: int
    windows: Windows | None = None


def blocks(x: Tensor, n: int) -> Tensor:
    """View [N, n*C, H, W] (channels_last) as [n, P, C]."""
    return x.permute(0, 2, 3, 1).reshape(-1, n, x.shape[1] // n).transpose(0, 1)


def empty(like: Tensor, channels: int) -> Tensor:
    """Return an uninitialised [N, channels, H, W] in channels_last memory."""
    batch, _, height, width = like.shape
    return like.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)


class Normalised(NamedTuple):
    """What is known of a unit after its forward pass.

    Attributes:
        z: [N, m*C, H, W], the depthwise convolution's output minus its mean.
        half: V Sigma [m, C, C].
        inverse: 1 / sqrt(variance + eps) [m, C].
    """

    z: Tensor
    half: Tensor
    inverse: Tensor


def normalise(unit: Unit, eps: float) -> tuple[Normalised, Moments]:
    """Return what is needed of a unit, normalised by the batch, for its output, and the statistics of V z."""
    z = convolve(unit.x, unit.kernels, unit.stride, unit.dilation).contiguous(memory_format=torch.channels_last)
    centred = blocks(z, len(unit.mixing))
    mean = centred.mean(dim=1, keepdim=True)
    centred.sub_(mean)
    half = unit.mixing @ (torch.bmm(centred.transpose(1, 2), centred) / centred.shape[1])
    variance = (half * unit.mixing).sum(dim=2)
    moments = Moments((unit.mixing @ mean.transpose(1, 2)).squeeze(2), variance)
    return Normalised(z, half, (variance + eps).rsqrt()), moments


def unit_gradients(
    known: Normalised, unit: Unit, scale: Tensor | None, grad: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor | None]:
    """Return the gradients of x, kernels, mixing and scale; ``grad`` [m, P, C] has mean zero over the pixels."""
    z, mixing = blocks(known.z, len(unit.mixing)), unit.mixing
    factor = known.inverse if scale is None else known.inverse * scale[:, None]
    of_matrix = torch.bmm(grad.transpose(1, 2), z)
    of_factor = (of_matrix * mixing).sum(dim=2)
    of_scale = None if scale is None else torch.linalg.vecdot(of_factor, known.inverse)
    of_variance = -(of_factor * factor * known.inverse.square())[..., None]  # twice that of the variance
    of_mixing = torch.addcmul(of_matrix * factor[..., None], of_variance, known.half)
    of_z = empty(known.z, known.z.shape[1])
    out = blocks(of_z, len(mixing))
    torch.bmm(grad, mixing * factor[..., None], out=out)
    out.baddbmm_(z, torch.bmm((mixing * of_variance).transpose(1, 2), mixing), alpha=1.0 / z.shape[1])
    of_x, of_kernels = gradients(
        of_z, unit.x, unit.kernels, unit.stride, unit.dilation, (wanted[0], wanted[1]), unit.windows
    )
    if unit.windows is not None:
        unit.windows.leave()
    return of_x, of_kernels, of_mixing, of_scale


def normalised(unit: Unit, moments: Moments | None, eps: float) -> tuple[Tensor, Moments]:
    """Return the BN's output [N, m*C, H', W'] step by step, differentiable any number of times.

    Args:
        unit: The convolution.
        moments: Statistics to use; None for those of the batch.
        eps: Of the BN.

    Returns:
        The output, and the statistics of the batch or those given.
    """
    z = depthwise(unit.x, unit.kernels, unit.stride, unit.dilation)
    parts, mixing = blocks(z, len(unit.mixing)), unit.mixing
    mixed = torch.bmm(parts, mixing.transpose(1, 2))
    if moments is None:
        variance, mean = torch.var_mean(mixed, dim=1, correction=0)
        moments = Moments(mean, variance)
    output = (mixed - moments.mean[:, None]) * (moments.variance[:, None] + eps).rsqrt()
    pixels = output.transpose(0, 1).reshape(z.shape[0], *z.shape[2:], z.shape[1])
    return pixels.permute(0, 3, 1, 2), moments


def differentiable(
    compute: Callable[..., Tensor | Sequence[Tensor]], inputs: Sequence[Tensor], grad: Tensor | Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of a computation, given those of its outputs, so that they can be differentiated again."""
    # Inputs may depend on each other; by aliases the gradient of each is that of this computation alone.
    aliases = [tensor.view_as(tensor) for tensor in inputs]
    wanted = [alias for alias in aliases if alias.requires_grad]
    found = iter(torch.autograd.grad(compute(*aliases), wanted, grad, create_graph=True, allow_unused=True))
    return tuple(next(found) if alias.requires_grad else None for alias in aliases)


class _Hidden(torch.autograd.Function):
    """ReLU of a unit."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernels: Tensor,
        mixing: Tensor,
        stride: int,
        dilation: int,
        windows: Windows | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        unit = Unit(x, kernels, mixing, stride, dilation)
        known, moments = normalise(unit, eps)
        output = empty(known.z, known.z.shape[1])
        matrix = mixing * known.inverse[..., None]
        torch.bmm(blocks(known.z, len(mixing)), matrix.transpose(1, 2), out=blocks(output, len(mixing)))
        output.relu_()
        ctx.save_for_backward(x, kernels, mixing, output, *known)
        ctx.form = (stride, dilation, windows and windows.join(), eps)
        ctx.mark_non_differentiable(*moments)
        ctx.set_materialize_grads(False)
        return output, *moments

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels, mixing, output, *known = ctx.saved_tensors
        stride, dilation, windows, eps = ctx.form
        unit = Unit(x, kernels, mixing, stride, dilation, windows)
        if torch.is_grad_enabled():  # a second derivative is wanted

            def again(x: Tensor, kernels: Tensor, mixing: Tensor) -> Tensor:
                return F.relu(normalised(Unit(x, kernels, mixing, stride, dilation), None, eps)[0])

            return *differentiable(again, unit[:3], grads[0]), None, None, None, None
        grad = torch.ops.aten.threshold_backward(grads[0], output, 0)
        grad = grad.contiguous(memory_format=torch.channels_last)
        parts = blocks(grad, len(mixing))
        parts.sub_(parts.mean(dim=1, keepdim=True))
        found = unit_gradients(Normalised(*known), unit, None, parts, ctx.needs_input_grad)
        return *found[:3], None, None, None, None


def hidden(unit: Unit, eps: float, moments: Moments | None = None) -> tuple[Tensor, Moments]:
    """Return ReLU(BN(V z)) [N, m*C, H', W'] of a unit, and the statistics that were used.

    Args:
        unit: The convolution.
        eps: Of the BN.
        moments: Running statistics; None normalises by the batch.
    """
    if moments is not None:
        return F.relu(normalised(unit, moments, eps)[0]), moments
    output, mean, variance = _Hidden.apply(*unit, eps)
    return output, Moments(mean, variance)


class _Repeated(torch.autograd.Function):
    """The same channels once for each edge."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int) -> Tensor:
        ctx.n = n
        return torch.cat([x] * n, dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        if not grads[0].is_cpu:  # one operator
            pixels = torch.unflatten(grads[0].permute(0, 2, 3, 1), 3, (ctx.n, -1))
            return pixels.sum(3).permute(0, 3, 1, 2), None
        first, second, *others = grads[0].chunk(ctx.n, dim=1)
        total = first + second
        for other in others:
            total += other
        return total, None


def repeated(x: Tensor, n: int) -> Tensor:
    """Return [N, C, H, W] once for each of n edges, [N, n*C, H, W] in channels_last memory."""
    x = x.contiguous(memory_format=torch.channels_last)
    output: Tensor = x if n == 1 else _Repeated.apply(x, n)
    return output
