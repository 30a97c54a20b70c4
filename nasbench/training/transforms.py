"""Normalised float batches of a set's bytes; transforms work on whole batches.

A set in memory lies whole on the device as bytes. A set of files is read a few batches ahead by a thread of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasbench.core.errors import ConfigError, DatasetError
from nasbench.core.seeding import derive_seed
from nasbench.datasets.base import ImageSet, Pixels
from nasbench.training.recipe import Augmentation

BATCHES_AHEAD = 3
"""Batches of a set of files that are read before they are asked for."""


class _Draws(NamedTuple):
    """Every random number of one epoch, one row a place in the epoch; all on the CPU."""

    order: Tensor  # int64 [n], rows of the set
    offset: Tensor  # int64 [n, 2], top and left of the crop in the padded image
    mirror: Tensor  # bool [n]
    centre: Tensor  # int64 [n, 2], row and column of the cut-out square's centre


class _Source(Protocol):
    """Where the bytes of a batch come from."""

    def read(self, batches: Sequence[slice | Tensor]) -> Iterator[Tensor]:
        """Yield uint8 [B, H, W, C] on the device for rows of each batch."""


class _Resident:
    """All bytes lie on the device."""

    def __init__(self, pixels: npt.NDArray[np.uint8], device: torch.device | str) -> None:
        self._pixels = torch.tensor(pixels, device=device)  # uint8 [n, H, W, C]

    def read(self, batches: Sequence[slice | Tensor]) -> Iterator[Tensor]:
        for rows in batches:
            if isinstance(rows, slice):
                yield self._pixels[rows]
            else:
                yield self._pixels.index_select(0, rows.to(self._pixels.device))


class _Streamed:
    """The bytes are read when they are needed, `BATCHES_AHEAD` batches before that."""

    def __init__(self, pixels: Pixels, rows: npt.NDArray[np.int64] | None, device: torch.device | str) -> None:
        self._pixels = pixels
        self._rows = rows
        self._device = device

    def read(self, batches: Sequence[slice | Tensor]) -> Iterator[Tensor]:
        waiting: deque[Future[npt.NDArray[np.uint8]]] = deque()
        pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        try:
            for number in range(len(batches) + BATCHES_AHEAD):
                if number < len(batches):
                    waiting.append(pool.submit(self._one, batches[number]))
                if number >= BATCHES_AHEAD:  # an error of the reading thread is raised here
                    yield torch.from_numpy(waiting.popleft().result()).to(self._device)
        finally:  # also where the epoch is left half-way
            pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, batch: slice | Tensor) -> npt.NDArray[np.uint8]:
        rows: slice | npt.NDArray[np.int64] = batch if isinstance(batch, slice) else batch.numpy()
        pixels: npt.NDArray[np.uint8] = self._pixels[rows if self._rows is None else self._rows[rows]]
        return pixels


class Batches:
    """Rows of an image set as normalised float batches.

    The order and every transform of epoch e depend only on (seed, e): all random numbers of an epoch are
    drawn at its start from one CPU generator, so that CPU and CUDA see the same ones, and sets in memory and
    sets of files too. Without augmentation the images come in the order of ``indices``, untouched but for the
    normalisation.

    The last, smaller batch is kept. Only a last batch of a single image is merged into the batch before it:
    batch normalisation cannot train on one image, and dropping it would hide one example.

    Args:
        images: The set. Bytes in memory are copied to the device once; those of files are read in each epoch.
        indices: int64 [k], rows to use, or None for all.
        augmentation: Random transforms, or None for evaluation.
        batch_size: B, at least 1.
        seed: The run's seed; only used with augmentation.
        device: Where the batches are made.

    Raises:
        DatasetError: No images are left; later, from `epoch`: a file cannot be read or is not what it was.
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
        labels = images.labels if indices is None else images.labels[indices]
        if not len(labels):
            raise DatasetError("no images are left to make batches of. Choose a larger fraction or size.")
        height, width = images.images.shape[1:3]
        if augmentation is not None and augmentation.cutout >= 2 * min(height, width):
            raise ConfigError(
                f"cutout: a square of {augmentation.cutout} pixels hides every image of {height}x{width}. "
                f"Give a side below {2 * min(height, width)}; half the image is usual."
            )
        self._source: _Source
        if isinstance(images.images, np.ndarray):
            pixels: npt.NDArray[np.uint8] = images.images
            self._source = _Resident(pixels if indices is None else pixels[indices], device)
        else:
            self._source = _Streamed(images.images, indices, device)
        self._labels = torch.tensor(labels, device=device)  # int64 [n]
        self._size = (height, width)
        # Repeated along the row: an inner loop over W C numbers instead of C is nine times as fast.
        self._mean = (255.0 * torch.tensor(images.mean, dtype=torch.float32)).repeat(width).to(device)  # [W C]
        self._std = (255.0 * torch.tensor(images.std, dtype=torch.float32)).repeat(width).to(device)  # [W C]
        self._augmentation = augmentation
        self._seed = seed
        self._starts = _starts(len(labels), batch_size)

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

        Raises:
            DatasetError: A file cannot be read or is not what it was when it was indexed.
        """
        starts = self._starts[first_step:]
        spans = [slice(start, stop) for start, stop in pairwise(starts)]
        if self._augmentation is None:
            for span, pixels in zip(spans, self._source.read(spans), strict=True):
                yield self._normalise(pixels), self._labels[span]
            return
        draws = self._draw(self._augmentation, number)
        windows = _Windows(draws, self._starts, self._size, self._augmentation)
        for span, pixels in zip(spans, self._source.read([windows.rows[span] for span in spans]), strict=True):
            batch = self._normalise(windows.cut(pixels, span))
            batch = _cutout(batch, draws.centre[span], self._augmentation.cutout)
            yield batch, self._labels[draws.order[span].to(self._labels.device)]

    def _draw(self, augmentation: Augmentation, number: int) -> _Draws:
        # All is drawn whether it is used or not: turning one transform off leaves the others as they were.
        source = torch.Generator().manual_seed(derive_seed(self._seed, "batches", number))
        count = len(self._labels)
        order = torch.randperm(count, generator=source)
        mirror = torch.rand(count, generator=source) < (0.5 if augmentation.flip else 0.0)
        centre = torch.rand((count, 2), generator=source) * torch.tensor(self._size)
        offset = torch.rand((count, 2), generator=source) * (2 * augmentation.crop_padding + 1)
        return _Draws(order, offset.long(), mirror, centre.long())

    def _normalise(self, pixels: Tensor) -> Tensor:
        rows = pixels.reshape(*pixels.shape[:2], -1).to(torch.float32)  # [B, H, W C]
        batch = rows.sub_(self._mean).div_(self._std).view(pixels.shape)
        return batch.permute(0, 3, 1, 2)  # channels_last without a copy


def num_batches(num_images: int, batch_size: int) -> int:
    """Return the steps of an epoch over so many images."""
    return len(_starts(num_images, batch_size)) - 1


def _starts(count: int, batch_size: int) -> list[int]:
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [*starts, count]


class _Windows:
    """The crops and mirrorings of one epoch, in which only whole rows of W C bytes are moved.

    In each batch the images that are mirrored lie behind the others; they are mirrored before the padding, in which
    a window that began at ``left`` then begins at ``2 padding - left``. Cutting restores the order of the epoch.

    Args:
        draws: Of the epoch.
        starts: First place of each batch, and the number of places.
        size: (H, W).
        augmentation: Which transforms are on.

    Attributes:
        rows: int64 [n], the rows of the set in the order in which `cut` wants them.
    """

    def __init__(self, draws: _Draws, starts: Sequence[int], size: tuple[int, int], augmentation: Augmentation) -> None:
        self._off = not (augmentation.flip or augmentation.crop_padding)
        self._padding = augmentation.crop_padding
        height, width = size
        high, self._wide = height + 2 * self._padding, width + 2 * self._padding
        sizes = torch.diff(torch.tensor(starts))
        batch = torch.repeat_interleave(torch.arange(len(sizes)), sizes)  # [n], number of each place's batch
        lying = torch.argsort(2 * batch + draws.mirror, stable=True)  # [n], places as their images lie in a batch
        slot = torch.empty_like(lying)
        slot[lying] = torch.arange(len(lying)) - torch.tensor(starts)[batch]
        left = torch.where(draws.mirror, 2 * self._padding - draws.offset[:, 1], draws.offset[:, 1])
        self._first = (slot * high + draws.offset[:, 0]) * self._wide + left  # [n], first pixel of each window
        self._ramp = self._wide * torch.arange(height)  # [H], from there to the first pixel of each of its rows
        self._mirror = draws.mirror
        self.rows = draws.order[lying]

    def cut(self, pixels: Tensor, places: slice) -> Tensor:
        """Return the windows of one batch.

        Args:
            pixels: uint8 [B, H, W, C] of the set's `rows` at these places.
            places: Of the batch in the epoch.

        Returns:
            uint8 [B, H, W, C], in the order of the epoch.
        """
        if self._off:
            return pixels
        count, height, width, channels = pixels.shape
        p, plain = self._padding, count - int(self._mirror[places].sum())
        padded = pixels.new_zeros((count, height + 2 * p, self._wide, channels))
        inner = padded[:, p : p + height, p : p + width]
        inner[:plain] = pixels[:plain]
        inner[plain:] = pixels[plain:].flip(2)
        # Every run of W pixels of the padded batch, as overlapping rows of one matrix.
        runs = padded.as_strided((padded.numel() // channels - width + 1, width * channels), (channels, 1))
        chosen = (self._first[places, None] + self._ramp).view(-1)  # [B H]
        return runs.index_select(0, chosen.to(pixels.device)).view(pixels.shape)


def _cutout(batch: Tensor, centre: Tensor, side: int) -> Tensor:
    """Set a square of [B, C, H, W] to zero, clipped at the borders (DeVries and Taylor, arXiv:1708.04552)."""
    if side == 0:
        return batch
    centre, inside = centre.to(batch.device), []
    for axis in (0, 1):
        first = centre[:, axis, None] - side // 2  # [B, 1]
        places = torch.arange(batch.shape[2 + axis], device=batch.device)  # [H] or [W]
        inside.append((places >= first) & (places < first + side))  # [B, H] or [B, W]
    return batch.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)
