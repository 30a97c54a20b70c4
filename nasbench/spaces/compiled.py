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
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_double, c_int64, c_void_p
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.spaces.separable import Moments, Unit, differentiable, normalised, repeated

LANES = 16
"""Channels that the kernels compute at once."""

TERMS = {"skip_connect": 0, "avg_pool_3x3": 1, "max_pool_3x3": 2}
"""What edges may share, with its number in kernels/fan.h; the state itself at stride 1 only."""

T = TypeVar("T")

_KINDS = {torch.float32: "float", torch.float64: "double"}


class _Operation(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kernel", "dilation", "repeats", "dense")),
        *((name, c_void_p) for name in ("rows", "factors")),
        *((name, c_void_p * 2) for name in (
            "kernels", "mixing", "gains", "shifts", "running", "z", "half", "known", "grad_kernels", "grad_mixing",
            "grad_gains", "grad_shifts",
        )),
        ("grad_factors", c_void_p),
    )  # fmt: skip


class _Term(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kind", "norm")),
        *((name, c_void_p) for name in ("factors", "running", "z", "known", "grad_factors")),
    )


class _Fan(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in (
            "batch", "channels", "height", "width", "stride", "edges", "threads", "num_operations", "num_terms",
        )),
        ("eps", c_double),
        *((name, c_void_p) for name in (
            "x", "operations", "terms", "outputs", "grads", "grad_x", "hidden_grads",
        )),
    )  # fmt: skip


class Form(NamedTuple):
    """An operation on some of the edges: separable convolutions, or an ordinary one; each followed by a BN.

    Attributes:
        edges: The m edges that have it, of the n, in ascending order.
        kernel: k.
        dilation: 1 or 2.
        repeats: Convolutions one after the other, 1 or 2.
        dense: Whether it is one ordinary convolution, of stride 1.
        affine: Whether its BNs have a scale and a shift.
    """

    edges: tuple[int, ...]
    kernel: int
    dilation: int = 1
    repeats: int = 1
    dense: bool = False
    affine: bool = False

    def small(self, channels: int) -> int:
        """Return how many numbers the kernels keep of each of its convolutions, beside z."""
        return len(self.edges) * channels * (4 if self.dense else channels + 4)


class Operation(NamedTuple):
    """Such an operation with its tensors.

    Attributes:
        form: What it is.
        weights: Depthwise [m, C, k*k] of each of its convolutions, then pointwise [m, C, C] of each, output before
            input channel; of an ordinary one its weight [m, C, C*k*k] and its bias [m, C], or none [0]. Then, if it is
            affine, the scale [m, C] of each BN, and the shift of each.
        running: Statistics of each convolution's BN; None normalises by the batch.
    """

    form: Form
    weights: Sequence[Tensor]
    running: Sequence[Moments] | None


class Term(NamedTuple):
    """What is the same on all edges: the state itself or a pool of 3x3.

    Attributes:
        kind: A key of `TERMS`.
        norm: Whether a BN without scale and shift follows.
        running: Its statistics; None normalises by the batch.
    """

    kind: str
    norm: bool = False
    running: Moments | None = None

    def plain(self, x: Tensor, stride: int, eps: float) -> Tensor:
        """Return its value for a state in plain steps, differentiable any number of times."""
        if self.kind == "max_pool_3x3":
            x = F.max_pool2d(x, 3, stride, padding=1)
        elif self.kind == "avg_pool_3x3":
            x = F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
        return F.batch_norm(x, None, None, training=True, momentum=0.0, eps=eps) if self.norm else x


class Known(NamedTuple):
    """Statistics that were used.

    Attributes:
        operations: Of the convolutions of each operation.
        terms: Of each term that has a BN.
    """

    operations: list[list[Moments]]
    terms: list[Moments | None]


class _FanForm(NamedTuple):
    """What a fan consists of, beside its tensors."""

    operations: tuple[Form, ...]
    running: tuple[Sequence[Moments] | None, ...]
    terms: tuple[Term, ...]
    stride: int
    edges: int
    eps: float

    def weights(self, tensors: Sequence[T]) -> Iterator[list[tuple[T, ...]]]:
        """Yield for each operation what each of its convolutions has: kernels, mixing, and if affine gain and shift."""
        first = 0
        for own in self.operations:
            kinds = 4 if own.affine else 2
            part = tensors[first : first + kinds * own.repeats]
            yield [tuple(part[number :: own.repeats]) for number in range(own.repeats)]
            first += len(part)


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


class _Switch:
    """Whether the kernels are used in this process."""

    on = False


def use(enabled: bool) -> None:
    """Choose whether this process computes by the kernels where it can: on a CPU.

    The function is the same but for the order of summation. Where the kernels were not built, a warning says so, and
    PyTorch's operators are used.
    """
    _Switch.on = enabled and available()
    if enabled and not available():
        warnings.warn(
            "The compiled kernels were not built when this package was installed (is there a C compiler?). PyTorch's "
            "operators are used: the same function, slower, with other last digits.", RuntimeWarning, stacklevel=2,
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


def wanted_for(x: Tensor) -> bool:
    """Return whether what is computed of a tensor is computed by the kernels.

    They take ordinary tensors of single or double precision on a CPU.
    """
    return _Switch.on and type(x) is Tensor and x.is_cpu and x.dtype in _KINDS and not torch.is_autocast_enabled("cpu")


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
    """
    if any(own.running is not None for own in (*operations, *terms)) and torch.is_grad_enabled():
        raise RuntimeError("the kernels have no gradient with running statistics.")
    forms, running = tuple(own.form for own in operations), tuple(own.running for own in operations)
    form = _FanForm(forms, running, tuple(terms), stride, factors.shape[1], eps)
    known = Known([], [])
    weights = [weight for own in operations for weight in own.weights]
    outputs = _Fan_.apply(form, known, factors.contiguous(), _pixels(x), *weights)
    return outputs, known


class _Call:
    """One call of a kernel: its arguments, and what must live as long.

    Args:
        form: Of the fan.
        x: Its input.
        factors: [operations + terms, n].
        weights: Of its operations.
        z: Outputs of convolutions and pools, in lanes, one after the other.
        small: Statistics of each of them, likewise.
    """

    def __init__(
        self, form: _FanForm, x: Tensor, factors: Tensor, weights: Sequence[Tensor], z: Tensor, small: Tensor
    ) -> None:
        self.kept: list[Any] = [factors, z, small]
        self.kind = _KINDS[x.dtype]
        self.known = Known([], [])
        self._next = [z.data_ptr(), small.data_ptr()]
        self._sizes = _Sizes.of(form, x)
        self._small, self._start = small, 0
        self.operations = (_Operation * max(1, len(form.operations)))()
        self.terms = (_Term * max(1, len(form.terms)))()
        places = (factors.data_ptr() + row * form.edges * factors.element_size() for row in range(len(factors)))
        triples = zip(form.operations, form.running, form.weights(weights), strict=True)
        for own, (spec, running, parts) in zip(self.operations, triples, strict=False):
            own.kernel, own.dilation, own.repeats, own.dense = spec[1:5]
            own.rows, own.factors = _rows(spec.edges, form.edges), next(places)
            self.known.operations.append([])
            for number, tensors in enumerate(parts):
                for places_of, tensor in zip((own.kernels, own.mixing, own.gains, own.shifts), tensors, strict=False):
                    places_of[number] = self.pointer(tensor)
                own.z[number] = self._take(0, self._sizes.unit)
                own.known[number], moments = self._statistics(len(spec.edges))
                own.half[number] = self._take(1, spec.small(x.shape[1]) - 4 * len(spec.edges) * x.shape[1])
                self.known.operations[-1].append(moments)
                if running is not None:
                    own.running[number] = self.pointer(torch.stack(running[number]))
        for term, shared in zip(self.terms, form.terms, strict=False):
            term.kind, term.norm, term.factors = TERMS[shared.kind], shared.norm, next(places)
            if term.kind:
                term.z = self._take(0, self._sizes.pool)
            if term.norm:
                term.known, moments = self._statistics(1)
            self.known.terms.append(moments if term.norm else None)
            if shared.running is not None:
                term.running = self.pointer(torch.stack(shared.running))
        self.fan = _Fan(
            batch=x.shape[0], channels=x.shape[1], height=x.shape[2], width=x.shape[3], stride=form.stride,
            edges=form.edges, threads=torch.get_num_threads(), num_operations=len(form.operations),
            num_terms=len(form.terms), eps=form.eps, x=x.data_ptr(), operations=ctypes.addressof(self.operations),
            terms=ctypes.addressof(self.terms),
        )  # fmt: skip

    def _take(self, which: int, count: int) -> int:
        """Return the address of the next numbers of z or (1) of the small ones."""
        address = self._next[which]
        self._next[which] += count * self._small.element_size()
        self._start += count * which
        return address

    def _statistics(self, rows: int) -> tuple[int, Moments]:
        """Return the address of the next statistics, and the mean and variance in them."""
        first = self._start
        address = self._take(1, 4 * rows * self._sizes.channels)
        return address, Moments(*self._small[first : self._start].view(4, rows, -1)[2:].unbind())

    def pointer(self, tensor: Tensor) -> int | None:
        """Return the address of a tensor's numbers, one beside the other; None for an empty tensor."""
        tensor = tensor.contiguous()
        self.kept.append(tensor)
        return tensor.data_ptr() or None

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


class _Sizes(NamedTuple):
    """How many numbers there are.

    Attributes:
        channels: C.
        unit: Of the z of a convolution.
        pool: Of the output of a pool.
        z: Of all of them.
        small: Of all statistics.
        hidden: Of the z of one convolution of every operation that has two.
    """

    channels: int
    unit: int
    pool: int
    z: int
    small: int
    hidden: int

    @classmethod
    def of(cls, form: _FanForm, x: Tensor) -> _Sizes:
        """Count."""
        batch, channels, height, width = x.shape
        group = LANES * batch * -(-height // form.stride) * -(-width // form.stride)
        unit, pool = group * num_lanes(channels, form.edges), group * num_lanes(channels, 1)
        small = sum(own.repeats * own.small(channels) for own in form.operations)
        return cls(
            channels=channels, unit=unit, pool=pool,
            z=unit * sum(own.repeats for own in form.operations)
            + pool * sum(term.kind != "skip_connect" for term in form.terms),
            small=small + 4 * channels * sum(term.norm for term in form.terms),
            hidden=unit * sum(own.repeats == 2 for own in form.operations),
        )  # fmt: skip


class _Fan_(torch.autograd.Function):  # noqa: N801 - as private as the structure
    """For each edge the weighted sum of its operations and of the shared terms."""

    @staticmethod
    def forward(
        ctx: Any, form: _FanForm, known: Known, factors: Tensor, x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        sizes = _Sizes.of(form, x)
        z, small = x.new_empty(sizes.z), x.new_empty(sizes.small)
        batch, channels = x.shape[:2]
        height, width = (-(-size // form.stride) for size in x.shape[2:])
        outputs = [x.new_empty(batch, height, width, channels).permute(0, 3, 1, 2) for _ in range(form.edges)]
        call = _Call(form, x, factors, weights, z, small)
        call.fan.outputs = call.pointers(outputs)
        call.run("forward")
        known.operations[:], known.terms[:] = call.known
        ctx.save_for_backward(x, factors, *weights, z, small)
        ctx.form = form
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        form, (x, factors, *weights, z, small) = ctx.form, ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            present = {edge: grad for edge, grad in enumerate(grads) if grad is not None}
            compute = partial(_step_by_step, form, list(present))
            return None, None, *differentiable(compute, (factors, x, *weights), list(present.values()))
        wants_x, wants_weights = ctx.needs_input_grad[3], any(ctx.needs_input_grad[4:])
        call = _Call(form, x, factors, weights, z, small)
        of_factors, of_x = torch.zeros_like(factors), torch.empty_like(x) if wants_x else None
        of_weights = [torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights]
        if wants_weights:
            for own, parts in zip(call.operations, form.weights(of_weights), strict=False):
                for number, tensors in enumerate(parts):
                    grads_of = (own.grad_kernels, own.grad_mixing, own.grad_gains, own.grad_shifts)
                    for places_of, tensor in zip(grads_of, tensors, strict=False):
                        places_of[number] = tensor.data_ptr() or None
        places = (*call.operations[: len(form.operations)], *call.terms[: len(form.terms)])
        for own, row in zip(places, of_factors, strict=True):
            own.grad_factors = row.data_ptr()
        scratch = x.new_empty(_Sizes.of(form, x).hidden)
        call.fan.grads = call.pointers([None if grad is None else _pixels(grad) for grad in grads])
        call.fan.grad_x = None if of_x is None else of_x.data_ptr()
        call.fan.hidden_grads = scratch.data_ptr()
        call.run("backward")
        return None, None, of_factors, of_x, *(of_weights if wants_weights else [None] * len(weights))


def _step_by_step(form: _FanForm, present: Sequence[int], factors: Tensor, x: Tensor, *weights: Tensor) -> list[Tensor]:
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


def _affine(x: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Return the output of a BN with its scale and shift, if it has any."""
    return torch.addcmul(parts[3].view(1, -1, 1, 1), x, parts[2].view(1, -1, 1, 1)) if len(parts) > 2 else x


def _dense(form: Form, activated: Tensor, stride: int, parts: Sequence[tuple[Tensor, ...]], eps: float) -> Tensor:
    """Return all edges' outputs [N, m*C, H', W'] of an ordinary convolution in plain steps."""
    ((kernels, bias, *rest),) = parts
    weight = kernels.reshape(-1, activated.shape[1], form.kernel, form.kernel)
    output = F.conv2d(activated, weight, bias.flatten() if bias.numel() else None, stride, padding=form.kernel // 2)
    return _affine(F.batch_norm(output, None, None, training=True, momentum=0.0, eps=eps), (kernels, bias, *rest))


def _separable(form: Form, activated: Tensor, stride: int, parts: Sequence[tuple[Tensor, ...]], eps: float) -> Tensor:
    """Return those of separable convolutions."""
    output = repeated(activated, len(form.edges))
    for number, own in enumerate(parts):
        square = own[0].reshape(-1, 1, form.kernel, form.kernel)
        unit = Unit(F.relu(output) if number else output, square, own[1], 1 if number else stride, form.dilation)
        output = _affine(normalised(unit, None, eps)[0], own)
    return output
