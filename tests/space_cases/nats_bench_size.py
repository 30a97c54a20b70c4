"""The size space of NATS-Bench, and a textbook supernet that multiplies every state with its mask."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape, SearchSpace
from tests.space_cases import SpaceCase

TIMES = (1, 2, 3, 4, 5, 6, 7, 8)


def copy_unit(source: nn.Module, conv: nn.Module, norm: nn.Module) -> None:
    """Copy the first channels of a convolution with its BN; a bias goes into the running mean."""
    c_out, c_in = conv.weight.shape[:2]
    conv.weight.copy_(source.body.weight[:c_out, :c_in])
    norm.running_mean.copy_(source.norm.running_mean[:c_out])
    norm.running_var.copy_(source.norm.running_var[:c_out])
    if source.body.bias is not None:
        norm.running_mean.sub_(source.body.bias[:c_out])
    if source.norm.weight is not None:
        norm.weight.copy_(source.norm.weight[:c_out])
        norm.bias.copy_(source.norm.bias[:c_out])


def copy_sized_weights(supernet: nn.Module, network: nn.Module, cells: Mapping[str, Cell]) -> None:
    """Make a discrete network compute what the supernet does with one-hot edge weights, in evaluation mode."""
    del cells  # the network's own shapes say what is to be copied
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            if module.affine:  # else masked channels of an affine BN would be zero by themselves
                module.weight.uniform_(0.5, 2.0)
                module.bias.normal_()
    copy_unit(supernet.stem, *network.stem)
    for masked, layer in zip(supernet.layers, network.layers, strict=True):
        if hasattr(masked, "project"):
            copy_unit(masked.first, layer.first.body, layer.first.norm)
            copy_unit(masked.second, layer.second.body, layer.second.norm)
            c_out, c_in = layer.project.weight.shape[:2]
            layer.project.weight.copy_(masked.project.weight[:c_out, :c_in])
            continue
        for source, edge in zip(masked.edges, layer.edges, strict=True):
            if hasattr(source, "body"):
                copy_unit(source, edge.body, edge.norm)
            elif not isinstance(edge, nn.Identity):
                copy_unit(source.projection, *edge)
    last = network.norm.num_features
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(network.norm, name).copy_(getattr(supernet.norm, name)[:last])
    network.classifier.linear.weight.copy_(supernet.classifier.weight[:, :last])
    network.classifier.linear.bias.copy_(supernet.classifier.bias)


def conv(c: int, kernel: int, c_in: int = 0, stride: int = 1, affine: bool = False) -> nn.Sequential:
    """Convolution and BN; sections 7.1 and 7.8 of the fact sheet on sampling search."""
    layer = nn.Conv2d(c_in or c, c, kernel, stride, kernel // 2, bias=not affine)
    return nn.Sequential(layer, nn.BatchNorm2d(c, affine=affine))


class PlainCell(nn.Module):
    def __init__(self, c: int, projects: bool) -> None:
        super().__init__()
        self.conv01, self.conv02, self.conv12, self.conv13, self.conv23 = (conv(c, 3) for _ in range(5))
        self.projection = conv(c, 1) if projects else None

    def forward(self, x: Tensor, mask: Tensor, equal: Tensor, unequal: Tensor) -> Tensor:
        n1 = self.conv01(F.relu(x)) * mask
        n2 = (self.conv02(F.relu(x)) + self.conv12(F.relu(n1))) * mask
        skip = x if self.projection is None else equal * x + unequal * self.projection(x)
        return (skip + self.conv13(F.relu(n1)) + self.conv23(F.relu(n2))) * mask


class PlainBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv_a, self.conv_b = conv(c, 3, stride=2, affine=True), conv(c, 3, affine=True)
        self.shortcut = nn.Conv2d(c, c, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.conv_a(F.relu(x)) * mask
        return (self.conv_b(F.relu(h)) + self.shortcut(plain_halve(x))) * mask


def plain_halve(x: Tensor) -> Tensor:
    """Average of 2x2 pixels, at an odd border of those there are: sums over counts, both padded with zeros."""
    padding = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
    sums = F.avg_pool2d(F.pad(x, padding), 2)
    return sums / F.avg_pool2d(F.pad(torch.ones_like(x), padding), 2)


class PlainSupernet(nn.Module):
    def __init__(self, smallest: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.smallest, c = smallest, smallest * TIMES[-1]
        self.stem = conv(c, 3, in_channels, affine=True)
        self.cell0, self.cell2, self.cell4 = PlainCell(c, False), PlainCell(c, True), PlainCell(c, True)
        self.block1, self.block3 = PlainBlock(c), PlainBlock(c)
        self.norm = nn.BatchNorm2d(c)
        self.linear = nn.Linear(c, classes)

    def mask(self, weights: Tensor) -> Tensor:
        """[8C, 1, 1]: channel k is in every candidate that has more than k channels."""
        channels = [
            sum(w for w, times in zip(weights, TIMES, strict=True) if channel < times * self.smallest)
            for channel in range(self.smallest * TIMES[-1])
        ]
        return torch.stack(channels)[:, None, None]

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        w = weights["widths"]
        masks = [self.mask(row) for row in w]
        equal = [sum(w[i - 1, j] * w[i, j] for j in range(8)) for i in range(5)]
        unequal = [sum(w[i - 1, j] * w[i, k] for j in range(8) for k in range(8) if j != k) for i in range(5)]
        x = self.stem(x) * masks[0]
        x = self.cell0(x, masks[0], equal[0], unequal[0])
        x = self.block1(x, masks[1])
        x = self.cell2(x, masks[2], equal[2], unequal[2])
        x = self.block3(x, masks[3])
        x = self.cell4(x, masks[4], equal[4], unequal[4])
        x = F.relu(self.norm(x)) * masks[4]
        return self.linear(x.mean(dim=(2, 3)))


def plain_supernet(space: SearchSpace, shape: NetworkShape, supernet: nn.Module) -> PlainSupernet:
    """The textbook supernet with the weights of the given one, in its dtype."""
    del space
    plain = PlainSupernet(shape.channels, shape.in_channels, shape.num_classes).to(supernet.classifier.weight.dtype)

    def copy(source: nn.Module, *targets: nn.Module | None) -> None:
        parameters = [parameter for target in targets if target is not None for parameter in target.parameters()]
        for mine, theirs in zip(source.parameters(), parameters, strict=True):
            theirs.data.copy_(mine.data)

    cell0, block1, cell2, block3, cell4 = supernet.layers
    copy(supernet.stem, plain.stem)
    for mine, cell in ((cell0, plain.cell0), (cell2, plain.cell2), (cell4, plain.cell4)):
        copy(mine, cell.conv01, cell.conv02, cell.conv12, cell.projection, cell.conv13, cell.conv23)  # by edge
    for mine, block in ((block1, plain.block1), (block3, plain.block3)):
        copy(mine, block.conv_a, block.conv_b, block.shortcut)
    copy(supernet.norm, plain.norm)
    copy(supernet.classifier, plain.linear)
    return plain


CASE = SpaceCase(
    names=("nats-bench-size",),
    representatives=("nats-bench-size",),
    shape=NetworkShape(num_cells=3, channels=2, num_classes=5, in_channels=2, image_size=8),
    copy=copy_sized_weights,
    plain=plain_supernet,
)
