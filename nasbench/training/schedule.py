"""The learning rate as a pure function of the epoch."""

from __future__ import annotations

import math

from nasbench.training.recipe import Recipe

_LAST_EPOCHS = 5  # of PC-DARTS's linear schedule


def cosine(start: float, final: float, epoch: float, epochs: int) -> float:
    """Return final + (start - final) (1 + cos(pi e / E)) / 2, e of E epochs (SGDR, arXiv:1608.03983)."""
    return final + 0.5 * (start - final) * (1.0 + math.cos(math.pi * epoch / epochs))


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Return the learning rate of an epoch.

    The schedule runs over all epochs from 0; during warm-up lr (e + 1) / warmup_epochs stands in its place
    (as in PC-DARTS's code, where the decay is not shifted by the warm-up).

    Args:
        recipe: Its ``schedule`` and the fields that belong to it.
        epoch: e, from 0 to E - 1.
    """
    rate, epochs = recipe.learning_rate, recipe.epochs
    if epoch < recipe.warmup_epochs:
        return rate * (epoch + 1) / recipe.warmup_epochs
    if recipe.schedule == "cosine":
        return cosine(rate, recipe.final_learning_rate, epoch, epochs)
    if recipe.schedule == "step":
        return float(rate * recipe.decay**epoch)
    if epochs - epoch > _LAST_EPOCHS:
        return rate * (epochs - _LAST_EPOCHS - epoch) / (epochs - _LAST_EPOCHS)
    return rate * (epochs - epoch) / ((epochs - _LAST_EPOCHS) * _LAST_EPOCHS)
