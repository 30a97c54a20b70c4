"""Prepared datasets: round trip, equal bytes, and refusal of what does not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nasbench.core.errors import DatasetError, FileReadError, FileWriteError
from nasbench.core.table import load_table
from nasbench.datasets.base import ImageSet
from nasbench.datasets.prepared import load_prepared, save_prepared


def some(count: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    return ImageSet(
        images=rng.integers(0, 256, (count, 5, 4, 3), dtype=np.uint8),
        labels=rng.integers(0, 3, count),
        ids=tuple(f"class/{seed}-{row}.png" for row in range(count)),
        num_classes=3,
        mean=(0.1, 0.2, 1 / 3),
        std=(0.3, 0.2, 0.1),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_prepared(tmp_path / "data", some(20, 0), some(7, 1), {"dataset": "made up"})
    return tmp_path / "data"


def test_round_trip(folder):
    data = load_prepared(folder, verify=True)
    for found, wanted in ((data.train, some(20, 0)), (data.test, some(7, 1))):
        assert np.array_equal(found.images, wanted.images)
        assert np.array_equal(found.labels, wanted.labels)
        assert (found.ids, found.num_classes, found.mean, found.std) == (
            wanted.ids,
            wanted.num_classes,
            wanted.mean,
            wanted.std,
        )
        assert found.fingerprint == wanted.fingerprint
    assert data.details == {"dataset": "made up"}


def test_images_are_mapped_read_only(folder):
    images = load_prepared(folder).train.images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_the_table_has_ids_labels_and_the_fingerprint(folder):
    table = load_table(folder / "table.parquet")
    assert table.ids == some(20, 0).ids
    assert table.labels.tolist() == some(20, 0).labels.tolist()
    assert table.dataset == some(20, 0).fingerprint
    assert not table.columns


def test_equal_sets_give_equal_bytes_and_a_folder_is_replaced(folder, tmp_path):
    save_prepared(tmp_path / "again", some(20, 0), some(7, 1), {"dataset": "made up"})
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "spec.json",
        "table.parquet",
        "test_images.npy",
        "test_labels.npy",
        "test_table.parquet",
        "train_images.npy",
        "train_labels.npy",
    ]
    before = {name: (folder / name).read_bytes() for name in names}
    assert before == {name: (tmp_path / "again" / name).read_bytes() for name in names}
    save_prepared(folder, some(20, 2), some(7, 1), {})
    assert (folder / "train_images.npy").read_bytes() != before["train_images.npy"]
    assert (folder / "test_images.npy").read_bytes() == before["test_images.npy"]


@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy"])
@pytest.mark.parametrize("damage", ["truncated", "absent", "foreign", "other shape", "pickled"])
def test_damaged_arrays_are_refused(folder, name, damage):
    path = folder / name
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "absent":
        path.unlink()
    elif damage == "foreign":
        path.write_bytes(b"no array")
    elif damage == "pickled":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        np.save(path, np.load(path)[:-1])
    with pytest.raises(DatasetError, match=name):
        load_prepared(folder)


def test_another_type_is_refused(folder):
    np.save(folder / "train_labels.npy", np.load(folder / "train_labels.npy").astype(np.int32))
    with pytest.raises(DatasetError, match="int32"):
        load_prepared(folder)


def test_altered_labels_are_always_seen(folder):
    labels = np.load(folder / "train_labels.npy")
    np.save(folder / "train_labels.npy", (labels + 1) % 3)
    with pytest.raises(DatasetError, match="labels or ids of train were altered"):
        load_prepared(folder)


def test_altered_pixels_are_seen_when_verifying(folder):
    images = np.load(folder / "test_images.npy")
    images[3, 0, 0, 0] ^= 1
    np.save(folder / "test_images.npy", images)
    load_prepared(folder)
    with pytest.raises(DatasetError, match="images of test were altered"):
        load_prepared(folder, verify=True)


def test_a_folder_that_is_no_prepared_dataset_is_refused(folder, tmp_path):
    with pytest.raises(FileReadError, match=r"spec.json"):
        load_prepared(tmp_path / "nothing")
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    (folder / "spec.json").write_text(json.dumps({**spec, "format": "another"}), encoding="utf-8")
    with pytest.raises(FileReadError, match="not a prepared dataset"):
        load_prepared(folder)
    del spec["splits"]
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    with pytest.raises(FileReadError, match="lacks an entry"):
        load_prepared(folder)


@pytest.mark.parametrize("change", [{"num_classes": 4}, {"mean": (0.0, 0.0, 0.0)}, {"std": (1.0, 1.0, 1.0)}])
def test_splits_must_belong_together(tmp_path, change):
    with pytest.raises(DatasetError, match=next(iter(change))):
        save_prepared(tmp_path / "data", some(20, 0), dataclasses.replace(some(7, 1), **change), {})
    assert not list(tmp_path.iterdir())


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="'test' has no images"):
        save_prepared(tmp_path / "data", some(20, 0), some(0, 1), {})


def test_nothing_half_written_is_left_when_the_disk_is_full(tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(FileWriteError, match="No space left"):
        save_prepared(tmp_path / "data", some(20, 0), some(7, 1), {})
    assert not list(tmp_path.iterdir())
