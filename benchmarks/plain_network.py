"""The textbook discrete network around two cells: one module an edge, NCHW, affine BN.

Used by ``python -m benchmarks.discrete_network [--quick] [--json [FILE]]``; nothing runs here. It has the form of the
authors' published code without auxiliary head and drop path, written anew in plain `torch.nn`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from benchmarks.plain_operations import OPERATIONS, Halve, conv
from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape


class PlainCell(nn.Module):
    """A cell with its chosen operations."""

    def __init__(self, cell: Cell, widths: tuple[int, int, int], reduction: bool, halved: bool) -> None:
        super().__init__()
        c_prev_prev, c_prev, channels = widths
        self.cell = cell
        self.before0 = (
            Halve(c_prev_prev, channels, affine=True) if halved else conv(c_prev_prev, channels, 1, affine=True)
        )
        self.before1 = conv(c_prev, channels, 1, affine=True)
        self.edges = nn.ModuleList(
            OPERATIONS[name](channels, 2 if reduction and source < 2 else 1, True)
            for arriving in cell.nodes
            for name, source in arriving
        )

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        """Map the outputs of the two cells before to this cell's."""
        states = [self.before0(s0), self.before1(s1)]
        edges = iter(self.edges)
        for arriving in self.cell.nodes:
            states.append(sum(next(edges)(states[source]) for _, source in arriving))
        return torch.cat([states[place] for place in self.cell.concat], dim=1)


class PlainNetwork(nn.Module):
    """The network.

    Args:
        cells: ``"normal"`` and ``"reduce"``.
        shape: Size of the network; stem of CIFAR.
    """

    def __init__(self, cells: Mapping[str, Cell], shape: NetworkShape) -> None:
        super().__init__()
        stem = 3 * shape.channels
        self.stem = nn.Sequential(nn.Conv2d(shape.in_channels, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.cells = nn.ModuleList()
        before, channels, halved = (stem, stem), shape.channels, False
        for index in range(shape.num_cells):
            reduction = index in {shape.num_cells // 3, 2 * shape.num_cells // 3}
            channels = 2 * channels if reduction else channels
            cell = cells["reduce" if reduction else "normal"]
            self.cells.append(PlainCell(cell, (*before, channels), reduction, halved))
            before, halved = (before[1], len(cell.concat) * channels), reduction
        self.classifier = nn.Linear(before[1], shape.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, K] of images [N, c, H, W]."""
        s0 = s1 = self.stem(images)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(s1, 1).flatten(1))
        return logits
