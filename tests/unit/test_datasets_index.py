"""The index of a folder: what is listed, how it is kept, and what is noticed when the folder changes."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasbench.core.errors import DatasetError, FileReadError
from nasbench.core.ids import ArrowStrings
from nasbench.datasets import changes, tree
from nasbench.datasets.changes import check_unchanged
from nasbench.datasets.index import check_paths, load_index, save_index, stamp_path, with_checksums
from nasbench.datasets.listed import index_of_names, read_index_file, strings
from nasbench.datasets.tree import list_tree

FILES = {"ant/deep/x.png": 3, "ant/y.JPG": 5, "ant/z.png": 0, "bee/a.png": 7, "bee/b.png": 2}


def write(root: Path, files: dict[str, int]) -> None:
    for name, size in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)


def settle(root: Path) -> None:
    """Make every folder look untouched for an hour, so that its time of change is trusted."""
    past = time.time() - 3600
    for place, _, _ in os.walk(root):
        os.utime(place, (past, past))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "train", FILES)
    settle(tmp_path)
    return tmp_path / "train"


def listed(root: Path):
    return list_tree(root, root, ("ant", "bee"))


def test_a_tree_is_listed_by_class_and_path_with_sizes(root):
    index = listed(root)
    assert index.paths == tuple(FILES)
    assert index.labels.tolist() == [0, 0, 0, 1, 1]
    assert index.sizes.tolist() == list(FILES.values())
    assert {name: stamp.entries for name, stamp in index.folders.items()} == {"": 2, "ant": 3, "ant/deep": 1, "bee": 2}
    assert all(stamp.changed_ns > 0 for stamp in index.folders.values())


def test_names_are_sorted_by_their_parts(tmp_path):
    write(tmp_path, {"ant/b-1.png": 1, "ant/b/1.png": 1, "ant/a.png": 1, "bee/a.png": 1})
    assert listed(tmp_path).paths == ("ant/a.png", "ant/b/1.png", "ant/b-1.png", "bee/a.png")


def test_round_trip_and_equal_bytes(root, tmp_path):
    index = with_checksums(listed(root))
    for name in ("one", "two"):
        save_index(tmp_path / name / "index.parquet", index)
    again = load_index(tmp_path / "one" / "index.parquet", root)
    assert again.paths == index.paths
    assert again.classes == ("ant", "bee")
    assert np.array_equal(again.labels, index.labels)
    assert np.array_equal(again.sizes, index.sizes)
    assert np.array_equal(again.checksums, index.checksums)
    assert again.folders == index.folders
    assert again.fingerprint == index.fingerprint
    first, second = ((tmp_path / name / "index.parquet").read_bytes() for name in ("one", "two"))
    assert first == second
    assert pq.read_table(tmp_path / "one" / "index.parquet").column_names == ["path", "label", "bytes", "checksum"]


def test_the_parquet_is_the_same_for_a_copy_with_other_times(root, tmp_path):
    save_index(tmp_path / "a.parquet", listed(root))
    os.utime(root / "bee", (1, 1))
    save_index(tmp_path / "b.parquet", listed(root))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert stamp_path(tmp_path / "a.parquet").read_bytes() != stamp_path(tmp_path / "b.parquet").read_bytes()


def test_the_fingerprint_is_of_the_rows_and_not_of_arrows_chunks(root):
    index = listed(root)
    halves = index.take(np.array([0, 1])), index.take(np.array([2, 3, 4]))
    chunks = [chunk for half in halves for chunk in half.paths.column.chunks]
    apart = dataclasses.replace(index, paths=ArrowStrings(pa.chunked_array(chunks)))
    assert apart.paths.column.num_chunks == 2
    assert apart.fingerprint == index.fingerprint
    assert index.take(np.arange(5)).fingerprint == index.fingerprint
    for change in (
        {"labels": index.labels[::-1]},
        {"sizes": index.sizes + 1},
        {"classes": ("ant", "cat")},
        {"paths": strings(["ant/q.png", *list(FILES)[1:]])},
        {"checksums": np.zeros((5, 32), np.uint8)},
    ):
        assert dataclasses.replace(index, **change).fingerprint != index.fingerprint


def test_loading_and_checking_lists_no_folder(root, tmp_path, monkeypatch):
    save_index(tmp_path / "index.parquet", listed(root))
    monkeypatch.setattr(os, "scandir", lambda *_: pytest.fail("the tree was listed again"))
    check_unchanged(load_index(tmp_path / "index.parquet", root))


def test_only_what_changed_is_listed_again(root, monkeypatch):
    index = listed(root)
    write(root, {"bee/c.png": 1})
    (root / "bee/c.png").unlink()  # the folder's time is another one, its files are as they were
    seen = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: seen.append(Path(place).name) or real(place))
    check_unchanged(index)
    assert seen == ["bee"]


@pytest.mark.parametrize("few", [0, 16])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: write(root, {"bee/new.png": 1}), r"bee/new.png is new"),
        (lambda root: (root / "ant/z.png").unlink(), r"ant/z.png is gone"),
        (lambda root: (root / "ant/z.png").rename(root / "ant/q.png"), r"ant/z.png is gone, ant/q.png is new"),
        (lambda root: write(root, {"cat/a.png": 1}), r"cat is new"),
        (lambda root: (root / "ant/deep").rename(root / "ant/other"), r"ant/deep/ is gone, .*ant/other is new"),
        (lambda root: write(root, {"ant/deep/n.png": 1}), r"ant/deep/n.png is new"),
        (
            lambda root: (write(root, {"bee/a.png": 9}), write(root, {"bee/t.png": 1}), (root / "bee/t.png").unlink()),
            r"bee/a.png has 9 bytes instead of 7",
        ),
    ],
)
def test_a_change_is_noticed_and_named(root, monkeypatch, change, said, few):
    monkeypatch.setattr(changes, "_FEW", few)
    index = listed(root)
    change(root)
    with pytest.raises(DatasetError, match=f"has changed since it was indexed: .*{said}"):
        check_unchanged(index)


def test_a_change_right_after_the_listing_is_noticed_though_the_clock_ticks_slowly(root):
    now = time.time()
    os.utime(root / "bee", (now, now))
    index = listed(root)
    assert index.folders["bee"].changed_ns == 0
    write(root, {"bee/new.png": 1})
    os.utime(root / "bee", (now, now))  # as if in the same tick
    with pytest.raises(DatasetError, match=r"bee/new.png is new"):
        check_unchanged(index)


def test_of_an_index_of_some_rows_the_number_of_the_others_counts(root):
    part = listed(root).take(np.array([3]))
    check_unchanged(part)
    os.utime(root / "bee", (5, 5))
    check_unchanged(part)  # b.png is not in it, and is not new
    write(root, {"bee/c.png": 1})
    with pytest.raises(DatasetError, match="bee holds 3 entries instead of 2"):
        check_unchanged(part)
    (root / "bee/c.png").unlink()
    (root / "bee/a.png").unlink()
    with pytest.raises(DatasetError, match=r"bee/a.png is gone"):
        check_unchanged(part)


def test_an_absent_root_is_said(root, tmp_path):
    index = listed(root)
    root.rename(tmp_path / "away")
    with pytest.raises(DatasetError, match="is absent"):
        check_unchanged(index)


def test_an_altered_or_foreign_index_is_refused(root, tmp_path):
    path = tmp_path / "index.parquet"
    with pytest.raises(FileReadError, match="no index of files"):
        load_index(path, root)
    save_index(path, listed(root))
    table = pq.read_table(path)
    sizes = table["bytes"].to_numpy().copy()
    sizes[0] += 1
    pq.write_table(table.set_column(2, "bytes", [sizes]), path)
    with pytest.raises(DatasetError, match="was altered"):
        load_index(path, root)
    pq.write_table(table.replace_schema_metadata({}), path)
    with pytest.raises(FileReadError, match="written by something else"):
        load_index(path, root)
    path.write_bytes(b"no parquet")
    with pytest.raises(FileReadError, match="no index of files"):
        load_index(path, root)


@pytest.mark.parametrize(
    "name", ["../a.png", "ant/../../a.png", "/etc/a.png", "ant\\a.png", "", "ant/", "./a.png", "a//b.png", "C:/a.png"]
)
def test_paths_that_could_lead_out_are_refused(name, tmp_path):
    with pytest.raises(DatasetError, match="in row 1"):
        check_paths(strings(["ant/fine..png", name]), tmp_path)


def test_a_listed_name_that_is_no_utf8_is_named(tmp_path):
    write(tmp_path, FILES)
    with open(os.fsencode(tmp_path) + b"/ant/\xff.png", "wb"):  # noqa: PTH123
        pass
    with pytest.raises(DatasetError, match="no UTF-8"):
        listed(tmp_path)


def test_lists_of_names(root, tmp_path):
    text = tmp_path / "index.tsv"
    text.write_text("bee/b.png\tbee\nant/z.png\tant\nbee/a.png\tbee\n", encoding="utf-8")
    index = read_index_file(text, root)
    assert index.paths == ("bee/b.png", "ant/z.png", "bee/a.png")
    assert index.labels.tolist() == [1, 0, 1]
    assert index.classes == ("ant", "bee")
    assert index.sizes.tolist() == [2, 0, 7]
    write(root, {"bee/other.png": 1})  # of no concern: the list says what belongs to the set
    check_unchanged(index)
    write(root, {"bee/a.png": 8})
    with pytest.raises(DatasetError, match=r"bee/a.png has 8 bytes instead of 7"):
        check_unchanged(index)


def test_numbers_in_a_list_are_class_indices(root, tmp_path):
    text = tmp_path / "index.tsv"
    text.write_text("bee/b.png\t2\nant/z.png\t0\nant/y.JPG\t1\n", encoding="utf-8")
    index = read_index_file(text, root)
    assert (index.labels.tolist(), index.classes) == ([2, 0, 1], ("0", "1", "2"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("bee/b.png\tbee\nbee/b.png\tant\n", r"1 paths more than once: bee/b.png"),
        ("bee/b.png\tbee\nbee/q.png\tbee\n", r"1 files that are not below .*bee/q.png"),
        ("bee/b.png\tbee\ncow/q.png\tbee\n", r"folders that are not below .*cow"),
        ("bee/b.png\tbee\n../train/bee/a.png\tbee\n", r"leads out of the folder"),
        ("bee/b.png\t0\nbee/a.png\t2\n", r"must run from 0 to 1 without gaps"),
        ("bee/b.png\tbee\nbee/a.png\t\n", r"a label is empty"),
        ("bee/b.png bee\n", r"lines of path, a tab and label"),
        ("", r"cannot be read as an index"),
    ],
)
def test_wrong_lists_are_refused(root, tmp_path, lines, said):
    text = tmp_path / "index.tsv"
    text.write_text(lines, encoding="utf-8")
    with pytest.raises(DatasetError, match=said):
        read_index_file(text, root)


def test_a_list_may_be_parquet_and_is_compared_with_the_folder(root, tmp_path):
    save_index(tmp_path / "index.parquet", listed(root))
    assert read_index_file(tmp_path / "index.parquet", root).paths == tuple(FILES)
    (root / "bee/a.png").unlink()
    with pytest.raises(DatasetError, match=r"bee/a.png is gone"):
        read_index_file(tmp_path / "index.parquet", root)


def test_a_class_without_an_image_and_links_out_are_refused(root, tmp_path):
    with pytest.raises(DatasetError, match="1 classes have no image: cat"):
        index_of_names(root, strings(["bee/a.png"]), np.array([0]), ("bee", "cat"), origin=tmp_path / "list")
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "bee/out.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetError, match=r"bee/out.png"):
        index_of_names(root, strings(["bee/out.png"]), np.array([0]), ("bee",), origin=tmp_path / "list")
    (root / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="link that leads out"):
        index_of_names(root, strings(["elsewhere/secret.png"]), np.array([0]), ("bee",), origin=tmp_path / "list")
    (root / "bee/in.png").symlink_to(root / "bee/a.png")
    assert index_of_names(root, strings(["bee/in.png"]), np.array([0]), ("bee",), origin=root).sizes.tolist() == [7]


def test_listing_many_folders_holds_no_python_strings(tmp_path):
    write(tmp_path, {f"c{number % 7}/{number}.png": 1 for number in range(300)})
    index = list_tree(tmp_path, tmp_path, tuple(f"c{number}" for number in range(7)))
    assert isinstance(index.paths, ArrowStrings)
    assert index.paths.column.num_chunks == 1
    assert len(set(index.paths)) == len(index) == 300
    assert tree.name_some(list(index.paths)).endswith("and 290 more")
