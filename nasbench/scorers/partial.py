"""Scores that are kept block by block, so that a pass over a long set can be killed and resumed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import CheckpointError, FileWriteError
from nasbench.training.checkpoint import load_checkpoint, save_checkpoint

ROWS_PER_BLOCK = 4096
"""Rows between two savings; results do not depend on it."""

_IN_MEMORY_BYTES = 64 << 20
_KIND = "scores"


def folder_beside(checkpoint: Path) -> Path:
    """Return the folder of the partial scores that belong to a checkpoint's name."""
    return checkpoint.with_name(f"{checkpoint.name}.scores")


def discard(checkpoint: Path) -> None:
    """Delete the partial scores of a checkpoint's name, once the table made of them has been stored."""
    shutil.rmtree(folder_beside(checkpoint), ignore_errors=True)


@dataclass(kw_only=True)
class PartialScores:
    """An array of scores and how many of its rows are done.

    Attributes:
        values: float [n] or [n, d]; mapped from a file where it is large or is to survive a kill.
        done: Rows that are final.
    """

    values: npt.NDArray[Any]
    done: int
    _state: Path | None = None
    _identity: Mapping[str, Any] | None = None

    def save(self, done: int) -> None:
        """Note that the first rows are final; first the values reach the disk, then their number."""
        self.done = done
        if self._state is None or self._identity is None:
            return
        if isinstance(self.values, np.memmap):
            self.values.flush()
        save_checkpoint(self._state, _KIND, self._identity, {"done": done})


def open_partial(
    checkpoint: Path | None, shape: tuple[int, ...], dtype: type[np.floating[Any]], identity: Mapping[str, Any]
) -> PartialScores:
    """Open the scores of an interrupted pass, or begin new ones.

    Args:
        checkpoint: Named by the caller; the scores lie in a folder beside it. None keeps them in memory, or, where
            they are larger than 64 MiB, in a nameless temporary file.
        shape: [n] or [n, d].
        dtype: float32 or float64.
        identity: JSON values that must be equal when a pass is resumed: model, images, options.

    Raises:
        CheckpointError: What lies there belongs to another pass, or is damaged.
        FileWriteError: The folder cannot be written.
    """
    if checkpoint is None:
        return PartialScores(values=_nameless(shape, dtype), done=0)
    folder = folder_beside(checkpoint)
    file, state = folder / "values.npy", folder / "state.pt"
    known = {**identity, "shape": list(shape), "dtype": np.dtype(dtype).name}
    found = load_checkpoint(state, _KIND, known)
    try:
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            values = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
            return PartialScores(values=values, done=0, _state=state, _identity=known)
    except OSError as error:
        raise FileWriteError(f"cannot write {file}: {error.strerror or error}. Free space or name another.") from error
    try:
        present = file.stat().st_size
        values = np.lib.format.open_memmap(file, mode="r+")  # lengthens a file that is too short
        done = int(found["done"])
        if file.stat().st_size != present:
            raise ValueError("it is truncated")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} cannot be read as partial scores ({error}). Delete {folder}.") from error
    if values.shape != shape or values.dtype != dtype or not 0 <= done <= shape[0]:
        raise CheckpointError(f"{file} holds {values.dtype} {values.shape}, not what {state} says. Delete {folder}.")
    return PartialScores(values=values, done=done, _state=state, _identity=known)


def _nameless(shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    if int(np.prod(shape)) * np.dtype(dtype).itemsize <= _IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as handle:  # the mapping keeps its bytes when the file is closed
        return np.memmap(handle, dtype=dtype, mode="w+", shape=shape)
