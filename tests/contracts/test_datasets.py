"""What every registered dataset must do; a new one needs an entry in `EMBEDDED` or `NEEDS_FILES`, and no other test."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasbench.core.errors import DatasetError
from nasbench.datasets import DATASETS
from nasbench.datasets.base import DatasetSpec, ImageSet
from nasbench.datasets.prepared import load_prepared, save_prepared

EMBEDDED = {"digits": (1, 8, 8), "mnist5k": (1, 28, 28)}
NEEDS_FILES = {
    "cifar10", "cifar100", "fashion-mnist", "svhn", "image-folder", "npz", "flowers102", "mit67", "imagenet1k",
    "imagenet16-120", "imagenet22k",
}  # fmt: skip
WRITTEN = ("image-folder", "npz", "mit67", "imagenet1k", "imagenet22k")
"""Those whose files are written here; of the others, whose files bear check sums, the unit tests write some."""

FILES = {"image_size": 4, "in_memory": False, "checksum": True}
OTHER_FIELDS: dict[str, dict[str, Any]] = {
    "digits": {"test_size": 500},
    "image-folder": {**FILES, "channels": 1, "mean": (0.5,) * 3, "std": (0.25,) * 3},
    "npz": {"file": "both.npz", "num_classes": 4, "mean": (0.5,) * 3, "std": (0.25,) * 3},
    "cifar10": {"split_rule": "40-40-20"},
    "cifar100": {"split_rule": "40-40-20"},
    "flowers102": {**FILES, "split_rule": "40-40-20"},
    "mit67": {**FILES, "split_rule": "40-40-20"},
    "imagenet1k": {**FILES, "in_memory": True, "split_rule": "40-40-20"},
    "imagenet22k": {**FILES, "in_memory": True, "split_rule": "40-40-20", "index_file": "list.tsv"},
}
TOGETHER = {"mean": ("mean", "std"), "std": ("mean", "std"), "checksum": ("checksum", "in_memory")}
"""Fields that mean nothing alone."""


def write_image(path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(path)


def write_files(name: str, root: Path) -> Path:
    """Write a small dataset of two classes in the form that a member reads; returns its root."""
    rng, place = np.random.default_rng(0), root / name
    counts = {"train": 10, "test": 5}
    folders = {
        "image-folder": {"train": "train", "test": "test"},
        "imagenet1k": {"train": "train", "test": "val"},
        "imagenet22k": {"train": "."},
        "mit67": {"train": "Images", "test": "Images"},
    }
    for split, folder in folders.get(name, {}).items():
        for label in ("ant", "bee"):
            for number in range(counts[split]):
                write_image(place / folder / label / f"{split}{number}.png", rng)
    if name == "mit67":
        for file, split in (("TrainImages.txt", "train"), ("TestImages.txt", "test")):
            names = (f"{label}/{split}{number}.png" for label in ("bee", "ant") for number in range(counts[split] - 1))
            (place / file).write_text("\n".join(names), encoding="utf-8")
    if name == "npz":
        write_arrays(place, rng)
    return place


def write_arrays(place: Path, rng: np.random.Generator) -> None:
    place.mkdir(parents=True)
    for file, classes in (("", 2), ("both", 3)):
        both = {}
        for split, count in (("train", 12), ("test", 6)):
            arrays = {
                "images": rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8),
                "labels": np.arange(count) % classes,
            }
            both |= {f"{split}_{key}": value for key, value in arrays.items()}
            if not file:
                np.savez(place / f"{split}.npz", **arrays)
        np.savez(place / f"{file or 'other'}.npz", **both)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, ImageSet]]:
    """Both splits of every dataset that can be had offline."""
    root = tmp_path_factory.mktemp("images")
    return {
        name: {split: DATASETS.get(name)().load(split, root=place) for split in ("train", "test")}
        for name, place in (
            *((name, root) for name in EMBEDDED),
            *((name, write_files(name, root)) for name in WRITTEN),
        )
    }


OFFLINE = sorted({*EMBEDDED, *WRITTEN})


def test_every_member_is_known_here():
    assert set(DATASETS.names()) == {*EMBEDDED, *NEEDS_FILES}


@pytest.mark.parametrize("name", DATASETS.names())
def test_member_is_a_documented_frozen_component(name):
    cls = DATASETS.get(name)
    assert issubclass(cls, DatasetSpec)
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
    text = inspect.getdoc(cls) or ""
    parts = ["Reference:", "Differs from the paper:", "Shape:", "Raises:", "Example:"]
    if dataclasses.fields(cls):
        parts.insert(2, "Attributes:")
    places = [text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    documented = "".join(inspect.getdoc(base) or "" for base in cls.__mro__)
    assert all(f"{field.name}:" in documented for field in dataclasses.fields(cls))
    assert cls() == cls()
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().anything = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", DATASETS.names())
def test_unknown_split_is_refused(name, tmp_path):
    with pytest.raises(DatasetError, match="validation"):
        DATASETS.get(name)().load("validation", root=tmp_path)


@pytest.mark.parametrize("name", sorted(NEEDS_FILES))
def test_absent_files_are_named_with_the_place(name, tmp_path):
    with pytest.raises(DatasetError, match=re.escape(str(tmp_path))):
        DATASETS.get(name)().load("train", root=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", OFFLINE)
def test_splits_belong_together(name, loaded):
    train, test = loaded[name]["train"], loaded[name]["test"]
    assert train.image_shape == test.image_shape == EMBEDDED.get(name, train.image_shape)
    assert (train.num_classes, train.mean, train.std) == (test.num_classes, test.mean, test.std)
    assert len(train.mean) == len(train.std) == train.image_shape[0]
    assert train.fingerprint != test.fingerprint
    assert len(set(train.ids)) == len(train)
    assert set(train.labels.tolist()) == set(range(train.num_classes))
    assert train.labels.dtype == np.int64


@pytest.mark.parametrize("name", OFFLINE)
def test_prepared_form_is_the_same_set(name, loaded, tmp_path):
    train, test = loaded[name]["train"], loaded[name]["test"]
    save_prepared(tmp_path / "data", train, test, {"dataset": name})
    data = load_prepared(tmp_path / "data", verify=True)
    assert (data.train.fingerprint, data.test.fingerprint) == (train.fingerprint, test.fingerprint)
    assert (data.train.ids, data.test.mean) == (train.ids, test.mean)


@pytest.mark.parametrize("name", OFFLINE)
def test_the_sources_are_what_is_read(name, tmp_path):
    """DVC is told of these: files that are moved away must be missed, and lie below the root."""
    spec = DATASETS.get(name)()
    if name in EMBEDDED:
        assert spec.sources(tmp_path) == ()
        return
    place = write_files(name, tmp_path)
    sources = spec.sources(place)
    assert all(path.is_relative_to(place) for path in sources)
    present = [path for path in sources if path.exists()]
    assert present
    for path in present:
        path.rename(tmp_path / f"moved{len(list(tmp_path.iterdir()))}")
    with pytest.raises(DatasetError):
        spec.load("train", root=place)


def what(images: ImageSet) -> tuple[Any, ...]:
    return images.fingerprint, images.mean, images.std, images.num_classes, type(images.images)


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_field_changes_the_set(name, loaded, tmp_path):
    names = {field.name for field in dataclasses.fields(DATASETS.get(name))}
    assert names == set(OTHER_FIELDS.get(name, {}))
    if name not in OFFLINE or not names:
        return
    place = tmp_path if name in EMBEDDED else write_files(name, tmp_path)
    changes = OTHER_FIELDS[name]
    for field in sorted(names):
        chosen = {part: changes[part] for part in TOGETHER.get(field, (field,))}
        if field == "checksum":
            chosen["in_memory"] = False
        plain = loaded[name]["train"]
        if field == "num_classes":
            with pytest.raises(DatasetError, match="4 classes"):
                DATASETS.get(name)(**chosen).load("train", root=place)
            continue
        if field == "index_file":
            rows = ("ant/train3.png\t1", "bee/train0.png\t0", "bee/train1.png\t0", "ant/train1.png\t1")
            (place / "list.tsv").write_text("\n".join(rows), encoding="utf-8")
        if field == "channels":
            plain = DATASETS.get(name)(in_memory=True).load("train", root=place)
        assert what(DATASETS.get(name)(**chosen).load("train", root=place)) != what(plain), field
        (place / "list.tsv").unlink(missing_ok=True)
