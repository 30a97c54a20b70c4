"""Handwritten digits of 8x8 pixels that come inside scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from nasbench.config.component import component
from nasbench.datasets import DATASETS
from nasbench.datasets.base import DatasetSpec, ImageSet
from nasbench.datasets.splits import check_split, split_rows

MEAN = (0.30518612,)
STD = (0.37562113,)


@DATASETS.register
@component
class Digits(DatasetSpec):
    """1,797 digits, 8x8 grey pixels, 10 classes; embedded, so nothing is downloaded and the root is ignored.

    Pixels 0 to 16 become round(255 v / 16). The file has no split of its own; here the test split is spread
    evenly over each class (`splits.stratified_test_rows`): fixed, no seed. Mean and std are those of the
    training images at the default test size.

    Reference: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998,
    doi:10.24432/C50P49 (its test part, as shipped with scikit-learn).
    Differs from the paper: its 3,823 training images are not in scikit-learn; the split is our own.

    Attributes:
        test_size: Images of the test split; 600 leaves 1,197 for training.

    Shape: images uint8 [n, 8, 8, 1].
    Raises: DatasetError for another split, or a test size that empties a class.

    Example:
        >>> Digits().load("train", root=Path()).images.shape
        (1197, 8, 8, 1)
    """

    name: ClassVar[str] = "digits"
    test_size: Annotated[int, Field(ge=10, le=1700)] = 600

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are row numbers of scikit-learn's file."""
        from sklearn.datasets import load_digits

        check_split(self.name, split)
        bunch = load_digits()
        pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        labels = bunch.target.astype(np.int64)
        rows = split_rows(labels, self.test_size, split)
        return ImageSet(
            images=pixels[rows],
            labels=labels[rows],
            ids=tuple(str(row) for row in rows),
            num_classes=10,
            mean=MEAN,
            std=STD,
        )
