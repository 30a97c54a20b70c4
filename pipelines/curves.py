"""Per-epoch records as CSV, which ``dvc plots`` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasbench.core.files import write_text


def write_curve(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write the numbers of each record as one row; returns the path.

    Args:
        path: The CSV file.
        records: One an epoch; values that are not numbers are left out, and a cell is empty where a record lacks one.
    """
    columns = list(dict.fromkeys(
        name for record in records for name, value in record.items() if isinstance(value, int | float)
    ))  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([record.get(name, "") for name in columns] for record in records)
    write_text(path, text.getvalue())
    return path
