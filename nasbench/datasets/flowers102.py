"""Flowers102: photographs of 102 kinds of flowers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.errors import DatasetError
from nasbench.datasets import DATASETS
from nasbench.datasets.base import ImageSet
from nasbench.datasets.file_images import FileImages
from nasbench.datasets.index import FileIndex
from nasbench.datasets.listed import index_of_names, strings
from nasbench.datasets.splits import check_split, share_rows
from nasbench.datasets.torchvision_source import open_dataset

NUM_CLASSES, NUM_IMAGES, NUM_TRAIN, NUM_TEST = 102, 8189, 2040, 6149
_FOLDER = "flowers-102"


@DATASETS.register
@component
class Flowers102(FileImages):
    """8,189 photographs of 102 kinds of flowers, 40 to 258 of each.

    The files are torchvision's, in ``ROOT/flowers-102``.

    Reference: Nilsback and Zisserman, "Automated flower classification over a large number of classes", ICVGIP
    2008; used in Panda et al., "NASTransfer", AAAI 2021.
    Differs from the paper: NASTransfer names no image size; mean and std are computed from the training images.
    Its 40/40/20 split is published nowhere; ours has the same shares of each class, not the same images.

    Attributes:
        split_rule: ``official``: the training and validation lists together (10 + 10 images of each class, 2,040)
            train, the other 6,149 test. ``40-40-20``: NASTransfer's (its Table 1: 6.5K and 1.7K); 80 % of each class
            are ``train``, whose halves are a proxy's weight and alpha half, 20 % test (`splits.share_rows`).

    Shape: images uint8 [n, image_size, image_size, 3].
    Raises: DatasetError for another split, or files that are absent, altered, broken or cannot be fetched.

    Example:
        >>> Flowers102(image_size=64).split_rule
        'official'
    """

    name: ClassVar[str] = "flowers102"
    split_rule: Literal["official", "40-40-20"] = "official"

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split, after fetching absent files if asked to; ids are the files' names."""
        from torchvision.datasets import Flowers102 as Source

        check_split(self.name, split)
        open_dataset(
            self.name,
            lambda: Source(root, split="train", download=download),
            files=root / _FOLDER,
            root=root,
            download=download,
        )
        return FileImages.load(self, split, root=root)

    def index(self, split: str, root: Path) -> FileIndex:
        """Return the files of a split, by their number."""
        check_split(self.name, split)
        labels, official = _lists(root / _FOLDER)
        folder = root / _FOLDER / "jpg"
        names = strings(f"image_{number:05d}.jpg" for number in range(1, len(labels) + 1))
        classes = tuple(str(number) for number in range(1, NUM_CLASSES + 1))
        whole = index_of_names(folder, names, labels, classes, origin=root / _FOLDER / "imagelabels.mat")
        rows = official[split] if self.split_rule == "official" else share_rows(labels, "40-40-20", split)
        return whole.take(rows)

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the images and both lists."""
        return tuple(root / _FOLDER / name for name in ("jpg", "imagelabels.mat", "setid.mat"))


def _lists(folder: Path) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64]]]:
    """Return the labels from 0, and the rows of the official splits."""
    from scipy.io import loadmat

    try:
        labels = loadmat(folder / "imagelabels.mat")["labels"].ravel().astype(np.int64) - 1
        sets = loadmat(folder / "setid.mat")
        parts = {name: sets[name].ravel().astype(np.int64) - 1 for name in ("trnid", "valid", "tstid")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"flowers102: the lists in {folder} cannot be read ({error}). Fetch them again.") from error
    train = np.sort(np.concatenate([parts["trnid"], parts["valid"]]))
    return labels, {"train": train, "test": np.sort(parts["tstid"])}
