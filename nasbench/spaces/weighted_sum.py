"""Weighted sums of separable convolutions and of terms that several edges share.

A node's sum is a sum of products z A^T (see `nasbench.spaces.separable`), one for each separable convolution of each
edge, with the edge's weight of the operation as a factor of A; so no operation's output is ever written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nasbench.spaces.depthwise import Windows
from nasbench.spaces.separable import (
    Moments,
    Normalised,
    Unit,
    blocks,
    differentiable,
    empty,
    normalise,
    normalised,
    unit_gradients,
)


class Place(NamedTuple):
    """Where a term enters.

    Attributes:
        edges: The m edges that have it, of the n that leave the state.
        columns: For each of them the column of its weight.
    """

    edges: tuple[int, ...]
    columns: tuple[int, ...]

    def everywhere(self, n: int) -> tuple[int, ...] | None:
        """Return the columns of terms that all n edges have, each in one column, one term after the other; or None."""
        if self.edges != tuple(range(n)) * (len(self.edges) // n):
            return None
        runs = [self.columns[first : first + n] for first in range(0, len(self.columns), n)]
        return tuple(run[0] for run in runs) if all(len(set(run)) == 1 for run in runs) else None

    def of(self, scales: Tensor) -> Tensor:
        """Return its weights [m] out of [n, O]."""
        columns = self.everywhere(len(scales))
        if columns is None:
            return scales[list(self.edges), list(self.columns)]
        return scales[:, columns[0]] if len(columns) == 1 else torch.cat([scales[:, column] for column in columns])

    def spread(self, scales: Tensor) -> Tensor:
        """Return the weights [n] of a single term out of [n, O], 0 for edges that do not have it."""
        if self.everywhere(len(scales)):
            return self.of(scales)
        spread = scales.new_zeros(len(scales))
        spread[list(self.edges)] = self.of(scales)
        return spread

    def add(self, into: Tensor, values: Tensor) -> None:
        """Add [m] to its places in [n, O]."""
        columns = self.everywhere(len(into))
        if columns is None:
            into[list(self.edges), list(self.columns)] += values
            return
        for column, part in zip(columns, torch.split(values, len(into)), strict=True):
            into[:, column] += part


class Form(NamedTuple):
    """What a weighted sum consists of, beside its tensors.

    Attributes:
        units: Place, stride, dilation and windows of each separable convolution.
        shared: Place of each term that is the same on all edges.
        eps: Of the BN.
    """

    units: tuple[tuple[Place, int, int, Windows | None], ...]
    shared: tuple[Place, ...]
    eps: float


def _units(form: Form, tensors: Sequence[Tensor]) -> list[Unit]:
    triples = zip(tensors[::3], tensors[1::3], tensors[2::3], strict=False)
    return [
        Unit(x, kernels, mixing, stride, dilation, windows)
        for (x, kernels, mixing), (_, stride, dilation, windows) in zip(triples, form.units, strict=False)
    ]


def _add_products(total: Tensor, place: Place, left: Tensor, right: Tensor) -> None:
    """Add the products of [m, P, C] and [m, C, C] to the place's edges of [n, P, C]."""
    if place.edges == tuple(range(len(total))):
        total.baddbmm_(left, right)
    elif place.edges == tuple(range(len(total))) * 2:
        for half in (slice(len(total)), slice(len(total), None)):
            total.baddbmm_(left[half], right[half])
    else:
        for index, edge in enumerate(place.edges):
            total[edge].addmm_(left[index], right[index])


class _WeightedSum(torch.autograd.Function):
    """For each edge the weighted sum of its units and of the shared terms."""

    @staticmethod
    def forward(ctx: Any, form: Form, scales: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        units, shared = _units(form, tensors), tensors[3 * len(form.units) :]
        everything, moments = zip(*(normalise(unit, form.eps) for unit in units), strict=True)
        n = len(scales)
        total = empty(everything[0].z, n * units[0].mixing.shape[1]).zero_()
        for unit, known, (place, *_) in zip(units, everything, form.units, strict=True):
            matrix = unit.mixing * (known.inverse * place.of(scales)[:, None])[..., None]
            _add_products(blocks(total, n), place, blocks(known.z, len(matrix)), matrix.transpose(1, 2))
            if unit.windows is not None:
                unit.windows.join()
        for term, place in zip(shared, form.shared, strict=True):
            _add_shared(blocks(total, n), place, blocks(term, 1)[0], scales)
        ctx.save_for_backward(scales, *tensors, *(part for known in everything for part in known))
        ctx.form = form
        flat = tuple(part for pair in moments for part in pair)
        ctx.mark_non_differentiable(*flat)
        ctx.set_materialize_grads(False)
        return total, *flat

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        form, (scales, *tensors) = ctx.form, ctx.saved_tensors
        tensors, rest = tensors[: 3 * len(form.units) + len(form.shared)], tensors[-3 * len(form.units) :]
        units, shared = _units(form, tensors), tensors[3 * len(form.units) :]
        if torch.is_grad_enabled():
            return None, *differentiable(partial(_step_by_step, form), (scales, *tensors), grads[0])
        grad, n = grads[0].contiguous(memory_format=torch.channels_last), len(scales)
        parts, of_scales = blocks(grad, n), torch.zeros_like(scales)
        of_tensors: list[Tensor | None] = []
        centred = parts - parts.mean(dim=1, keepdim=True)
        for index, (unit, (place, *_)) in enumerate(zip(units, form.units, strict=True)):
            own = centred if place.edges == tuple(range(n)) else centred[list(place.edges)]
            wanted = ctx.needs_input_grad[2 + 3 * index : 5 + 3 * index]
            known = Normalised(*rest[3 * index : 3 * index + 3])
            *found, of_scale = unit_gradients(known, unit, place.of(scales), own, wanted)
            if of_scale is not None:
                place.add(of_scales, of_scale)
            of_tensors += found
        for term, place in zip(shared, form.shared, strict=True):
            of_term, of_scale = _shared_gradients(grad, place, term, scales)
            place.add(of_scales, of_scale if len(place.edges) == n else of_scale[list(place.edges)])
            of_tensors.append(of_term)
        return None, of_scales, *of_tensors


def _add_shared(total: Tensor, place: Place, term: Tensor, scales: Tensor) -> None:
    """Add its weights times a term [P, C] to [n, P, C]."""
    total.addcmul_(term, place.spread(scales)[:, None, None])


def _shared_gradients(grad: Tensor, place: Place, term: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of a term [N, C, H, W] and of its weight on every edge [n].

    Both are products with an n*C x C matrix whose blocks are diagonal: C times the arithmetic that is needed, and
    still faster than to read ``grad`` edge by edge.

    Args:
        grad: [N, n*C, H, W].
        place: Of the term.
        term: [N, C, H, W].
        scales: [n, O].
    """
    if len(scales) == 1:
        pixels = (part.permute(0, 2, 3, 1).reshape(-1) for part in (grad, term))
        return grad * place.of(scales), torch.dot(*pixels).unsqueeze(0)
    flat, values = grad.permute(0, 2, 3, 1).flatten(0, 2), term.permute(0, 2, 3, 1).flatten(0, 2)
    channels = values.shape[1]
    diagonal = torch.eye(channels, dtype=grad.dtype, device=grad.device)
    of_term = flat @ (place.spread(scales)[:, None, None] * diagonal).flatten(0, 1)
    of_scales = (flat.t() @ values).view(-1, channels, channels).diagonal(dim1=1, dim2=2).sum(dim=1)
    return of_term.view(term.shape[0], *term.shape[2:], channels).permute(0, 3, 1, 2), of_scales


def _step_by_step(form: Form, scales: Tensor, *tensors: Tensor, running: Sequence[Moments] | None = None) -> Tensor:
    """Return the weighted sum in plain steps, differentiable any number of times."""
    units, shared = _units(form, tensors), tensors[3 * len(form.units) :]
    statistics: Sequence[Moments | None] = running or [None] * len(units)
    terms: list[list[Tensor]] = [[] for _ in scales]
    for unit, (place, *_), moments in zip(units, form.units, statistics, strict=True):
        output = normalised(unit, moments, form.eps)[0].chunk(len(place.edges), dim=1)
        for part, edge, column in zip(output, *place, strict=True):
            terms[edge].append(scales[edge, column] * part)
    for term, place in zip(shared, form.shared, strict=True):
        for edge, column in zip(*place, strict=True):
            terms[edge].append(scales[edge, column] * term)
    some = next(part for parts in terms for part in parts)
    return torch.cat([sum(parts[1:], start=parts[0]) if parts else torch.zeros_like(some) for parts in terms], dim=1)


def weighted_sum(
    form: Form, scales: Tensor, units: Sequence[Unit], shared: Sequence[Tensor], running: Sequence[Moments] | None
) -> tuple[Tensor, Sequence[Moments]]:
    """Return for each edge the weighted sum of its units and of the shared terms.

    Args:
        form: Where each of them enters.
        scales: Weights [n, O].
        units: Separable convolutions, at least one.
        shared: Terms [N, C, H', W'] that several edges have in common.
        running: Statistics of each unit; None normalises by the batch.

    Returns:
        [N, n*C, H', W'] and the statistics that were used.
    """
    tensors = (*(tensor for unit in units for tensor in unit[:3]), *shared)
    if running is not None:
        return _step_by_step(form, scales, *tensors, running=running), running
    output, *moments = _WeightedSum.apply(form, scales, *tensors)
    return output, [Moments(*pair) for pair in zip(moments[::2], moments[1::2], strict=True)]
