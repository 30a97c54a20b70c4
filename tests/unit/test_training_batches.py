"""Batches: order, options, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasbench.core.errors import ConfigError, DatasetError
from nasbench.datasets.base import ImageSet
from nasbench.training.recipe import Augmentation
from nasbench.training.transforms import Batches

NOTHING = Augmentation(crop_padding=0, flip=False, cutout=0)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return ImageSet(
        images=rng.integers(1, 256, (12, 6, 6, 3), dtype=np.uint8),
        labels=np.arange(12, dtype=np.int64),
        ids=tuple(map(str, range(12))),
        num_classes=12,
        mean=(0.1, 0.2, 0.3),
        std=(0.5, 0.6, 0.7),
    )


def first(batches, epoch=0):
    return next(batches.epoch(epoch))


def test_without_augmentation_the_images_come_in_the_order_of_the_indices(images):
    indices = np.array([7, 2, 9], dtype=np.int64)
    batch, labels = first(Batches(images, indices, None, 8, 0, "cpu"))
    assert labels.tolist() == [7, 2, 9]
    want = (images.images[indices] / 255.0 - np.array(images.mean)) / np.array(images.std)
    assert np.abs(batch.numpy() - want.transpose(0, 3, 1, 2)).max() < 1e-6


def test_a_read_only_memory_map_is_taken_without_a_warning(images, tmp_path):
    np.save(tmp_path / "a.npy", images.images)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    same = ImageSet(
        images=mapped, labels=images.labels, ids=images.ids, num_classes=12, mean=images.mean, std=images.std
    )
    assert torch.equal(first(Batches(same, None, None, 4, 0))[0], first(Batches(images, None, None, 4, 0))[0])


def test_with_augmentation_the_order_changes_with_seed_and_epoch(images):
    orders = {
        (seed, epoch): tuple(first(Batches(images, None, NOTHING, 12, seed, "cpu"), epoch)[1].tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4


@pytest.mark.parametrize("change", [{"crop_padding": 2}, {"flip": True}, {"cutout": 3}])
def test_each_transform_changes_pixels_and_leaves_the_order(images, change):
    fields = {"crop_padding": 0, "flip": False, "cutout": 0}
    plain, labels = first(Batches(images, None, Augmentation(**fields), 12, 0, "cpu"))
    changed, same_labels = first(Batches(images, None, Augmentation(**(fields | change)), 12, 0, "cpu"))
    assert torch.equal(labels, same_labels)
    assert not torch.equal(plain, changed)


def test_turning_one_transform_off_leaves_the_others_as_they_were(images):
    with_flip = first(Batches(images, None, Augmentation(crop_padding=0, flip=True, cutout=2), 12, 3))[0]
    without = first(Batches(images, None, Augmentation(crop_padding=0, flip=False, cutout=2), 12, 3))[0]
    assert torch.equal((with_flip == 0).all(1), (without == 0).all(1))  # the same squares


def test_half_of_the_images_are_mirrored_and_crops_reach_every_offset():
    pixels = np.zeros((4000, 3, 3, 1), dtype=np.uint8)
    pixels[:, 1, 1] = 255
    pixels[:, 1, 2] = 100
    many = ImageSet(
        images=pixels,
        labels=np.zeros(4000, dtype=np.int64),
        ids=("x",) * 4000,
        num_classes=2,
        mean=(0.0,),
        std=(1.0,),
    )
    flipped = first(Batches(many, None, Augmentation(crop_padding=0, flip=True), 4000, 0))[0]
    share = float((flipped[:, 0, 1, 0] > 0).float().mean())
    assert 0.45 < share < 0.55
    cropped = first(Batches(many, None, Augmentation(crop_padding=1, flip=False), 4000, 0))[0]
    where = (cropped[:, 0] == 1.0).float().mean(0)  # the bright pixel lands on each of the nine places
    assert float(where.min()) > 0.08
    assert float(where.max()) < 0.15


def test_impossible_batches_are_refused(images):
    with pytest.raises(DatasetError, match="no images"):
        Batches(images, np.array([], dtype=np.int64), None, 4, 0)
    with pytest.raises(ConfigError, match="batch_size: 0"):
        Batches(images, None, None, 0, 0)
    with pytest.raises(ConfigError, match="hides every image of 6x6"):
        Batches(images, None, Augmentation(cutout=12), 4, 0)
