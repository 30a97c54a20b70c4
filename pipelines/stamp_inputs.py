"""Note what the run reads from outside of the repository, so that DVC runs again what depends on a change there.

DVC runs this stage every time; it is quick: a folder is listed again only where the time of one of its directories
has changed. The notes hold names and sizes, and of single files a checksum, but no times, so that the same data on
another machine give the same notes. A file in a folder that is overwritten in place changes no directory; it is not
seen here.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nasbench.core.errors import NasbenchError
from nasbench.core.files import fingerprint, read_json, write_json
from pipelines.params import Params, load_params
from pipelines.stage import ARTIFACTS

FOLDER = ARTIFACTS / "inputs"
_SEEN = Path("checkpoints") / "inputs.json"
_BLOCK_BYTES = 1 << 20


def places(params: Params) -> dict[str, tuple[Path, ...]]:
    """Return the name of every note, and the outside files and folders that it is about."""
    named = {
        role: params.dataset(role).sources(Path(getattr(params, role).root)) for role in ("source", "target")
    }  # fmt: skip
    for name in params.scorers:
        weights = getattr(params.scorer(name), "weights", None)
        named[f"scorers/{name}"] = (Path(weights),) if weights else ()
    return named


def stamp_inputs(params: Params) -> None:
    """Write ``artifacts/inputs/<name>.json`` for source, target and every scorer; unchanged notes stay as they are."""
    seen = read_json(_SEEN) if _SEEN.is_file() else {}
    now: dict[str, Any] = {}
    for name, found in places(params).items():
        known, asked = seen.get(name, {"places": None}), [str(place) for place in found]
        if known["places"] != asked or known["traces"] != {path: _trace(Path(path)) for path in known["traces"]}:
            known = {"places": asked, "traces": _traces(found), "note": _note(found)}
        now[name] = known
        path = FOLDER / f"{name}.json"
        if not path.is_file() or read_json(path) != known["note"]:
            write_json(path, known["note"])
    write_json(_SEEN, now)


def _trace(place: Path) -> list[int]:
    """Return what shows cheaply that a file or a directory has changed: its time of change, and a file's size."""
    if not place.exists():
        return []
    state = place.stat()
    return [state.st_mtime_ns] if place.is_dir() else [state.st_mtime_ns, state.st_size]


def _traces(found: Sequence[Path]) -> dict[str, list[int]]:
    """Return the traces of all files among the places, and of all directories among and below them."""
    paths = [Path(folder) for place in found for folder, _, _ in os.walk(place)]
    return {str(path): _trace(path) for path in (*found, *paths)}


def _note(found: Sequence[Path]) -> dict[str, Any]:
    """Return number, bytes and fingerprint of the files of every place; ``absent`` for what is not there."""
    return {"places": {place.name: _content(place) for place in found}}


def _content(place: Path) -> dict[str, Any] | str:
    if place.is_dir():
        files = {path.relative_to(place).as_posix(): path.stat().st_size for path in place.rglob("*") if path.is_file()}
        return {"files": len(files), "bytes": sum(files.values()), "fingerprint": fingerprint(files)}
    if not place.is_file():
        return "absent"
    digest = hashlib.sha256()
    with place.open("rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
    return {"files": 1, "bytes": place.stat().st_size, "fingerprint": digest.hexdigest()[:32]}


if __name__ == "__main__":
    try:
        stamp_inputs(load_params())
    except (NasbenchError, OSError) as error:
        sys.stderr.write(f"stamp_inputs: {type(error).__name__}\n{error}\n")
        sys.exit(1)
