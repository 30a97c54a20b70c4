"""DARTS and RobustDARTS's S1 to S4, and their textbook supernet: one module for each operation on each edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape, SearchSpace
from tests.mixed_edges import copy_to_plain, operation_pairs
from tests.space_cases import SpaceCase


def copy_darts_weights(supernet: nn.Module, network: nn.Module, cells: Mapping[str, Cell]) -> None:
    """Make a discrete network compute what the supernet does with one-hot edge weights, in evaluation mode.

    A discrete network has affine BN, which starts as scale 1 and shift 0, and no BN after pools; so those of the
    supernet get running statistics that make them the identity (mean 0, variance 1 - eps).
    """
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    for pool in (pool for cell in supernet.cells for fan in cell.graph.fans for pool in fan.pools.values()):
        pool[1].running_mean.zero_()
        pool[1].running_var.fill_(1 - pool[1].eps)

    def copy(source: nn.Module, target: nn.Module) -> None:
        result = target.load_state_dict(source.state_dict(), strict=False)
        assert not result.unexpected_keys
        assert all(key.endswith(("norm.weight", "norm.bias")) or ".2." in key for key in result.missing_keys)

    copy(supernet.stem, network.stem)
    copy(supernet.classifier, network.classifier)
    for kind, mixed, discrete in zip(supernet.kinds, supernet.cells, network.cells, strict=True):
        copy(mixed.preprocess0, discrete.preprocess0)
        copy(mixed.preprocess1, discrete.preprocess1)
        edges = iter(discrete.edges)
        for node, arriving in enumerate(cells[kind].nodes, start=2):
            for (operation, state), target in zip(arriving, edges, strict=False):
                own = mixed.graph.operation_state(sum(range(2, node)) + state, operation)
                result = target.load_state_dict(own, strict=False)
                assert not result.unexpected_keys
                untouched = ("norm.weight", "norm.bias", "body.2.weight", "body.2.bias", "num_batches_tracked")
                assert all(key.endswith(untouched) for key in result.missing_keys)


class PlainReduce(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        height, width = x.shape[2:]
        moved = F.pad(x, (-1, width % 2, -1, height % 2))  # one row and column fewer, zeros where the size is odd
        return self.norm(torch.cat([self.conv1(x), self.conv2(moved)], dim=1))


def plain_separable(c: int, kernel: int, stride: int, dilation: int) -> nn.Sequential:
    padding = {(3, 1): 1, (5, 1): 2, (3, 2): 2, (5, 2): 4}[kernel, dilation]
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False),
        nn.Conv2d(c, c, 1, bias=False),
        nn.BatchNorm2d(c, affine=False),
    )


class PlainZero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class PlainNoise(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        return torch.randn(batch, channels, -(-height // self.stride), -(-width // self.stride), dtype=x.dtype)


def plain_operation(name: str, c: int, stride: int) -> nn.Module:
    """An operation as sections 1 and 8.2 of the fact sheet on differentiable search describe it."""
    return {
        "none": lambda: PlainZero(stride),
        "noise": lambda: PlainNoise(stride),
        "max_pool_3x3": lambda: nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(c, affine=False)),
        "avg_pool_3x3": lambda: nn.Sequential(
            nn.AvgPool2d(3, stride, 1, count_include_pad=False), nn.BatchNorm2d(c, affine=False)
        ),
        "skip_connect": lambda: nn.Identity() if stride == 1 else PlainReduce(c, c),
        "sep_conv_3x3": lambda: nn.Sequential(plain_separable(c, 3, stride, 1), plain_separable(c, 3, 1, 1)),
        "sep_conv_5x5": lambda: nn.Sequential(plain_separable(c, 5, stride, 1), plain_separable(c, 5, 1, 1)),
        "dil_conv_3x3": lambda: plain_separable(c, 3, stride, 2),
        "dil_conv_5x5": lambda: plain_separable(c, 5, stride, 2),
    }[name]()


class PlainEdge(nn.Module):
    def __init__(self, names: tuple[str, ...], c: int, stride: int, k: int) -> None:
        super().__init__()
        self.names, self.k, self.stride, self.seen = names, k, stride, c // k
        self.ops = nn.ModuleList(plain_operation(name, c // k, stride) for name in names)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        seen, rest = x[:, : self.seen], x[:, self.seen :]
        mixed = sum(w * op(seen) for w, op in zip(weights, self.ops, strict=True))
        if self.k == 1:
            return mixed
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
        y = torch.cat([mixed, rest], dim=1)
        n, c, h, w = y.shape
        return y.view(n, self.k, c // self.k, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class PlainCell(nn.Module):
    def __init__(self, edges, c_pp: int, c_p: int, c: int, reduction: bool, reduction_prev: bool, k: int) -> None:
        super().__init__()
        self.reduction = reduction
        self.pre0 = PlainReduce(c_pp, c) if reduction_prev else self.point(c_pp, c)
        self.pre1 = self.point(c_p, c)
        names = iter(edges)
        self.edges = nn.ModuleList(
            PlainEdge(next(names), c, 2 if reduction and j < 2 else 1, k) for i in range(4) for j in range(2 + i)
        )

    @staticmethod
    def point(c_in: int, c_out: int) -> nn.Sequential:
        return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out, affine=False))

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, beta: Tensor | None) -> Tensor:
        states = [self.pre0(s0), self.pre1(s1)]
        offset = 0
        for _ in range(4):
            outputs = [self.edges[offset + j](h, weights[offset + j]) for j, h in enumerate(states)]
            if beta is not None:
                outputs = [beta[offset + j] * output for j, output in enumerate(outputs)]
            offset += len(states)
            states.append(sum(outputs))
        return torch.cat(states[-4:], dim=1)


class PlainSupernet(nn.Module):
    """Candidates: group -> for each of the 14 edges the names of its operations. ``k``: of PC-DARTS."""

    def __init__(self, candidates, shape: NetworkShape, k: int = 1) -> None:
        super().__init__()
        c, cells = shape.channels, shape.num_cells
        self.stem = nn.Sequential(nn.Conv2d(shape.in_channels, 3 * c, 3, padding=1, bias=False), nn.BatchNorm2d(3 * c))
        c_pp, c_p, prev = 3 * c, 3 * c, False
        self.cells = nn.ModuleList()
        for index in range(cells):
            reduction = index in {cells // 3, 2 * cells // 3}
            c = 2 * c if reduction else c
            edges = candidates["reduce" if reduction else "normal"]
            self.cells.append(PlainCell(edges, c_pp, c_p, c, reduction, prev, k))
            prev, c_pp, c_p = reduction, c_p, 4 * c
        self.linear = nn.Linear(c_p, shape.num_classes)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor], beta: Mapping[str, Tensor] | None = None) -> Tensor:
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            kind = "reduce" if cell.reduction else "normal"
            s0, s1 = s1, cell(s0, s1, weights[kind], None if beta is None else beta[kind])
        return self.linear(s1.mean(dim=(2, 3)))


def pairs(ours: nn.Module, plain: PlainSupernet) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights of both networks that are the same, where they lie: those of ours may be views of larger tensors."""
    modules = [(ours.stem, plain.stem), (ours.classifier, plain.linear)]
    for mine, theirs in zip(ours.cells, plain.cells, strict=True):
        modules += [(mine.preprocess0, theirs.pre0), (mine.preprocess1, theirs.pre1)]
        for number, edge in enumerate(theirs.edges):
            for name, operation in zip(edge.names, edge.ops, strict=True):
                yield from operation_pairs(mine.graph, number, name, operation)
    for mine, theirs in modules:
        yield from zip(mine.parameters(), theirs.parameters(), strict=True)


def plain_supernet(space: SearchSpace, shape: NetworkShape, supernet: nn.Module, k: int = 1) -> PlainSupernet:
    """The textbook supernet with the weights of the given one, in its dtype; ``k``: partial channels."""
    plain = PlainSupernet(space.candidates, shape, k).to(next(supernet.parameters()).dtype)
    copy_to_plain(pairs(supernet, plain), supernet, plain)
    return plain


CASE = SpaceCase(
    names=("darts", "robust-darts-s1", "robust-darts-s2", "robust-darts-s3", "robust-darts-s4"),
    representatives=("darts", "robust-darts-s1", "robust-darts-s4"),
    shape=NetworkShape(num_cells=3, channels=4, num_classes=5, in_channels=2, image_size=8),
    copy=copy_darts_weights,
    plain=plain_supernet,
)
