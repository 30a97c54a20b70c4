"""Files a second and memory of indexing a large folder, against torchvision's listing of the same tree.

Run as ``python -m benchmarks.index_folder [--quick] [--json [FILE]]``. The tree is made on the fly: tiny files in
folders of 100. Everything is read from a warm cache. The lines:

- listing: `list_tree` against ``ImageFolder(root)``. Ours looks up the bytes of each file too, which costs a system
  call a file and most of its time; a second line adds those calls (``os.path.getsize``) to the plain way.
- every later use: `load_index` and `check_unchanged` against listing again, which is what the plain way must do.

Peak memory is the growth of a forked child that keeps the result.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torchvision.datasets import ImageFolder

from benchmarks.common import Result, compare, parse_options, peak_memory_of, report
from nasbench.datasets.changes import check_unchanged
from nasbench.datasets.index import FileIndex, load_index, save_index
from nasbench.datasets.tree import class_names, list_tree

IN_A_FOLDER = 100


def make_tree(root: Path, count: int) -> None:
    """Write tiny files and let their folders look settled, as those of a real dataset are."""
    for number in range(count // IN_A_FOLDER):
        folder = root / f"n{number:08d}"
        folder.mkdir(parents=True)
        for file in range(IN_A_FOLDER):
            (folder / f"n{number:08d}_{file * 37 % IN_A_FOLDER}.JPEG").write_bytes(b"x" * (file % 7))
    past = time.time() - 3600
    for place, _, _ in os.walk(root):
        os.utime(place, (past, past))


def listed(root: Path) -> FileIndex:
    """Return our index."""
    return list_tree(root, root, class_names(root, root))


def listed_plainly(root: Path) -> list[tuple[str, int]]:
    """Return torchvision's list of path and class."""
    samples: list[tuple[str, int]] = ImageFolder(str(root)).samples
    return samples


def listed_plainly_with_sizes(root: Path) -> list[tuple[str, int, int]]:
    """Return the same with the bytes of each file."""
    return [(path, label, os.path.getsize(path)) for path, label in listed_plainly(root)]  # noqa: PTH202


def again(root: Path, path: Path) -> FileIndex:
    """Return the index from its file, compared with the folder."""
    index = load_index(path, root)
    check_unchanged(index)
    return index


def same(index: Any, plain: Any) -> bool:
    """Whether both hold the same files with the same labels."""
    theirs = {(os.path.relpath(row[0], index.root), row[1]) for row in plain}
    return {(name, int(label)) for name, label in zip(index.paths, index.labels, strict=True)} == theirs


def lines(root: Path, count: int, rounds: int) -> Iterator[Result]:
    """Yield the benchmark's lines."""
    path = root / "index.parquet"
    tree = root / "tree"
    make_tree(tree, count)
    save_index(path, listed(tree))
    found = (
        compare("listing, plain without sizes", lambda: listed(tree), lambda: listed_plainly(tree), rounds=rounds,
                check=same, warm_up=True),
        compare("listing, plain with sizes", lambda: listed(tree), lambda: listed_plainly_with_sizes(tree),
                rounds=rounds, check=same),
        compare("every later use", lambda: again(tree, path), lambda: listed_plainly(tree), rounds=rounds, check=same),
    )  # fmt: skip
    ours_mb = peak_memory_of(lambda: listed(tree)) / 2**20
    plain_mb = peak_memory_of(lambda: listed_plainly(tree)) / 2**20
    for result in found:
        yield result.with_figures(files_per_s=count / result.ours.median)
    yield Result(name="memory of the listing", ours=found[0].ours, plain=found[0].plain).with_figures(
        ours_peak_mb=ours_mb, plain_peak_mb=plain_mb, parquet_mb=path.stat().st_size / 2**20
    )


def main() -> None:
    """Run the benchmark."""
    options = parse_options("Indexing a large folder against torchvision's listing of it.")
    with tempfile.TemporaryDirectory() as folder:
        count, rounds = (2000, 2) if options.quick else (100_000, 5)
        report("index_folder", list(lines(Path(folder), count, rounds)), options.json)


if __name__ == "__main__":
    main()
