"""Images that stay in their files until their rows are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError
from nasbench.core.files import fingerprint
from nasbench.datasets.image_files import Filter, ImageReader, read_images
from nasbench.datasets.index import FileIndex

STATISTICS_ROWS = 2000
"""Of how many evenly spaced rows the mean and std of a set of files are computed."""

_THREADS = 2  # Pillow decodes without the interpreter's lock


class LazyImages:
    """Files as an array uint8 [n, H, W, C] that can be indexed by row, and by row alone.

    Equal to what would lie in memory: the same files through the same reader. A file that has changed since it was
    indexed (another size; with checksums another content) raises when it is read.

    Args:
        index: Which files, in row order; at least one.
        channels: 3 for RGB, 1 for grey.
        image_size: Scale the middle square of each to this side; None takes images as they are, which then must be
            of the first one's size.
        resample: How to scale (`image_files.ImageReader`).

    Raises:
        DatasetError: The index is empty, or the first file cannot be read where no image_size is given.

    Example:
        >>> from pathlib import Path
        >>> from nasbench.datasets.tree import list_tree
        >>> images = LazyImages(list_tree(Path("train"), Path("."), ["ant"]))  # doctest: +SKIP
        >>> images[np.array([5, 0, 5])].shape  # doctest: +SKIP
        (3, 224, 224, 3)
    """

    def __init__(
        self,
        index: FileIndex,
        *,
        channels: int = 3,
        image_size: int | None = 224,
        resample: Filter = "bilinear",
    ) -> None:
        if not len(index):
            raise DatasetError(f"{index.root}: there is no image in this split.")
        self.reader = ImageReader(index, channels=channels, image_size=image_size, resample=resample)
        self._pool: ThreadPoolExecutor | None = None

    @property
    def index(self) -> FileIndex:
        """The index of the files."""
        return self.reader.index

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """uint8."""
        return np.dtype(np.uint8)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, C)."""
        if self.reader.image_size is not None:
            return (len(self), self.reader.image_size, self.reader.image_size, self.reader.channels)
        first = self.reader.read(0)
        if isinstance(first, str):
            raise DatasetError(f"the first image {self.index.root / self.index.paths[0]} cannot be read ({first}).")
        return (len(self), *first.shape)

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over the index and how files become pixels; no file is read."""
        how = [self.index.fingerprint, self.reader.channels, self.reader.image_size, self.reader.resample]
        return fingerprint(how)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any, /) -> npt.NDArray[np.uint8]:
        """Read some rows.

        Args:
            rows: Row number, slice, or integers [m]; negative numbers count from the end.

        Returns:
            uint8 [m, H, W, C]; [H, W, C] for a row number.

        Raises:
            DatasetError: A file cannot be read or is not what it was.
            IndexError: There is no such row, or ``rows`` is something else.
        """
        wanted = _rows(rows, len(self))
        _, height, width, channels = self.shape
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="images")
        pixels = read_images(self.reader, wanted, self._pool, (height, width, channels))
        return pixels[0] if isinstance(rows, int | np.integer) else pixels


def _rows(rows: Any, count: int) -> npt.NDArray[np.int64]:
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count), dtype=np.int64)
    wanted = np.atleast_1d(np.asarray(rows))
    if wanted.ndim != 1 or (len(wanted) and wanted.dtype.kind not in "iu"):
        raise IndexError(f"images in files are taken by row numbers, not by {wanted.dtype} {list(wanted.shape)}.")
    wanted = wanted.astype(np.int64)
    if len(wanted) and not -count <= int(wanted.min()) <= int(wanted.max()) < count:
        raise IndexError(f"rows {int(wanted.min())} to {int(wanted.max())} were asked for; there are {count}.")
    return np.where(wanted < 0, wanted + count, wanted)


def sample_rows(count: int) -> npt.NDArray[np.int64]:
    """Return the rows whose pixels stand for all: every one, or `STATISTICS_ROWS` evenly spaced.

    Example:
        >>> sample_rows(3)
        array([0, 1, 2])
    """
    size = min(count, STATISTICS_ROWS)
    return ((np.arange(size) + 0.5) * count / size).astype(np.int64)
