"""The textbook supernet of DARTS, S1 to S4, PC-DARTS and SGAS: one module for each operation of each edge.

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]`` and others; nothing runs here. This is what
the product is timed against. It has the form of the authors' published codes, written anew in plain `torch.nn`
without any handicap: every edge computes its operations one by one and sums them with their weights; a decided edge
of SGAS computes its one operation only, a pruned one nothing. NCHW memory as it is built, channels_last by
``.to(memory_format=torch.channels_last)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from benchmarks.plain_operations import Halve, conv, mixed_operation
from nasbench.spaces.base import NetworkShape

NUM_NODES = 4
PRUNED = -1
OPEN = None
Candidates = Mapping[str, Sequence[Sequence[str]]]
Choices = Mapping[str, Sequence[int | None]]
"""Group -> for each edge `OPEN` (all operations), `PRUNED` (none) or the one operation that is computed."""


def choices_of(one_hot: npt.NDArray[np.float64], settled: npt.NDArray[np.bool_]) -> list[int | None]:
    """Return what each edge computes, from SGAS's decisions.

    Args:
        one_hot: [E, O], 1 for the operation of a decided edge.
        settled: [E], whether the edge is decided or pruned.
    """
    return [
        OPEN if not done else (int(row.argmax()) if row.any() else PRUNED)
        for row, done in zip(one_hot, settled, strict=True)
    ]


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave groups of channels."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class MixedOperation(nn.Module):
    """All candidate operations of one edge, each a module of its own.

    Args:
        names: Of the operations.
        channels: C of the cell.
        stride: 1 or 2.
        partial: K of PC-DARTS; 1 sends all channels through the operations.
    """

    def __init__(self, names: Sequence[str], channels: int, stride: int, partial: int) -> None:
        super().__init__()
        self.partial = partial
        self.pool = nn.MaxPool2d(2, 2)
        self.operations = nn.ModuleList(
            mixed_operation(name, channels // partial, stride, pool_norm=True) for name in names
        )

    def forward(self, x: Tensor, weights: Tensor, chosen: int | None) -> Tensor:
        """Return the weighted sum over the operations, or the chosen one's output."""
        if chosen is not None:
            alone: Tensor = self.operations[chosen](x)
            return alone
        if self.partial == 1:
            return self._mix(x, weights)
        seen = x.shape[1] // self.partial
        mixed, rest = self._mix(x[:, :seen], weights), x[:, seen:]
        if mixed.shape[2] != x.shape[2]:
            rest = self.pool(rest)
        return shuffle(torch.cat([mixed, rest], dim=1), self.partial)

    def _mix(self, x: Tensor, weights: Tensor) -> Tensor:
        total: Tensor = sum(weight * operation(x) for weight, operation in zip(weights, self.operations, strict=True))
        return total


class MixedCell(nn.Module):
    """A cell of four nodes; each sums its edges from all earlier states."""

    def __init__(
        self, names: Sequence[Sequence[str]], widths: tuple[int, int, int], reduction: bool, halved: bool, partial: int
    ) -> None:
        super().__init__()
        c_prev_prev, c_prev, channels = widths
        self.reduction = reduction
        self.before0 = (
            Halve(c_prev_prev, channels, affine=False) if halved else conv(c_prev_prev, channels, 1, affine=False)
        )
        self.before1 = conv(c_prev, channels, 1, affine=False)
        sources = [source for node in range(NUM_NODES) for source in range(2 + node)]
        self.edges = nn.ModuleList(
            MixedOperation(edge, channels, 2 if reduction and source < 2 else 1, partial)
            for source, edge in zip(sources, names, strict=True)
        )

    def forward(
        self, s0: Tensor, s1: Tensor, weights: Tensor, norm: Tensor | None, choices: Sequence[int | None] | None
    ) -> Tensor:
        """Map the outputs of the two cells before to this cell's."""
        states = [self.before0(s0), self.before1(s1)]
        first = 0
        for _ in range(NUM_NODES):
            arriving = []
            for source, state in enumerate(states):
                edge = first + source
                chosen = OPEN if choices is None else choices[edge]
                if chosen == PRUNED:
                    continue
                output = self.edges[edge](state, weights[edge], chosen)
                arriving.append(output if norm is None else norm[edge] * output)
            first += len(states)
            states.append(sum(arriving))
        return torch.cat(states[-NUM_NODES:], dim=1)


class PlainSupernet(nn.Module):
    """The supernet.

    Args:
        candidates: ``"normal"`` and ``"reduce"`` -> for each of the 14 edges the names of its operations.
        shape: Size of the network; stem of CIFAR.
        partial: K of PC-DARTS.
    """

    def __init__(
        self, candidates: Mapping[str, Sequence[Sequence[str]]], shape: NetworkShape, partial: int = 1
    ) -> None:
        super().__init__()
        self.settings = (candidates, shape, partial)
        stem = 3 * shape.channels
        self.stem = nn.Sequential(nn.Conv2d(shape.in_channels, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.cells = nn.ModuleList()
        before, channels, halved = (stem, stem), shape.channels, False
        for index in range(shape.num_cells):
            reduction = index in {shape.num_cells // 3, 2 * shape.num_cells // 3}
            channels = 2 * channels if reduction else channels
            names = candidates["reduce" if reduction else "normal"]
            self.cells.append(MixedCell(names, (*before, channels), reduction, halved, partial))
            before, halved = (before[1], NUM_NODES * channels), reduction
        self.classifier = nn.Linear(before[1], shape.num_classes)

    def forward(
        self,
        images: Tensor,
        weights: Mapping[str, Tensor],
        norm: Mapping[str, Tensor] | None = None,
        choices: Choices | None = None,
    ) -> Tensor:
        """Classify images.

        Args:
            images: [N, c, H, W], H and W even down to the last cell.
            weights: Group -> [14, O].
            norm: Group -> [14], PC-DARTS's edge normalisation.
            choices: What SGAS has decided.

        Returns:
            Logits [N, K].
        """
        s0 = s1 = self.stem(images)
        for cell in self.cells:
            kind = "reduce" if cell.reduction else "normal"
            given = (None if norm is None else norm[kind], None if choices is None else choices[kind])
            s0, s1 = s1, cell(s0, s1, weights[kind], *given)
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(s1, 1).flatten(1))
        return logits

    def fresh(self) -> PlainSupernet:
        """Return another supernet of the same size, as the published second-order step builds one."""
        return PlainSupernet(*self.settings)
