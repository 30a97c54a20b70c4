"""What may watch a training without changing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class ExampleHook(Protocol):
    """Is told what the network said of each example at each of its presentations.

    It may not touch the network, the optimiser or any generator: a training with a hook gives the same bits as one
    without. What it counts goes into the training's checkpoint, so that a kill and resume loses and doubles nothing.
    """

    def presented(self, epoch: int, rows: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Take one step's batch, before the weights are changed by it.

        Args:
            epoch: From 0.
            rows: int64 [B], rows of the training set.
            logits: [B, K], of the (augmented) images in training mode.
            labels: int64 [B].
        """

    def end_epoch(self, epoch: int) -> Mapping[str, float]:
        """Return further figures of the epoch; they become curves beside the training's own."""

    def state(self) -> dict[str, Tensor]:
        """Return all that was counted."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave.

        Raises:
            KeyError: Something is missing.
            ValueError: Something has another shape.
        """
