"""Files are written to a temporary name and renamed, so that nothing half-written is ever seen."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasbench.core.errors import FileReadError, FileWriteError

FINGERPRINT_CHARS = 32
"""Length of a fingerprint in hexadecimal digits; MLflow allows at most 36 in a dataset digest."""


def _describe(error: OSError, path: Path) -> str:
    reason = error.strerror or str(error)
    return (
        f"cannot write {path}: {reason}. Nothing half-written was left. "
        f"Free space or choose a writable place, then run the same command again."
    )


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success rename it to ``path``, on failure delete it.

    Args:
        path: Where the finished file or directory is to stand. Missing parents are made; a directory that stands
            there is replaced whole, and stays as it was if that fails.

    Raises:
        FileWriteError: No permission, disk full, or another operating-system error.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        temporary = holder / target.name
        yield temporary
        _put(temporary, target)
    except OSError as error:
        raise FileWriteError(_describe(error, target)) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary.parent, ignore_errors=True)


def _put(temporary: Path, target: Path) -> None:
    if not (temporary.is_dir() and target.is_dir() and not target.is_symlink()):
        temporary.replace(target)
        return
    former = temporary.with_name(f"{target.name}.former")  # a directory cannot be renamed onto a full one
    target.replace(former)
    try:
        temporary.replace(target)
    except OSError:
        former.replace(target)
        raise


def check_writable(path: Path | str) -> None:
    """Refuse, before hours of work, a file that could not be written after them.

    Raises:
        FileWriteError: The folder cannot be made or written, or a directory stands where the file is to be.
    """
    if Path(path).is_dir():
        raise FileWriteError(f"cannot write {path}: it is a directory. Name a file.")
    try:
        with atomic_path(path):
            raise _Untouched  # leaves without putting anything there
    except _Untouched:
        return


class _Untouched(Exception):  # noqa: N818 - it is no error
    pass


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write bytes atomically, synced to the disk before the rename.

    Raises:
        FileWriteError: The file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically (see `write_bytes`)."""
    write_bytes(path, text.encode("utf-8"))


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no blanks, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as readable JSON (sorted keys, two spaces, final newline), atomically.

    Raises:
        ValueError: The value holds NaN or infinity.
        FileWriteError: The file cannot be written.
    """
    write_text(path, json.dumps(value, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileReadError: The file is absent, is not JSON (NaN and infinity are not), or is not an object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise FileReadError(f"cannot read {path}: {error.strerror or error}. Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise FileReadError(f"{path} is not valid JSON ({error}). Make it again with its stage.") from error
    if not isinstance(value, dict):
        raise FileReadError(f"{path} holds a JSON {type(value).__name__}; an object is needed.")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def fingerprint(value: Mapping[str, Any] | list[Any] | str | bytes) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of a value's canonical JSON (or of its bytes)."""
    data = value if isinstance(value, bytes) else canonical_json(value).encode("utf-8")
    return hashlib.sha256(data).hexdigest()[:FINGERPRINT_CHARS]


def inside(root: Path | str, name: str) -> Path:
    """Return ``root / name`` if that lies inside ``root``.

    Args:
        root: The folder that may not be left.
        name: A relative path, for example read from a file.

    Raises:
        FileReadError: The name is absolute, leads out of the folder (also through a symbolic link), or is no path.
    """
    base = Path(root).resolve()
    try:
        path = (base / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or a null character
        raise FileReadError(f"{name!r} is not a path below {root} ({error}). Correct the name.") from error
    if Path(name).is_absolute() or not path.is_relative_to(base):
        raise FileReadError(f"the path {name!r} leads out of {root}; only relative paths below it are allowed.")
    return path
