"""The two halves of a proxy as batches: one trains the weights, the other the architecture parameters."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from nasbench.core.errors import ConfigError
from nasbench.core.seeding import derive_seed
from nasbench.searchers.base import SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.training.transforms import Batches

LOG = logging.getLogger(__name__)


class Endless:
    """An iterator that starts the next epoch where one ends, and can be put back to its place.

    Args:
        batches: What is iterated over.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.seek(0, 0)

    @property
    def place(self) -> tuple[int, int]:
        """(epoch, step) of the next batch; with the seed it is the whole state of the data order."""
        return self._epoch, self._step

    def seek(self, epoch: int, step: int) -> None:
        """Go to a place."""
        self._epoch, self._step = epoch, step
        self._current = self._batches.epoch(epoch, first_step=step)

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Return the next batch; it never ends."""
        if self._step == len(self._batches):
            self.seek(self._epoch + 1, 0)
        self._step += 1
        return next(self._current)


class Halves:
    """Batches of both halves.

    Args:
        settings: Batch size.
        task: Images, halves, augmentation, seed.
        device: Where the batches are made.

    Attributes:
        weights: Batches of the weight half, shuffled and augmented.
        alphas: The same of the alpha half, without end.
        evaluation: The alpha half in its own order, untouched.

    Raises:
        ConfigError: The halves overlap, or are too small for the batch.
    """

    def __init__(self, settings: BilevelSettings, task: SearchTask, device: torch.device) -> None:
        size = _batch_size(settings, task)
        weight_seed, alpha_seed = derive_seed(task.seed, "weight-half"), derive_seed(task.seed, "alpha-half")
        images, augmentation = task.images, task.augmentation
        self.weights = Batches(images, task.weight_indices, augmentation, size, weight_seed, device)
        self.alphas = Endless(Batches(images, task.alpha_indices, augmentation, size, alpha_seed, device))
        self.evaluation = Batches(images, task.alpha_indices, None, size, alpha_seed, device)


def _batch_size(settings: BilevelSettings, task: SearchTask) -> int:
    """Return the batch size, checked against both halves."""
    sizes = {"weight": len(task.weight_indices), "alpha": len(task.alpha_indices)}
    if np.intersect1d(task.weight_indices, task.alpha_indices).size:
        raise ConfigError("the weight half and the alpha half share images; they must be disjoint.")
    half, size = min(sizes.items(), key=lambda item: item[1])
    if size < 2:
        raise ConfigError(f"the {half} half has {size} images; at least 2 are needed. Take a larger proxy.")
    if settings.batch_size <= size:
        return settings.batch_size
    if not settings.adapt_batch_size:
        raise ConfigError(
            f"batch_size: {settings.batch_size} is larger than the {half} half of {size} images. Give at most {size}, "
            f"take a larger proxy, or set adapt_batch_size to true."
        )
    LOG.info("batch size %d instead of %d: the %s half has no more images", size, settings.batch_size, half)
    return size
