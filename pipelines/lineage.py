"""MD5 of inputs and outputs as DVC computes it, and the commit, so that a run names exactly what it used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_BLOCK = 1 << 20


def file_md5(path: Path) -> str:
    """Return the MD5 of a file's bytes, as dvc.lock records it."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def dvc_md5(path: Path) -> str:
    """Return what dvc.lock records for a file, or for a folder (``<md5>.dir`` over its files' names and MD5s).

    Shape: 32 hexadecimal digits, for a folder followed by ``.dir`` (36 characters, MLflow's limit for a digest).
    """
    if not path.is_dir():
        return file_md5(path)
    files = sorted(found for found in path.rglob("*") if found.is_file())
    entries = [{"md5": file_md5(found), "relpath": found.relative_to(path).as_posix()} for found in files]
    entries.sort(key=lambda entry: entry["relpath"])
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest() + ".dir"
