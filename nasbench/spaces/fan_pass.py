"""One forward pass of the edges that leave one state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name
from torch.utils.checkpoint import checkpoint

from nasbench.spaces import compiled, few_launches
from nasbench.spaces.banks import ConvBank, JoinedStatistics, Notes, Rows, SeparableBank, Statistics
from nasbench.spaces.depthwise import Windows
from nasbench.spaces.group_weights import GroupWeights, Weighted
from nasbench.spaces.separable import Unit, hidden, repeated
from nasbench.spaces.weighted_sum import Form, Place, weighted_sum

AT_ONCE_BYTES = 4 << 20
"""On CPU as many edges are computed at once as have tensors of this size together, so that caches are of use."""

ALIKE_BYTES = 1 << 20
"""On CPU convolutions with kernels of unequal size become one up to tensors of this size; see `FanPass._alike`."""


class Term(NamedTuple):
    """An operation on some of a fan's edges.

    Attributes:
        name: Of the operation.
        edges: Places in the fan of the m edges that have it.
        columns: For each of them its number among the edge's candidates.
    """

    name: str
    edges: tuple[int, ...]
    columns: tuple[int, ...]

    def only(self, wanted: Callable[[int, int], bool]) -> Term:
        """Return the term on those of its edges, given with the column, that are wanted."""
        kept = [pair for pair in zip(self.edges, self.columns, strict=True) if wanted(*pair)]
        return Term(self.name, tuple(edge for edge, _ in kept), tuple(column for _, column in kept))


Placed = tuple[Term, Place]


class FanPass:
    """What is computed of a fan in one forward pass; what its edges share is computed once, when it is asked for.

    Args:
        terms: All operations of the fan's edges.
        seen: What the operations see of the state [N, C, H, W].
        stride: Of the edges.
        pools: Name -> pool, with its BN if there is one.
        banks: Name -> weights.
        weights: Name -> the rows of the bank's weights that are this fan's.
        first_rows: Name -> the first of these rows.
        recompute: Keep nothing of the separable convolutions for the backward pass but compute them again.

    Attributes:
        notes: What the running statistics are to be moved by.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        seen: Tensor,
        stride: int,
        *,
        pools: Mapping[str, Any],
        banks: Mapping[str, Any],
        weights: Mapping[str, Sequence[Tensor]],
        first_rows: Mapping[str, int],
        recompute: bool,
    ) -> None:
        self.whole = {term.name: term.edges for term in terms}
        self.seen, self.stride, self.recompute = seen, stride, recompute
        self.pools, self.banks, self.weights, self.first_rows = pools, banks, weights, first_rows
        self.few_launches = few_launches.wanted_for(seen)
        self.kernels = not self.few_launches and compiled.wanted_for(seen) and self._have_kernels()
        self._repeated: dict[tuple[int, int], tuple[Tensor, Windows]] = {}
        self._pooled: dict[str, Tensor] = {}
        self.notes: Notes = []

    @property
    def edges_at_once(self) -> int | None:
        """How many edges are computed together; None is all."""
        if self.few_launches or self.kernels:
            return None
        return max(1, AT_ONCE_BYTES * self.stride**2 // (self.seen.numel() * self.seen.element_size()))

    def outputs(
        self, terms: Sequence[Term], live: Sequence[int], edges: Sequence[int], group: GroupWeights
    ) -> dict[int, list[Weighted]]:
        """Return what is summed on each of the live edges, by the edge's number in the cell.

        Args:
            terms: Operations on the live edges only.
            live: n places in the fan, in ascending order.
            edges: Number of every edge of the fan in the cell.
            group: Weights of the cell's edges.
        """
        index = {edge: number for number, edge in enumerate(live)}
        found: list[list[Weighted]] = [[] for _ in live]
        numbers = tuple(edges[edge] for edge in live)
        placed = [(term, Place(tuple(index[edge] for edge in term.edges), term.columns)) for term in terms]
        separable = [pair for pair in placed if self._is_joined(pair[0].name)]
        shared = [pair for pair in placed if pair[0].name not in self.weights]
        own = [pair for pair in placed if pair not in separable and pair not in shared]
        if separable or (self.kernels and shared):
            for terms_of_edge, part in zip(found, self._sum(separable, shared, numbers, group), strict=True):
                terms_of_edge.append(Weighted(None, part))
        for term, place in own:
            rows, weights = self._rows(term)
            scale = _picked(place, numbers, group) if self.few_launches else place.of(group.rows(numbers))
            output = self.banks[term.name](self._activated, weights, rows, scale, self.stride)
            for edge, part in zip(place.edges, _pieces(output, len(place.edges)), strict=True):
                found[edge].append(Weighted(None, part))
        if not separable and not self.kernels:  # few terms: each is added to its node's sum as it is
            for term, place in shared:
                for edge, column in zip(*place, strict=True):
                    weight = group.weights[edges[live[edge]]][column]
                    found[edge].append(Weighted(weight, self._shared(term.name)))
        return {edges[edge]: terms_of_edge for edge, terms_of_edge in zip(live, found, strict=True)}

    @cached_property
    def _activated(self) -> Tensor:
        """The ReLU that all operations with weights begin with."""
        return F.relu(self.seen)

    def _shared(self, name: str) -> Tensor:
        """Return the output of a pool, or the input itself for a skip connection."""
        if name not in self.pools:
            return self.seen
        if name not in self._pooled:
            self._pooled[name] = self.pools[name](self.seen)
        return self._pooled[name]

    def _input(self, count: int, dilation: int) -> tuple[Tensor, Windows, int]:
        """Return the input of separable convolutions on ``count`` edges, its windows, and the stride left to do.

        A convolution of stride 2 and dilation 2 whose padding is even reads the even rows and columns only.
        """
        skip = 2 if self.stride == 2 and dilation == 2 else 1
        if (count, skip) not in self._repeated:
            self._repeated[count, skip] = repeated(self._activated[:, :, ::skip, ::skip], count), Windows()
        return *self._repeated[count, skip], self.stride // skip

    def _rows(self, term: Term) -> tuple[Rows, Sequence[Tensor]]:
        """Return a term's rows of its bank, and their weights."""
        whole, first, weights = self.whole[term.name], self.first_rows[term.name], self.weights[term.name]
        kept = [whole.index(edge) for edge in term.edges]
        if kept != list(range(kept[0], kept[0] + len(kept))):
            return [first + row for row in kept], [weight[kept] for weight in weights]
        run = slice(kept[0], kept[0] + len(kept))
        rows = slice(first + run.start, first + run.stop)
        return rows, weights if len(kept) == len(whole) else [weight[run] for weight in weights]

    def _sum(
        self, separable: Sequence[Placed], shared: Sequence[Placed], numbers: tuple[int, ...], group: GroupWeights
    ) -> Sequence[Tensor]:
        """Return for each of n edges the weighted sum [N, C, H', W'] of separable convolutions and of what all share.

        Args:
            separable: The convolutions.
            shared: What the edges share.
            numbers: The n edges by their numbers in the cell.
            group: Weights of the cell's edges.
        """
        places = [place for _, place in shared]
        if self.kernels:
            factors = _shares([*(place for _, place in separable), *places], numbers, group)
            outputs: Sequence[Tensor] = self._checkpointed(
                partial(self._by_kernels, separable, [term.name for term, _ in shared], factors)
            )
            return outputs
        tensors = [self._shared(term.name) for term, _ in shared]
        alike = self._alike(separable, len(numbers))
        if self.few_launches:
            joined = _joined_places([pair for members in alike for pair in members])
            factors, shares = _picked(joined, numbers, group), _shares(places, numbers, group)
            compute = partial(self._launch, alike, joined.edges, factors, tensors, shares)
        else:
            compute = partial(self._compute, alike, tuple(places), group.rows(numbers), tensors)
        return _pieces(self._checkpointed(compute), len(numbers))

    def _checkpointed(self, compute: Callable[[], tuple[Any, Notes]]) -> Any:
        """Return what is computed, and keep its notes."""
        if self.recompute:
            _ = self.kernels or self._activated  # kept
            total, notes = checkpoint(compute, use_reentrant=False)
        else:
            total, notes = compute()
        self.notes += notes
        return total

    def _have_kernels(self) -> bool:
        """Whether there are kernels for what is done here: not for gradients with running statistics."""
        norms = (norm for bank in self.banks.values() for norm in bank.norms_in_order())
        pools = (norm for name in self.pools if (norm := self._pool_norm(name)) is not None)
        known = next(chain(norms, pools), None)  # all of them are in one mode
        return not torch.is_grad_enabled() or known is None or known.by_batch

    def _is_joined(self, name: str) -> bool:
        """Whether an operation is computed together with others and with what edges share."""
        bank = self.banks.get(name)
        return isinstance(bank, SeparableBank) or (self.kernels and self.stride == 1 and isinstance(bank, ConvBank))

    def _by_kernels(
        self, placed: Sequence[Placed], shared: Sequence[str], factors: Tensor
    ) -> tuple[Sequence[Tensor], Notes]:
        """Compute the same by the compiled kernels; see `nasbench.spaces.compiled`."""
        operations, norms = [], []
        for term, place in placed:
            bank = self.banks[term.name]
            rows, weights = self._rows(term)
            own = [JoinedStatistics([norm], [rows]) for norm in bank.norms_in_order()]
            running = None if own[0].by_batch else [norm.running() for norm in own]
            operations.append(compiled.Operation(bank.kernel_form(place.edges), weights, running))
            norms += own
        pools = [self._pool_norm(name) for name in shared]
        terms = [
            compiled.Term(name, norm is not None, None if norm is None or norm.by_batch else norm.running())
            for name, norm in zip(shared, pools, strict=True)
        ]
        eps = next((norm.eps for norm in (*norms, *pools) if norm is not None), 0.0)
        outputs, known = compiled.fan(self.seen, self.stride, operations, terms, factors, eps)
        pixels = outputs[0].numel() // outputs[0].shape[1]
        moments = [*(own for of_operation in known.operations for own in of_operation), *known.terms]
        used = zip((*norms, *pools), moments, strict=True)
        return outputs, [(norm, own, pixels) for norm, own in used if norm is not None and own is not None]

    def _pool_norm(self, name: str) -> JoinedStatistics | None:
        """Return the BN after a pool."""
        norm = self.pools[name][-1] if isinstance(self.pools.get(name), nn.Sequential) else None
        return JoinedStatistics([norm], [slice(0, 1)]) if isinstance(norm, Statistics) else None

    def _alike(self, separable: Sequence[Placed], count: int) -> list[Sequence[Placed]]:
        """Return what is computed as one convolution.

        Where tensors are small, it is the number of steps that takes time, and not the zeros around a smaller kernel.
        """
        size = 2 * count * self.seen.numel() * self.seen.element_size() // self.stride**2
        if not self.few_launches and size > ALIKE_BYTES:
            return [[pair] for pair in separable]
        alike: dict[tuple[int, int], list[Placed]] = {}
        for term, place in separable:
            alike.setdefault(self.banks[term.name].form, []).append((term, place))
        return list(alike.values())

    def _compute(
        self, alike: Sequence[Sequence[Placed]], places: tuple[Place, ...], scales: Tensor, shared: Sequence[Tensor]
    ) -> tuple[Tensor, Notes]:
        notes: Notes = []
        units, norms = self._units(alike, notes)
        placed = tuple(
            (_joined_places(members), unit.stride, unit.dilation, unit.windows)
            for unit, members in zip(units, alike, strict=True)
        )
        form = Form(placed, places, norms[0].eps if norms else 0.0)
        running = [norm.running() for norm in norms if not norm.by_batch]
        total, moments = weighted_sum(form, scales, units, shared, running or None)
        pixels = total.numel() // total.shape[1]
        return total, [*notes, *((norm, found, pixels) for norm, found in zip(norms, moments, strict=True))]

    def _launch(
        self,
        alike: Sequence[Sequence[Placed]],
        edges: Sequence[int],
        factors: Tensor,
        shared: Sequence[Tensor],
        shares: Tensor,
    ) -> tuple[Tensor, Notes]:
        """Compute the same with few operators; see `nasbench.spaces.few_launches`."""
        notes: Notes = []
        units, norms = self._units(alike, notes)
        norm = JoinedStatistics.of(norms)
        running = None if norm.by_batch else norm.running()
        total, moments = few_launches.weighted_sum(units, edges, factors, shared, shares, norm.eps, running)
        return total, [*notes, (norm, moments, total.numel() // total.shape[1])]

    def _units(self, alike: Sequence[Sequence[Placed]], notes: Notes) -> tuple[list[Unit], list[JoinedStatistics]]:
        """Return the last separable convolutions of terms that are alike, each as one, and their BN."""
        if self.recompute:  # the second time the same steps have to be taken as the first time
            self._repeated = {}
        found = [self._unit([term for term, _ in members], notes) for members in alike]
        if self.recompute:  # nor is anything kept
            self._repeated = {}
        return [unit for unit, _ in found], [norm for _, norm in found]

    def _unit(self, terms: Sequence[Term], notes: Notes) -> tuple[Unit, JoinedStatistics]:
        """Return the last separable convolution of terms that are alike, as one, and its BN."""
        banks: list[SeparableBank] = [self.banks[term.name] for term in terms]
        rows, weights = zip(*(self._rows(term) for term in terms), strict=True)
        (dilation, repeats), largest = banks[0].form, max(bank.kernel for bank in banks)
        x, windows, stride = self._input(sum(len(term.edges) for term in terms), dilation)
        dilation = dilation if stride == self.stride else 1
        for number in range(repeats):
            norm = JoinedStatistics([bank.statistics(number) for bank in banks], rows)
            kernels = [bank.widened(own[number], largest) for own, bank in zip(weights, banks, strict=True)]
            mixing = _joined([own[repeats + number] for own in weights])
            known = windows if number == 0 and not self.recompute else None
            unit = Unit(x, _joined(kernels), mixing, stride, dilation, known)
            if number < repeats - 1:
                running = None if norm.by_batch else norm.running()
                x, moments = (few_launches.hidden if self.few_launches else hidden)(unit, norm.eps, running)
                notes.append((norm, moments, x.numel() // x.shape[1]))
                stride = 1
        return unit, norm


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _pieces(x: Tensor, count: int) -> Sequence[Tensor]:
    """Return the channels of each edge; a single piece is not cut, as its gradient would be copied."""
    return [x] if count == 1 else x.chunk(count, dim=1)


def _joined_places(placed: Sequence[Placed]) -> Place:
    """Return where some terms enter, one term after the other."""
    return Place(*(sum(parts, ()) for parts in zip(*(place for _, place in placed), strict=True)))


def _picked(place: Place, numbers: tuple[int, ...], group: GroupWeights) -> Tensor:
    """Return the weights of a place [m] without an index that would have to be copied to the device."""
    return group.picked(tuple((numbers[edge], column) for edge, column in zip(*place, strict=True)))


def _shares(places: Sequence[Place], numbers: tuple[int, ...], group: GroupWeights) -> Tensor:
    """Return the weights [s, n] of terms that the edges share."""
    columns = [dict(zip(*place, strict=True)) for place in places]
    pairs = [(number, own[edge]) if edge in own else None for own in columns for edge, number in enumerate(numbers)]
    return (
        group.picked(tuple(pairs)).view(len(places), len(numbers)) if pairs else group.matrix.new_empty(0, len(numbers))
    )
