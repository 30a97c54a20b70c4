"""Reading .npz files, which may come from anywhere: plain arrays only, never pickles."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError, nearest


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return named arrays of a .npz file.

    Raises:
        DatasetError: The file is absent, truncated or none; an array is absent or holds Python objects.
    """
    if not path.is_file():
        raise DatasetError(f"there is no file {path}. Check the root and the file's name.")
    try:
        with path.open("rb") as handle:  # NumPy would leave a broken file open
            return _named(np.load(handle, allow_pickle=False), path, names)
    except (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"{path} is truncated, no .npz file, or holds Python objects instead of plain arrays ({error}). "
            f"Write it with numpy.savez from plain arrays."
        ) from error


def _named(file: Any, path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise DatasetError(f"{path} is a single array, not a .npz file of {', '.join(names)}.")
    absent = [name for name in names if name not in file.files]
    if absent:
        hint = nearest(absent[0], file.files)
        raise DatasetError(
            f"{path} has no array {absent[0]!r}; it has: {', '.join(sorted(file.files)) or 'none'}.{hint} "
            f"Needed are {', '.join(names)}."
        )
    return {name: file[name] for name in names}
