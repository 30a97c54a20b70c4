"""NAS-Bench-1Shot1: its copy function, and a textbook supernet written from section 9.2 of the fact sheet."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape, SearchSpace
from tests.space_cases import SpaceCase


def copy_weights(supernet: nn.Module, network: nn.Module, cells: Mapping[str, Cell]) -> None:
    """Give the discrete network the supernet's weights of what the cell chose; BN get statistics of their own."""
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    (cell,) = cells.values()

    def copy(source: nn.Module, target: nn.Module) -> None:
        copy_slices(source, target, cell)

    names = ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu")
    for part in ("stem", "last", "norm", "classifier"):
        copy(getattr(supernet.chain, part), getattr(network.chain, part))
    for mixed, discrete in zip(supernet.chain.cells, network.chain.cells, strict=True):
        for node, projection in discrete.projections.items():
            copy(mixed.projections[node], projection)
        for node, operations in enumerate(discrete.operations):
            for operation in operations:  # one, or none at a loose end
                copy(mixed.operations[node][names.index(cell.node_operations[node])], operation)


def copy_slices(source: nn.Module, target: nn.Module, cell: Cell) -> None:
    """Copy; of a convolution whose input has only the cell's chosen nodes, the weights of these slices."""
    state = source.state_dict()
    for key, wanted in target.state_dict().items():
        if state[key].shape != wanted.shape:
            parts = state[key].chunk(len(cell.nodes), dim=1)
            state[key] = torch.cat([parts[node - 1] for node in cell.concat], dim=1)
    target.load_state_dict(state)


def conv_bn_relu(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
    padding = {1: 0, 3: 1}[kernel]
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, padding=padding, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


class PlainBlock(nn.Module):
    """The three operations in the order of the sheet; ``k``: partial channels."""

    def __init__(self, c: int, k: int) -> None:
        super().__init__()
        self.k, c = k, c // k
        self.ops = nn.ModuleList([nn.MaxPool2d(3, 1, 1), conv_bn_relu(c, c, 3), conv_bn_relu(c, c, 1)])

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        batch, c, height, width = x.shape
        seen, rest = x.split([c // self.k, c - c // self.k], dim=1)
        y = torch.cat([sum(w * op(seen) for w, op in zip(weights, self.ops, strict=True)), rest], dim=1)
        if self.k == 1:
            return y
        return y.view(batch, self.k, c // self.k, height, width).transpose(1, 2).reshape(batch, c, height, width)


class PlainCell(nn.Module):
    def __init__(self, c_in: int, c: int, n: int, k: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(PlainBlock(c, k) for _ in range(n))
        self.projections = nn.ModuleList(conv_bn_relu(c_in, c, 1) for _ in range(n))
        self.to_output = conv_bn_relu(c_in, n * c, 1)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        states: list[Tensor] = []
        for index, (block, projection) in enumerate(zip(self.blocks, self.projections, strict=True)):
            parents = [projection(x), *states]
            group = f"node{index + 1}"
            if group in weights:
                parents = [w * parent for w, parent in zip(weights[group][0], parents, strict=True)]
            states.append(block(sum(parents), weights["operations"][index]))
        shares = weights["output"][0]
        beside = torch.cat([w * state for w, state in zip(shares[1:], states, strict=True)], dim=1)
        return beside + shares[0] * self.to_output(x)


class PlainSupernet(nn.Module):
    def __init__(self, n: int, shape: NetworkShape, k: int = 1) -> None:
        super().__init__()
        c = shape.channels
        self.stem = conv_bn_relu(shape.in_channels, c, 3)
        self.cells, c_in = nn.ModuleList(), c
        self.pooled = {shape.num_cells // 3, 2 * (shape.num_cells // 3)}
        for index in range(shape.num_cells):
            c = 2 * c if index in self.pooled else c
            self.cells.append(PlainCell(c_in, c, n, k))
            c_in = n * c
        self.final = nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c, affine=False))
        self.linear = nn.Linear(c, shape.num_classes)

    def forward(self, images: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        x = self.stem(images)
        for index, cell in enumerate(self.cells):
            if index in self.pooled:
                x = F.max_pool2d(x, 2, 2, 1)
            x = cell(x, weights)
        return self.linear(self.final(x).mean(dim=(2, 3)))


def pairs(ours: nn.Module, plain: PlainSupernet) -> list[tuple[nn.Module, nn.Module]]:
    """Modules of both networks that hold the same weights, in the same order within."""
    chain = ours.chain
    found = [(chain.stem, plain.stem), (chain.last, plain.final), (chain.classifier, plain.linear)]
    for mine, theirs in zip(chain.cells, plain.cells, strict=True):
        found += list(zip(mine.projections.values(), [*theirs.projections, theirs.to_output], strict=True))
        found += [(nodes, block.ops) for nodes, block in zip(mine.operations, theirs.blocks, strict=True)]
    return found


def plain_supernet(space: SearchSpace, shape: NetworkShape, supernet: nn.Module, k: int = 1) -> PlainSupernet:
    """The textbook supernet with the weights of the given one, in its dtype; ``k``: partial channels."""
    plain = PlainSupernet(space.alpha_shapes["operations"][0], shape, k).to(next(supernet.parameters()).dtype)
    copied = 0
    for mine, theirs in pairs(supernet, plain):
        for source, target in zip(mine.parameters(), theirs.parameters(), strict=True):
            target.data.copy_(source.data)
            copied += source.numel()
    assert copied == sum(p.numel() for p in supernet.parameters()) == sum(p.numel() for p in plain.parameters())
    return plain


CASE = SpaceCase(
    names=("nas-bench-1shot1-1", "nas-bench-1shot1-2", "nas-bench-1shot1-3"),
    representatives=("nas-bench-1shot1-1",),
    shape=NetworkShape(num_cells=3, channels=4, num_classes=5, in_channels=2, image_size=8),
    copy=copy_weights,
    plain=plain_supernet,
)
