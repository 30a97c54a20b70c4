"""Whole-batch transforms against a plain image-by-image implementation, on drawn sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench.core.seeding import derive_seed
from nasbench.datasets.base import ImageSet
from nasbench.training.recipe import Augmentation
from nasbench.training.transforms import Batches

NOTHING = Augmentation(crop_padding=0, flip=False, cutout=0)


def image_set(count, channels, side, seed=0):
    rng = np.random.default_rng(seed)
    return ImageSet(
        images=rng.integers(1, 256, (count, side, side, channels), dtype=np.uint8),
        labels=np.arange(count, dtype=np.int64),  # a label tells which image it is
        ids=tuple(map(str, range(count))),
        num_classes=max(count, 2),
        mean=(0.5, 0.4, 0.3)[:channels],
        std=(0.25, 0.2, 0.3)[:channels],
    )


def normalised(pixels, images):
    plain = (pixels / 255.0 - np.array(images.mean)) / np.array(images.std)
    return plain.transpose(2, 0, 1)


def plain_candidates(image, images, augmentation):
    """Every image that the random transforms can make of one image, before cutout."""
    p, side = augmentation.crop_padding, image.shape[0]
    padded = np.zeros((side + 2 * p, side + 2 * p, image.shape[2]))
    padded[p : p + side, p : p + side] = image
    for top in range(2 * p + 1):
        for left in range(2 * p + 1):
            window = padded[top : top + side, left : left + side]
            yield normalised(window, images)
            if augmentation.flip:
                yield normalised(window[:, ::-1], images)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    side=st.integers(3, 7),
    batch_size=st.integers(1, 5),
    padding=st.integers(0, 2),
    flip=st.booleans(),
    cutout=st.integers(0, 5),
    seed=st.integers(0, 3),
)
def test_each_augmented_image_is_one_that_the_plain_transforms_can_make(
    count, channels, side, batch_size, padding, flip, cutout, seed
):
    images = image_set(count, channels, side)
    augmentation = Augmentation(crop_padding=padding, flip=flip, cutout=cutout)
    batches = Batches(images, None, augmentation, batch_size, seed, "cpu")
    seen = []
    for batch, labels in batches.epoch(0):
        assert batch.shape == (len(labels), channels, side, side)
        assert batch.dtype == torch.float32
        assert batch.is_contiguous(memory_format=torch.channels_last)
        seen += labels.tolist()
        for row, label in zip(batch.numpy(), labels.tolist(), strict=True):
            cut = (row == 0).all(axis=0)  # raw zeros are never normalised to 0 here
            assert cut.sum() <= cutout * cutout
            if cutout:
                rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
                assert cut.sum() == len(rows) * len(columns) >= 1  # one rectangle, its centre inside
                assert np.array_equal(rows, np.arange(rows[0], rows[-1] + 1))
            errors = [
                np.abs(np.where(cut, 0, want - row)).max()
                for want in plain_candidates(images.images[label], images, augmentation)
            ]
            assert min(errors) < 1e-5
    assert sorted(seen) == list(range(count))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 12))
def test_every_image_comes_once_and_no_lone_image_ends_an_epoch(count, batch_size):
    batches = Batches(image_set(count, 1, 3), None, NOTHING, batch_size, 0, "cpu")
    sizes = [len(labels) for _, labels in batches.epoch(0)]
    assert len(sizes) == len(batches)
    assert sum(sizes) == count == batches.num_images
    assert max(sizes) <= batch_size + 1
    if batch_size > 1 and count > 1:
        assert min(sizes) > 1


@settings(max_examples=20, deadline=None)
@given(epoch=st.integers(0, 5), first=st.integers(0, 4), seed=st.integers(0, 5))
def test_an_epoch_depends_on_seed_and_number_alone_and_can_start_midway(epoch, first, seed):
    images, augmentation = image_set(17, 3, 4), Augmentation(crop_padding=1, flip=True, cutout=2)
    whole = list(Batches(images, None, augmentation, 4, seed, "cpu").epoch(epoch))
    other = Batches(images, None, augmentation, 4, seed, "cpu")
    list(other.epoch(epoch + 1))  # what went before does not matter
    rest = list(other.epoch(epoch, first_step=first))
    assert len(rest) == len(whole) - first
    for (a, b), (c, d) in zip(whole[first:], rest, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def plain_batches(images, indices, augmentation, batch_size, seed, epoch):
    """One image at a time, in NumPy, with the draws in their documented order: what `Batches` must give bit by bit."""
    rows = np.arange(len(images)) if indices is None else indices
    count, (channels, height, width) = len(rows), images.image_shape
    source = torch.Generator().manual_seed(derive_seed(seed, "batches", epoch))
    order = torch.randperm(count, generator=source).numpy()
    mirror = (torch.rand(count, generator=source) < (0.5 if augmentation.flip else 0.0)).numpy()
    centre = (torch.rand((count, 2), generator=source) * torch.tensor([height, width])).long().numpy()
    p = augmentation.crop_padding
    offset = (torch.rand((count, 2), generator=source) * (2 * p + 1)).long().numpy()
    mean, std = (np.float32(255) * np.array(values, np.float32) for values in (images.mean, images.std))
    done = []
    for place in range(count):
        padded = np.zeros((height + 2 * p, width + 2 * p, channels), np.uint8)
        padded[p : p + height, p : p + width] = images.images[rows[order[place]]]
        top, left = offset[place]
        window = padded[top : top + height, left : left + width]
        window = window[:, ::-1] if mirror[place] else window
        image = (window.astype(np.float32) - mean) / std
        inside = [np.zeros(size, bool) for size in (height, width)]
        for first, places in zip(centre[place] - augmentation.cutout // 2, inside, strict=True):
            places[max(first, 0) : max(first + augmentation.cutout, 0)] = True
        image[inside[0][:, None] & inside[1]] = 0
        done.append((image, images.labels[rows[order[place]]]))
    starts = [start for start in range(0, count, batch_size) if start == 0 or count - start > 1]
    return [done[start:stop] for start, stop in zip(starts, [*starts[1:], count], strict=True)]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 12),
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    batch_size=st.integers(1, 6),
    padding=st.integers(0, 4),
    flip=st.booleans(),
    cutout=st.integers(0, 3),
    seed=st.integers(0, 50),
    epoch=st.integers(0, 3),
    subset=st.booleans(),
)
def test_batches_are_bit_by_bit_those_of_the_plain_transforms(
    count, channels, size, batch_size, padding, flip, cutout, seed, epoch, subset
):
    whole = image_set(count, channels, 7, seed)
    images = dataclasses.replace(whole, images=np.ascontiguousarray(whole.images[:, : size[0], : size[1]]))
    indices = np.arange(0, count, 2) if subset else None
    augmentation = Augmentation(crop_padding=padding, flip=flip, cutout=cutout)
    wanted = plain_batches(images, indices, augmentation, batch_size, seed, epoch)
    found = list(Batches(images, indices, augmentation, batch_size, seed, "cpu").epoch(epoch))
    assert len(found) == len(wanted)
    for (batch, labels), plain in zip(found, wanted, strict=True):
        assert labels.tolist() == [label for _, label in plain]
        assert batch.is_contiguous(memory_format=torch.channels_last)
        pixels = batch.permute(0, 2, 3, 1).numpy()
        assert pixels.tobytes() == np.stack([image for image, _ in plain]).tobytes()
