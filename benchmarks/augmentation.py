"""Images a second of whole-batch crops, flips and normalisation against torchvision's, one image at a time.

Run as ``python -m benchmarks.augmentation [--quick] [--json [FILE]]``. Both sides make normalised float batches of 64
from the same 32x32x3 bytes in memory: ours by `nasbench.training.transforms.Batches`, the plain way by a DataLoader
over a dataset that applies RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor and Normalize to each image, once
in the main process and once with two persistent workers, whose start is not timed. An untimed epoch of each comes
first. That both make the same pixels of the same draws is checked, image by image, outside the timing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional

from benchmarks.common import BenchmarkError, Result, Timing, compare, parse_options, peak_memory_of, report
from nasbench.datasets.base import ImageSet
from nasbench.training.recipe import Augmentation
from nasbench.training.transforms import Batches

SIDE, BATCH, PADDING = 32, 64, 4
MEAN, STD = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
AUGMENTATION = Augmentation(crop_padding=PADDING, flip=True, cutout=0)


class PlainImages(Dataset[tuple[Tensor, int]]):
    """The textbook dataset: an array and a transform of one image."""

    def __init__(self, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(SIDE, padding=PADDING),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[row])), int(self.labels[row])


def image_set(count: int) -> ImageSet:
    """Return seeded noise as images."""
    rng = np.random.default_rng(0)
    return ImageSet(
        images=rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
        labels=np.arange(count, dtype=np.int64) % 10,
        ids=tuple(str(row) for row in range(count)),
        num_classes=10,
        mean=MEAN,
        std=STD,
    )


class Epochs:
    """Counts epochs, so that each call of either side goes through the next one."""

    def __init__(self, batches: Batches, loader: DataLoader[tuple[Tensor, int]], epochs: int) -> None:
        self.batches, self.loader, self.epochs, self.number = batches, loader, epochs, 0

    def ours(self) -> int:
        """Make every batch; returns the number of images."""
        images = 0
        for _ in range(self.epochs):
            images += sum(len(labels) for _, labels in self.batches.epoch(self.number))
            self.number += 1
        return images // self.epochs

    def plain(self) -> int:
        """Make every batch of one epoch; returns the number of images."""
        return sum(len(labels) for _, labels in self.loader)


def check_pixels(images: ImageSet) -> None:
    """Compare one batch with torchvision's functions, given the same draws.

    Raises:
        BenchmarkError: They differ by more than float32's rounding.
    """
    batches = Batches(images, np.arange(BATCH), AUGMENTATION, BATCH, 0)
    batch, _ = next(batches.epoch(0))
    draws = batches._draw(AUGMENTATION, 0)  # noqa: SLF001 - the draws are no part of the interface
    for place, row in enumerate(draws.order.tolist()):
        padded = functional.pad(Image.fromarray(np.asarray(images.images[row])), [PADDING] * 4)
        top, left = draws.offset[place].tolist()
        window = functional.crop(padded, top, left, SIDE, SIDE)
        window = functional.hflip(window) if bool(draws.mirror[place]) else window
        wanted = functional.normalize(functional.to_tensor(window), list(MEAN), list(STD))
        worst = float((wanted - batch[place]).abs().max())
        if worst > 1e-6:
            raise BenchmarkError(f"image {row} differs from torchvision's by {worst}. A ratio would mean nothing.")


def _one_epoch(images: ImageSet) -> int:
    return sum(len(labels) for _, labels in Batches(images, None, AUGMENTATION, BATCH, 0).epoch(0))


def lines(quick: bool) -> Iterator[Result]:
    """Yield the benchmark's lines."""
    count, repeats, rounds = (640, 2, 2) if quick else (20_000, 4, 5)
    images = image_set(count)
    check_pixels(images)
    peak = peak_memory_of(lambda: _one_epoch(images)) / 2**20
    plain_images = PlainImages(np.asarray(images.images[:]), images.labels)
    for workers in (0, 2):
        loader = DataLoader(
            plain_images, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0, drop_last=False
        )
        epochs = Epochs(Batches(images, None, AUGMENTATION, BATCH, 0), loader, repeats)
        found = compare(
            f"{count:,} images, plain with {workers} workers",
            epochs.ours,
            epochs.plain,
            rounds=rounds,
            check=lambda mine, theirs: mine == theirs,
            warm_up=True,
        )
        ours = Timing(seconds=tuple(seconds / repeats for seconds in found.ours.seconds))  # of one epoch
        speeds = {"ours_images_per_s": count / ours.median}
        if found.plain is not None:
            speeds["plain_images_per_s"] = count / found.plain.median
        yield Result(name=found.name, ours=ours, plain=found.plain, figures={**speeds, "ours_peak_mb": peak})


def main() -> None:
    """Run the benchmark."""
    options = parse_options("Whole-batch augmentation against torchvision's transforms of one image at a time.")
    report("augmentation", list(lines(options.quick)), options.json)


if __name__ == "__main__":
    main()
