"""What SDARTS-RS adds to DARTS: edge weights that are perturbed while the supernet's weights are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench.searchers.strategy import Architecture, EpochEnd, Moment, Strategy, softmax_of
from nasbench.spaces.base import Mixture


def perturbed(weights: Tensor, noise: Tensor) -> Tensor:
    """Return weights plus noise, clamped to [0, 1] and divided by the sum of their row.

    A row that is all zero after the clamp becomes 1 where its weight was largest.

    Reference: published code of Chen and Hsieh, SDARTS, ICML 2020, arXiv:2002.05283.

    Args:
        weights: [E, O], rows sum to 1.
        noise: [E, O].

    Returns:
        [E, O]; entries in [0, 1], rows sum to 1.
    """
    moved = (weights + noise).clamp(0.0, 1.0)
    total = moved.sum(dim=1, keepdim=True)
    largest = torch.nn.functional.one_hot(weights.argmax(dim=1), weights.shape[1]).to(moved.dtype)
    return torch.where(total > 0, moved / total.where(total > 0, 1.0), largest)


class RandomSmoothing(Strategy):
    """DARTS of first order whose weights are trained under random edge weights.

    Args:
        first: eps of the first epoch.
        largest: eps that it rises to, linearly.
    """

    def __init__(self, first: float, largest: float) -> None:
        super().__init__()
        self._first, self._largest = first, largest
        self._present = first  # of the epoch that is under way

    def radius(self, moment: Moment) -> float:
        """Return eps of an epoch."""
        return self._first + (self._largest - self._first) * moment.epoch / moment.epochs

    def weight_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Mix by softmax(alpha) plus uniform noise; drawn anew at each call."""
        self._present = self.radius(moment)
        return Mixture({
            group: perturbed(weights, torch.empty_like(weights).uniform_(-self._present, self._present))
            for group, weights in softmax_of(architecture).items()
        })  # fmt: skip

    def end_epoch(self, end: EpochEnd) -> dict[str, Any]:
        """Record eps."""
        del end
        return {"perturbation": self._present}
