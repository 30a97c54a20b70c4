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
        records: All with the same keys; values that are not numbers are left out.
    """
    columns = [name for name, value in records[0].items() if isinstance(value, int | float)] if records else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([record[name] for name in columns] for record in records)
    write_text(path, text.getvalue())
    return path
