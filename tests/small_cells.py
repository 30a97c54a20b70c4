"""Spaces with every trait that a searcher may need, at a fraction of the time of the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from nasbench.config.component import component
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.edge_cell import EdgeCells
from nasbench.spaces.two_input_cells import KINDS, TwoInputCells

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1")


@component
class SmallCells(TwoInputCells):
    """The wiring, supernet and genotypes of DARTS with three cheap operations."""

    name: ClassVar[str] = "small-cells"

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        return dict.fromkeys(KINDS, OPERATIONS)


@component
class TwoNodes(EdgeCells):
    """NAS-Bench-201 with two nodes, so three edges, of which none competes with another."""

    name: ClassVar[str] = "two-nodes"
    num_nodes: ClassVar[int] = 2


SHAPE = NetworkShape(num_cells=3, channels=4, num_classes=3, in_channels=1, image_size=8)
