"""Fashion-MNIST: articles of clothing, 28x28 grey pixels."""

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
class FashionMnist(DatasetSpec):
    """60,000 training and 10,000 test images of 10 articles.

    The files are torchvision's, in ``ROOT/FashionMNIST/raw``. Mean and std are the customary ones of the
    training images, to four digits.

    Reference: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
    learning algorithms", 2017, arXiv:1708.07747.
    Differs from the paper: nothing known.

    Shape: images uint8 [n, 28, 28, 1].
    Raises: DatasetError for another split, or files that are absent, broken or cannot be fetched.

    Example:
        >>> FashionMnist().std
        (0.353,)
    """

    name: ClassVar[str] = "fashion-mnist"
    mean: ClassVar[tuple[float, ...]] = (0.2860,)
    std: ClassVar[tuple[float, ...]] = (0.3530,)

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are the official row numbers."""
        from torchvision.datasets import FashionMNIST

        check_split(self.name, split)
        data = open_dataset(
            self.name,
            lambda: FashionMNIST(str(root), train=split == "train", download=download),
            files=root / "FashionMNIST" / "raw",
            root=root,
            download=download,
        )
        return ImageSet(
            images=np.ascontiguousarray(data.data.numpy()[..., None]),
            labels=np.asarray(data.targets.numpy(), dtype=np.int64),
            ids=tuple(str(row) for row in range(len(data.targets))),
            num_classes=10,
            mean=self.mean,
            std=self.std,
        )

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the folder of the files."""
        return (root / "FashionMNIST" / "raw",)
