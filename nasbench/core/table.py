"""The table of examples that scorers fill and selectors read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import FileReadError, ScoreError
from nasbench.core.files import atomic_path

_DATASET_KEY = b"nasbench.dataset"
_TEXT_COLUMNS = ("index", "entropy", "label")


@dataclass(frozen=True, kw_only=True, eq=False)
class ExampleTable:
    """One row per training example of one dataset, in the dataset's own order.

    Attributes:
        dataset: Fingerprint of the dataset, or ``""`` where it is unknown (a list published by others).
        labels: int64 [n], class indices from 0.
        columns: Named float64 [n] scores, for example ``"entropy"`` in nats. All finite.
        ids: Name of each row (a path, or its number), or empty.
    """

    dataset: str
    labels: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.labels)
        if self.ids and len(self.ids) != rows:
            raise ScoreError(f"{len(self.ids)} ids for {rows} labels; one a row is needed.")
        if rows and int(self.labels.min()) < 0:
            raise ScoreError(f"label {int(self.labels.min())} is below 0; labels are class indices from 0.")
        for name, column in self.columns.items():
            if column.shape != (rows,):
                raise ScoreError(f"column {name!r} has shape {column.shape}; ({rows},) is needed.")
            bad = np.flatnonzero(~np.isfinite(column))
            if len(bad):
                raise ScoreError(
                    f"column {name!r} holds {len(bad)} values that are not finite; the first is "
                    f"{column[bad[0]]} in row {int(bad[0])}. Score the examples again."
                )

    def __len__(self) -> int:
        return len(self.labels)

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Return a score column.

        Raises:
            ScoreError: There is none of that name.
        """
        if name not in self.columns:
            known = ", ".join(sorted(self.columns)) or "none"
            raise ScoreError(f"the table has no column {name!r}; it has: {known}. Run the scorer that makes it.")
        return self.columns[name]


def save_table(path: Path | str, table: ExampleTable) -> None:
    """Write a table as Parquet with the columns ``id``, ``label`` and one per score.

    The dataset's fingerprint stands in the file's metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = table.ids or tuple(str(row) for row in range(len(table)))
    data = {"id": pa.array(ids, pa.string()), "label": pa.array(table.labels, pa.int64())}
    data |= {name: pa.array(column, pa.float64()) for name, column in table.columns.items()}
    arrow = pa.table(data).replace_schema_metadata({_DATASET_KEY: table.dataset.encode()})
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary)


def load_table(path: Path | str) -> ExampleTable:
    """Read a table from Parquet, or from a text file of index, entropy in nats, label.

    Args:
        path: ``*.parquet``, or ``*.tsv`` / ``*.tsv.gz`` (tabs, commas or blanks between the three columns, which
            stand in that order unless a header line names them); rows of a text file are put in the order of their
            index, which must run from 0 without gaps.

    Raises:
        FileReadError: The file is absent or of another form.
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
    ids = tuple(str(value) for value in arrow["id"].to_pylist()) if "id" in arrow.column_names else ()
    names = [name for name in arrow.column_names if name not in {"id", "label"}]
    return ExampleTable(
        dataset=metadata.get(_DATASET_KEY, b"").decode(),
        labels=_whole(arrow["label"].to_numpy(), "label"),
        columns={name: arrow[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names},
        ids=ids,
    )


def _whole(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    """Return values as int64, if that loses nothing."""
    exact = values.dtype.kind in "iu" or (values.dtype.kind == "f" and bool(np.all(np.abs(values) < 2**53)))
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
