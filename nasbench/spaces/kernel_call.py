"""One call of a compiled kernel: its tensors as addresses."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nasbench.spaces import kernel_library
from nasbench.spaces.kernel_forms import TERMS, FanForm, Known
from nasbench.spaces.kernel_library import KINDS, FanArguments, OperationArguments, TermArguments
from nasbench.spaces.separable import Moments

LANES = 16
"""Channels that the kernels compute at once."""


def num_lanes(channels: int, edges: int) -> int:
    """Return the groups of `LANES` that the channels of so many edges lie in, as in kernels/lanes.h."""
    if channels < LANES and LANES % channels == 0:
        return -(-edges * channels // LANES)
    return edges * -(-channels // LANES)


class Sizes(NamedTuple):
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
    def of(cls, form: FanForm, x: Tensor) -> Sizes:
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


class Call:
    """One call of a kernel: its arguments, and what must live as long.

    Args:
        form: Of the fan.
        sizes: Likewise.
        x: Its input.
        factors: [operations + terms, n].
        weights: Of its operations.
        z: Outputs of convolutions and pools, in lanes, one after the other.
        small: Statistics of each of them, likewise.
    """

    def __init__(
        self, form: FanForm, sizes: Sizes, x: Tensor, factors: Tensor, weights: Sequence[Tensor], z: Tensor,
        small: Tensor,
    ) -> None:  # fmt: skip
        self.kept: list[Any] = [factors, z, small]
        self.kind = KINDS[x.dtype]
        self.known = Known([], [])
        self._next = [z.data_ptr(), small.data_ptr()]
        self._sizes = sizes
        self._small, self._start = small, 0
        self.operations = (OperationArguments * max(1, len(form.operations)))()
        self.terms = (TermArguments * max(1, len(form.terms)))()
        places = (factors.data_ptr() + row * form.edges * factors.element_size() for row in range(len(factors)))
        triples = zip(form.operations, form.running, form.weights(weights), strict=True)
        for own, (spec, running, parts) in zip(self.operations, triples, strict=False):
            own.kernel, own.dilation, own.repeats, own.dense = spec[1:5]
            own.rows, own.factors = _rows(spec.edges, form.edges), next(places)
            self.known.operations.append([])
            for number, tensors in enumerate(parts):
                for places_of, tensor in zip((own.kernels, own.mixing), tensors, strict=True):
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
        self.fan = FanArguments(
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
        array = (c_void_p * max(1, len(tensors)))(
            *(tensor if tensor is None else tensor.data_ptr() for tensor in tensors)
        )
        self.kept += [array, *tensors]
        return ctypes.addressof(array)

    def run(self, what: str) -> None:
        """Run the kernel."""
        kernel_library.run(what, self.kind, self.fan)


@cache
def _stored_rows(edges: tuple[int, ...], n: int) -> Any:
    return (c_int64 * n)(*(edges.index(edge) if edge in edges else -1 for edge in range(n)))


def _rows(edges: tuple[int, ...], n: int) -> int:
    """Return the address of each edge's row in the weights of an operation; -1 for an edge that lacks it."""
    return ctypes.addressof(_stored_rows(edges, n))
