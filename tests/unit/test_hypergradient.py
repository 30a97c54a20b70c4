"""The second order of DARTS against exact double backward."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_space import TinySupernet
from torch.nn import functional

from nasbench.searchers.hypergradient import AlphaStep, first_order, hessian_vector_product, second_order
from nasbench.searchers.strategy import softmax_of
from nasbench.training.determinism import seeded


class Quadratic:
    """L_train = w A w / 2 + w B a + a^3, L_val = |w - c|^2 / 2 + w D a: bilinear, so the difference is exact."""

    def __init__(self):
        with seeded(0):
            self.a, self.b, self.d = (torch.randn(n, m, dtype=torch.float64) for n, m in ((5, 5), (5, 3), (5, 3)))
            self.c = torch.randn(5, dtype=torch.float64)
            self.weights = [torch.randn(5, dtype=torch.float64, requires_grad=True)]
            self.alphas = [torch.randn(3, dtype=torch.float64, requires_grad=True)]
            self.momenta = [torch.randn(5, dtype=torch.float64)]
        self.buffers = []

    def train_loss(self):
        return self.train_of(self.weights, self.alphas)

    def valid_loss(self):
        return self.valid_of(self.weights, self.alphas)

    def train_of(self, weights, alphas):
        (w,), (alpha,) = weights, alphas
        return w @ (self.a + self.a.T) @ w / 2 + w @ self.b @ alpha + (alpha**3).sum()

    def valid_of(self, weights, alphas):
        (w,), (alpha,) = weights, alphas
        return ((w - self.c) ** 2).sum() / 2 + w @ self.d @ alpha


class Network:
    """The tiny supernet in float64 with softmax edge weights, on two fixed batches."""

    def __init__(self):
        with seeded(0):
            self.model = TinySupernet(4, 1, 3).double()
            self.batches = [(torch.randn(8, 1, 6, 6).double(), torch.randint(3, (8,))) for _ in range(2)]
            self.alphas = [torch.randn(1, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
            self.weights = list(self.model.parameters())
            self.momenta = [torch.randn_like(weight) for weight in self.weights]
        self.buffers = list(self.model.buffers())

    def train_loss(self):
        return self.train_of(self.weights, self.alphas)

    def valid_loss(self):
        return self.valid_of(self.weights, self.alphas)

    def train_of(self, weights, alphas):
        return self._loss(0, weights, alphas)

    def valid_of(self, weights, alphas):
        return self._loss(1, weights, alphas)

    def _loss(self, which, weights, alphas):
        images, labels = self.batches[which]
        edge_weights = softmax_of(dict(zip(("normal", "reduce"), alphas, strict=True)))
        names = [name for name, _ in self.model.named_parameters()]
        state = dict(zip(names, weights, strict=True))
        logits = torch.func.functional_call(self.model, state, (images, edge_weights))
        return functional.cross_entropy(logits, labels)


ETA, MU, LAMBDA = 0.1, 0.9, 0.01


def step_of(problem, **changes):
    fields = {
        "train_loss": problem.train_loss,
        "valid_loss": problem.valid_loss,
        "weights": problem.weights,
        "alphas": problem.alphas,
        "buffers": problem.buffers,
        "momenta": problem.momenta,
        "learning_rate": ETA,
        "momentum": MU,
        "weight_decay": LAMBDA,
    }
    return AlphaStep(**(fields | changes))


def exact_second_order(problem, momenta=True):
    """Differentiate L_val(w'(alpha), alpha) through the SGD step itself."""
    gradients = torch.autograd.grad(
        problem.train_of(problem.weights, problem.alphas), problem.weights, create_graph=True, allow_unused=True
    )
    moved = [
        w - ETA * ((MU * b if momenta else 0) + (0 if g is None else g) + LAMBDA * w)
        for w, g, b in zip(problem.weights, gradients, problem.momenta, strict=True)
    ]
    return torch.autograd.grad(problem.valid_of(moved, problem.alphas), problem.alphas)


def exact_product(problem, vector):
    """Differentiate <grad_w L_train, v> by alpha."""
    gradients = torch.autograd.grad(
        problem.train_of(problem.weights, problem.alphas), problem.weights, create_graph=True, allow_unused=True
    )
    inner = sum((g * v).sum() for g, v in zip(gradients, vector, strict=True) if g is not None)
    return torch.autograd.grad(inner, problem.alphas)


def wrong_precedence(train_loss, weights, alphas, vector, radius=0.01):
    """Known defect of published ports: (g+ - g-) / 2 * eps (microsoft/nni#3044, antoyang/NAS-Benchmark#4)."""
    right = hessian_vector_product(train_loss, weights, alphas, vector, radius)
    epsilon = radius / math.sqrt(sum(float((part**2).sum()) for part in vector))
    return [value * 2.0 * epsilon / 2.0 * epsilon for value in right]


def relative_error(got, want):
    got, want = torch.cat([g.flatten() for g in got]), torch.cat([w.flatten() for w in want])
    return float((got - want).norm() / want.norm())


PROBLEMS = pytest.mark.parametrize(("problem_class", "tolerance"), [(Quadratic, 1e-9), (Network, 1e-4)])


@PROBLEMS
def test_the_product_is_that_of_double_backward(problem_class, tolerance):
    problem = problem_class()
    with seeded(1):
        vector = [torch.randn_like(weight) for weight in problem.weights]
    want = exact_product(problem, vector)
    arguments = (problem.train_loss, problem.weights, problem.alphas, vector)
    assert relative_error(hessian_vector_product(*arguments), want) < tolerance
    assert relative_error(wrong_precedence(*arguments), want) > 0.9


def test_the_error_of_the_product_falls_with_the_square_of_the_radius():
    problem = Network()
    with seeded(1):
        vector = [torch.randn_like(weight) for weight in problem.weights]
    want = exact_product(problem, vector)
    errors = [
        relative_error(hessian_vector_product(problem.train_loss, problem.weights, problem.alphas, vector, r), want)
        for r in (0.4, 0.1)
    ]
    assert 10 < errors[0] / errors[1] < 22  # 4 squared


@PROBLEMS
def test_the_gradient_is_that_of_the_unrolled_step(problem_class, tolerance):
    problem = problem_class()
    want = exact_second_order(problem)
    loss, got = second_order(step_of(problem))
    assert relative_error(got, want) < tolerance
    _, plain = first_order(step_of(problem))
    assert relative_error(plain, want) > 0.01  # the two orders differ here
    assert float(loss) != pytest.approx(float(problem.valid_loss().detach()))  # the loss is that at w'


def test_without_a_momentum_buffer_it_counts_as_zero():
    problem = Quadratic()
    _, got = second_order(step_of(problem, momenta=[None]))
    assert relative_error(got, exact_second_order(problem, momenta=False)) < 1e-9


@pytest.mark.parametrize("change", [{"learning_rate": 0.2}, {"momentum": 0.0}, {"weight_decay": 0.5}])
def test_each_part_of_the_sgd_step_matters(change):
    problem = Network()
    _, plain = second_order(step_of(problem))
    _, changed = second_order(step_of(problem, **change))
    assert relative_error(changed, plain) > 1e-4


def test_weights_and_running_statistics_are_put_back_to_the_bit():
    problem = Network()
    before = [value.detach().clone() for value in [*problem.weights, *problem.buffers, *problem.alphas]]
    for _ in range(3):
        second_order(step_of(problem))
    after = [*problem.weights, *problem.buffers, *problem.alphas]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(weight.grad is None for weight in problem.weights)


def test_they_are_put_back_after_an_error_too():
    problem = Network()
    before = [weight.detach().clone() for weight in problem.weights]

    def broken():
        raise RuntimeError("no validation batch")

    with pytest.raises(RuntimeError, match="no validation batch"):
        second_order(step_of(problem, valid_loss=broken))
    assert all(torch.equal(a, b) for a, b in zip(before, problem.weights, strict=True))


def test_a_zero_vector_has_a_zero_product():
    problem = Quadratic()
    product = hessian_vector_product(problem.train_loss, problem.weights, problem.alphas, [torch.zeros(5).double()])
    assert torch.equal(product[0], torch.zeros(3).double())


def test_first_order_is_the_plain_gradient():
    problem = Network()
    loss, got = first_order(step_of(problem))
    want = torch.autograd.grad(problem.valid_loss(), problem.alphas)
    assert relative_error(got, want) < 1e-12
    assert float(loss) == pytest.approx(float(problem.valid_loss().detach()))
