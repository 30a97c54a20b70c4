"""The index of a set of image files: path, label and bytes of each, so that the tree is listed once and never again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError, FileReadError
from nasbench.core.files import FINGERPRINT_CHARS, atomic_path, canonical_json, read_json, write_json
from nasbench.core.ids import ArrowStrings

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = b"nasbench.index"
_FORMAT = "proxy-nasbench index of files 1"
_UNSAFE = r"^$|^/|^[A-Za-z]:|\\|\x00|//|/$|(^|/)\.\.?(/|$)"
_SETTLED_NS = 2_000_000_000
_DIGEST_BYTES = 32
_THREADS = 4


class Folder(NamedTuple):
    """What tells whether a folder is as it was when it was listed.

    Attributes:
        entries: Files and folders in it, or -1 where a list says which files belong to the set.
        changed_ns: Its time of change, or 0 where that must not be trusted (`trusted_time`).
    """

    entries: int
    changed_ns: int


@dataclass(frozen=True, kw_only=True, eq=False)
class FileIndex:
    """Image files by row.

    Attributes:
        root: Folder that the paths are relative to.
        boundary: The root or a folder above it; symbolic links may not leave it.
        classes: Names in label order.
        paths: n names with forward slashes.
        labels: int64 [n], places in ``classes``.
        sizes: int64 [n], bytes.
        checksums: uint8 [n, 32], SHA-256 of the files, or None.
        folders: Name of each folder below the root (``""`` is the root itself) -> its stamp.
    """

    root: Path
    boundary: Path
    classes: tuple[str, ...]
    paths: ArrowStrings
    labels: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    checksums: npt.NDArray[np.uint8] | None = None
    folders: Mapping[str, Folder] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.int64]) -> FileIndex:
        """Return the index of some rows; the folders' stamps stay those of the whole."""
        return dataclasses.replace(
            self,
            paths=ArrowStrings(self.paths.column.take(rows)),
            labels=self.labels[rows],
            sizes=self.sizes[rows],
            checksums=None if self.checksums is None else self.checksums[rows],
        )

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over classes, paths, labels, bytes and checksums; no file is read."""
        digest = hashlib.sha256(canonical_json([_FORMAT, list(self.classes), len(self)]).encode())
        texts = [_text(chunk) for chunk in self.paths.column.chunks]
        for text, _ in texts:
            digest.update(text)
        for _, lengths in texts:
            digest.update(lengths.data)
        for values in (self.labels, self.sizes):
            digest.update(np.ascontiguousarray(values, dtype="<i8").data)
        if self.checksums is not None:
            digest.update(np.ascontiguousarray(self.checksums).data)
        return digest.hexdigest()[:FINGERPRINT_CHARS]


def _text(chunk: pa.Array) -> tuple[memoryview, npt.NDArray[np.int64]]:
    """Return the bytes of all strings of a column's chunk, and the length of each."""
    import pyarrow as pa

    whole = pa.concat_arrays([chunk.cast(pa.large_string())])  # an offset of a slice is gone then
    offsets = np.frombuffer(whole.buffers()[1], dtype=np.int64)[whole.offset : whole.offset + len(whole) + 1]
    text = whole.buffers()[2]
    data = memoryview(text)[offsets[0] : offsets[-1]] if text is not None and len(whole) else memoryview(b"")
    return data, np.diff(offsets).astype("<i8")


def trusted_time(folder: Path) -> int:
    """Return a folder's time of change in nanoseconds, or 0 if that is so recent that it could change unseen.

    Clocks of file systems tick every few milliseconds at best: a file added right after a listing may leave the
    time as it was. A folder with 0 is listed again whenever it is checked.
    """
    changed = folder.stat().st_mtime_ns
    return changed if time.time_ns() - changed > _SETTLED_NS else 0


def with_checksums(index: FileIndex) -> FileIndex:
    """Return the index with the SHA-256 of every file, which is read for that; four at a time.

    Raises:
        DatasetError: A file cannot be read.
    """
    places = (index.root / name for name in index.paths)
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            parts = list(pool.map(_sha256, places, chunksize=1))
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read ({error.strerror}). Replace or remove it.") from error
    sums = np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, _DIGEST_BYTES)
    return dataclasses.replace(index, checksums=sums)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def stamp_path(path: Path) -> Path:
    """Return where the folders' times of an index file lie: ``index.parquet`` -> ``index.stamp.json``."""
    return path.with_suffix(".stamp.json")


def save_index(path: Path | str, index: FileIndex) -> None:
    """Write an index as Parquet: columns path, label, bytes, and checksum where there are any.

    Classes, the folders' numbers of entries and the fingerprint stand in the metadata; equal indices give equal
    bytes. The folders' times of change, which differ from copy to copy, stand in a small JSON file beside it.

    Raises:
        FileWriteError: The files cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "path": index.paths.column.cast(pa.large_string()),
        "label": pa.array(index.labels.astype(np.int32)),
        "bytes": pa.array(index.sizes),
    }
    if index.checksums is not None:
        flat = pa.py_buffer(np.ascontiguousarray(index.checksums).tobytes())
        columns["checksum"] = pa.Array.from_buffers(pa.binary(_DIGEST_BYTES), len(index), [None, flat])
    described = {
        "format": _FORMAT,
        "classes": list(index.classes),
        "folders": {name: folder.entries for name, folder in index.folders.items()},
        "fingerprint": index.fingerprint,
    }
    table = pa.table(columns).replace_schema_metadata({_KEY: canonical_json(described).encode()})
    with atomic_path(path) as temporary:
        encodings = {"path": "DELTA_BYTE_ARRAY", "bytes": "PLAIN"} | (
            {"checksum": "PLAIN"} if index.checksums is not None else {}
        )
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["label"], column_encoding=encodings)
    times = {name: folder.changed_ns for name, folder in index.folders.items()}
    write_json(stamp_path(Path(path)), {"folders": times})


def load_index(path: Path | str, root: Path, boundary: Path | None = None) -> FileIndex:
    """Read an index; neither the tree nor a file of it is touched.

    Args:
        path: Written by `save_index`.
        root: Where the files lie now.
        boundary: What symbolic links may not leave; None is the root.

    Raises:
        FileReadError: There is no such file, or it is no index.
        DatasetError: It was altered, or holds a path that leads out of the root.
    """
    file = Path(path)
    if not file.is_file():
        raise FileReadError(f"there is no index of files {file}. Prepare the dataset again.")
    try:
        index = _read(file, root, boundary or root)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # Arrow's errors are ValueErrors
        raise FileReadError(f"{file} is no index of files ({error}). Prepare the dataset again.") from error
    check_paths(index.paths, file)
    return index


def _read(file: Path, root: Path, boundary: Path) -> FileIndex:
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    described = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    if described.get("format") != _FORMAT:
        raise ValueError("it was written by something else")
    times: dict[str, Any] = read_json(stamp_path(file))["folders"] if stamp_path(file).is_file() else {}
    sums = None
    if "checksum" in table.column_names:
        flat = b"".join(table["checksum"].to_pylist())
        sums = np.frombuffer(flat, dtype=np.uint8).reshape(-1, _DIGEST_BYTES)
    index = FileIndex(
        root=root,
        boundary=boundary,
        classes=tuple(described["classes"]),
        paths=ArrowStrings(table["path"]),
        labels=table["label"].to_numpy().astype(np.int64),
        sizes=table["bytes"].to_numpy().astype(np.int64),
        checksums=sums,
        folders={
            name: Folder(entries=int(entries), changed_ns=int(times.get(name, 0)))
            for name, entries in described["folders"].items()
        },
    )
    if index.fingerprint != described["fingerprint"]:
        raise DatasetError(f"{file} was altered after it was written. Prepare the dataset again.")
    return index


def check_paths(paths: ArrowStrings, file: Path) -> None:
    """Refuse paths that are no plain relative names with forward slashes.

    Raises:
        DatasetError: The first such path and its row are named.
    """
    import pyarrow.compute as pc

    unsafe = pc.match_substring_regex(paths.column, _UNSAFE)
    if pc.any(unsafe).as_py():
        row = int(pc.index(unsafe, True).as_py())
        raise DatasetError(
            f"{file}: the path {paths[row]!r} in row {row} is absolute, leads out of the folder or is not written "
            f"plainly. Allowed are relative paths below the root with forward slashes, for example 'ant/1.png'."
        )
