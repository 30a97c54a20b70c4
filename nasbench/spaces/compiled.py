"""The edges that leave one state by compiled kernels, on a CPU.

The method is that of `nasbench.spaces.separable` and `nasbench.spaces.weighted_sum`, the same function but for the
order of summation. The outputs of the depthwise convolutions are all that is written to memory; everything else about
an image is done while it is in the cache (``kernels/fans.c``). The kernels are built with the package where there is a
C compiler; `available` says whether they are there.

Shapes: N images, n edges of which m have an operation, C channels; x [N, C, H, W] in channels_last memory.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from ctypes import c_double, c_int64, c_void_p
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.spaces.separable import Moments, Unit, differentiable, normalised, repeated

LANES = 16
"""Channels that the kernels compute at once."""

_KINDS = {torch.float32: "float", torch.float64: "double"}


class _Operation(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kernel", "dilation", "repeats")),
        *((name, c_void_p) for name in ("rows", "factors")),
        *((name, c_void_p * 2) for name in (
            "kernels", "mixing", "running", "z", "half", "known", "grad_kernels", "grad_mixing",
        )),
        ("grad_factors", c_void_p),
    )  # fmt: skip


class _Fan(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in (
            "batch", "channels", "height", "width", "stride", "edges", "threads", "num_operations", "num_shared",
        )),
        ("eps", c_double),
        *((name, c_void_p) for name in (
            "x", "operations", "shared", "shares", "outputs", "grads", "grad_x", "grad_shared", "grad_shares",
            "hidden_grads",
        )),
    )  # fmt: skip


class Separable(NamedTuple):
    """An operation of separable convolutions on some of the edges.

    Attributes:
        edges: The m edges that have it, of the n, in ascending order.
        kernel: k.
        dilation: 1 or 2.
        kernels: Depthwise weights [m, C, k*k] of its one or two convolutions.
        mixing: Pointwise weights [m, C, C] of each, output before input channel.
        running: Statistics of each; None normalises by the batch.
    """

    edges: tuple[int, ...]
    kernel: int
    dilation: int
    kernels: Sequence[Tensor]
    mixing: Sequence[Tensor]
    running: Sequence[Moments] | None


class _Form(NamedTuple):
    """What a fan consists of, beside its tensors."""

    operations: tuple[tuple[tuple[int, ...], int, int, int], ...]
    running: tuple[Sequence[Moments] | None, ...]
    stride: int
    edges: int
    eps: float

    def num_tensors(self) -> int:
        return sum(2 * repeats for *_, repeats in self.operations)

    def weights(self, tensors: Sequence[Tensor]) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
        """Yield kernels and mixing of each operation."""
        first = 0
        for *_, repeats in self.operations:
            yield tensors[first : first + repeats], tensors[first + repeats : first + 2 * repeats]
            first += 2 * repeats


@cache
def _library() -> ctypes.CDLL | None:
    found = importlib.util.find_spec("nasbench.spaces.kernels._fans")
    if found is None or found.origin is None:
        return None
    try:
        library = ctypes.CDLL(found.origin)
    except OSError:
        return None
    for what in ("forward", "backward"):
        for kind in _KINDS.values():
            function = getattr(library, f"nasbench_{what}_{kind}")
            function.argtypes, function.restype = [ctypes.POINTER(_Fan)], None
    return library


def available() -> bool:
    """Return whether the kernels were built when the package was installed."""
    return _library() is not None


def level() -> str:
    """Return for which instructions of this machine there are kernels; "none" where there are no kernels."""
    library = _library()
    return "none" if library is None else ("baseline", "AVX2", "AVX-512")[library.nasbench_level()]


def can_compute(x: Tensor) -> bool:
    """Return whether the kernels take a tensor: an ordinary one on a CPU, of single or double precision."""
    return type(x) is Tensor and x.is_cpu and x.dtype in _KINDS and not torch.is_autocast_enabled("cpu")


def fan(
    x: Tensor,
    stride: int,
    operations: Sequence[Separable],
    shared: Sequence[Tensor],
    factors: Tensor,
    eps: float,
) -> tuple[Sequence[Tensor], list[list[Moments]]]:
    """Return the weighted sum of separable convolutions and of shared terms on every edge.

    Args:
        x: After the ReLU.
        stride: 1 or 2, of the first convolutions.
        operations: At least one.
        shared: Terms [N, C, H', W'] that are the same on all edges.
        factors: What each operation and then each term is multiplied with, on each edge [operations + terms, n].
        eps: Of the BN.

    Returns:
        For each edge [N, C, H', W']; and for each operation the statistics of its normalisations.

    Raises:
        RuntimeError: The kernels were not built, or a gradient is wanted with running statistics.
    """
    if any(own.running is not None for own in operations) and torch.is_grad_enabled():
        raise RuntimeError("the kernels have no gradient with running statistics.")
    form = _Form(
        tuple((own.edges, own.kernel, own.dilation, len(own.kernels)) for own in operations),
        tuple(own.running for own in operations), stride, factors.shape[1], eps,
    )  # fmt: skip
    moments: list[list[Moments]] = []
    weights = [weight for own in operations for weight in (*own.kernels, *own.mixing)]
    outputs = _Fan_.apply(form, moments, factors.contiguous(), _pixels(x), *weights, *(_pixels(term) for term in shared))
    return outputs, moments


class _Call:
    """One call of a kernel: its arguments, and what must live as long.

    Args:
        form: Of the fan.
        x: Its input.
        factors: [operations + terms, n].
        weights: Of its operations.
        shared: Its terms.
        z: Outputs of the depthwise convolutions [convolutions, ...].
        small: Statistics of every convolution, one after the other.
    """

    def __init__(
        self, form: _Form, x: Tensor, factors: Tensor, weights: Sequence[Tensor], shared: Sequence[Tensor], z: Tensor,
        small: Tensor,
    ) -> None:  # fmt: skip
        self.kept: list[Any] = []
        self.kind = _KINDS[x.dtype]
        self.operations = (_Operation * len(form.operations))()
        self.moments: list[list[Moments]] = []
        channels, unit, start = x.shape[1], 0, 0
        for index, (own, spec, (kernels, mixing)) in enumerate(
            zip(self.operations, form.operations, form.weights(weights), strict=True)
        ):
            edges, own.kernel, own.dilation, own.repeats = spec
            own.rows, own.factors = _rows(edges, form.edges), self.pointer(factors[index])
            count = len(edges) * channels
            running = form.running[index]
            self.moments.append([])
            for number in range(own.repeats):
                own.kernels[number], own.mixing[number] = self.pointer(kernels[number]), self.pointer(mixing[number])
                own.z[number] = z[unit].data_ptr()
                half, known = small[start : start + count * channels], small[start + count * channels :][: 4 * count]
                own.half[number], own.known[number] = half.data_ptr(), known.data_ptr()
                self.moments[-1].append(Moments(*known.view(4, len(edges), channels)[2:].unbind()))
                if running is not None:
                    own.running[number] = self.pointer(torch.stack(running[number]))
                start, unit = start + count * (channels + 4), unit + 1
        self.fan = _Fan(
            batch=x.shape[0], channels=channels, height=x.shape[2], width=x.shape[3], stride=form.stride,
            edges=form.edges, threads=torch.get_num_threads(), num_operations=len(form.operations),
            num_shared=len(shared), eps=form.eps, x=x.data_ptr(), operations=ctypes.addressof(self.operations),
            shared=self.pointers(shared), shares=factors.data_ptr() + len(form.operations) * factors.stride(0) * factors.element_size(),
        )  # fmt: skip

    def pointer(self, tensor: Tensor) -> int:
        """Return the address of a tensor's numbers, one beside the other."""
        tensor = tensor.contiguous()
        self.kept.append(tensor)
        return tensor.data_ptr()

    def pointers(self, tensors: Sequence[Tensor | None]) -> int:
        """Return the address of the addresses of tensors in channels_last memory."""
        array = (c_void_p * max(1, len(tensors)))(*(tensor if tensor is None else tensor.data_ptr() for tensor in tensors))
        self.kept += [array, *tensors]
        return ctypes.addressof(array)

    def run(self, what: str) -> None:
        """Run the kernel."""
        getattr(_loaded(), f"nasbench_{what}_{self.kind}")(ctypes.byref(self.fan))


def _loaded() -> ctypes.CDLL:
    library = _library()
    if library is None:
        raise RuntimeError("the compiled kernels were not built. Is there a C compiler? Install the package again.")
    return library


@cache
def _stored_rows(edges: tuple[int, ...], n: int) -> Any:
    return (c_int64 * n)(*(edges.index(edge) if edge in edges else -1 for edge in range(n)))


def _rows(edges: tuple[int, ...], n: int) -> int:
    """Return the address of each edge's row in the weights of an operation; -1 for an edge that lacks it."""
    return ctypes.addressof(_stored_rows(edges, n))


def num_lanes(channels: int, edges: int) -> int:
    """Return the groups of `LANES` that the channels of so many edges lie in, as in kernels/lanes.h."""
    if channels < LANES and LANES % channels == 0:
        return -(-edges * channels // LANES)
    return edges * -(-channels // LANES)


def _pixels(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _Fan_(torch.autograd.Function):  # noqa: N801 - as private as the structure
    """For each edge the weighted sum of its operations and of the shared terms."""

    @staticmethod
    def forward(
        ctx: Any, form: _Form, moments: list[list[Moments]], factors: Tensor, x: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        weights, shared = tensors[: form.num_tensors()], tensors[form.num_tensors() :]
        batch, channels = x.shape[:2]
        height, width = (-(-size // form.stride) for size in x.shape[2:])
        units = sum(repeats for *_, repeats in form.operations)
        z = x.new_empty(units, batch, num_lanes(channels, form.edges), height * width, LANES)
        rows = sum(len(edges) * repeats for edges, *_, repeats in form.operations)
        small = x.new_empty(rows * channels * (channels + 4))
        call = _Call(form, x, factors, weights, shared, z, small)
        outputs = [
            x.new_empty(batch, height, width, channels).permute(0, 3, 1, 2) for _ in range(form.edges)
        ]
        call.fan.outputs = call.pointers(outputs)
        call.run("forward")
        moments += call.moments
        ctx.save_for_backward(x, factors, *weights, *shared, z, small)
        ctx.form = form
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        form, (x, factors, *tensors, z, small) = ctx.form, ctx.saved_tensors
        weights, shared = tensors[: form.num_tensors()], tensors[form.num_tensors() :]
        if torch.is_grad_enabled():  # a second derivative is wanted
            present = [index for index, grad in enumerate(grads) if grad is not None]
            compute = partial(_step_by_step, form, present)
            return None, None, *differentiable(compute, (factors, x, *tensors), [grads[index] for index in present])
        wants_x, wanted = ctx.needs_input_grad[3], ctx.needs_input_grad[4:]
        call = _Call(form, x, factors, weights, shared, z, small)
        of_factors = torch.zeros_like(factors)
        of_x = torch.empty_like(x) if wants_x else None
        of_weights = [torch.empty_like(weight) for weight in weights] if any(wanted[: len(weights)]) else []
        of_shared = [torch.empty_like(term) if want else None for term, want in zip(shared, wanted[len(weights) :], strict=True)]
        if of_weights:
            for own, (kernels, mixing) in zip(call.operations, form.weights(of_weights), strict=True):
                for number in range(own.repeats):
                    own.grad_kernels[number], own.grad_mixing[number] = kernels[number].data_ptr(), mixing[number].data_ptr()
        for own, row in zip(call.operations, of_factors, strict=False):
            own.grad_factors = row.data_ptr()
        deep = [repeats for *_, repeats in form.operations].count(2)
        scratch = torch.empty_like(z[:deep])
        call.fan.grads = call.pointers([None if grad is None else _pixels(grad) for grad in grads])
        call.fan.grad_x = None if of_x is None else of_x.data_ptr()
        call.fan.grad_shared = call.pointers(of_shared)
        call.fan.grad_shares = of_factors[len(form.operations) :].data_ptr()
        call.fan.hidden_grads = scratch.data_ptr()
        call.run("backward")
        return None, None, of_factors, of_x, *(of_weights or [None] * len(weights)), *of_shared


def _step_by_step(form: _Form, present: Sequence[int], factors: Tensor, x: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Return some edges' sums in plain steps, differentiable any number of times."""
    sums: dict[int, list[Tensor]] = {edge: [] for edge in present}
    weights, shared = tensors[: form.num_tensors()], tensors[form.num_tensors() :]
    for index, ((edges, kernel, dilation, repeats), (kernels, mixing)) in enumerate(
        zip(form.operations, form.weights(weights), strict=True)
    ):
        output, stride = repeated(x, len(edges)), form.stride
        for number in range(repeats):
            output = F.relu(output) if number else output
            square = kernels[number].reshape(-1, 1, kernel, kernel)
            output, _ = normalised(Unit(output, square, mixing[number], stride, dilation), None, form.eps)
            stride = 1
        for edge, part in zip(edges, output.chunk(len(edges), dim=1), strict=True):
            if edge in sums:
                sums[edge].append(factors[index, edge] * part)
    for index, term in enumerate(shared, start=len(form.operations)):
        for edge, own in sums.items():
            own.append(factors[index, edge] * term)
    return [torch.stack(own).sum(0) for own in sums.values()]
