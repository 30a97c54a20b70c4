"""Arrays of your own, in .npz files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError, DatasetError, FileReadError
from nasbench.core.files import inside
from nasbench.datasets import DATASETS
from nasbench.datasets.arrays import read_arrays
from nasbench.datasets.base import DatasetSpec, ImageSet
from nasbench.datasets.splits import channel_statistics, check_split


@DATASETS.register
@component
class Npz(DatasetSpec):
    """Labelled images as NumPy arrays: one .npz file for both splits, or one for each.

    Two files: ``ROOT/train.npz`` and ``ROOT/test.npz``, each with ``images`` uint8 [n, H, W] or [n, H, W, C] with C 1
    or 3, and ``labels`` of any whole-number type [n] from 0. One file: ``train_images``, ``train_labels``,
    ``test_images``, ``test_labels``. Python objects in a file are refused, never unpickled. Both splits have one
    image shape, and every class has a training image.

    Reference: the form is that of numpy.savez (NumPy 2, 2024); the checks are our own.
    Differs from the paper: there is no paper.

    Attributes:
        file: Name of the one file below the root; None means two, train.npz and test.npz.
        num_classes: K; None takes the largest training label plus one.
        mean: Per channel, of images scaled to [0, 1]; None computes it (float64) from the training images.
        std: Likewise; given together with mean.

    Shape: images uint8 [n, H, W, C].
    Raises: DatasetError for another split, absent or broken files, arrays of another type or shape, labels out of
        range, a class without a training image; ConfigError for mean and std that do not belong together.

    Example:
        >>> Npz(file="scans.npz").num_classes is None
        True
    """

    name: ClassVar[str] = "npz"
    file: str | None = None
    num_classes: Annotated[int, Field(ge=2)] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ConfigError("mean and std belong together; give both or neither.")
        if self.mean is None or self.std is None:
            return
        if len(self.mean) != len(self.std) or len(self.mean) not in {1, 3}:
            raise ConfigError(f"mean {self.mean} and std {self.std} need one number a channel each, 1 or 3.")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise ConfigError(f"std {self.std} must be above 0 in every channel, mean {self.mean} finite.")

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are row numbers of its array."""
        del download
        check_split(self.name, split)
        images, labels = self._read("train", root)
        num_classes = int(labels.max()) + 1 if self.num_classes is None else self.num_classes
        place = self._place("train", root)
        _check_range(labels, num_classes, place)
        empty = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
        if len(empty) or num_classes < 2:
            raise DatasetError(
                f"{place}: of {num_classes} classes {len(empty)} have no training image (labels "
                f"{empty[:10].tolist()}); labels must run from 0 without gaps, over at least 2 classes."
            )
        mean, std = channel_statistics(images) if self.mean is None or self.std is None else (self.mean, self.std)
        if len(mean) != images.shape[-1]:
            raise DatasetError(f"{place}: images have {images.shape[-1]} channel(s), mean and std {len(mean)}.")
        shape = images.shape[1:]
        if split == "test":
            images, labels = self._read("test", root)
            _check_range(labels, num_classes, self._place("test", root))
            if images.shape[1:] != shape:
                raise DatasetError(f"{root}: training images are {list(shape)}, test images {list(images.shape[1:])}.")
        ids = tuple(str(row) for row in range(len(labels)))
        return ImageSet(images=images, labels=labels, ids=ids, num_classes=num_classes, mean=mean, std=std)

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the one file, or both."""
        return tuple(dict.fromkeys(self._place(split, root) for split in ("train", "test")))

    def _place(self, split: str, root: Path) -> Path:
        try:
            return root / inside(root, self.file or f"{split}.npz").relative_to(root.resolve())
        except FileReadError as error:
            raise DatasetError(f"file: {error}") from error

    def _read(self, split: str, root: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        place, before = self._place(split, root), "" if self.file is None else f"{split}_"
        names = (f"{before}images", f"{before}labels")
        arrays = read_arrays(place, names)
        images, labels = (arrays[name] for name in names)
        if (
            images.dtype != np.uint8
            or images.ndim not in {3, 4}
            or (images.ndim == 4 and images.shape[3] not in {1, 3})
        ):
            raise DatasetError(
                f"{place}: {names[0]} is {images.dtype} {list(images.shape)}; uint8 [n, H, W] or [n, H, W, C] with C 1 "
                f"or 3 is needed."
            )
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise DatasetError(
                f"{place}: {names[1]} is {labels.dtype} {list(labels.shape)}; whole numbers [{len(images)}] are needed."
            )
        if not images.size:
            raise DatasetError(f"{place}: {names[0]} is {list(images.shape)}, which holds no pixel.")
        return np.ascontiguousarray(images if images.ndim == 4 else images[..., None]), labels.astype(np.int64)


def _check_range(labels: npt.NDArray[Any], num_classes: int, place: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise DatasetError(
            f"{place}: {len(wrong)} labels are out of range, the first is {int(labels[wrong[0]])} in row "
            f"{int(wrong[0])}; 0 to {num_classes - 1} are allowed. Correct them, or set num_classes."
        )
