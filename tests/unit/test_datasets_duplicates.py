"""Images that stand in a dataset twice are found, in one split and across both."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from nasbench.datasets import duplicates
from nasbench.datasets.base import ImageSet
from nasbench.datasets.digits import Digits
from nasbench.datasets.duplicates import repeated

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)


def images(rows: list[int], prefix: str) -> ImageSet:
    ids = tuple(f"{prefix}{place}" for place in range(len(rows)))
    labels = np.array([place % 2 for place in range(len(rows))])
    return ImageSet(images=PIXELS[rows], labels=labels, ids=ids, num_classes=2, mean=(0.5,) * 3, std=(0.2,) * 3)


def test_repeats_are_named_with_their_first_occurrence() -> None:
    assert repeated(images([0, 1, 0, 2, 0], "a")) == [("a0", "a2"), ("a0", "a4")]
    assert repeated(images([0, 1, 2], "a")) == []


def test_images_of_train_that_stand_in_test_are_named() -> None:
    assert repeated(images([0, 1, 2], "a"), images([3, 1, 1], "b")) == [("a1", "b1"), ("a1", "b2")]
    assert repeated(images([0, 1], "a"), images([2, 3], "b")) == []


def test_one_changed_pixel_is_another_image() -> None:
    twins = images([0, 0], "a")
    pixels = twins.images[np.arange(2)].copy()
    pixels[1, 0, 0, 0] ^= 1
    assert repeated(dataclasses.replace(twins, images=pixels)) == []


def test_images_that_stay_in_their_files_are_not_read() -> None:
    class Files:
        shape, dtype = (2, 4, 4, 3), np.dtype(np.uint8)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, rows: Any) -> Any:
            raise AssertionError("read")

    assert repeated(dataclasses.replace(images([0, 1], "a"), images=Files())) == []


def test_the_digits_hold_no_image_twice() -> None:
    train, test = (Digits().load(split, root=Path()) for split in ("train", "test"))
    assert (repeated(train), repeated(train, test)) == ([], [])
    assert duplicates.__doc__
