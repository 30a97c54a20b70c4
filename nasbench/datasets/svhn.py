"""Street View House Numbers: cropped digits of 32x32 colour pixels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from nasbench.config.component import component
from nasbench.datasets import DATASETS
from nasbench.datasets.base import DatasetSpec, ImageSet
from nasbench.datasets.splits import check_split
from nasbench.datasets.torchvision_source import open_dataset


@DATASETS.register
@component
class Svhn(DatasetSpec):
    """73,257 training and 26,032 test images of 10 digits.

    The files are ``ROOT/train_32x32.mat`` and ``ROOT/test_32x32.mat``. As in the proxy-data paper the 531,131
    ``extra`` images are left out. Digit 0 is class 0. Mean and std are those that its code uses.

    Reference: Netzer, Wang, Coates, Bissacco, Wu and Ng, "Reading digits in natural images with unsupervised
    feature learning", NIPS workshop on deep learning and unsupervised feature learning, 2011.
    Differs from the paper: without the extra images.

    Shape: images uint8 [n, 32, 32, 3].
    Raises: DatasetError for another split, or files that are absent, altered or cannot be fetched.

    Example:
        >>> Svhn().mean
        (0.4377, 0.4438, 0.4728)
    """

    name: ClassVar[str] = "svhn"
    mean: ClassVar[tuple[float, ...]] = (0.4377, 0.4438, 0.4728)
    std: ClassVar[tuple[float, ...]] = (0.1980, 0.2010, 0.1970)

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are row numbers of its file."""
        from torchvision.datasets import SVHN

        check_split(self.name, split)
        data = open_dataset(
            self.name,
            lambda: SVHN(root, split=split, download=download),
            files=root / SVHN.split_list[split][1],
            root=root,
            download=download,
        )
        return ImageSet(
            images=np.ascontiguousarray(data.data.transpose(0, 2, 3, 1), dtype=np.uint8),
            labels=np.asarray(data.labels, dtype=np.int64),
            ids=tuple(str(row) for row in range(len(data.labels))),
            num_classes=10,
            mean=self.mean,
            std=self.std,
        )

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return both files."""
        return (root / "train_32x32.mat", root / "test_32x32.mat")
