"""A search space small enough for exact second derivatives and for whole searches in a blink."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nasbench.config.component import component
from nasbench.core.genotype import Cell, Choice, Genotype
from nasbench.datasets.base import ImageSet
from nasbench.spaces.base import NetworkShape, SearchSpace

OPERATIONS = ("skip_connect", "avg_pool_3x3", "sep_conv_3x3")


class TinySupernet(nn.Module):
    """Two mixed edges (one of each group), BN between; smooth everywhere, so that finite differences converge."""

    def __init__(self, channels, in_channels, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.convolutions = nn.ModuleDict(
            {group: nn.Conv2d(channels, channels, 3, padding=1) for group in ("normal", "reduce")}
        )
        self.unused = nn.Parameter(torch.ones(2))  # a weight that no loss reaches
        self.head = nn.Linear(channels, classes)

    def forward(self, images, edge_weights, active=None):
        x = self.norm(self.stem(images))
        for group, convolution in self.convolutions.items():
            weights = edge_weights[group][0]
            if active is not None:
                weights = weights * torch.from_numpy(active[group][0])
            skip, pool, conv = weights.unbind()
            pooled = functional.avg_pool2d(x, 3, stride=1, padding=1)
            x = skip * x + pool * pooled + conv * torch.tanh(convolution(x))
        return self.head(x.mean(dim=(2, 3)))


@component
class TinySpace(SearchSpace):
    """One node with one edge in each of two cells, three operations."""

    name: ClassVar[str] = "tiny"

    @property
    def choices(self):
        return tuple(Choice(name=group, candidates=OPERATIONS) for group in ("normal", "reduce"))

    @property
    def alpha_shapes(self):
        return {"normal": (1, 3), "reduce": (1, 3)}

    @property
    def operations(self):
        return {"normal": OPERATIONS, "reduce": OPERATIONS}

    def one_hot(self, genotype):
        return {group: np.eye(3)[[gene]] for group, gene in zip(("normal", "reduce"), genotype.genes, strict=True)}

    def discretize(self, alphas, edge_norm=None):
        return Genotype(space=self.name, genes=tuple(int(alphas[group].argmax()) for group in ("normal", "reduce")))

    def cells(self, genotype):
        pairs = zip(("normal", "reduce"), genotype.genes, strict=True)
        return {group: Cell(nodes=(((OPERATIONS[gene], 0),),), concat=(2,)) for group, gene in pairs}

    def genotype(self, cells):
        raise NotImplementedError

    def supernet(self, shape):
        return TinySupernet(shape.channels, shape.in_channels, shape.num_classes)

    def network(self, genotype, shape):
        raise NotImplementedError


SHAPE = NetworkShape(num_cells=1, channels=4, num_classes=3, in_channels=1, image_size=6)


def image_set(count=60, seed=0):
    """Three classes that differ by the row that is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    pixels = rng.integers(0, 120, (count, 6, 6, 1))
    for row, label in enumerate(labels):
        pixels[row, 2 * label : 2 * label + 2] += 120
    return ImageSet(
        images=pixels.astype(np.uint8),
        labels=labels.astype(np.int64),
        ids=tuple(map(str, range(count))),
        num_classes=3,
        mean=(0.35,),
        std=(0.25,),
    )
