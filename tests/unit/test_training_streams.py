"""Batches of images that stay in their files: the same numbers as from memory, read ahead, errors raised."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasbench.core.errors import DatasetError
from nasbench.datasets.base import ImageSet
from nasbench.datasets.lazy import LazyImages
from nasbench.datasets.tree import list_tree
from nasbench.training.recipe import Augmentation
from nasbench.training.transforms import BATCHES_AHEAD, Batches

AUGMENTATION = Augmentation(crop_padding=2, flip=True, cutout=3)


@pytest.fixture
def sets(tmp_path: Path) -> tuple[ImageSet, ImageSet]:
    """The same 23 images in memory and in files."""
    rng = np.random.default_rng(0)
    for name, count in (("ant", 13), ("bee", 10)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)).save(tmp_path / name / f"{number:02}.png")
    files = LazyImages(list_tree(tmp_path, tmp_path, ("ant", "bee")), image_size=None)
    lazy = ImageSet(
        images=files, labels=files.index.labels, ids=files.index.paths, num_classes=2, mean=(0.4,) * 3, std=(0.2,) * 3
    )
    return dataclasses.replace(lazy, images=files[:]), lazy


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
@pytest.mark.parametrize("indices", [None, np.array([21, 3, 8, 9, 2, 0, 14])])
@pytest.mark.parametrize("first_step", [0, 1])
def test_batches_of_files_are_those_of_memory(sets, augmentation, indices, first_step):
    memory, lazy = (Batches(images, indices, augmentation, 4, 5) for images in sets)
    assert (len(memory), memory.num_images) == (len(lazy), lazy.num_images)
    for epoch in (0, 2):
        pairs = list(zip(memory.epoch(epoch, first_step), lazy.epoch(epoch, first_step), strict=True))
        assert len(pairs) == len(memory) - first_step
        for (pixels, labels), (other_pixels, other_labels) in pairs:
            assert torch.equal(pixels, other_pixels)
            assert torch.equal(labels, other_labels)
            assert other_pixels.is_contiguous(memory_format=torch.channels_last)


class Watched:
    """Notes which rows are asked for, and in which thread."""

    def __init__(self, images: LazyImages) -> None:
        self.images, self.asked, self.threads = images, [], set()
        self.shape, self.dtype, self.fingerprint = images.shape, images.dtype, images.fingerprint

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows):
        pixels = self.images[rows]
        self.threads.add(threading.current_thread())
        self.asked.append(pixels.shape[0])
        return pixels


def test_a_thread_reads_a_few_batches_ahead_and_ends_with_the_epoch(sets):
    watched = Watched(sets[1].images)
    epoch = Batches(dataclasses.replace(sets[1], images=watched), None, None, 2, 0).epoch(0)
    next(epoch)
    epoch.close()  # the epoch is left half-way; what was begun is finished
    assert 1 <= len(watched.asked) <= 1 + BATCHES_AHEAD
    assert threading.main_thread() not in watched.threads
    assert not any(thread.is_alive() for thread in watched.threads)


def test_every_row_is_read_once_an_epoch(sets):
    watched = Watched(sets[1].images)
    list(Batches(dataclasses.replace(sets[1], images=watched), None, AUGMENTATION, 4, 0).epoch(0))
    assert watched.asked == [4, 4, 4, 4, 4, 3]


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
def test_an_error_of_the_reading_thread_is_raised(sets, augmentation, tmp_path):
    batches = Batches(sets[1], None, augmentation, 4, 0)
    (tmp_path / "bee/05.png").write_bytes(b"something else")
    with pytest.raises(DatasetError, match=r"bee/05.png \(has 14 bytes; it had"):
        list(batches.epoch(0))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
