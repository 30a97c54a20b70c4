"""Score tables: what they refuse, Parquet, and the text lists that others have published."""

from __future__ import annotations

import gzip
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench.core import table as module
from nasbench.core.errors import FileReadError, FileWriteError, ScoreError
from nasbench.core.ids import ArrowStrings
from nasbench.core.table import ExampleTable, load_table, save_table

FEATURES = np.array([[0.5, -1.0], [1e30, 2.0], [3.0, 0.0]], dtype=np.float32)


def table(**changes: Any) -> ExampleTable:
    fields = {
        "dataset": "d" * 32,
        "labels": np.array([2, 0, 1], dtype=np.int64),
        "columns": {"entropy": np.array([1e-21, 0.1 + 0.2, 1.6128]), "loss": np.array([1.0, 2.0, 3.0])},
        "ids": ("cat/1.png", "ant/ü.png", "bee/3.png"),
    }
    return ExampleTable(**(fields | changes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"columns": {"entropy": np.array([0.0, np.nan, np.nan])}}, r"'entropy' holds 2 values .* nan in row 1"),
        ({"columns": {"entropy": np.array([0.0, 1.0, np.inf])}}, r"holds 1 values .* inf in row 2"),
        ({"columns": {"entropy": np.array([0.0, 1.0])}}, r"'entropy' has shape \(2,\); \(3,\) is needed"),
        ({"columns": {"entropy": np.zeros((3, 1))}}, r"has shape \(3, 1\)"),
        ({"labels": np.array([0, -1, 1])}, "label -1 of row . is below 0"),
        ({"ids": ("a", "b")}, "2 ids for 3 labels"),
        ({"columns": {"label": np.zeros(3)}}, "cannot be called 'label'"),
        ({"columns": {"id": np.zeros(3)}}, "cannot be called 'id'"),
        ({"columns": {"features": np.zeros(3)}}, "cannot be called 'features'"),
        ({"features": np.zeros((3, 2))}, r"features are float64 \(3, 2\); float32 \(3, d\)"),
        ({"features": np.zeros(3, dtype=np.float32)}, r"float32 \(3,\); float32 \(3, d\)"),
        ({"features": np.zeros((2, 2), dtype=np.float32)}, r"float32 \(2, 2\); float32 \(3, d\)"),
        ({"features": np.zeros((3, 0), dtype=np.float32)}, r"float32 \(3, 0\)"),
        ({"features": np.float32([[0, 1], [2, 3], [4, np.nan]])}, "hold nan in row 2, dimension 1"),
        ({"features": np.float32([[0, 1], [-np.inf, 3], [4, np.nan]])}, "hold -inf in row 1, dimension 0"),
    ],
)
def test_an_impossible_table_is_refused(change, said):
    with pytest.raises(ScoreError, match=said):
        table(**change)


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(ScoreError, match=r"no column 'forgetting'; it has: entropy, loss"):
        table().column("forgetting")
    with pytest.raises(ScoreError, match="it has: none"):
        table(columns={}).column("entropy")


def test_features_are_looked_at_block_by_block(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 6)
    rows = np.zeros((20, 4), dtype=np.float32)
    rows[17, 3] = np.inf
    with pytest.raises(ScoreError, match="inf in row 17, dimension 3"):
        table(labels=np.zeros(20, dtype=np.int64), columns={}, ids=(), features=rows)


def test_what_a_selector_needs_is_asked_for_by_name():
    table(features=FEATURES).require(("entropy", "features", "loss"))
    assert table(features=FEATURES).feature_rows() is FEATURES
    with pytest.raises(ScoreError, match=r"no features. Run the scorer"):
        table().require(("entropy", "features"))
    with pytest.raises(ScoreError, match="no column 'forgetting_events'"):
        table(features=FEATURES).require(("forgetting_events",))


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "e" * 32},
        {"labels": np.array([2, 0, 2])},
        {"columns": {"entropy": np.array([1e-21, 0.1 + 0.2, 1.6128])}},
        {"columns": {"entropy": np.array([1e-21, 0.3, 1.6128]), "loss": np.array([1.0, 2.0, 3.0])}},
        {"columns": {"entropy": np.array([1e-21, 0.1 + 0.2, 1.6128]), "gain": np.array([1.0, 2.0, 3.0])}},
        {"features": np.zeros((3, 2), dtype=np.float32)},
        {"features": np.zeros((3, 4), dtype=np.float32)},
    ],
)
def test_a_fingerprint_is_of_dataset_labels_columns_and_features(change):
    changed = table(**({"features": np.ones((3, 2), dtype=np.float32)} | change))
    assert changed.fingerprint != table(features=np.ones((3, 2), dtype=np.float32)).fingerprint != table().fingerprint
    assert re.fullmatch("[0-9a-f]{32}", changed.fingerprint)


def test_a_fingerprint_does_not_depend_on_order_of_columns_ids_blocks_or_file(tmp_path, monkeypatch):
    whole = table(features=FEATURES)
    turned = dict(reversed(list(whole.columns.items())))
    assert table(features=FEATURES, columns=turned, ids=()).fingerprint == whole.fingerprint
    save_table(tmp_path / "a.parquet", whole)
    assert load_table(tmp_path / "a.parquet").fingerprint == whole.fingerprint
    monkeypatch.setattr(module, "_BLOCK", 2)
    assert table(features=FEATURES).fingerprint == whole.fingerprint
    assert table().fingerprint == "cee2ccca9f2295462837164116576de3"  # written down once: it stands in proxy files


def test_features_lie_beside_the_table_and_are_mapped(tmp_path):
    save_table(tmp_path / "scores.parquet", table(features=FEATURES))
    assert sorted(os.listdir(tmp_path)) == ["scores.features.npy", "scores.parquet"]  # noqa: PTH208
    again = load_table(tmp_path / "scores.parquet")
    assert again.features is not None
    assert np.array_equal(again.features, FEATURES)
    assert (again.features.dtype, again.features.flags.writeable) == (np.float32, False)
    assert isinstance(again.features.base, np.memmap)
    assert list(again.columns) == ["entropy", "loss"]
    save_table(tmp_path / "scores.parquet", again)  # onto the file that is mapped
    assert np.array_equal(load_table(tmp_path / "scores.parquet").feature_rows(), FEATURES)
    save_table(tmp_path / "scores.parquet", table())
    assert os.listdir(tmp_path) == ["scores.parquet"]  # noqa: PTH208
    assert load_table(tmp_path / "scores.parquet").features is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), r"features of .*a\.parquet are absent: there is no .*a\.features\.npy"),
        (lambda path: path.write_bytes(b""), r"cannot read the features of .*a\.parquet"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), r"cannot read the features of .*a\.parquet"),
        (lambda path: np.save(path, FEATURES[:2]), r"\(2, 2\); .*a\.parquet was written with float32 \(3, 2\)"),
        (lambda path: np.save(path, FEATURES.astype(np.float64)), r"are float64 \(3, 2\); .* float32 \(3, 2\)"),
        (lambda path: np.save(path, np.array([{}])), "cannot read the features"),
    ],
)
def test_features_that_do_not_belong_are_refused(tmp_path, change, said):
    save_table(tmp_path / "a.parquet", table(features=FEATURES))
    change(tmp_path / "a.features.npy")
    with pytest.raises(FileReadError, match=said):
        load_table(tmp_path / "a.parquet")


def test_features_that_are_not_finite_are_refused_when_read(tmp_path):
    save_table(tmp_path / "a.parquet", table(features=FEATURES))
    np.save(tmp_path / "a.features.npy", np.full((3, 2), np.nan, dtype=np.float32))
    with pytest.raises(ScoreError, match="nan in row 0, dimension 0"):
        load_table(tmp_path / "a.parquet")


def test_names_stay_in_arrows_memory(tmp_path):
    save_table(tmp_path / "a.parquet", table())
    again = load_table(tmp_path / "a.parquet")
    assert isinstance(again.ids, ArrowStrings)
    save_table(tmp_path / "b.parquet", again)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_names_of_another_type_are_read_as_text_and_missing_ones_refused(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", id=[7, 8], label=[0, 1])
    assert load_table(path).ids == ("7", "8")
    with pytest.raises(FileReadError, match="1 of 2 names are missing"):
        load_table(write_parquet(tmp_path / "a.parquet", id=["a", None], label=[0, 1]))


def test_a_table_goes_through_parquet_exactly(tmp_path):
    save_table(tmp_path / "a.parquet", table())
    save_table(tmp_path / "b.parquet", table())
    again = load_table(tmp_path / "a.parquet")
    assert (again.dataset, again.ids, len(again)) == ("d" * 32, table().ids, 3)
    assert (again.labels.dtype, list(again.columns)) == (np.int64, ["entropy", "loss"])
    assert np.array_equal(again.labels, table().labels)
    assert all(np.array_equal(again.column(name), table().column(name)) for name in again.columns)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_parquet_has_id_label_and_one_column_a_score(tmp_path):
    import pyarrow.parquet as pq

    save_table(tmp_path / "a.parquet", table(ids=()))
    arrow = pq.read_table(tmp_path / "a.parquet")
    assert arrow.column_names == ["id", "label", "entropy", "loss"]
    assert arrow["id"].to_pylist() == ["0", "1", "2"]


def test_a_parquet_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileWriteError):
        save_table(tmp_path / "file" / "a.parquet", table())
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - hidden files too


def write_parquet(path: Path, **columns: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        ({"label": [0, 1], "entropy": [0.5, float("nan")]}, ScoreError, "nan in row 1"),
        ({"label": [0, 1], "entropy": [0.5, None]}, ScoreError, "nan in row 1"),
        ({"label": [0, -1], "entropy": [0.5, 0.5]}, ScoreError, "label -1"),
        ({"label": [0, None], "entropy": [0.5, 0.5]}, FileReadError, "'label' holds .* not all whole numbers"),
        ({"label": [0.0, 0.5], "entropy": [0.5, 0.5]}, FileReadError, "'label' holds .* not all whole numbers"),
        ({"label": [0.0, 1e300], "entropy": [0.5, 0.5]}, FileReadError, "'label' holds .* not all whole numbers"),
        ({"label": ["ant", "bee"], "entropy": [0.5, 0.5]}, FileReadError, "'label' holds .* not all whole numbers"),
        ({"label": [0, 1], "entropy": ["high", "low"]}, FileReadError, "cannot read"),
        ({"entropy": [0.5, 0.5]}, FileReadError, "label"),
    ],
)
def test_a_foreign_parquet_file_is_refused(tmp_path, columns, error, said):
    with pytest.raises(error, match=said):
        load_table(write_parquet(tmp_path / "a.parquet", **columns))


def test_a_truncated_parquet_file_is_refused(tmp_path):
    save_table(tmp_path / "a.parquet", table())
    whole = (tmp_path / "a.parquet").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"0\t0.5\t1\n"):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(FileReadError, match=r"a\.parquet"):
            load_table(tmp_path / "a.parquet")


EXPECTED = ([0.25, 1e-21, 0.30000000000000004], [3, 0, 7])
"""Entropy and label of rows 0, 1, 2 of the texts below."""


@pytest.mark.parametrize(
    "text",
    [
        "0\t0.25\t3\n1\t1e-21\t0\n2\t0.30000000000000004\t7\n",
        "2\t0.30000000000000004\t7\n0\t0.25\t3\n1\t1e-21\t0",
        "0,0.25,3\n1,1e-21,0\n2,0.30000000000000004,7\n",
        "0, 0.25, 3\n1 1e-21\t0  \n  2,0.30000000000000004 7\n",
        "# a published list\n0 0.25 3\n\n1 1e-21 0 # the easy one\n2 0.30000000000000004 7\n",
        "0.0 0.25 3.0\n1.0 1e-21 0.0\n2.0 0.30000000000000004 7.0\n",
        "index\tentropy\tlabel\n0\t0.25\t3\n1\t1e-21\t0\n2\t0.30000000000000004\t7\n",
        "# list\nLabel,Index,Entropy\n3,0,0.25\n0,1,1e-21\n7,2,0.30000000000000004\n",
        "0\t0.25\t3\r\n1\t1e-21\t0\r\n2\t0.30000000000000004\t7\r\n",
    ],
)
def test_text_is_read_in_the_order_of_its_indices(tmp_path, text):
    (tmp_path / "a.tsv").write_bytes(text.encode())
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.tsv", "b.tsv.gz"):
        read = load_table(tmp_path / name)
        assert (read.column("entropy").tolist(), read.labels.tolist()) == EXPECTED
        assert (read.dataset, read.ids, read.labels.dtype) == ("", ("0", "1", "2"), np.int64)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", FileReadError, "there are no rows"),
        ("0 0.5\n1 0.5\n", FileReadError, "2 columns instead of 3"),
        ("0 0.5 1 9\n1 0.5 1 9\n", FileReadError, "4 columns instead of 3"),
        ("0 0.5 1\n1 0.5 1 9\n", FileReadError, "cannot read"),
        ("0 0.5 1\n1 0.5\n", FileReadError, "the number of columns changed from 3 to 2"),
        ("0 0.5 1\n2 0.5 1\n", FileReadError, "do not run from 0 to n-1"),
        ("0 0.5 1\n0 0.5 1\n", FileReadError, "do not run from 0 to n-1"),
        ("1 0.5 1\n2 0.5 1\n", FileReadError, "do not run from 0 to n-1"),
        ("-1 0.5 1\n0 0.5 1\n", FileReadError, "do not run from 0 to n-1"),
        ("0.5 0.5 1\n1 0.5 1\n", FileReadError, "'index' holds"),
        ("0 3 0.25\n1 0 0.5\n", FileReadError, "'label' holds"),
        ("0 0.5 1\n1 0.5 inf\n", FileReadError, "'label' holds"),
        ("0 0.5 cat\n1 0.5 dog\n", FileReadError, "could not convert string 'cat'"),
        ("0 high 1\n1 low 1\n", FileReadError, "cannot read"),
        ("id entropy label\n0 0.5 1\n", FileReadError, "the header names id, entropy, label"),
        ("index entropy label\n", FileReadError, "there are no rows"),
        ("0 nan 1\n1 0.5 1\n", ScoreError, "nan in row 0"),
        ("0 0.5 1\n1 inf 1\n", ScoreError, "inf in row 1"),
        ("0 0.5 1\n1 0.5 -2\n", ScoreError, "label -2"),
    ],
)
def test_wrong_text_is_refused(tmp_path, text, error, said):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(error, match=said):
        load_table(tmp_path / "a.tsv")


def test_a_broken_or_absent_text_file_is_refused(tmp_path):
    packed = gzip.compress(b"0\t0.5\t1\n" * 1000)
    damaged = packed[:20] + bytes([packed[20] ^ 255]) + packed[21:]
    for content in (packed[:-20], b"no gzip", damaged):
        (tmp_path / "a.tsv.gz").write_bytes(content)
        with pytest.raises(FileReadError, match=r"cannot read .*a\.tsv\.gz"):
            load_table(tmp_path / "a.tsv.gz")
    (tmp_path / "a.tsv").write_bytes(b"\xff\xfe\x00")
    for name in ("a.tsv", "absent.tsv"):
        with pytest.raises(FileReadError, match=name):
            load_table(tmp_path / name)
    with pytest.raises(FileReadError, match="there is no score file"):
        load_table(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rows", "least", "mean", "most", "classes"),
    [
        # facts/differentiable_search.md, section 2, "Stored lists": n, min, mean and max as printed there.
        ("cifar100-resnet56", 50_000, "2.517e-17", "0.28706", "3.1714", 100),
        ("svhn-resnet20", 73_257, "1.584e-06", "0.10494", "2.2065", 10),
    ],
)
def test_published_lists_have_their_published_figures(shared_data, name, rows, least, mean, most, classes):
    read = load_table(shared_data / f"{name}-entropy.tsv.gz")
    entropy = read.column("entropy")
    assert len(read) == len(read.ids) == rows
    assert [f"{entropy.min():.3e}", f"{entropy.mean():.5f}", f"{entropy.max():.4f}"] == [least, mean, most]
    assert np.array_equal(np.unique(read.labels), np.arange(classes))


@pytest.mark.shared
def test_a_published_list_is_read_in_under_a_second(shared_data):
    seconds = []
    for _ in range(3):
        start = time.process_time()
        load_table(shared_data / "svhn-resnet20-entropy.tsv.gz")
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0
