"""Batch normalisation, as all networks here have it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that may use the batch's statistics in evaluation mode.

    Attributes:
        batch_statistics: In evaluation mode: True normalises by the batch (the paper's text), False by the
            running statistics (the published code). Without effect in training mode.
    """

    batch_statistics: bool = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class's name
        """Normalise [N, C, H, W] over all but the channels."""
        running = (self.running_mean, self.running_var) if self.training or not self.by_batch else (None, None)
        return F.batch_norm(input, *running, self.weight, self.bias, self.by_batch, self.momentum or 0.0, self.eps)

    @property
    def by_batch(self) -> bool:
        """Whether the batch's statistics are used, and not the running ones."""
        return self.training or self.batch_statistics

    def tables(self) -> tuple[Tensor, Tensor]:
        """Return the running mean and variance.

        Raises:
            TypeError: There are none.
        """
        if self.running_mean is None or self.running_var is None:
            raise TypeError("these statistics were built without running ones.")
        return self.running_mean, self.running_var

    def move(self, running: Sequence[Tensor], moments: Sequence[Tensor], pixels: int) -> None:
        """Move running statistics towards those of a batch.

        Args:
            running: Mean and variance, or some of their entries; changed in place.
            moments: Mean and (biased) variance of the batch.
            pixels: N * H * W.

        Raises:
            ValueError: There is no more than one pixel, whose variance means nothing.
        """
        if pixels < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got {pixels}")
        mean, variance = moments
        for before, now in zip(running, (mean, variance * (pixels / (pixels - 1))), strict=True):
            before.lerp_(now, self.momentum or 0.0)


def use_batch_statistics(network: nn.Module, enabled: bool) -> None:
    """Choose the statistics of a network's evaluation mode: the batch's own (True) or the running ones (False)."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.batch_statistics = enabled
