"""NAS-Bench-201 and its five-vertex variant, and their textbook supernet: one module an operation on each edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape, SearchSpace
from tests.mixed_edges import copy_to_plain, operation_pairs
from tests.space_cases import SpaceCase


def copy_weights(supernet: nn.Module, network: nn.Module, cells: Mapping[str, Cell]) -> None:
    """Make a discrete network compute what the supernet does with one-hot edge weights, in evaluation mode.

    Its convolutions have no bias where the supernet's have one; the running mean takes it over. Its affine BN start
    as scale 1 and shift 0, which is what the supernet's without scale and shift are.
    """
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    for part in ("stem", "blocks", "norm", "classifier"):
        getattr(network.chain, part).load_state_dict(getattr(supernet.chain, part).state_dict())
    for mixed, discrete in zip(supernet.chain.cells, network.chain.cells, strict=True):
        edges = iter(discrete.edges)
        for node, arriving in enumerate(cells["cell"].nodes, start=1):
            for (operation, state), target in zip(arriving, edges, strict=False):
                if operation.startswith("nor_conv"):
                    unit = mixed.graph.operation_state(sum(range(node)) + state, operation)
                    target.body.weight.copy_(unit["body.weight"])
                    target.norm.running_mean.copy_(unit["norm.running_mean"] - unit["body.bias"])
                    target.norm.running_var.copy_(unit["norm.running_var"])


class PlainZero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul(0.0)


def plain_conv(c_in: int, c_out: int, kernel: int, stride: int, affine: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, kernel, stride, {1: 0, 3: 1}[kernel], bias=not affine),
        nn.BatchNorm2d(c_out, affine=affine),
    )


class PlainEdge(nn.Module):
    """All five operations in the index order of section 7.1 of the fact sheet on sampling search."""

    def __init__(self, c: int, k: int) -> None:
        super().__init__()
        self.k, self.seen = k, c // k
        self.ops = nn.ModuleList(
            (
                PlainZero(),
                nn.Identity(),
                plain_conv(c // k, c // k, 1, 1, affine=False),
                plain_conv(c // k, c // k, 3, 1, affine=False),
                nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            )
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        mixed = sum(w * op(x[:, : self.seen]) for w, op in zip(weights, self.ops, strict=True))
        if self.k == 1:
            return mixed
        y = torch.cat([mixed, x[:, self.seen :]], dim=1)
        n, c, h, w = y.shape
        return y.view(n, self.k, c // self.k, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class PlainCell(nn.Module):
    def __init__(self, c: int, vertices: int, k: int) -> None:
        super().__init__()
        self.vertices = vertices
        self.edges = nn.ModuleDict({f"{i}<-{j}": PlainEdge(c, k) for i in range(1, vertices) for j in range(i)})

    def forward(self, x: Tensor, weights: Tensor, beta: Tensor | None) -> Tensor:
        rows = {name: row for row, name in enumerate(self.edges)}
        states = [x]
        for i in range(1, self.vertices):
            total = torch.zeros_like(x)
            for j in range(i):
                name = f"{i}<-{j}"
                output = self.edges[name](states[j], weights[rows[name]])
                total = total + (output if beta is None else beta[rows[name]] * output)
            states.append(total)
        return states[-1]


class PlainResidual(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv_a = plain_conv(c, 2 * c, 3, 2, affine=True)
        self.conv_b = plain_conv(2 * c, 2 * c, 3, 1, affine=True)
        self.shortcut = nn.Conv2d(c, 2 * c, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        whole = F.pad(x, (0, width % 2, 0, height % 2))  # sums of what is there, over how many there are
        there = F.pad(torch.ones_like(x), (0, width % 2, 0, height % 2))
        pooled = F.avg_pool2d(whole, 2) / F.avg_pool2d(there, 2)
        return self.conv_b(self.conv_a(x)) + self.shortcut(pooled)


class PlainSupernet(nn.Module):
    """``vertices``: 4 or 5. ``k``: partial channels of PC-DARTS."""

    def __init__(self, shape: NetworkShape, vertices: int, k: int = 1) -> None:
        super().__init__()
        c, n = shape.channels, shape.num_cells // 3
        self.stem = nn.Sequential(nn.Conv2d(shape.in_channels, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
        self.layers = nn.ModuleList(
            (
                *(PlainCell(c, vertices, k) for _ in range(n)),
                PlainResidual(c),
                *(PlainCell(2 * c, vertices, k) for _ in range(n)),
                PlainResidual(2 * c),
                *(PlainCell(4 * c, vertices, k) for _ in range(n)),
            )
        )
        self.last = nn.Sequential(nn.BatchNorm2d(4 * c), nn.ReLU())
        self.linear = nn.Linear(4 * c, shape.num_classes)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor], beta: Mapping[str, Tensor] | None = None) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            if isinstance(layer, PlainCell):
                x = layer(x, weights["cell"], None if beta is None else beta["cell"])
            else:
                x = layer(x)
        return self.linear(self.last(x).mean(dim=(2, 3)))


def pairs(ours: nn.Module, plain: PlainSupernet) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights of both networks that are the same, where they lie: those of ours may be views of larger tensors."""
    chain = ours.chain
    modules = [(chain.stem, plain.stem), (chain.norm, plain.last), (chain.classifier, plain.linear)]
    cells = [layer for layer in plain.layers if isinstance(layer, PlainCell)]
    for mine, theirs in zip(chain.cells, cells, strict=True):
        for number, edge in enumerate(theirs.edges.values()):
            for name, operation in zip(("nor_conv_1x1", "nor_conv_3x3"), edge.ops[2:4], strict=True):
                yield from operation_pairs(mine.graph, number, name, operation)
    blocks = [layer for layer in plain.layers if isinstance(layer, PlainResidual)]
    for mine, theirs in zip(chain.blocks.values(), blocks, strict=True):
        modules += [(mine.first, theirs.conv_a), (mine.second, theirs.conv_b), (mine.project, theirs.shortcut)]
    for mine, theirs in modules:
        yield from zip(mine.parameters(), theirs.parameters(), strict=True)


def plain_supernet(space: SearchSpace, shape: NetworkShape, supernet: nn.Module, k: int = 1) -> PlainSupernet:
    """The textbook supernet with the weights of the given one, in its dtype; ``k``: partial channels."""
    vertices = {"nas-bench-201": 4, "nas-bench-201-five-vertices": 5}[space.name]
    plain = PlainSupernet(shape, vertices, k).to(next(supernet.parameters()).dtype)
    copy_to_plain(pairs(supernet, plain), supernet, plain)
    return plain


CASE = SpaceCase(
    names=("nas-bench-201", "nas-bench-201-five-vertices"),
    representatives=("nas-bench-201",),
    shape=NetworkShape(num_cells=3, channels=4, num_classes=5, in_channels=2, image_size=8),
    copy=copy_weights,
    plain=plain_supernet,
)
