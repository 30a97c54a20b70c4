"""Listing a folder of class folders; what does not belong there is named, not passed over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError
from nasbench.core.ids import ArrowStrings
from nasbench.datasets.index import FileIndex, Folder, trusted_time

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of image files, in any case of letters."""

_LITTER = {"thumbs.db", "desktop.ini"}
_NAMED = 10
_THREADS = 2


@dataclass(kw_only=True)
class Found:
    """What lies in a folder and those below it.

    Attributes:
        names: Image files, relative to the folder, sorted by their parts.
        sizes: Their bytes.
        strange: What is no image file by its name, and links to folders, likewise relative.
        folders: Relative name of every folder -> its stamp.
    """

    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    folders: dict[str, Folder] = field(default_factory=dict)


def name_some(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def hidden(name: str) -> bool:
    """Whether an entry is no part of a dataset: a leading dot, ``Thumbs.db``, ``desktop.ini``."""
    return name.startswith(".") or name.lower() in _LITTER


def check_link(path: Path, boundary: Path) -> None:
    """Refuse a symbolic link that leads out of a folder.

    Raises:
        DatasetError: It does.
    """
    if path.is_symlink() and not path.resolve().is_relative_to(boundary.resolve()):
        raise DatasetError(
            f"{path} is a symbolic link that leads out of {boundary} (to {path.resolve()}). "
            f"Copy what it points to below the root, or give the root that holds both."
        )


def class_names(folder: Path, root: Path) -> tuple[str, ...]:
    """Return the names of the class folders of a split, sorted; hidden entries are left out.

    Raises:
        DatasetError: No such folder, files beside the class folders, or fewer than two classes.
    """
    check_link(folder, root)
    if not folder.is_dir():
        present = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
        found = f"it holds: {', '.join(present)}" if present else "it holds no folder" if root.is_dir() else "is absent"
        raise DatasetError(f"there is no split folder {folder}; {root} {found}. Needed: ROOT/SPLIT/CLASS/image files.")
    entries = sorted(entry for entry in folder.iterdir() if not hidden(entry.name))
    for entry in entries:
        check_link(entry, root)
    loose = [entry.name for entry in entries if not entry.is_dir()]
    if loose:
        raise DatasetError(
            f"{folder} holds files beside its class folders: {name_some(loose)}. Move them into a class."
        )
    if len(entries) < 2:
        names = ", ".join(entry.name for entry in entries) or "none"
        raise DatasetError(f"{folder} has {len(entries)} class folder(s) ({names}); at least 2 are needed.")
    return tuple(entry.name for entry in entries)


def scan(folder: Path, boundary: Path) -> Found:
    """List the image files of a folder and those below it, once, with their sizes.

    Raises:
        DatasetError: A link leads out of the boundary.
    """
    found = Found()
    rows: list[tuple[str, int]] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        here = folder / below if below else folder
        before = f"{below}/" if below else ""
        changed = trusted_time(here)  # before the listing: what changes meanwhile is noticed later
        entries = 0
        handle = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for entry in _entries(handle):
                name = entry.name
                if entry.is_file(follow_symlinks=False) and name.lower().endswith(SUFFIXES) and name[0] != ".":
                    rows.append((before + name, os.stat(name, dir_fd=handle).st_size))
                    entries += 1
                elif not hidden(name):
                    waiting += _other(entry, handle, here, before, boundary, rows, found)
                    entries += 1
        finally:
            os.close(handle)
        found.folders[below] = Folder(entries=entries, changed_ns=changed)
    rows.sort(key=None if len(found.folders) == 1 else _parts)  # "b/1" comes before "b-1", as in a sorted walk
    found.names = [name for name, _ in rows]
    found.sizes = [size for _, size in rows]
    found.strange.sort()
    return found


def _entries(handle: int) -> list[os.DirEntry[str]]:
    with os.scandir(handle) as entries:
        return list(entries)


def _other(
    entry: os.DirEntry[str],
    handle: int,
    here: Path,
    before: str,
    boundary: Path,
    rows: list[tuple[str, int]],
    found: Found,
) -> list[str]:
    """Take a link to an image as the image, note what is strange; returns a folder to go through, if it is one."""
    name = entry.name
    if entry.is_symlink():
        check_link(here / name, boundary)
    if entry.is_dir(follow_symlinks=False):
        return [before + name]
    if name.lower().endswith(SUFFIXES) and entry.is_file():
        rows.append((before + name, os.stat(name, dir_fd=handle).st_size))
    else:
        found.strange.append(before + name)
    return []


def _parts(row: tuple[str, int]) -> list[str]:
    return row[0].split("/")


def list_tree(folder: Path, boundary: Path, classes: Sequence[str]) -> FileIndex:
    """Index the image files of a split, by class and then by path.

    Args:
        folder: ``ROOT/SPLIT``; the paths of the index are relative to it.
        boundary: What symbolic links may not leave.
        classes: Class names in label order; class folders that the split lacks are passed over.

    Raises:
        DatasetError: A class folder without an image, entries that are no image files by their name, links to
            folders inside a class, links out of the root, names that are no UTF-8.
    """
    import pyarrow as pa

    present = [(label, name) for label, name in enumerate(classes) if (folder / name).exists()]
    folders = {"": Folder(entries=len(present), changed_ns=trusted_time(folder))}
    columns: list[pa.Array] = []
    sizes: list[npt.NDArray[np.int64]] = []
    counts: list[int] = []
    empty: list[str] = []
    strange: list[str] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        found_all = pool.map(partial(_scan_class, folder, boundary), [name for _, name in present])
        for (_, name), found in zip(present, found_all, strict=True):
            strange += [f"{name}/{entry}" for entry in found.strange]
            if not found.names and not found.strange:
                empty.append(name)
            columns.append(_column(folder, [f"{name}/{entry}" for entry in found.names]))
            sizes.append(np.array(found.sizes, dtype=np.int64))
            counts.append(len(found.names))
            folders |= {f"{name}/{below}" if below else name: stamp for below, stamp in found.folders.items()}
    if empty:
        raise DatasetError(
            f"{folder}: {len(empty)} class folder(s) without an image: {name_some(empty)}. Fill or remove."
        )
    if strange:
        raise DatasetError(
            f"{folder}: {len(strange)} entries are not image files: {name_some(strange)}. "
            f"Known endings: {', '.join(SUFFIXES)}. Remove them or convert them."
        )
    return FileIndex(
        root=folder,
        boundary=boundary,
        classes=tuple(classes),
        paths=ArrowStrings(pa.chunked_array([pa.concat_arrays(columns)] if columns else [], pa.large_string())),
        labels=np.repeat(np.array([label for label, _ in present], dtype=np.int64), counts),
        sizes=np.concatenate(sizes) if sizes else np.empty(0, dtype=np.int64),
        folders=folders,
    )


def _scan_class(folder: Path, boundary: Path, name: str) -> Found:
    return scan(folder / name, boundary)


def _column(folder: Path, names: list[str]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(names, pa.large_string())
    except UnicodeEncodeError as error:
        odd = next(name for name in names if not name.isprintable() or "\udc80" <= max(name) <= "\udcff")
        raise DatasetError(f"{folder}: the name {odd!r} is no UTF-8. Rename the file.") from error
