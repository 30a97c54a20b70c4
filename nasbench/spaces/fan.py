"""The edges that leave one state, computed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.spaces.banks import Bank, ConvBank, HalvingBank, Notes, SeparableBank, Statistics
from nasbench.spaces.fan_pass import FanPass, Term
from nasbench.spaces.group_weights import GroupWeights, Weighted
from nasbench.spaces.ops import build

POOLS = ("max_pool_3x3", "avg_pool_3x3")
WITHOUT_INPUT = ("none", "noise")
"""Operations to which an edge's input does not matter."""


def build_bank(name: str, channels: int, num_rows: int) -> Bank | None:
    """Build the weights of an operation on ``num_rows`` edges; None where it has none."""
    family, _, kernel = name.rpartition("_")
    if family in ("sep_conv", "dil_conv"):
        dilation, repeats = (1, 2) if family == "sep_conv" else (2, 1)
        return SeparableBank(num_rows, channels, kernel=int(kernel[0]), dilation=dilation, repeats=repeats)
    if family == "nor_conv":
        return ConvBank(num_rows, channels, int(kernel[0]))
    return HalvingBank(num_rows, channels) if name == "skip_connect" and num_rows else None


class Fan(nn.Module):
    """The edges that leave one state: what they share is computed once, and what each has of its own in few steps.

    All have the same stride and input. So the ReLU, the pools and the affine-free BN after a pool are the same on each
    of them, as is the part that bypasses the operations in PC-DARTS.

    Args:
        channels: C that the operations see.
        stride: Of all edges.
        edges: Their numbers in the cell.
        candidates: For each edge its operations.
        pool_norm: Whether an affine-free BN follows a pool.

    Attributes:
        first_rows: Operation -> the first row of its bank that is this fan's.
        recompute: See `nasbench.spaces.mixed.use_recomputation`.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        edges: tuple[int, ...],
        candidates: tuple[tuple[str, ...], ...],
        pool_norm: bool,
    ) -> None:
        super().__init__()
        self.channels, self.stride, self.edges, self.candidates = channels, stride, edges, candidates
        self.pools = nn.ModuleDict()
        for name in POOLS:
            if any(name in names for names in candidates):
                pool = build(name, channels, stride, affine=False)
                self.pools[name] = nn.Sequential(pool, Statistics(1, channels)) if pool_norm else pool
        self.first_rows: dict[str, int] = {}
        self.recompute = False

    def num_rows(self, name: str) -> int:
        """Return how many of these edges have an operation with weights; a skip connection has some at stride 2."""
        if name == "skip_connect" and self.stride == 1:
            return 0
        return sum(name in names for names in self.candidates)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """All operations on these edges that do something with the input."""
        names = sorted({name for names in self.candidates for name in names} - {*WITHOUT_INPUT})
        pairs = {
            name: [(edge, own.index(name)) for edge, own in enumerate(self.candidates) if name in own] for name in names
        }
        return tuple(
            Term(name, tuple(edge for edge, _ in found), tuple(column for _, column in found))
            for name, found in pairs.items()
        )

    def bypass(self, state: Tensor) -> Tensor:
        """Return the channels of a state [N, C, H, W] that no operation sees, at the edges' resolution."""
        rest = state[:, self.channels :]
        return rest if self.stride == 1 else F.max_pool2d(rest, 2, stride=2, ceil_mode=True)

    def forward(
        self,
        state: Tensor,
        banks: Mapping[str, Any],
        weights: Mapping[str, Sequence[Tensor]],
        group: GroupWeights,
        notes: Notes,
    ) -> dict[int, list[Weighted]]:
        """Return what is summed on the edges on which something is computed, by the edge's number in the cell.

        Args:
            state: [N, C, H, W].
            banks: Operation -> its `Bank`.
            weights: Operation -> the rows of its bank's weights that are this fan's; only for those that have any.
            group: Weights of the cell's edges, and what of them is active.
            notes: Gets what the running statistics are to be moved by.
        """
        terms = [term.only(self._is_active(group.active)) for term in self.terms]
        live = sorted({edge for term in terms for edge in term.edges})
        if not live:
            return {}
        work = FanPass(
            self.terms, state[:, : self.channels], self.stride, pools=dict(self.pools.items()), banks=banks,
            weights=weights, first_rows=self.first_rows, recompute=self.recompute,
        )  # fmt: skip
        size = work.edges_at_once or len(live)
        outputs: dict[int, list[Weighted]] = {}
        for first in range(0, len(live), size):
            some = live[first : first + size]
            parts = [term.only(_among(some)) for term in terms]
            outputs |= work.outputs([term for term in parts if term.edges], some, self.edges, group)
        notes += work.notes
        return outputs

    def _is_active(self, active: npt.NDArray[np.bool_] | None) -> Callable[[int, int], bool]:
        if active is None:
            return lambda _edge, _column: True
        return lambda edge, column: bool(active[self.edges[edge], column])


def _among(edges: Sequence[int]) -> Callable[[int, int], bool]:
    return lambda edge, _column: edge in edges
