"""Sets of files that a list names: an index file of path and label, or names that a dataset's own lists give."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError, FileReadError
from nasbench.core.files import inside
from nasbench.core.ids import ArrowStrings
from nasbench.datasets.changes import check_unchanged
from nasbench.datasets.index import FileIndex, Folder, check_paths, load_index, trusted_time
from nasbench.datasets.tree import name_some

if TYPE_CHECKING:
    import pyarrow as pa

_THREADS = 4
_BLOCK = 4096
_LISTED = -1  # entries of a folder in which a list says what belongs to the set


def index_of_names(
    root: Path, names: ArrowStrings, labels: npt.NDArray[np.int64], classes: Sequence[str], *, origin: Path
) -> FileIndex:
    """Index the files that a list names; their sizes are looked up, the folders are not listed.

    Args:
        root: What the names are relative to, and what links may not leave.
        names: n paths with forward slashes.
        labels: int64 [n].
        classes: Names in label order; each must have a file.
        origin: The list, for messages.

    Raises:
        DatasetError: A path is listed twice, leads out of the root, or is no file; a class has none.
    """
    import pyarrow.compute as pc

    check_paths(names, origin)
    if pc.count_distinct(names.column).as_py() != len(names):
        counts = pc.value_counts(names.column).to_pylist()
        again = sorted(count["values"] for count in counts if count["counts"] > 1)
        raise DatasetError(f"{origin} lists {len(again)} paths more than once: {name_some(again)}. Keep each once.")
    empty = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(empty):
        raise DatasetError(
            f"{origin}: {len(empty)} classes have no image: {name_some([classes[int(label)] for label in empty])}. "
            f"Labels that are numbers must run from 0 without gaps."
        )
    folders = sorted({name.rpartition("/")[0] for name in names})
    for folder in folders:
        if not (root / folder).resolve().is_relative_to(root.resolve()):
            raise DatasetError(f"{origin}: the folder {folder!r} is a link that leads out of {root}.")
    absent = [folder for folder in folders if not (root / folder).is_dir()]
    if absent:
        raise DatasetError(f"{origin} names files in folders that are not below {root}: {name_some(absent)}.")
    stamps = {folder: Folder(entries=_LISTED, changed_ns=trusted_time(root / folder)) for folder in folders}
    return FileIndex(
        root=root,
        boundary=root,
        classes=tuple(classes),
        paths=names,
        labels=labels,
        sizes=_sizes(root, names, origin),
        folders=stamps,
    )


def _sizes(root: Path, names: ArrowStrings, origin: Path) -> npt.NDArray[np.int64]:
    base, boundary = str(root), root.resolve()

    def some(start: int) -> list[int]:
        return [_size(base, name, boundary) for name in names[start : start + _BLOCK]]

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(some, range(0, len(names), _BLOCK)))
    sizes = np.array([size for part in parts for size in part], dtype=np.int64)
    absent = np.flatnonzero(sizes < 0)
    if len(absent):
        named = [names[int(row)] for row in absent[:11]]
        raise DatasetError(
            f"{origin} names {len(absent)} files that are not below {root} (or are links out of it): {name_some(named)}"
            f"{'' if len(absent) <= 11 else ' and others'}. Correct the list or give the root that holds them."
        )
    return sizes


def _size(base: str, name: str, boundary: Path) -> int:
    """Return the bytes of a file, or -1 if there is none inside the boundary."""
    path = f"{base}/{name}"
    try:
        state = os.lstat(path)
        if not os.path.islink(path):  # noqa: PTH114 - a Path would double the time of 14 million calls
            return state.st_size if os.path.isfile(path) else -1  # noqa: PTH113
        target = inside(boundary, os.path.relpath(os.path.realpath(path), boundary))
        return target.stat().st_size if target.is_file() else -1
    except (OSError, FileReadError):
        return -1


def read_index_file(path: Path, root: Path) -> FileIndex:
    """Read an index file: Parquet written by `index.save_index`, or text lines ``path<TAB>label``.

    Labels that are all whole numbers are class indices from 0 without gaps; others are class names, which get their
    numbers in sorted order.

    Args:
        path: ``*.parquet``, or text.
        root: What its paths are relative to.

    Raises:
        DatasetError: It is absent or of another form; or see `index_of_names`.
    """
    try:
        if path.suffix == ".parquet":
            index = load_index(path, root)
            check_unchanged(index)
            return index
        names, words = _read_text(path)
    except (FileReadError, OSError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read as an index of images ({error}). Needed: Parquet with path, label and bytes, or "
            f"lines of path, a tab and label."
        ) from error
    labels, classes = _classes(words, path)
    return index_of_names(root, names, labels, classes, origin=path)


def _read_text(path: Path) -> tuple[ArrowStrings, pa.ChunkedArray]:
    import pyarrow as pa
    from pyarrow import csv

    columns = {"path": pa.large_string(), "label": pa.string()}
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(column_names=list(columns)),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=csv.ConvertOptions(column_types=columns, strings_can_be_null=False),
    )
    return ArrowStrings(table["path"]), table["label"]


def _classes(words: pa.ChunkedArray, path: Path) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    codes = words.combine_chunks().dictionary_encode()
    if hasattr(codes, "chunks"):  # one chunk after combining, whatever the version returns
        codes = codes.chunk(0)
    known: list[str] = codes.dictionary.to_pylist()
    numbers = all(word.isascii() and word.isdigit() for word in known)
    if numbers:
        values = np.array([int(word) for word in known], dtype=np.int64)
        if len(set(values.tolist())) != len(known) or int(values.max()) >= len(known):
            raise DatasetError(
                f"{path}: {len(known)} classes are numbered up to {int(values.max())}; labels must run from 0 to "
                f"{len(known) - 1} without gaps, each written in one way."
            )
        classes = tuple(str(number) for number in range(len(known)))
    else:
        classes = tuple(sorted(known))
        if any(not word.strip() for word in classes):
            raise DatasetError(f"{path}: a label is empty. Write a path, a tab and a label in every line.")
        place = {word: number for number, word in enumerate(classes)}
        values = np.array([place[word] for word in known], dtype=np.int64)
    return values[codes.indices.to_numpy()], classes


def strings(values: Iterable[str]) -> ArrowStrings:
    """Return names as an Arrow column."""
    import pyarrow as pa

    return ArrowStrings(pa.chunked_array([pa.array(list(values), pa.large_string())]))
