"""A prepared dataset on disk: plain arrays that are mapped into memory, a description, and the table of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError, FileReadError, ScoreError
from nasbench.core.files import atomic_path, fingerprint, read_json, write_json
from nasbench.core.table import ExampleTable, load_table, save_table
from nasbench.datasets.base import ImageSet
from nasbench.datasets.changes import check_unchanged
from nasbench.datasets.index import load_index, save_index
from nasbench.datasets.lazy import LazyImages

_FORMAT = "proxy-nasbench prepared dataset 1"
_VERIFIED = 1024  # images of files that are read at a time
_TABLES = {"train": "table.parquet", "test": "test_table.parquet"}


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedData:
    """Both splits of a prepared dataset.

    Attributes:
        train: Training split; its arrays are mapped, read-only.
        test: Test split, likewise.
        details: What the writer wanted to be kept, for example the dataset's name and fields.
    """

    train: ImageSet
    test: ImageSet
    details: Mapping[str, Any]


def save_prepared(folder: Path | str, train: ImageSet, test: ImageSet, details: Mapping[str, Any]) -> None:
    """Write both splits into a folder, as a whole or not at all; equal sets give equal bytes.

    Files: ``{train,test}_images.npy`` uint8 [n, H, W, C], ``{train,test}_labels.npy`` int64 [n], ``table.parquet``
    and ``test_table.parquet`` (columns id, label), ``spec.json``. Of a split whose images stay in their files
    (`lazy.LazyImages`) the index is written instead of pixels and labels: ``{train,test}_index.parquet``, and
    ``{train,test}_index.stamp.json`` with the folders' times of change, which alone differ between copies of a set.
    Where the files lie is kept as it was given: a relative root stays relative to the working folder.

    Args:
        folder: Made, or replaced where it is there already.
        train: Training split.
        test: Test split, of the same image shape, classes, mean and std.
        details: JSON values to keep.

    Raises:
        DatasetError: The splits do not belong together, or one is empty.
        FileWriteError: The folder cannot be written.
    """
    for what in ("image_shape", "num_classes", "mean", "std"):
        if getattr(train, what) != getattr(test, what):
            raise DatasetError(
                f"train and test do not belong together: {what} is {getattr(train, what)} in train and "
                f"{getattr(test, what)} in test. Load both splits of one dataset."
            )
    splits = {"train": train, "test": test}
    empty = [name for name, images in splits.items() if not len(images)]
    if empty:
        raise DatasetError(f"the split {empty[0]!r} has no images. Check the dataset's folder and fields.")
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, images in splits.items():
            if isinstance(images.images, LazyImages):
                save_index(temporary / f"{name}_index.parquet", images.images.index)
            else:
                np.save(temporary / f"{name}_images.npy", np.ascontiguousarray(images.images), allow_pickle=False)
                np.save(temporary / f"{name}_labels.npy", np.ascontiguousarray(images.labels), allow_pickle=False)
            table = ExampleTable(dataset=images.fingerprint, labels=images.labels, ids=images.ids)
            save_table(temporary / _TABLES[name], table)
        spec = {
            "format": _FORMAT,
            "num_classes": train.num_classes,
            "mean": list(train.mean),
            "std": list(train.std),
            "splits": {name: _describe(images) for name, images in splits.items()},
            "details": dict(details),
        }
        write_json(temporary / "spec.json", spec)


def load_prepared(folder: Path | str, *, verify: bool = False) -> PreparedData:
    """Read a prepared dataset; images are mapped, so that only what is used is read.

    Labels are compared with their fingerprint, images by type, shape and size. Of images that stay in their files
    the index is compared with its fingerprint, and the folders with their times of change
    (`changes.check_unchanged`); no tree is listed unless one of them has changed.

    Args:
        folder: Written by `save_prepared`.
        verify: Read every pixel and compare the full fingerprints too.

    Raises:
        FileReadError: The folder is absent or no prepared dataset.
        DatasetError: Its arrays do not fit its description, or the images' folder has changed.
    """
    place = Path(folder)
    spec = read_json(place / "spec.json")
    if spec.get("format") != _FORMAT:
        raise FileReadError(f"{place} is not a prepared dataset of this version. Run the stage prepare_data again.")
    try:
        splits = {name: _load_split(place, name, spec, verify) for name in _TABLES}
        return PreparedData(train=splits["train"], test=splits["test"], details=spec["details"])
    except (KeyError, TypeError) as error:
        raise FileReadError(
            f"{place / 'spec.json'} lacks an entry ({error}). Run the stage prepare_data again."
        ) from error


def _describe(images: ImageSet) -> dict[str, Any]:
    described: dict[str, Any] = {"shape": list(images.images.shape), "fingerprint": images.fingerprint}
    if not isinstance(images.images, LazyImages):
        return described | {"labels_fingerprint": _labels_fingerprint(images.labels, images.ids)}
    reader = images.images.reader
    return described | {
        "files": {
            "root": str(reader.index.root),
            "boundary": str(reader.index.boundary),
            "image_size": reader.image_size,
            "resample": reader.resample,
        }
    }


def _labels_fingerprint(labels: npt.NDArray[np.int64], ids: Sequence[str]) -> str:
    return fingerprint([labels.tolist(), list(ids)])


def _load_split(folder: Path, name: str, spec: Mapping[str, Any], verify: bool) -> ImageSet:
    described = spec["splits"][name]
    if "files" in described:
        return _load_files(folder, name, spec, verify)
    images = _array(folder / f"{name}_images.npy", np.dtype(np.uint8), described["shape"], "r")
    labels = _array(folder / f"{name}_labels.npy", np.dtype(np.int64), described["shape"][:1], None)
    try:
        ids = tuple(load_table(folder / _TABLES[name]).ids)
    except ScoreError as error:
        raise DatasetError(f"{folder / _TABLES[name]}: {error}") from error
    result = ImageSet(
        images=cast("npt.NDArray[np.uint8]", images),
        labels=cast("npt.NDArray[np.int64]", labels),
        ids=ids,
        num_classes=spec["num_classes"],
        mean=tuple(spec["mean"]),
        std=tuple(spec["std"]),
    )
    if _labels_fingerprint(result.labels, ids) != described["labels_fingerprint"]:
        raise DatasetError(f"{folder}: labels or ids of {name} were altered. Run the stage prepare_data again.")
    if verify and result.fingerprint != described["fingerprint"]:
        raise DatasetError(f"{folder}: images of {name} were altered. Run the stage prepare_data again.")
    return result


def _load_files(folder: Path, name: str, spec: Mapping[str, Any], verify: bool) -> ImageSet:
    described = spec["splits"][name]
    files, shape = described["files"], described["shape"]
    index = load_index(folder / f"{name}_index.parquet", Path(files["root"]), Path(files["boundary"]))
    images = LazyImages(index, channels=shape[3], image_size=files["image_size"], resample=files["resample"])
    result = ImageSet(
        images=images,
        labels=index.labels,
        ids=index.paths,
        num_classes=spec["num_classes"],
        mean=tuple(spec["mean"]),
        std=tuple(spec["std"]),
    )
    if list(images.shape) != shape or result.fingerprint != described["fingerprint"]:
        raise DatasetError(f"{folder}: the index of {name} was altered. Run the stage prepare_data again.")
    check_unchanged(index)
    for start in range(0, len(result) if verify else 0, _VERIFIED):
        images[start : start + _VERIFIED]
    return result


def _array(path: Path, dtype: np.dtype[Any], shape: list[int], mmap: Literal["r"] | None) -> npt.NDArray[Any]:
    cure = "Run the stage prepare_data again."
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode=mmap, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} is absent, truncated or no plain array ({error}). {cure}") from error
    if array.dtype != dtype or list(array.shape) != shape:
        raise DatasetError(f"{path} holds {array.dtype} {list(array.shape)}; {dtype} {shape} is needed. {cure}")
    return array
