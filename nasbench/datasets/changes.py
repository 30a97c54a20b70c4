"""Noticing that a folder has changed since it was indexed, without listing what has not."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from nasbench.core.errors import DatasetError
from nasbench.datasets.index import FileIndex, Folder
from nasbench.datasets.tree import SUFFIXES, hidden, name_some

_FEW = 16  # folders whose rows are found by a search each; for more, all rows are gone through


def check_unchanged(index: FileIndex) -> None:
    """Compare the folders of an index with what lies there now.

    Of each folder only its time of change is looked at. Where that differs from the indexed one (or the indexed one
    could not be trusted) the folder is listed again, and its number of entries and the bytes of the indexed files
    are compared. A file that was overwritten in place with as many bytes is not seen; with checksums it is noticed
    when it is read.

    Args:
        index: May be that of some rows only: of the others their number is compared.

    Raises:
        DatasetError: Folders or files are new, gone, or of another size; up to ten are named.
    """
    if not index.root.is_dir():
        raise DatasetError(f"the folder {index.root} of the indexed images is absent. Put it back, or index again.")
    suspects: dict[str, Folder] = {}
    problems: list[str] = []
    for name, folder in index.folders.items():
        try:
            changed = (index.root / name).stat().st_mtime_ns
        except OSError:
            problems.append(f"{name}/ is gone")
            continue
        if changed != folder.changed_ns:
            suspects[name] = folder
    if suspects:
        wanted = _rows_in(index, suspects)
        for name, folder in suspects.items():
            problems += _compare(index, name, folder, wanted.get(name, {}))
    if problems:
        raise DatasetError(
            f"{index.root} has changed since it was indexed: {name_some(problems)}. Prepare the dataset again (and "
            f"all that was made from it), or put the files back."
        )


def _rows_in(index: FileIndex, folders: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return folder -> name -> bytes of the indexed files directly in each of the folders."""
    import pyarrow.compute as pc

    wanted: dict[str, dict[str, int]] = {name: {} for name in folders}
    chosen = index
    if len(wanted) <= _FEW:
        column = index.paths.column
        masks = [
            (pc.starts_with(column, f"{name}/") if name else pc.invert(pc.match_substring(column, "/"))).to_numpy()
            for name in wanted
        ]
        chosen = index.take(np.flatnonzero(np.logical_or.reduce(masks)))
    for path, size in zip(chosen.paths, chosen.sizes, strict=True):
        folder, _, name = path.rpartition("/")
        if folder in wanted:
            wanted[folder][name] = int(size)
    return wanted


def _compare(index: FileIndex, name: str, folder: Folder, wanted: dict[str, int]) -> list[str]:
    here = index.root / name
    before = f"{name}/" if name else ""
    with os.scandir(here) as entries:  # what is neither is no part of a set: an index file may lie in the root
        found = [entry for entry in entries if entry.name.lower().endswith(SUFFIXES) or entry.is_dir()]
    present = {entry.name for entry in found if not hidden(entry.name)}
    problems = [f"{before}{entry} is gone" for entry in sorted(set(wanted) - present)]
    for entry in sorted(set(wanted) & present):
        size = (here / entry).stat().st_size
        if size != wanted[entry]:
            problems.append(f"{before}{entry} has {size} bytes instead of {wanted[entry]}")
    if folder.entries < 0:  # a list said which files belong to the set; others may come and go
        return problems
    known = set(wanted) | {inner[len(before) :] for inner in index.folders if _directly_in(inner, before)}
    if len(known) == folder.entries:  # the index is not that of some rows only, so that what is new has a name
        problems += [f"{before}{entry} is new" for entry in sorted(present - known)]
    elif len(present) != folder.entries:
        problems.append(f"{name or 'the folder itself'} holds {len(present)} entries instead of {folder.entries}")
    return problems


def _directly_in(name: str, before: str) -> bool:
    return bool(name) and name.startswith(before) and "/" not in name[len(before) :]
