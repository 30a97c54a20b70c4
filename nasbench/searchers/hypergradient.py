"""The gradient of the validation loss with respect to the architecture parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Loss = Callable[[], Tensor]
"""Computes a loss anew from the present weights and alphas, with a graph."""

RADIUS = 0.01
"""Length of the finite difference's step (DARTS, arXiv:1806.09055, note to Eq. 8)."""


@dataclass(frozen=True, kw_only=True)
class AlphaStep:
    """What an alpha gradient is made of.

    Attributes:
        train_loss: L_train(w, alpha) on a batch of the weight half.
        valid_loss: L_val(w, alpha) on a batch of the alpha half.
        weights: w, leaf tensors that the losses read.
        alphas: Leaf tensors that the losses read.
        buffers: Running statistics that the losses change.
        momenta: SGD's momentum buffer of each weight, None before its first step.
        learning_rate: xi, the present learning rate of the weights.
        momentum: mu of SGD.
        weight_decay: L2 factor of the weights.
    """

    train_loss: Loss
    valid_loss: Loss
    weights: Sequence[Tensor]
    alphas: Sequence[Tensor]
    buffers: Sequence[Tensor]
    momenta: Sequence[Tensor | None]
    learning_rate: float
    momentum: float
    weight_decay: float


class AlphaGradient(Protocol):
    """A way to compute the alphas' gradient."""

    def __call__(self, step: AlphaStep) -> tuple[Tensor, list[Tensor]]:
        """Return the validation loss (a scalar) and one gradient for each of the alphas."""


def first_order(step: AlphaStep) -> tuple[Tensor, list[Tensor]]:
    """Take the weights as they are: grad_alpha L_val(w, alpha) (DARTS, Eq. 6 with xi = 0).

    The validation batch also updates the running statistics, as in the published code.
    """
    with frozen(step.weights):
        loss = step.valid_loss()
        gradients = _gradients(loss, step.alphas)
    return loss.detach(), gradients


def second_order(step: AlphaStep) -> tuple[Tensor, list[Tensor]]:
    """Look one SGD step ahead: grad_alpha L_val(w', alpha) - xi (d^2 L_train / d alpha d w) grad_w' L_val(w', alpha).

    w' = w - xi (mu b + grad_w L_train(w, alpha) + lambda w), with b the momentum buffer and lambda the weight
    decay. The product with the mixed second derivative is `hessian_vector_product`.

    Reference: Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, Eq. 7 and 8; momentum and weight decay in w' as in
    the published code.
    Differs from the paper: nothing known. From the published code: no second network is built; the weights are put
    back from a copy, bit for bit, instead of by adding what was subtracted; the running statistics are put back,
    too, so that weights that never were the network's leave no trace.

    Args:
        step: Losses, weights, alphas, and the state of the weights' optimiser.
    """
    with put_back(step.buffers):
        with put_back(step.weights):
            _look_ahead(step)
            loss = step.valid_loss()
            both = _gradients(loss, [*step.alphas, *step.weights])
        direct, vector = both[: len(step.alphas)], both[len(step.alphas) :]
        product = hessian_vector_product(step.train_loss, step.weights, step.alphas, vector)
    return loss.detach(), [d - step.learning_rate * p for d, p in zip(direct, product, strict=True)]


def hessian_vector_product(
    train_loss: Loss,
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    vector: Sequence[Tensor],
    radius: float = RADIUS,
) -> list[Tensor]:
    """Return (d^2 L_train / d alpha d w) v by a central difference in the weights.

    Formula: (grad_alpha L_train(w + eps v) - grad_alpha L_train(w - eps v)) / (2 eps), eps = radius / ||v||_2
    (DARTS, Eq. 8). The error falls with radius squared until rounding takes over.

    A loss that draws random numbers (drop path, noise, Gumbel) draws the same ones on both sides.

    Args:
        train_loss: Reads the weights and alphas.
        weights: w; changed on the way, then put back bit for bit.
        alphas: What is derived for.
        vector: v, one tensor for each weight.
        radius: Length of eps v.

    Returns:
        One tensor for each of the alphas; zeros where v is zero.
    """
    norms = torch.stack([torch.linalg.vector_norm(part) for part in vector])
    norm = float(torch.linalg.vector_norm(norms))
    if norm == 0.0:
        return [torch.zeros_like(alpha) for alpha in alphas]
    epsilon = radius / norm
    sides = []
    devices = sorted({tensor.get_device() for tensor in alphas if tensor.is_cuda})
    for sign, numbers in ((1.0, torch.random.fork_rng(devices)), (-1.0, nullcontext())):
        with numbers, put_back(weights):  # both sides draw the same numbers, else their difference is mostly noise
            with torch.no_grad():
                for weight, part in zip(weights, vector, strict=True):
                    weight.add_(part, alpha=sign * epsilon)
            with frozen(weights):
                sides.append(_gradients(train_loss(), alphas))
    return [(plus - minus) / (2.0 * epsilon) for plus, minus in zip(*sides, strict=True)]


def _look_ahead(step: AlphaStep) -> None:
    """Move the weights by one step of SGD with momentum and weight decay."""
    gradients = _gradients(step.train_loss(), step.weights)
    with torch.no_grad():
        for weight, gradient, momentum in zip(step.weights, gradients, step.momenta, strict=True):
            direction = gradient + step.weight_decay * weight
            if momentum is not None:
                direction += step.momentum * momentum
            weight.sub_(direction, alpha=step.learning_rate)


def _gradients(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of a loss; zeros for leaves that it does not depend on."""
    if not loss.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(loss, list(leaves), allow_unused=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in zip(leaves, found, strict=True)
    ]


@contextmanager
def frozen(weights: Sequence[Tensor]) -> Iterator[None]:
    """Compute no gradients of these leaves: a loss that is derived for the alphas alone needs none."""
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight, wanted in zip(weights, before, strict=True):
            weight.requires_grad_(wanted)


@contextmanager
def put_back(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore the values of tensors at the end of the block, exactly."""
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, saved, strict=True):
                tensor.copy_(value)
