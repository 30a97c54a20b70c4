"""The same work on a CUDA device; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nasbench.datasets.digits import Digits
from nasbench.searchers.base import SearchTask
from nasbench.searchers.darts import Darts as DartsSearcher
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.darts import Darts
from nasbench.tracking.tracker import NullTracker
from nasbench.training.augment import augment_cell
from nasbench.training.recipe import Augmentation, Recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine"),
]

SHAPE = NetworkShape(num_cells=3, channels=4, num_classes=10, in_channels=1, image_size=8)
TRANSFORMS = Augmentation(crop_padding=1, flip=False)


@pytest.mark.parametrize("order", ["first", "second"])
def test_a_search_runs_and_repeats(order: str) -> None:
    images = Digits().load("train", root=Path())
    rows = np.arange(64, dtype=np.int64)
    task = SearchTask(
        space=Darts(), shape=SHAPE, images=images, weight_indices=rows[:32], alpha_indices=rows[32:],
        augmentation=TRANSFORMS, seed=0, device="cuda",
    )  # fmt: skip
    searcher = DartsSearcher(epochs=1, batch_size=16, order=order)
    assert searcher.search(task, NullTracker()).genotype == searcher.search(task, NullTracker()).genotype


@pytest.mark.parametrize("amp", [False, True])
def test_augmenting_runs_and_learns(amp: bool) -> None:
    train, test = (Digits().load(split, root=Path()) for split in ("train", "test"))
    genotype = Darts().sample(np.random.default_rng(0))
    recipe = Recipe(epochs=5, batch_size=64, learning_rate=0.05, augmentation=TRANSFORMS)
    result = augment_cell(Darts(), genotype, SHAPE, train, test, recipe, seed=0, device="cuda", amp=amp)
    assert result.top1 > 0.5
    assert result.peak_memory_bytes > 0
