"""The supernet against a textbook one: one module for each operation on each edge, nothing shared."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nasbench.core.errors import ConfigError
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.darts import PRIMITIVES, Darts
from nasbench.spaces.ops import BatchNorm, use_batch_statistics
from nasbench.spaces.supernet import Supernet
from nasbench.spaces.two_input_cells import NUM_EDGES

SHAPE = NetworkShape(num_cells=3, channels=4, num_classes=5)


class PlainReduce(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.conv1(x), self.conv2(x[:, :, 1:, 1:])], dim=1))


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


def plain_operations(c: int, stride: int) -> nn.ModuleList:
    """The eight operations as section 1 of the DARTS fact sheet describes them, in its order."""
    return nn.ModuleList(
        [
            PlainZero(stride),
            nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(c, affine=False)),
            nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), nn.BatchNorm2d(c, affine=False)),
            nn.Identity() if stride == 1 else PlainReduce(c, c),
            nn.Sequential(plain_separable(c, 3, stride, 1), plain_separable(c, 3, 1, 1)),
            nn.Sequential(plain_separable(c, 5, stride, 1), plain_separable(c, 5, 1, 1)),
            plain_separable(c, 3, stride, 2),
            plain_separable(c, 5, stride, 2),
        ]
    )


class PlainEdge(nn.Module):
    def __init__(self, c: int, stride: int, k: int) -> None:
        super().__init__()
        self.k, self.stride, self.seen = k, stride, c // k
        self.ops = plain_operations(c // k, stride)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        seen, rest = x[:, : self.seen], x[:, self.seen :]
        mixed = sum(w * op(seen) for w, op in zip(weights, self.ops, strict=True))
        if self.k == 1:
            return mixed
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2, 2)
        y = torch.cat([mixed, rest], dim=1)
        n, c, h, w = y.shape
        return y.view(n, self.k, c // self.k, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class PlainCell(nn.Module):
    def __init__(self, c_pp: int, c_p: int, c: int, reduction: bool, reduction_prev: bool, k: int) -> None:
        super().__init__()
        self.reduction = reduction
        self.pre0 = PlainReduce(c_pp, c) if reduction_prev else self.point(c_pp, c)
        self.pre1 = self.point(c_p, c)
        self.edges = nn.ModuleList(
            PlainEdge(c, 2 if reduction and j < 2 else 1, k) for i in range(4) for j in range(2 + i)
        )

    @staticmethod
    def point(c_in: int, c_out: int) -> nn.Sequential:
        return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out, affine=False))

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, beta: Tensor) -> Tensor:
        states = [self.pre0(s0), self.pre1(s1)]
        offset = 0
        for _ in range(4):
            node = sum(beta[offset + j] * self.edges[offset + j](h, weights[offset + j]) for j, h in enumerate(states))
            offset += len(states)
            states.append(node)
        return torch.cat(states[-4:], dim=1)


class PlainSupernet(nn.Module):
    def __init__(self, c: int, classes: int, cells: int, k: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3 * c, 3, padding=1, bias=False), nn.BatchNorm2d(3 * c))
        c_pp, c_p, prev = 3 * c, 3 * c, False
        self.cells = nn.ModuleList()
        for index in range(cells):
            reduction = index in {cells // 3, 2 * cells // 3}
            c = 2 * c if reduction else c
            self.cells.append(PlainCell(c_pp, c_p, c, reduction, prev, k))
            prev, c_pp, c_p = reduction, c_p, 4 * c
        self.linear = nn.Linear(c_p, classes)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor], beta: Mapping[str, Tensor]) -> Tensor:
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            kind = "reduce" if cell.reduction else "normal"
            s0, s1 = s1, cell(s0, s1, weights[kind], beta[kind])
        return self.linear(s1.mean(dim=(2, 3)))


def pairs(ours: Supernet, plain: PlainSupernet) -> list[tuple[nn.Module, nn.Module]]:
    """Modules of both networks that hold the same weights, in the same order within."""
    found = [(ours.stem, plain.stem), (ours.classifier, plain.linear)]
    for mine, theirs in zip(ours.cells, plain.cells, strict=True):
        found += [(mine.preprocess0, theirs.pre0), (mine.preprocess1, theirs.pre1)]
        for edge, plain_edge in zip(mine.graph.edges, theirs.edges, strict=True):
            named = dict(zip(PRIMITIVES, plain_edge.ops, strict=True))
            found += [(operation, named[name]) for name, operation in edge.operations.items()]
    return found


def weights_of(module: nn.Module) -> list[Tensor]:
    return list(module.parameters())


def both(k: int, shape: NetworkShape = SHAPE) -> tuple[Supernet, PlainSupernet]:
    torch.manual_seed(0)
    ours = Darts().supernet(shape, partial_channels=k).double()
    plain = PlainSupernet(shape.channels, shape.num_classes, shape.num_cells, k).double()
    copied = 0
    for mine, theirs in pairs(ours, plain):
        for source, target in zip(weights_of(mine), weights_of(theirs), strict=True):
            target.data.copy_(source.data)
            copied += source.numel()
    assert copied == sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in plain.parameters())
    return ours, plain


def edge_weights() -> dict[str, Tensor]:
    return {
        kind: torch.randn(NUM_EDGES, len(PRIMITIVES), dtype=torch.float64).softmax(dim=1).requires_grad_()
        for kind in ("normal", "reduce")
    }


def edge_norms() -> dict[str, Tensor]:
    return {kind: torch.rand(NUM_EDGES, dtype=torch.float64).requires_grad_() for kind in ("normal", "reduce")}


def close(mine: Tensor | None, theirs: Tensor | None) -> None:
    assert mine is not None
    assert theirs is not None
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_logits_and_all_gradients_equal_the_textbook(k: int, normalised: bool) -> None:
    ours, plain = both(k)
    images = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    labels = torch.arange(6) % 5
    weights = edge_weights()
    betas = edge_norms() if normalised else {kind: torch.ones(NUM_EDGES, dtype=torch.float64) for kind in weights}
    inputs = [*weights.values(), *(betas.values() if normalised else ())]

    logits = ours(images, weights, betas if normalised else None)
    expected = plain(images, weights, betas)
    close(logits, expected)
    mine = torch.autograd.grad(F.cross_entropy(logits, labels), [*inputs, *ours.parameters()])
    theirs = torch.autograd.grad(F.cross_entropy(expected, labels), [*inputs, *plain.parameters()])
    for a, b in zip(mine[: len(inputs)], theirs[: len(inputs)], strict=True):
        close(a, b)
    of_mine = dict(zip(ours.parameters(), mine[len(inputs) :], strict=True))
    of_plain = dict(zip(plain.parameters(), theirs[len(inputs) :], strict=True))
    for module, plain_module in pairs(ours, plain):
        for a, b in zip(weights_of(module), weights_of(plain_module), strict=True):
            close(of_mine[a], of_plain[b])


def test_running_statistics_follow_the_textbook() -> None:
    ours, plain = both(1)
    weights = edge_weights()
    for _ in range(2):
        images = torch.randn(6, 3, 8, 8, dtype=torch.float64)
        ours(images, weights)
        plain(images, weights, {kind: torch.ones(NUM_EDGES) for kind in weights})
    ours.eval()
    plain.eval()
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    close(ours(images, weights), plain(images, weights, {kind: torch.ones(NUM_EDGES) for kind in weights}))


def test_memory_format_does_not_matter() -> None:
    ours, _ = both(4)
    weights = edge_weights()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    expected = ours(images, weights)
    fast = ours.to(memory_format=torch.channels_last)
    close(fast(images.contiguous(memory_format=torch.channels_last), weights), expected)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_odd_sizes_and_the_imagenet_stem(k: int) -> None:
    uniform = {kind: torch.full((NUM_EDGES, len(PRIMITIVES)), 0.125) for kind in ("normal", "reduce")}
    for stem in ("cifar", "imagenet"):
        shape = NetworkShape(num_cells=3, channels=4, num_classes=5, stem=stem)
        with torch.no_grad():
            assert Darts().supernet(shape, partial_channels=k)(torch.randn(2, 3, 7, 21), uniform).shape == (2, 5)


def test_second_derivatives_exist() -> None:
    """Second-order DARTS differentiates the gradient of the alphas by the weights."""
    torch.manual_seed(0)
    supernet = Darts().supernet(NetworkShape(num_cells=3, channels=2, num_classes=3)).double()
    weights = {kind: values.detach().requires_grad_() for kind, values in edge_weights().items()}
    loss = F.cross_entropy(supernet(torch.randn(3, 3, 4, 4, dtype=torch.float64), weights), torch.arange(3))
    first = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), list(supernet.parameters()))
    assert all(torch.isfinite(g).all() for g in second)
    assert any(g.abs().max() > 1e-8 for g in second)


def test_batch_statistics_in_evaluation_mode_equal_training_mode_and_leave_the_running_ones() -> None:
    torch.manual_seed(0)
    supernet = Darts().supernet(SHAPE, batch_statistics=True).double()
    weights = edge_weights()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    in_training = supernet(images, weights)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    supernet.eval()
    close(supernet(images, weights), in_training)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    use_batch_statistics(supernet, False)
    assert not torch.allclose(supernet(images, weights), in_training)


def test_only_the_stem_has_affine_batch_norm() -> None:
    supernet = Darts().supernet(SHAPE)
    affine = [name for name, module in supernet.named_modules() if isinstance(module, BatchNorm) and module.affine]
    assert affine == ["stem.body.1"]
    assert all(m.momentum == 0.1 and m.track_running_stats for m in supernet.modules() if isinstance(m, BatchNorm))


def test_a_new_supernet_is_undecided() -> None:
    torch.manual_seed(0)
    supernet = Darts().supernet(NetworkShape(num_cells=5, channels=8, num_classes=10))
    uniform = {kind: torch.full((NUM_EDGES, len(PRIMITIVES)), 1 / len(PRIMITIVES)) for kind in ("normal", "reduce")}
    with torch.no_grad():
        loss = F.cross_entropy(supernet(torch.randn(64, 3, 16, 16), uniform), torch.arange(64) % 10)
    assert abs(loss.item() - 2.302585) < 0.25


def test_weights_come_from_the_default_generator() -> None:
    def first(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return next(Darts().supernet(SHAPE).parameters()).detach()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="partial_channels 3 must divide channels 4"):
        Darts().supernet(SHAPE, partial_channels=3)
    with pytest.raises(ConfigError, match="no auxiliary head"):
        Darts().supernet(NetworkShape(num_cells=3, channels=4, num_classes=5, auxiliary=True))
    with pytest.raises(ConfigError, match="at least 3"):
        Darts().supernet(NetworkShape(num_cells=2, channels=4, num_classes=5))
    supernet = Darts().supernet(SHAPE)
    images = torch.randn(2, 3, 8, 8)
    good = {kind: torch.zeros(14, 8) for kind in ("normal", "reduce")}
    with pytest.raises(ConfigError, match="edge_weights has shapes"):
        supernet(images, {"normal": good["normal"]})
    with pytest.raises(ConfigError, match=r"\(13, 8\)"):
        supernet(images, {**good, "reduce": torch.zeros(13, 8)})
    with pytest.raises(ConfigError, match="edge_norm has shapes"):
        supernet(images, good, {kind: torch.zeros(8) for kind in good})
