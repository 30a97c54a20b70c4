"""The edges that leave one state by compiled kernels, on a CPU.

The method is that of `nasbench.spaces.separable` and `nasbench.spaces.weighted_sum`, the same function but for the
order of summation. The outputs of the depthwise convolutions are all that is written to memory; everything else about
an image is done while it is in the cache (``kernels/fans.c``). The kernels are built with the package where there is a
GCC; `available` says whether they are there. The same switch is for chains (`nasbench.spaces.chain_call`).

Shapes: N images, n edges of which m have an operation, C channels; x [N, C, H, W] in channels_last memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import local
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.spaces.kernel_call import Call, Sizes
from nasbench.spaces.kernel_forms import MAX_OPERATIONS, TERMS, FanForm, Form, Known, Operation, Term
from nasbench.spaces.kernel_library import KINDS, available, level
from nasbench.spaces.separable import Moments, Unit, differentiable, normalised, repeated

__all__ = ["Form", "Known", "Operation", "Term", "available", "fan", "level", "paused", "use", "used", "wanted_for"]


class _Switch:
    """Whether the kernels are used in this process, and in which of its threads they are paused."""

    on = False
    paused = local()


def use(enabled: bool) -> None:
    """Choose whether this process computes by the kernels where it can: on a CPU.

    The function is the same but for the order of summation. Where the kernels were not built, a warning says so, and
    PyTorch's operators are used.
    """
    _Switch.on = enabled and available()
    if enabled and not available():
        warnings.warn(
            "The compiled kernels were not built when this package was installed, or from other sources (is there "
            "GCC? `make setup` builds them). PyTorch's operators are used: the same function, slower, with other "
            "last digits.", RuntimeWarning, stacklevel=2,
        )  # fmt: skip


@contextmanager
def used(enabled: bool = True) -> Iterator[None]:
    """Use the kernels, or not, inside the block only."""
    before = _Switch.on
    use(enabled)
    try:
        yield
    finally:
        _Switch.on = before


@contextmanager
def paused(enabled: bool) -> Iterator[None]:
    """Leave what is computed inside the block, by this thread, to PyTorch's operators, if enabled."""
    before = getattr(_Switch.paused, "on", False)
    _Switch.paused.on = before or enabled
    try:
        yield
    finally:
        _Switch.paused.on = before


def wanted_for(x: Tensor) -> bool:
    """Return whether what is computed of a tensor is computed by the kernels.

    They take ordinary tensors of single or double precision on a CPU.
    """
    if not _Switch.on or getattr(_Switch.paused, "on", False):
        return False
    return type(x) is Tensor and x.is_cpu and x.dtype in KINDS and not torch.is_autocast_enabled("cpu")


def fan(
    x: Tensor,
    stride: int,
    operations: Sequence[Operation],
    terms: Sequence[Term],
    factors: Tensor,
    eps: float,
) -> tuple[Sequence[Tensor], Known]:
    """Return the weighted sum of operations and of shared terms on every edge.

    Args:
        x: Before the ReLU that all operations begin with.
        stride: 1 or 2, of the first convolutions and of the pools.
        operations: Of the edges.
        terms: What all edges share.
        factors: What each operation and then each term is multiplied with, on each edge [operations + terms, n].
        eps: Of the BN.

    Returns:
        For each edge [N, C, H', W']; and the statistics of the normalisations.

    Raises:
        RuntimeError: The kernels were not built, or a gradient is wanted with running statistics.
        TypeError: Not all tensors are on the CPU and of one type.
        ValueError: There are more operations or terms than the kernels take, or weights of other channels; or a
            batch of one pixel is to be normalised by itself.
    """
    if len(operations) > MAX_OPERATIONS or len(terms) > len(TERMS):
        given = f"{len(operations)} operations and {len(terms)} terms"
        raise ValueError(f"{given}; the kernels take up to {MAX_OPERATIONS} and {len(TERMS)}.")
    forms, running = tuple(own.form for own in operations), tuple(own.running for own in operations)
    if torch.is_grad_enabled() and any(known is not None for known in (*running, *(own.running for own in terms))):
        raise RuntimeError("the kernels have no gradient with running statistics.")
    form = FanForm(forms, running, tuple(terms), stride, factors.shape[1], eps)
    known = Known([], [])
    weights = [weight for own in operations for weight in own.weights]
    used = [factors, *weights, *(part for own in (*running, *(own.running for own in terms)) for part in _flat(own))]
    if any(part.dtype != x.dtype or not part.is_cpu for part in used):
        raise TypeError(f"all tensors must be on the CPU and of the input's type, {x.dtype}.")
    by_batch = None in running or any(own.norm and own.running is None for own in terms)
    pixels = x.shape[0] * -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
    if by_batch and pixels < 2:
        raise ValueError(f"Expected more than 1 value per channel when training, got {pixels}")
    if any(part.numel() and part.shape[1] != x.shape[1] for part in weights):
        raise ValueError(f"the weights are not those of {x.shape[1]} channels.")
    outputs = _Fan_.apply(form, known, factors.contiguous(), _pixels(x), *weights)
    return outputs, known


def _flat(known: Moments | Sequence[Moments] | None) -> Iterator[Tensor]:
    """Yield the tensors of running statistics."""
    for one in () if known is None else [known] if isinstance(known, Moments) else known:
        yield from one


def _pixels(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _Fan_(torch.autograd.Function):  # noqa: N801 - as private as the structure
    """For each edge the weighted sum of its operations and of the shared terms."""

    @staticmethod
    def forward(
        ctx: Any, form: FanForm, known: Known, factors: Tensor, x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        sizes = Sizes.of(form, x)
        z, small = x.new_empty(sizes.z), x.new_empty(sizes.small)
        batch, channels = x.shape[:2]
        height, width = (-(-size // form.stride) for size in x.shape[2:])
        shape = (batch, channels, height, width)
        outputs = [torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last) for _ in range(form.edges)]
        call = Call(form, sizes, x, factors, weights, z, small)
        call.fan.outputs = call.pointers(outputs)
        call.run("forward")
        known.operations[:], known.terms[:] = call.known
        ctx.save_for_backward(x, factors, *weights, z, small)
        ctx.form, ctx.sizes = form, sizes
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        form, (x, factors, *weights, z, small) = ctx.form, ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            present = {edge: grad for edge, grad in enumerate(grads) if grad is not None}
            compute = partial(_step_by_step, form, list(present))
            return None, None, *differentiable(compute, (factors, x, *weights), list(present.values()))
        # Who keeps tensors elsewhere meanwhile may return them in another layout.
        x, factors, z, small = _pixels(x), factors.contiguous(), z.contiguous(), small.contiguous()
        z = z.clone() if z.data_ptr() % 64 else z
        wants_x, wants_weights = ctx.needs_input_grad[3], any(ctx.needs_input_grad[4:])
        call = Call(form, ctx.sizes, x, factors, weights, z, small)
        of_factors, of_x = torch.zeros_like(factors), torch.empty_like(x) if wants_x else None
        of_weights = [torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights]
        if wants_weights:
            for own, parts in zip(call.operations, form.weights(of_weights), strict=False):
                for number, tensors in enumerate(parts):
                    for places_of, tensor in zip((own.grad_kernels, own.grad_mixing), tensors, strict=True):
                        places_of[number] = tensor.data_ptr() or None
        places = (*call.operations[: len(form.operations)], *call.terms[: len(form.terms)])
        for own, row in zip(places, of_factors, strict=True):
            own.grad_factors = row.data_ptr()
        scratch = x.new_empty(ctx.sizes.hidden)
        call.fan.grads = call.pointers([None if grad is None else _pixels(grad) for grad in grads])
        call.fan.grad_x = None if of_x is None else of_x.data_ptr()
        call.fan.hidden_grads = scratch.data_ptr()
        call.run("backward")
        return None, None, of_factors, of_x, *(of_weights if wants_weights else [None] * len(weights))


def _step_by_step(form: FanForm, present: Sequence[int], factors: Tensor, x: Tensor, *weights: Tensor) -> list[Tensor]:
    """Return some edges' sums in plain steps, differentiable any number of times."""
    sums: dict[int, list[Tensor]] = {edge: [] for edge in present}
    activated = F.relu(x)
    for index, (own, parts) in enumerate(zip(form.operations, form.weights(weights), strict=True)):
        output = (_dense if own.dense else _separable)(own, activated, form.stride, parts, form.eps)
        for edge, part in zip(own.edges, output.chunk(len(own.edges), dim=1), strict=True):
            if edge in sums:
                sums[edge].append(factors[index, edge] * part)
    for index, term in enumerate(form.terms, start=len(form.operations)):
        value = term.plain(x, form.stride, form.eps)
        for edge, terms in sums.items():
            terms.append(factors[index, edge] * value)
    return [torch.stack(terms).sum(0) for terms in sums.values()]


def _dense(form: Form, activated: Tensor, stride: int, parts: Sequence[tuple[Tensor, ...]], eps: float) -> Tensor:
    """Return all edges' outputs [N, m*C, H', W'] of an ordinary convolution in plain steps."""
    ((kernels, bias),) = parts
    weight = kernels.reshape(-1, activated.shape[1], form.kernel, form.kernel)
    output = F.conv2d(activated, weight, bias.flatten() if bias.numel() else None, stride, padding=form.kernel // 2)
    return F.batch_norm(output, None, None, training=True, momentum=0.0, eps=eps)


def _separable(form: Form, activated: Tensor, stride: int, parts: Sequence[tuple[Tensor, ...]], eps: float) -> Tensor:
    """Return those of separable convolutions."""
    output = repeated(activated, len(form.edges))
    for number, own in enumerate(parts):
        square = own[0].reshape(-1, 1, form.kernel, form.kernel)
        unit = Unit(F.relu(output) if number else output, square, own[1], 1 if number else stride, form.dilation)
        output = normalised(unit, None, eps)[0]
    return output
