"""The dominant eigenvalue against the Hessian written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import ArpackError
from small_cells import SHAPE as CELLS_SHAPE
from small_cells import SmallCells
from tiny_space import TinySupernet
from torch.nn import functional

from nasbench.core.errors import TrainingError
from nasbench.searchers import curvature
from nasbench.searchers.curvature import EXACT, largest_eigenvalue
from nasbench.searchers.strategy import softmax_of
from nasbench.spaces.darts import Darts
from nasbench.training.determinism import seeded


def quadratic(size, seed=0):
    """x H x / 2 with a known symmetric H, over two tensors of different shape."""
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((size, size))
    hessian = half + half.T
    matrix = torch.from_numpy(hessian)
    tensors = [torch.zeros(2, size // 4, dtype=torch.float64), torch.zeros(size - 2 * (size // 4), dtype=torch.float64)]
    for tensor in tensors:
        tensor.requires_grad_()

    def loss():
        x = torch.cat([tensor.reshape(-1) for tensor in tensors])
        return x @ matrix @ x / 2 + x.sum()

    return loss, tensors, np.linalg.eigvalsh(hessian)


@pytest.mark.parametrize("size", [5, EXACT, EXACT + 1, 120])
def test_it_is_the_algebraically_largest_of_a_known_hessian(size):
    loss, tensors, eigenvalues = quadratic(size)
    assert largest_eigenvalue(loss, tensors, seed=0) == pytest.approx(eigenvalues[-1], rel=1e-5)
    assert largest_eigenvalue(lambda: -10 * loss(), tensors, seed=0) == pytest.approx(-10 * eigenvalues[0], rel=1e-5)


def test_a_loss_that_is_concave_everywhere_has_a_negative_one():
    x = torch.ones(40, requires_grad=True)
    scale = torch.arange(1.0, 41.0)
    assert largest_eigenvalue(lambda: -(scale * x**2).sum() / 2, [x], seed=0) == pytest.approx(-1.0, rel=1e-3)


def test_the_seed_decides_the_bits_and_no_more():
    loss, tensors, _ = quadratic(80)
    values = [largest_eigenvalue(loss, tensors, seed) for seed in (0, 0, 1)]
    assert values[0] == values[1]
    assert values[2] == pytest.approx(values[0], rel=1e-5)


@pytest.mark.parametrize("size", [3, 60])
def test_a_linear_or_flat_loss_and_unused_tensors_count_with_zeros(size):
    x, unused = torch.ones(size, requires_grad=True), torch.ones(2, requires_grad=True)
    assert largest_eigenvalue(lambda: 3 * x.sum(), [x, unused], seed=0) == 0.0
    assert largest_eigenvalue(lambda: 0 * (x**2).sum(), [x, unused], seed=0) == 0.0
    assert largest_eigenvalue(lambda: 3 * (x**2).sum(), [x, unused], seed=0) == pytest.approx(6.0, rel=1e-5)


def loss_of(model, alphas, images, labels):
    return lambda: functional.cross_entropy(model(images, softmax_of(alphas)), labels)


def written_out(loss_at, alphas):
    """The Hessian by torch's own function, of one vector that holds all alphas."""
    flat = torch.cat([values.detach().reshape(-1) for values in alphas.values()])

    def loss(vector):
        parts = vector.split([values.numel() for values in alphas.values()])
        return loss_at({group: part.view(old.shape) for part, (group, old) in zip(parts, alphas.items(), strict=True)})

    return torch.autograd.functional.hessian(loss, flat)


@pytest.mark.parametrize("exact", [True, False])
def test_of_the_tiny_supernet_it_is_that_of_the_hessian_written_out(exact, monkeypatch):
    with seeded(0):
        model = TinySupernet(4, 1, 3).double()
        images, labels = torch.randn(8, 1, 6, 6).double(), torch.randint(3, (8,))
        alphas = {group: torch.randn(1, 3, dtype=torch.float64, requires_grad=True) for group in ("normal", "reduce")}
    want = torch.linalg.eigvalsh(written_out(lambda given: loss_of(model, given, images, labels)(), alphas))[-1]
    if not exact:
        monkeypatch.setattr(curvature, "EXACT", 0)
        monkeypatch.setattr(curvature, "_BASIS", 6)
    got = largest_eigenvalue(loss_of(model, alphas, images, labels), list(alphas.values()), seed=0)
    assert got == pytest.approx(float(want), rel=1e-8)


@pytest.mark.parametrize("space", [SmallCells(), Darts()], ids=lambda space: space.name)
def test_of_a_real_supernet_the_product_agrees_with_finite_differences_of_the_gradient(space):
    """In float64, through shared parts, batch norms scaled from outside and the own depthwise convolution."""
    with seeded(1):
        model = space.supernet(CELLS_SHAPE).double()
        images, labels = torch.randn(6, 1, 8, 8).double(), torch.randint(3, (6,))
        alphas = {
            group: torch.randn(shape, dtype=torch.float64, requires_grad=True)
            for group, shape in space.alpha_shapes.items()
        }
        direction = {group: torch.randn_like(values) for group, values in alphas.items()}
    tensors = list(alphas.values())
    hessian = curvature._Hessian(loss_of(model, alphas, images, labels)(), tensors)
    product = hessian.times(torch.cat([value.reshape(-1) for value in direction.values()]).numpy())

    def gradient_at(radius):
        moved = {group: (alphas[group] + radius * direction[group]).detach().requires_grad_() for group in alphas}
        parts = torch.autograd.grad(loss_of(model, moved, images, labels)(), list(moved.values()))
        return torch.cat([part.reshape(-1) for part in parts]).numpy()

    difference = (gradient_at(1e-7) - gradient_at(-1e-7)) / 2e-7  # so small, lest a ReLU or maximum flips between
    assert np.abs(product - difference).max() < 1e-5 * np.abs(difference).max()
    if isinstance(space, SmallCells):  # of one group: half of the products, and Lanczos is still needed
        loss, some = loss_of(model, alphas, images, labels), tensors[:1]
        assert some[0].numel() > EXACT
        written_out = curvature._Hessian(loss(), some).dense()
        assert largest_eigenvalue(loss, some, seed=0) == pytest.approx(np.linalg.eigvalsh(written_out)[-1], rel=1e-5)


def test_where_lanczos_gives_up_the_hessian_is_written_out(monkeypatch):
    def fails(*_args, **_fields):
        raise ArpackError(-9999)

    monkeypatch.setattr(curvature, "eigsh", fails)
    loss, tensors, eigenvalues = quadratic(40)
    assert largest_eigenvalue(loss, tensors, seed=0) == pytest.approx(eigenvalues[-1], rel=1e-10)


def test_what_is_not_finite_is_an_error():
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(TrainingError, match="has a gradient that is not finite"):
        largest_eigenvalue(lambda: torch.log(x).sum(), [x], seed=0)
    with pytest.raises(TrainingError, match="the curvature of the loss is not finite"):
        largest_eigenvalue(lambda: 2 * (x.abs() ** 1.5).sum(), [x], seed=0)
