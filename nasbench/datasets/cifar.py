"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32 pixels each."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.datasets import DATASETS
from nasbench.datasets.base import DatasetSpec, ImageSet
from nasbench.datasets.splits import check_split, share_rows
from nasbench.datasets.torchvision_source import open_dataset

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


def _load(spec: Cifar10 | Cifar100, source: type[CIFAR10], split: str, root: Path, download: bool) -> ImageSet:
    check_split(spec.name, split)

    def part(*, train: bool) -> CIFAR10:
        return open_dataset(
            spec.name,
            lambda: source(root, train=train, download=download),
            files=root / source.base_folder,
            root=root,
            download=download,
        )

    if spec.split_rule == "official":
        files = [part(train=split == "train")]
    else:
        files = [part(train=True), *([part(train=False)] if spec.split_rule == "40-40-20" else [])]
    images = np.concatenate([file.data for file in files]) if len(files) > 1 else files[0].data
    labels = np.concatenate([np.asarray(file.targets, dtype=np.int64) for file in files])
    rows = np.arange(len(labels))
    if spec.split_rule == "40-40-20":
        rows = share_rows(labels, "40-40-20", split)
    elif spec.split_rule == "nas-bench-201":
        rows = nas_bench_201_rows(len(labels), split)
    return ImageSet(
        images=np.ascontiguousarray(images if spec.split_rule == "official" else images[rows], dtype=np.uint8),
        labels=labels[rows],
        ids=tuple(str(row) for row in rows),
        num_classes=len(files[0].classes),
        mean=spec.mean,
        std=spec.std,
    )


def nas_bench_201_rows(count: int, split: str) -> npt.NDArray[np.int64]:
    """Return the rows of NAS-Bench-201's halves of the CIFAR-10 training images, its ``cifar10-valid``.

    Python's own shuffle of 0 to n-1 with seed 1021, cut in the middle, each half sorted: the split file that comes
    with the benchmark.

    Args:
        count: n, 50,000.
        split: ``train`` is the first half, ``test`` the second, on which the benchmark validates.

    Example:
        >>> nas_bench_201_rows(50_000, "train")[[0, 10, 111]]
        array([  0,  26, 203])
    """
    order = list(range(count))
    random.Random(1021).shuffle(order)  # noqa: S311 - a published split, no secret
    half = order[: count // 2] if split == "train" else order[count // 2 :]
    return np.sort(np.array(half, dtype=np.int64))


@DATASETS.register
@component
class Cifar10(DatasetSpec):
    """50,000 training and 10,000 test images of 10 classes.

    The files are torchvision's, in ``ROOT/cifar-10-batches-py``. Mean and std are those of the training
    images as the DARTS code states them.

    Reference: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    Differs from the paper: nothing known.

    Attributes:
        split_rule: ``official``: 50,000 train, 10,000 test, as in the DARTS papers and in NASTransfer's Table 1.
            ``40-40-20``: what NASTransfer's text says instead; all 60,000 are divided, 80 % of each class are
            ``train``, whose halves are a proxy's weight and alpha half (`splits.share_rows`).
            ``nas-bench-201``: the training images alone in two fixed halves, of which the second is ``test``
            (`nas_bench_201_rows`).

    Shape: images uint8 [n, 32, 32, 3].
    Raises: DatasetError for another split, or files that are absent, altered or cannot be fetched.

    Example:
        >>> Cifar10().mean
        (0.49139968, 0.48215827, 0.44653124)
    """

    name: ClassVar[str] = "cifar10"
    split_rule: Literal["official", "40-40-20", "nas-bench-201"] = "official"
    mean: ClassVar[tuple[float, ...]] = (0.49139968, 0.48215827, 0.44653124)
    std: ClassVar[tuple[float, ...]] = (0.24703233, 0.24348505, 0.26158768)

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are the official row numbers (``40-40-20``: test images from 50000 on)."""
        from torchvision.datasets import CIFAR10

        return _load(self, CIFAR10, split, root, download)

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the folder of the batches."""
        return (root / "cifar-10-batches-py",)


@DATASETS.register
@component
class Cifar100(DatasetSpec):
    """50,000 training and 10,000 test images of 100 (fine) classes.

    The files are torchvision's, in ``ROOT/cifar-100-python``. Mean and std are those that the proxy-data code
    uses; PC-DARTS's code takes those of CIFAR-10 instead.

    Reference: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    Differs from the paper: nothing known.

    Attributes:
        split_rule: ``official``: 50,000 train, 10,000 test, as in the DARTS papers and in NASTransfer's Table 1.
            ``40-40-20``: what NASTransfer's text says instead; see `Cifar10`. (NAS-Bench-201 keeps the official
            split, and halves the test images by a file that no rule gives.)

    Shape: images uint8 [n, 32, 32, 3].
    Raises: DatasetError for another split, or files that are absent, altered or cannot be fetched.

    Example:
        >>> Cifar100().std
        (0.2673, 0.2564, 0.2762)
    """

    name: ClassVar[str] = "cifar100"
    split_rule: Literal["official", "40-40-20"] = "official"
    mean: ClassVar[tuple[float, ...]] = (0.5071, 0.4865, 0.4409)
    std: ClassVar[tuple[float, ...]] = (0.2673, 0.2564, 0.2762)

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are the official row numbers (``40-40-20``: test images from 50000 on)."""
        from torchvision.datasets import CIFAR100

        return _load(self, CIFAR100, split, root, download)

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the folder of the batches."""
        return (root / "cifar-100-python",)
