"""The table of examples that scorers fill and selectors read."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import FileReadError, ScoreError
from nasbench.core.files import FINGERPRINT_CHARS, atomic_path, canonical_json
from nasbench.core.ids import ArrowStrings, to_arrow
from nasbench.core.pages import release_pages

FEATURES = "features"
"""What a selector that reads features names in its ``needs``, and a scorer that makes them in its ``columns``."""

_DATASET_KEY = b"nasbench.dataset"
_FEATURES_KEY = b"nasbench.features"
_TEXT_COLUMNS = ("index", "entropy", "label")
_RESERVED = ("id", "label", FEATURES)  # what other things in the file or in ``needs`` are called
_BLOCK = 4_194_304  # numbers of the features looked at at a time: 16 MiB


@dataclass(frozen=True, kw_only=True, eq=False)
class ExampleTable:
    """One row per training example of one dataset, in the dataset's own order.

    Attributes:
        dataset: Fingerprint of the dataset, or ``""`` where it is unknown (a list published by others).
        labels: int64 [n], class indices from 0.
        columns: Named float64 [n] scores, for example ``"entropy"`` in nats. All finite.
        ids: Name of each row (a path, or its number), or empty. Names read from Parquet stay in Arrow's memory
            (`nasbench.core.ids.ArrowStrings`); they are indexed and compared as a tuple is.
        features: float32 [n, d], for example of a network's penultimate layer, d >= 1; may be mapped from a file.
            All finite. None where no scorer made them.
    """

    dataset: str
    labels: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    ids: Sequence[str] = ()
    features: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        rows = len(self.labels)
        if len(self.ids) not in {0, rows}:
            raise ScoreError(f"{len(self.ids)} ids for {rows} labels; one a row is needed.")
        if rows and int(self.labels.min()) < 0:
            row = int(self.labels.argmin())
            raise ScoreError(
                f"label {self.labels[row]} of row {row} is below 0; labels are class indices from 0. Correct the table."
            )
        for name, column in self.columns.items():
            if name in _RESERVED:
                raise ScoreError(f"a score column cannot be called {name!r}. Choose another name.")
            if column.shape != (rows,):
                raise ScoreError(f"column {name!r} has shape {column.shape}; ({rows},) is needed.")
            bad = np.flatnonzero(~np.isfinite(column))
            if len(bad):
                raise ScoreError(
                    f"column {name!r} holds {len(bad)} values that are not finite; the first is "
                    f"{column[bad[0]]} in row {int(bad[0])}. Score the examples again."
                )
        if self.features is not None:
            _check_features(self.features, rows)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over dataset, labels, columns (in any order) and features; not over the ids.

        Mapped features are read once, block by block.
        """
        names = sorted(self.columns)
        shape = None if self.features is None else list(self.features.shape)
        head = {"dataset": self.dataset, "rows": len(self), "columns": names, "features": shape}
        digest = hashlib.sha256(canonical_json(head).encode("utf-8"))
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        for name in names:
            digest.update(np.ascontiguousarray(self.columns[name], dtype="<f8").data)
        if self.features is not None:
            for rows in _blocks(self.features):
                digest.update(np.ascontiguousarray(self.features[rows], dtype="<f4").data)
        return digest.hexdigest()[:FINGERPRINT_CHARS]

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Return a score column.

        Raises:
            ScoreError: There is none of that name.
        """
        if name not in self.columns:
            known = ", ".join(sorted(self.columns)) or "none"
            raise ScoreError(f"the table has no column {name!r}; it has: {known}. Run the scorer that makes it.")
        return self.columns[name]

    def feature_rows(self) -> npt.NDArray[np.float32]:
        """Return the features, float32 [n, d].

        Raises:
            ScoreError: There are none.
        """
        if self.features is None:
            raise ScoreError("the table has no features. Run the scorer 'features' first.")
        return self.features

    def require(self, names: Iterable[str]) -> None:
        """Refuse a table that lacks something.

        Args:
            names: Score columns, and ``"features"`` for the features.

        Raises:
            ScoreError: Names what is lacking and what there is.
        """
        for name in names:
            if name == FEATURES:
                self.feature_rows()
            else:
                self.column(name)


def _blocks(features: npt.NDArray[np.float32]) -> Iterator[slice]:
    rows = max(1, _BLOCK // features.shape[1])
    for start in range(0, len(features), rows):
        yield slice(start, start + rows)
        release_pages(features)


def _check_features(features: npt.NDArray[np.float32], rows: int) -> None:
    if features.dtype != np.float32 or features.ndim != 2 or len(features) != rows or not features.shape[1]:
        raise ScoreError(
            f"the features are {features.dtype} {features.shape}; float32 ({rows}, d) with d >= 1 is needed. "
            f"Run the scorer that makes them again."
        )
    for block in _blocks(features):
        finite = np.isfinite(features[block])
        if not finite.all():
            row, dimension = (int(place) for place in np.argwhere(~finite)[0])
            raise ScoreError(
                f"the features hold {features[block][row, dimension]} in row {block.start + row}, dimension "
                f"{dimension}; all must be finite. Run the scorer that makes them again."
            )


def features_path(path: Path | str) -> Path:
    """Return where the features of a table's file lie: ``table.parquet`` -> ``table.features.npy``."""
    return Path(path).with_suffix(".features.npy")


def save_table(path: Path | str, table: ExampleTable) -> None:
    """Write a table as Parquet with the columns ``id``, ``label`` and one per score.

    The dataset's fingerprint stands in the file's metadata. Features are written beside it (see `features_path`),
    their shape into the metadata; what lies there of an earlier table without features is removed.

    Raises:
        FileWriteError: A file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = {"id": to_arrow(table.ids, len(table)), "label": pa.array(table.labels, pa.int64())}
    data |= {name: pa.array(column, pa.float64()) for name, column in table.columns.items()}
    metadata = {_DATASET_KEY: table.dataset.encode()}
    if table.features is not None:
        metadata[_FEATURES_KEY] = ",".join(str(size) for size in table.features.shape).encode()
        with atomic_path(features_path(path)) as temporary:
            np.save(temporary, np.ascontiguousarray(table.features), allow_pickle=False)
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(data).replace_schema_metadata(metadata), temporary)
    if table.features is None:
        features_path(path).unlink(missing_ok=True)


def load_table(path: Path | str) -> ExampleTable:
    """Read a table from Parquet, or from a text file of index, entropy in nats, label.

    Features that were saved with a table are mapped read-only, so that only what is used stays in memory.

    Args:
        path: ``*.parquet``, or ``*.tsv`` / ``*.tsv.gz`` (tabs, commas or blanks between the three columns, which
            stand in that order unless a header line names them); rows of a text file are put in the order of their
            index, which must run from 0 without gaps.

    Raises:
        FileReadError: The file is absent or of another form, or its features are.
        ScoreError: A value is not finite or a label negative.
    """
    file = Path(path)
    if not file.is_file():
        raise FileReadError(f"there is no score file {file}. Check the path, or run the scorer first.")
    try:
        return _load_parquet(file) if file.suffix == ".parquet" else _load_text(file)
    except (OSError, EOFError, zlib.error, ValueError, KeyError) as error:  # a truncated .gz is an EOFError
        raise FileReadError(
            f"cannot read {file} as a score table ({error}). Needed: Parquet with 'label' and scores, "
            f"or text rows of index, entropy, label."
        ) from error


def _load_parquet(file: Path) -> ExampleTable:
    import pyarrow.parquet as pq

    arrow = pq.read_table(file)
    metadata = arrow.schema.metadata or {}
    names = [name for name in arrow.column_names if name not in {"id", "label"}]
    return ExampleTable(
        dataset=metadata.get(_DATASET_KEY, b"").decode(),
        labels=_whole(arrow["label"].to_numpy(), "label"),
        columns={name: arrow[name].to_numpy().astype(np.float64, copy=False) for name in names},
        ids=_names(arrow["id"]) if "id" in arrow.column_names else (),
        features=_load_features(file, metadata[_FEATURES_KEY].decode()) if _FEATURES_KEY in metadata else None,
    )


def _names(column: Any) -> ArrowStrings:
    import pyarrow as pa

    return ArrowStrings(column if pa.types.is_string(column.type) else column.cast(pa.string()))


def _load_features(file: Path, described: str) -> npt.NDArray[np.float32]:
    path, shape = features_path(file), tuple(int(size) for size in described.split(","))
    if not path.is_file():
        raise FileReadError(
            f"the features of {file} are absent: there is no {path}. Copy it there too, or score again."
        )
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FileReadError(f"cannot read the features of {file} from {path} ({error}). Score again.") from error
    if features.shape != shape or features.dtype != np.float32:
        raise FileReadError(
            f"the features in {path} are {features.dtype} {features.shape}; {file} was written with float32 {shape}. "
            f"The two files do not belong together: score again."
        )
    return np.asarray(features)


def _whole(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    """Return values as int64, if that loses nothing."""
    if values.dtype.kind in "iu":
        return values.astype(np.int64, copy=False)
    exact = values.dtype.kind == "f" and bool(np.all(np.abs(values) < 2**53))
    if not exact or not np.array_equal(values, np.trunc(values)):
        raise ValueError(f"column {name!r} holds values ({values.dtype}) that are not all whole numbers")
    return values.astype(np.int64)


def _load_text(file: Path) -> ExampleTable:
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    lines = [line.partition("#")[0] for line in raw.decode("utf-8").replace(",", " ").splitlines()]
    lines = [line for line in lines if not line.isspace() and line]
    header = [word.lower() for word in lines[0].split()] if lines and lines[0].lstrip()[0].isalpha() else None
    if header is not None and sorted(header) != sorted(_TEXT_COLUMNS):
        raise ValueError(f"the header names {', '.join(header)}")
    rows = lines if header is None else lines[1:]
    if not rows:
        raise ValueError("there are no rows")
    values = np.loadtxt(rows, dtype=np.float64, ndmin=2)  # [n, 3]; exact for whole numbers below 2^53
    if values.shape[1] != len(_TEXT_COLUMNS):
        raise ValueError(f"{values.shape[1]} columns instead of {len(_TEXT_COLUMNS)}")
    column = dict(zip(header or _TEXT_COLUMNS, values.T, strict=True))
    index = _whole(column["index"], "index")
    order = np.argsort(index, kind="stable")
    if not np.array_equal(index[order], np.arange(len(index))):
        raise ValueError("the indices do not run from 0 to n-1 without gaps and repeats")
    return ExampleTable(
        dataset="",
        labels=_whole(column["label"], "label")[order],
        columns={"entropy": column["entropy"][order]},
        ids=tuple(str(value) for value in range(len(index))),
    )
