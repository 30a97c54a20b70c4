"""Whether two supernets are the same function, without knowing how either stores its weights.

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]``; nothing runs here. Both must have equally many
weights. Then all weights of both are set to one number, so that it does not matter which is which, and logits and
alpha gradients of the same images must agree in float64. Channels and operations of one edge that were mixed up would
not be seen; the tests compare with the same drawn weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.common import BenchmarkError
from nasbench.training.determinism import seeded

WEIGHT = 0.1
TOLERANCE = 1e-8
Logits = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""(images, alphas by group) -> logits [N, K]."""

Side = tuple[nn.Module, Logits]
Sides = tuple[Side, Side]
"""(network, what it computes) of ours and of the plain way."""


def num_weights(network: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(weight.numel() for weight in network.parameters())


def check_same_function(
    name: str,
    sides: Sides,
    images: Tensor,
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Compare two supernets in float64; both are changed.

    Args:
        name: For the message.
        sides: Ours and the plain way.
        images: A few of them, [N, C, H, W].
        shapes: Of the alphas by group.

    Raises:
        BenchmarkError: Other numbers of weights, or other logits or alpha gradients.
    """
    counts = [num_weights(network) for network, _ in sides]
    if counts[0] != counts[1]:
        raise BenchmarkError(f"{name}: ours has {counts[0]} weights, the plain one {counts[1]}. They are not the same.")
    found = [_values(network, logits, images.double(), shapes) for network, logits in sides]
    for what, ours, plain in zip(("logits", *shapes), *found, strict=True):
        if ours.shape != plain.shape or not torch.allclose(ours, plain, rtol=TOLERANCE, atol=TOLERANCE):
            raise BenchmarkError(f"{name}: {what} of ours and of the plain one differ. A ratio would mean nothing.")


def _values(network: nn.Module, logits: Logits, images: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> list[Tensor]:
    """Return the logits, and the alpha gradients of a weighted sum of them."""
    network.double().train()
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(WEIGHT)
    with seeded(1):
        alphas = {group: torch.randn(shape, dtype=torch.float64).requires_grad_() for group, shape in shapes.items()}
    output = logits(images, alphas)
    if not alphas:
        return [output.detach()]
    # Weighted by the image, as every class has the same logit and a cross-entropy would have no gradient.
    total = (output.sum(dim=1) * torch.arange(1.0, len(output) + 1, dtype=torch.float64)).sum()
    return [output.detach(), *torch.autograd.grad(total, list(alphas.values()))]
