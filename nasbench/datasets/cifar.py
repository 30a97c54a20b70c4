"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32 pixels each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nasbench.config.component import component
from nasbench.datasets import DATASETS
from nasbench.datasets.base import DatasetSpec, ImageSet
from nasbench.datasets.splits import check_split
from nasbench.datasets.torchvision_source import open_dataset

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


def _load(spec: Cifar10 | Cifar100, source: type[CIFAR10], split: str, root: Path, download: bool) -> ImageSet:
    check_split(spec.name, split)
    files = root / source.base_folder
    data = open_dataset(
        spec.name,
        lambda: source(root, train=split == "train", download=download),
        files=files,
        root=root,
        download=download,
    )
    return ImageSet(
        images=np.ascontiguousarray(data.data, dtype=np.uint8),
        labels=np.asarray(data.targets, dtype=np.int64),
        ids=tuple(str(row) for row in range(len(data.targets))),
        num_classes=len(data.classes),
        mean=spec.mean,
        std=spec.std,
    )


@DATASETS.register
@component
class Cifar10(DatasetSpec):
    """50,000 training and 10,000 test images of 10 classes.

    The files are torchvision's, in ``ROOT/cifar-10-batches-py``. Mean and std are those of the training
    images as the DARTS code states them.

    Reference: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    Differs from the paper: nothing known.

    Shape: images uint8 [n, 32, 32, 3].
    Raises: DatasetError for another split, or files that are absent, altered or cannot be fetched.

    Example:
        >>> Cifar10().mean
        (0.49139968, 0.48215827, 0.44653124)
    """

    name: ClassVar[str] = "cifar10"
    mean: ClassVar[tuple[float, ...]] = (0.49139968, 0.48215827, 0.44653124)
    std: ClassVar[tuple[float, ...]] = (0.24703233, 0.24348505, 0.26158768)

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are the official row numbers."""
        from torchvision.datasets import CIFAR10

        return _load(self, CIFAR10, split, root, download)


@DATASETS.register
@component
class Cifar100(DatasetSpec):
    """50,000 training and 10,000 test images of 100 (fine) classes.

    The files are torchvision's, in ``ROOT/cifar-100-python``. Mean and std are those that the proxy-data code
    uses; PC-DARTS's code takes those of CIFAR-10 instead.

    Reference: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    Differs from the paper: nothing known.

    Shape: images uint8 [n, 32, 32, 3].
    Raises: DatasetError for another split, or files that are absent, altered or cannot be fetched.

    Example:
        >>> Cifar100().std
        (0.2673, 0.2564, 0.2762)
    """

    name: ClassVar[str] = "cifar100"
    mean: ClassVar[tuple[float, ...]] = (0.5071, 0.4865, 0.4409)
    std: ClassVar[tuple[float, ...]] = (0.2673, 0.2564, 0.2762)

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are the official row numbers."""
        from torchvision.datasets import CIFAR100

        return _load(self, CIFAR100, split, root, download)
