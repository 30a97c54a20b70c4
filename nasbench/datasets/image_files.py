"""Finding and reading the image files of a folder of class folders; nothing is skipped in silence."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of image files, in any case of letters."""

_LITTER = {"thumbs.db", "desktop.ini"}
_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"}
_NAMED = 10
_THREADS = 2
_MANY = 2000


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One file of a split.

    Attributes:
        path: Where it lies.
        id: Its path below ``ROOT/SPLIT``, with forward slashes.
        label: Index of its class folder among the sorted names.
    """

    path: Path
    id: str
    label: int


def name_some(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _check_link(path: Path, root: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        raise DatasetError(
            f"{path} is a symbolic link that leads out of {root} (to {path.resolve()}). "
            f"Copy what it points to below the root, or give the root that holds both."
        )


def class_names(folder: Path, root: Path) -> tuple[str, ...]:
    """Return the names of the class folders of a split, sorted.

    Hidden entries (a leading dot, ``Thumbs.db``, ``desktop.ini``) are no part of a dataset.

    Raises:
        DatasetError: No such folder, files beside the class folders, or fewer than two classes.
    """
    _check_link(folder, root)
    if not folder.is_dir():
        present = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
        found = f"it holds: {', '.join(present)}" if present else "it holds no folder" if root.is_dir() else "is absent"
        raise DatasetError(f"there is no split folder {folder}; {root} {found}. Needed: ROOT/SPLIT/CLASS/image files.")
    entries = sorted(entry for entry in folder.iterdir() if not _hidden(entry.name))
    for entry in entries:
        _check_link(entry, root)
    loose = [entry.name for entry in entries if not entry.is_dir()]
    if loose:
        raise DatasetError(
            f"{folder} holds files beside its class folders: {name_some(loose)}. Move them into a class."
        )
    if len(entries) < 2:
        names = ", ".join(entry.name for entry in entries) or "none"
        raise DatasetError(f"{folder} has {len(entries)} class folder(s) ({names}); at least 2 are needed.")
    return tuple(entry.name for entry in entries)


def list_files(folder: Path, root: Path, classes: Sequence[str]) -> list[ImageFile]:
    """List the image files of a split, by class and then by path.

    Args:
        folder: ``ROOT/SPLIT``.
        root: What symbolic links may not leave.
        classes: Class names in label order; class folders that the split lacks are passed over.

    Raises:
        DatasetError: A class folder without an image, entries that are no image files by their name, links to
            folders inside a class, links out of the root.
    """
    files: list[ImageFile] = []
    strange: list[str] = []
    empty: list[str] = []
    for label, name in enumerate(classes):
        if not (folder / name).exists():
            continue
        paths, others = _walk(folder / name, root)
        strange += [path.relative_to(folder).as_posix() for path in others]
        if not paths and not others:
            empty.append(name)
        files += [ImageFile(path=path, id=path.relative_to(folder).as_posix(), label=label) for path in paths]
    if empty:
        raise DatasetError(
            f"{folder}: {len(empty)} class folder(s) without an image: {name_some(empty)}. Fill or remove."
        )
    if strange:
        raise DatasetError(
            f"{folder}: {len(strange)} entries are not image files: {name_some(strange)}. "
            f"Known endings: {', '.join(SUFFIXES)}. Remove them or convert them."
        )
    return files


def _walk(folder: Path, root: Path) -> tuple[list[Path], list[Path]]:
    """Return the image files below a class folder, sorted by their parts, and what else lies there."""
    images: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not _hidden(name)]
        others += [here / name for name in folders if (here / name).is_symlink()]
        for name in names:
            if _hidden(name):
                continue
            path = here / name
            _check_link(path, root)
            (images if path.suffix.lower() in SUFFIXES else others).append(path)
    return sorted(images), sorted(others)


def _read(file: ImageFile, channels: int, image_size: int | None) -> npt.NDArray[np.uint8] | str:
    """Return the pixels uint8 [H, W, C], or what is wrong with the file."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file.path) as image:
            image.load()
            if image.mode not in _MODES:
                return f"has pixels of mode {image.mode}, not 8 bits a channel"
            colours = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
            plain = colours.convert("RGB" if channels == 3 else "L")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        return str(error).replace(str(file.path), file.path.name)
    if image_size is not None:
        plain = ImageOps.fit(plain, (image_size, image_size), method=Image.Resampling.BILINEAR)
    return np.asarray(plain, dtype=np.uint8).reshape(plain.height, plain.width, channels)


def read_images(files: Sequence[ImageFile], *, channels: int, image_size: int | None) -> npt.NDArray[np.uint8]:
    """Read every file, at most two at a time, with a progress bar where there are many.

    Args:
        files: What to read; row i of the result is file i.
        channels: 3 for RGB, 1 for grey; images are converted, transparency is dropped, EXIF turns are not
            applied.
        image_size: Scale the middle square (bilinear, antialiased) to this side; None leaves sizes
            alone.

    Returns:
        uint8 [n, H, W, C].

    Raises:
        DatasetError: Files that cannot be read (all are counted, the first ten named with the reason), or
            sizes that differ where no image_size was given.
    """
    from tqdm import tqdm

    pixels: npt.NDArray[np.uint8] | None = None
    broken: list[str] = []
    odd: list[str] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda file: _read(file, channels, image_size), files, chunksize=1)
        bar = tqdm(
            zip(files, found, strict=True),
            "reading images",
            len(files),
            unit="img",
            disable=len(files) < _MANY,
            mininterval=1.0 if sys.stderr.isatty() else 10.0,
        )
        for row, (file, image) in enumerate(bar):
            if isinstance(image, str):
                broken.append(f"{file.id} ({image})")
                continue
            if pixels is None:
                pixels = np.empty((len(files), *image.shape), dtype=np.uint8)
            if image.shape != pixels.shape[1:]:
                odd.append(f"{file.id} ({image.shape[0]}x{image.shape[1]})")
                continue
            pixels[row] = image
    if broken:
        raise DatasetError(
            f"{len(broken)} of {len(files)} image files cannot be read: {name_some(broken)}. Replace or remove them."
        )
    if pixels is None:
        raise DatasetError("there is no image file to read.")
    if odd:
        height, width = pixels.shape[1:3]
        raise DatasetError(
            f"{len(odd)} of {len(files)} images are not {height}x{width} as the first is: {name_some(odd)}. "
            f"Set image_size to bring all to one size."
        )
    return pixels
