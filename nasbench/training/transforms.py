"""Batches of a set that lies whole on the device as bytes; transforms work on whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nasbench.core.errors import ConfigError, DatasetError
from nasbench.core.seeding import derive_seed
from nasbench.datasets.base import ImageSet
from nasbench.training.recipe import Augmentation


class _Draws(NamedTuple):
    """Every random number of one epoch, one row a place in the epoch."""

    order: Tensor  # int64 [n], rows of the set
    offset: Tensor  # int64 [n, 2], top and left of the crop in the padded image
    mirror: Tensor  # bool [n]
    centre: Tensor  # int64 [n, 2], row and column of the cut-out square's centre


class Batches:
    """Rows of an image set as normalised float batches.

    The order and every transform of epoch e depend only on (seed, e): all random numbers of an epoch are
    drawn at its start from one CPU generator, so that CPU and CUDA see the same ones. Without augmentation
    the images come in the order of ``indices``, untouched but for the normalisation.

    The last, smaller batch is kept. Only a last batch of a single image is merged into the batch before it:
    batch normalisation cannot train on one image, and dropping it would hide one example.

    Args:
        images: The set; its bytes are copied to the device once.
        indices: int64 [k], rows to use, or None for all.
        augmentation: Random transforms, or None for evaluation.
        batch_size: B, at least 1.
        seed: The run's seed; only used with augmentation.
        device: Where the bytes lie and the batches are made.

    Raises:
        DatasetError: No images are left.
        ConfigError: batch_size is below 1, or the cut-out square covers more than the image.
    """

    def __init__(
        self,
        images: ImageSet,
        indices: npt.NDArray[np.int64] | None,
        augmentation: Augmentation | None,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size: {batch_size} is not allowed; give at least 1.")
        rows = images.images if indices is None else images.images[indices]
        labels = images.labels if indices is None else images.labels[indices]
        if not len(rows):
            raise DatasetError("no images are left to make batches of. Choose a larger fraction or size.")
        if augmentation is not None and augmentation.cutout >= 2 * min(rows.shape[1:3]):
            raise ConfigError(
                f"cutout: a square of {augmentation.cutout} pixels hides every image of {rows.shape[1]}x"
                f"{rows.shape[2]}. Give a side below {2 * min(rows.shape[1:3])}; half the image is usual."
            )
        self._pixels = torch.tensor(rows, device=device)  # uint8 [n, H, W, C]
        self._labels = torch.tensor(labels, device=device)  # int64 [n]
        self._mean = 255.0 * torch.tensor(images.mean, dtype=torch.float32, device=device)  # [C]
        self._std = 255.0 * torch.tensor(images.std, dtype=torch.float32, device=device)  # [C]
        self._augmentation = augmentation
        self._seed = seed
        self._starts = _starts(len(rows), batch_size)

    @property
    def num_images(self) -> int:
        """Images an epoch."""
        return len(self._labels)

    def __len__(self) -> int:
        """Steps an epoch."""
        return len(self._starts) - 1

    def epoch(self, number: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch.

        Args:
            number: Which epoch, from 0.
            first_step: Steps to leave out at the start (to resume within an epoch).

        Yields:
            float32 [B, C, H, W] in channels_last memory, and int64 [B].
        """
        draws = None if self._augmentation is None else self._draw(self._augmentation, number)
        for start, stop in zip(self._starts[first_step:-1], self._starts[first_step + 1 :], strict=True):
            if draws is None or self._augmentation is None:
                yield self._normalise(self._pixels[start:stop]), self._labels[start:stop]
                continue
            part = _Draws(*(values[start:stop] for values in draws))
            pixels = _crop(self._pixels[part.order], part.offset, self._augmentation.crop_padding)
            batch = self._normalise(_flip(pixels, part.mirror))
            batch = _cutout(batch, part.centre, self._augmentation.cutout)
            yield batch, self._labels[part.order]

    def _draw(self, augmentation: Augmentation, number: int) -> _Draws:
        # All is drawn whether it is used or not: turning one transform off leaves the others as they were.
        source = torch.Generator().manual_seed(derive_seed(self._seed, "batches", number))
        count, (height, width) = len(self._labels), self._pixels.shape[1:3]
        order = torch.randperm(count, generator=source)
        mirror = torch.rand(count, generator=source) < (0.5 if augmentation.flip else 0.0)
        centre = torch.rand((count, 2), generator=source) * torch.tensor([height, width])
        offset = torch.rand((count, 2), generator=source) * (2 * augmentation.crop_padding + 1)
        device = self._pixels.device
        return _Draws(order.to(device), offset.long().to(device), mirror.to(device), centre.long().to(device))

    def _normalise(self, pixels: Tensor) -> Tensor:
        batch = pixels.to(torch.float32).sub_(self._mean).div_(self._std)  # [B, H, W, C]
        return batch.permute(0, 3, 1, 2)  # channels_last without a copy


def _starts(count: int, batch_size: int) -> list[int]:
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [*starts, count]


def _crop(pixels: Tensor, offset: Tensor, padding: int) -> Tensor:
    """Pad uint8 [B, H, W, C] with zero bytes and cut a window of the former size at each offset [B, 2]."""
    if padding == 0:
        return pixels
    count, height, width, _ = pixels.shape
    padded = functional.pad(pixels, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # view [B, 2p+1, 2p+1, C, H, W]
    windows = windows.permute(0, 1, 2, 4, 5, 3)
    return windows[torch.arange(count, device=pixels.device), offset[:, 0], offset[:, 1]].contiguous()


def _flip(pixels: Tensor, mirror: Tensor) -> Tensor:
    """Mirror the rows of [B, H, W, C] where mirror [B] is true."""
    return torch.where(mirror[:, None, None, None], pixels.flip(2), pixels)


def _cutout(batch: Tensor, centre: Tensor, side: int) -> Tensor:
    """Set a square of [B, C, H, W] to zero, clipped at the borders (DeVries and Taylor, arXiv:1708.04552)."""
    if side == 0:
        return batch
    inside = []
    for axis in (0, 1):
        first = centre[:, axis, None] - side // 2  # [B, 1]
        places = torch.arange(batch.shape[2 + axis], device=batch.device)  # [H] or [W]
        inside.append((places >= first) & (places < first + side))  # [B, H] or [B, W]
    return batch.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)
