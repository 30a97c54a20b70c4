"""The two halves of a proxy as batches: one trains the weights, the other the architecture parameters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nasbench.core.errors import ConfigError
from nasbench.core.seeding import derive_seed
from nasbench.searchers.base import SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.training.transforms import Batches


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
        size: Images a batch, as `batch_size` returned it.
        task: Images, halves, augmentation, seed.
        device: Where the batches are made.

    Attributes:
        weights: Batches of the weight half, shuffled and augmented.
        alphas: The same of the alpha half, without end.
        evaluation: The alpha half in its own order, untouched.
        size: Images a batch.
    """

    def __init__(self, size: int, task: SearchTask, device: torch.device) -> None:
        self.size = size
        weight_seed, alpha_seed = derive_seed(task.seed, "weight-half"), derive_seed(task.seed, "alpha-half")
        images, augmentation = task.images, task.augmentation
        self.weights = Batches(images, task.weight_indices, augmentation, size, weight_seed, device)
        self.alphas = Endless(Batches(images, task.alpha_indices, augmentation, size, alpha_seed, device))
        self.evaluation = Batches(images, task.alpha_indices, None, size, alpha_seed, device)


def batch_size(settings: BilevelSettings, wanted: int, task: SearchTask) -> int:
    """Return the batch size, checked against both halves.

    Args:
        settings: Whether it may be adapted.
        wanted: Images a batch.
        task: The halves.

    Raises:
        ConfigError: The halves overlap, or are too small for the batch.
    """
    sizes = {"weight": len(task.weight_indices), "alpha": len(task.alpha_indices)}
    if np.intersect1d(task.weight_indices, task.alpha_indices).size:
        raise ConfigError("the weight half and the alpha half share images; they must be disjoint.")
    half, size = min(sizes.items(), key=lambda item: item[1])
    if size < 2:
        raise ConfigError(f"the {half} half has {size} images; at least 2 are needed. Take a larger proxy.")
    if wanted <= size:
        return wanted
    if not settings.adapt_batch_size:
        raise ConfigError(
            f"batch_size: {wanted} is larger than the {half} half of {size} images. Give at most {size}, "
            f"take a larger proxy, or set adapt_batch_size to true."
        )
    return size
