"""The textbook supernet of NAS-Bench-201: every operation of an edge, or the sampled one only (GDAS).

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]``; nothing runs here. It has the form of the
published code, written anew in plain `torch.nn`: with ``index`` each edge computes only the operation of that index,
and by option the other operations' weights, which are zero, are added as numbers, so that gradients reach them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from benchmarks.plain_operations import conv, mixed_operation
from nasbench.spaces.base import NetworkShape

NUM_NODES = 4
STAGES = 3
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


class MixedCell(nn.Module):
    """Four nodes, the first is the input and the last the output; six edges of five operations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            nn.ModuleList(mixed_operation(name, channels, 1, pool_norm=False) for name in OPERATIONS)
            for node in range(1, NUM_NODES)
            for _ in range(node)
        )

    def forward(self, x: Tensor, weights: Tensor, index: Sequence[int] | None, add_unchosen: bool) -> Tensor:
        """Return the last node."""
        states = [x]
        edge = 0
        for node in range(1, NUM_NODES):
            arriving = []
            for source in range(node):
                chosen = None if index is None else index[edge]
                arriving.append(self._edge(edge, states[source], weights[edge], chosen, add_unchosen))
                edge += 1
            states.append(sum(arriving[1:], start=arriving[0]))
        return states[-1]

    def _edge(self, edge: int, x: Tensor, weights: Tensor, chosen: int | None, add_unchosen: bool) -> Tensor:
        operations: Any = self.edges[edge]
        if chosen is None:
            total: Any = sum(weight * operation(x) for weight, operation in zip(weights, operations, strict=True))
        elif add_unchosen:
            total = sum(
                weights[place] * operation(x) if place == chosen else weights[place]
                for place, operation in enumerate(operations)
            )
        else:
            total = weights[chosen] * operations[chosen](x)
        output: Tensor = total
        return output


class ResidualBlock(nn.Module):
    """Two convolutions 3x3, the first of stride 2, beside average pooling and a pointwise convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, 2 * channels, 3, 2, affine=True)
        self.second = conv(2 * channels, 2 * channels, 3, affine=True)
        self.beside = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(channels, 2 * channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, 2C, H/2, W/2]."""
        output: Tensor = self.second(self.first(x)) + self.beside(x)
        return output


class PlainNasBench201(nn.Module):
    """The supernet.

    Args:
        shape: Size of the network; ``num_cells`` is 3N.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        channels = shape.channels
        self.stem = nn.Sequential(
            nn.Conv2d(shape.in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.layers = nn.ModuleList()
        for stage in range(STAGES):
            if stage:
                self.layers.append(ResidualBlock(channels))
                channels *= 2
            self.layers.extend(MixedCell(channels) for _ in range(shape.num_cells // STAGES))
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, shape.num_classes)

    def forward(
        self, images: Tensor, weights: Tensor, index: Sequence[int] | None = None, add_unchosen: bool = False
    ) -> Tensor:
        """Classify images.

        Args:
            images: [N, c, H, W], H and W divisible by 4.
            weights: [6, 5].
            index: Of the sampled operation of each edge, or None to compute all.
            add_unchosen: Add the weights of the others.

        Returns:
            Logits [N, K].
        """
        x = self.stem(images)
        for layer in self.layers:
            x = layer(x, weights, index, add_unchosen) if isinstance(layer, MixedCell) else layer(x)
        x = F.adaptive_avg_pool2d(torch.relu(self.norm(x)), 1)
        logits: Tensor = self.classifier(x.flatten(1))
        return logits
