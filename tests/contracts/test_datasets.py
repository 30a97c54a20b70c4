"""What every registered dataset must do; a new one needs an entry in `EMBEDDED` or `NEEDS_FILES`, and no other test."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
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
NEEDS_FILES = {"cifar10", "cifar100", "fashion-mnist", "svhn", "image-folder"}
OTHER_FIELDS: dict[str, dict[str, Any]] = {
    "digits": {"test_size": 500},
    "image-folder": {"image_size": 4, "channels": 1, "mean": (0.5,), "std": (0.25,)},
}


def write_folder(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("ant", "bee"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, ImageSet]]:
    """Both splits of every dataset that can be had offline."""
    root = tmp_path_factory.mktemp("images")
    write_folder(root)
    return {
        name: {split: DATASETS.get(name)().load(split, root=root) for split in ("train", "test")}
        for name in (*EMBEDDED, "image-folder")
    }


OFFLINE = sorted({*EMBEDDED, "image-folder"})


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
    assert all(f"{field.name}:" in text for field in dataclasses.fields(cls))
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


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_field_changes_the_set(name, loaded, tmp_path):
    names = {field.name for field in dataclasses.fields(DATASETS.get(name))}
    assert names == set(OTHER_FIELDS.get(name, {}))
    if not names:
        return
    write_folder(tmp_path)
    plain = loaded[name]["train"]
    changes = OTHER_FIELDS[name]
    for field in sorted(names - {"mean", "std"}):
        other = DATASETS.get(name)(**{field: changes[field]}).load("train", root=tmp_path)
        assert other.fingerprint != plain.fingerprint, field
    if "mean" in names:
        given = DATASETS.get(name)(mean=(0.5,) * 3, std=(0.25,) * 3).load("train", root=tmp_path)
        assert given.mean != plain.mean
        assert given.std != plain.std


def test_listing_the_family_imports_no_framework():
    code = (
        "import sys; from nasbench.datasets import DATASETS; DATASETS.names(); "
        "print([n for n in ('torch', 'torchvision', 'sklearn', 'mlxtend', 'pandas', 'PIL') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
