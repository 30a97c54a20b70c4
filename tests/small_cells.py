"""Spaces with every trait that a searcher may need, at a fraction of the time of the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from nasbench.config.component import component
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.chain_network import MixedEdgeCell
from nasbench.spaces.edge_cell import GROUP, EdgeCells
from nasbench.spaces.group_weights import take_apart
from nasbench.spaces.two_input_cells import KINDS, TwoInputCells

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1")


@component
class SmallCells(TwoInputCells):
    """The wiring, supernet and genotypes of DARTS with three cheap operations."""

    name: ClassVar[str] = "small-cells"

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        return dict.fromkeys(KINDS, OPERATIONS)


class OneCell(nn.Module):
    """A convolution, one cell of mixed edges, a classifier: no stages and no residual blocks between them."""

    def __init__(self, shape, candidates, num_nodes, partial_channels):
        super().__init__()
        self.shapes = {GROUP: (len(candidates), len(candidates[0]))}
        self.stem = nn.Conv2d(shape.in_channels, shape.channels, 3, stride=2, padding=1)
        self.cell = MixedEdgeCell(shape.channels, candidates, num_nodes, partial_channels)
        self.head = nn.Linear(shape.channels, shape.num_classes)

    def forward(self, images, edge_weights, edge_norm=None, active=None, drop_path=0.0, edge_bias=None):
        groups = take_apart(self.shapes, edge_weights, edge_norm, active, drop_path, edge_bias)
        return self.head(self.cell(self.stem(images), groups[GROUP]).mean(dim=(2, 3)))


@component
class TwoNodes(EdgeCells):
    """NAS-Bench-201's cell with two nodes, so three edges, of which none competes with another; one cell is all."""

    name: ClassVar[str] = "two-nodes"
    num_nodes: ClassVar[int] = 2

    def supernet(self, shape, *, partial_channels=1):
        return OneCell(shape, self.candidates[GROUP], self.num_nodes, partial_channels)


SHAPE = NetworkShape(num_cells=3, channels=4, num_classes=3, in_channels=1, image_size=8)
