"""Reading image files; nothing is skipped in silence."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError, FileReadError
from nasbench.core.files import inside
from nasbench.datasets.index import FileIndex
from nasbench.datasets.tree import name_some

Filter = Literal["bilinear", "box"]

_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"}
_THREADS = 2
_MANY = 2000


class ImageReader:
    """Turns rows of an index into pixels; every file is compared with what the index says of it.

    Args:
        index: Which files.
        channels: 3 for RGB, 1 for grey; images are converted, transparency is dropped, EXIF turns are not applied.
        image_size: Scale the middle square to this side, antialiased; None leaves sizes alone.
        resample: How to scale. ``"box"`` squeezes the whole image instead of its middle square, as the downsampled
            ImageNet does.
    """

    def __init__(
        self, index: FileIndex, *, channels: int, image_size: int | None, resample: Filter = "bilinear"
    ) -> None:
        self.index = index
        self.channels = channels
        self.image_size = image_size
        self.resample = resample
        self._safe: set[str] = set()  # folders that are known to lie inside

    def read(self, row: int) -> npt.NDArray[np.uint8] | str:
        """Return the pixels uint8 [H, W, C], or what is wrong with the file."""
        name = self.index.paths[row]
        try:
            data = self._bytes(name)
        except (OSError, FileReadError) as error:
            return getattr(error, "strerror", None) or str(error)
        if len(data) != self.index.sizes[row]:
            return f"has {len(data)} bytes; it had {self.index.sizes[row]} when it was indexed"
        if self.index.checksums is not None and hashlib.sha256(data).digest() != bytes(self.index.checksums[row]):
            return "has another content than when it was indexed"
        return decode(data, channels=self.channels, image_size=self.image_size, resample=self.resample)

    def _bytes(self, name: str) -> bytes:
        folder = name.rpartition("/")[0]
        if folder not in self._safe:  # a folder may be a link by now
            if not (self.index.root / folder).resolve().is_relative_to(self.index.boundary.resolve()):
                raise FileReadError(f"leads out of {self.index.boundary}")
            self._safe.add(folder)
        path = self.index.root / name
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            if not path.is_symlink():
                raise
            boundary = self.index.boundary.resolve()
            target = inside(boundary, os.path.relpath(path.resolve(), boundary))
            handle = os.open(target, os.O_RDONLY)
        with os.fdopen(handle, "rb") as file:
            return file.read()


def decode(
    data: bytes, *, channels: int, image_size: int | None, resample: Filter = "bilinear"
) -> npt.NDArray[np.uint8] | str:
    """Return the pixels of an image file uint8 [H, W, C], or what is wrong with it; see `ImageReader`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode not in _MODES:
                return f"has pixels of mode {image.mode}, not 8 bits a channel"
            colours = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
            plain = colours.convert("RGB" if channels == 3 else "L")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        return "is no image file" if "cannot identify" in str(error) else str(error)
    if image_size is not None:
        size = (image_size, image_size)
        if resample == "box":
            plain = plain.resize(size, Image.Resampling.BOX)
        else:
            plain = ImageOps.fit(plain, size, method=Image.Resampling.BILINEAR)
    return np.asarray(plain, dtype=np.uint8).reshape(plain.height, plain.width, channels)


def read_images(
    reader: ImageReader,
    rows: Sequence[int] | npt.NDArray[np.int64],
    pool: ThreadPoolExecutor | None = None,
    shape: tuple[int, int, int] | None = None,
) -> npt.NDArray[np.uint8]:
    """Read the files of some rows, with a progress bar where there are many.

    Args:
        reader: How and of what.
        rows: Which rows; row i of the result is ``rows[i]``.
        pool: Threads that read, or None for two of its own.
        shape: (H, W, C) that is needed, or None for that of the first image.

    Returns:
        uint8 [m, H, W, C].

    Raises:
        DatasetError: Files that cannot be read or have changed (all are counted, the first ten named with the
            reason), or sizes that differ where no image_size was given.
    """
    if pool is None:
        with ThreadPoolExecutor(_THREADS) as own:
            return read_images(reader, rows, own, shape)
    from tqdm import tqdm

    pixels = None if shape is None else np.empty((len(rows), *shape), dtype=np.uint8)
    broken: list[str] = []
    odd: list[str] = []
    found = pool.map(reader.read, (int(row) for row in rows))
    bar = tqdm(
        zip(rows, found, strict=True),
        "reading images",
        len(rows),
        unit="img",
        disable=len(rows) < _MANY,
        mininterval=1.0 if sys.stderr.isatty() else 10.0,
    )
    for place, (row, image) in enumerate(bar):
        if isinstance(image, str):
            broken.append(f"{reader.index.paths[int(row)]} ({image})")
            continue
        if pixels is None:
            pixels = np.empty((len(rows), *image.shape), dtype=np.uint8)
        if image.shape != pixels.shape[1:]:
            odd.append(f"{reader.index.paths[int(row)]} ({image.shape[0]}x{image.shape[1]})")
            continue
        pixels[place] = image
    _complain(broken, odd, len(rows), pixels, reader.index.root)
    if pixels is None:
        raise DatasetError("there is no image file to read.")
    return pixels


def _complain(broken: list[str], odd: list[str], count: int, pixels: npt.NDArray[np.uint8] | None, root: Path) -> None:
    if broken:
        raise DatasetError(
            f"{len(broken)} of {count} image files cannot be read: {name_some(broken)} (below {root}). Replace or "
            f"remove them, then prepare the dataset again."
        )
    if odd and pixels is not None:
        raise DatasetError(
            f"{len(odd)} of {count} images are not {pixels.shape[1]}x{pixels.shape[2]} as the first is: "
            f"{name_some(odd)}. Set image_size to bring all to one size."
        )
