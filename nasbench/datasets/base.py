"""What every dataset is, and the form in which a prepared one lies on disk."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError
from nasbench.core.files import FINGERPRINT_CHARS


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """One split of a dataset, whole in memory (or memory-mapped).

    Attributes:
        images: uint8 [n, H, W, C], C = 1 or 3.
        labels: int64 [n], 0 <= label < num_classes.
        ids: Name of each image: its path below the split's folder, or its number.
        num_classes: K, also where the split lacks a class.
        mean: Per channel, of images scaled to [0, 1].
        std: Per channel, likewise.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        rows = len(self.images)
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DatasetError(f"images are {self.images.dtype} {self.images.shape}; uint8 [n, H, W, C] is needed.")
        if len(self.labels) != rows or len(self.ids) != rows:
            raise DatasetError(
                f"{rows} images, {len(self.labels)} labels, {len(self.ids)} ids: the numbers must agree."
            )
        if rows and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.num_classes:
            raise DatasetError(f"labels must lie in 0 to {self.num_classes - 1}; seen up to {int(self.labels.max())}.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W), as networks take it."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over shape, pixels and labels."""
        digest = hashlib.sha256(f"{self.images.shape}{self.num_classes}".encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()[:FINGERPRINT_CHARS]


class DatasetSpec(ABC):
    """Knows how to load one dataset. Subclasses are components: their fields are their parameters.

    Attributes:
        name: Registered name.
    """

    name: ClassVar[str]

    @abstractmethod
    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split.

        Args:
            split: ``"train"`` or ``"test"``.
            root: Folder for downloaded or given files; embedded datasets ignore it.
            download: Fetch absent files; never done unasked.

        Raises:
            DatasetError: Unknown split, absent or broken files.
        """
