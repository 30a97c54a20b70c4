"""What every dataset is, and the form in which a prepared one lies on disk."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError
from nasbench.core.files import FINGERPRINT_CHARS


class Pixels(Protocol):
    """Images by row: a NumPy array, a memory map, or files that are decoded when their rows are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Return uint8 [m, H, W, C] for int64 [m] or a slice, uint8 [H, W, C] for one row number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """One split of a dataset: in memory, memory-mapped, or as files that are read when they are needed.

    Attributes:
        images: uint8 [n, H, W, C], C = 1 or 3; what is no NumPy array has a ``fingerprint`` of its own, which
            costs no reading of pixels (`datasets.lazy.LazyImages`).
        labels: int64 [n], 0 <= label < num_classes.
        ids: Name of each image: its path below the split's folder, or its number.
        num_classes: K, also where the split lacks a class.
        mean: Per channel, of images scaled to [0, 1].
        std: Per channel, likewise.
    """

    images: Pixels
    labels: npt.NDArray[np.int64]
    ids: Sequence[str]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        rows = len(self.images)
        if len(self.images.shape) != 4 or self.images.dtype != np.uint8:
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
        """32 hexadecimal digits: over shape, pixels and labels, or what the set of files says of itself and labels."""
        digest = hashlib.sha256(f"{self.images.shape}{self.num_classes}".encode())
        if isinstance(self.images, np.ndarray):
            digest.update(np.ascontiguousarray(self.images).data)
        else:
            digest.update(str(getattr(self.images, "fingerprint")).encode())  # noqa: B009 - arrays have none
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

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the files and folders below the root that the set is read from; none for embedded data."""
        del root
        return ()
