"""What every registered scorer must do; a new one needs an entry in `SMALL`, and no other test."""

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

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import CheckpointError
from nasbench.core.table import load_table, save_table
from nasbench.datasets.base import ImageSet
from nasbench.scorers import SCORERS
from nasbench.scorers.base import ComputeOptions, ExampleScorer
from nasbench.tracking.tracker import NullTracker

SMALL: dict[str, dict[str, Any]] = {
    "entropy": {"recipe": {"epochs": 1, "batch_size": 16, "augmentation": {"crop_padding": 1, "flip": False}}},
}
"""Fields that make a scorer quick on 40 images of 8x8."""


def made_up(count: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    return ImageSet(
        images=rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8),
        labels=np.arange(count) % 4,
        ids=tuple(f"image-{row}" for row in range(count)),
        num_classes=4,
        mean=(0.5,),
        std=(0.3,),
    )


TRAIN, TEST = made_up(40, 0), made_up(12, 1)


def build(name: str) -> ExampleScorer:
    return parse(SCORERS.get(name), SMALL[name])


def run(name: str, folder: Path, seed: int = 0):
    folder.mkdir()
    scorer = build(name)
    metrics = scorer.train(TRAIN, TEST, folder, seed=seed, compute=ComputeOptions(), tracker=NullTracker())
    return metrics, scorer.score(TRAIN, folder, compute=ComputeOptions(), tracker=NullTracker())


def test_every_member_is_known_here():
    assert set(SCORERS.names()) == set(SMALL)


@pytest.mark.parametrize("name", SCORERS.names())
def test_member_is_a_documented_frozen_component(name):
    cls = SCORERS.get(name)
    assert issubclass(cls, ExampleScorer)
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
    assert cls.columns
    text = inspect.getdoc(cls) or ""
    parts = ["Formula:", "Reference:", "Differs from the paper:", "Attributes:", "Shape:", "Raises:", "Example:"]
    places = [text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert "arXiv:" in text
    assert all(f"{field.name}:" in text for field in dataclasses.fields(cls))
    assert parse(cls, fields_of(cls())) == cls()


@pytest.mark.parametrize("name", SCORERS.names())
def test_scores_are_finite_named_and_of_this_dataset(name, tmp_path):
    metrics, table = run(name, tmp_path / "a")
    assert 0 <= metrics["top1"] <= 1
    assert tuple(table.columns) == SCORERS.get(name).columns
    assert all(column.dtype == np.float64 and np.isfinite(column).all() for column in table.columns.values())
    assert table.dataset == TRAIN.fingerprint
    assert table.ids == TRAIN.ids
    save_table(tmp_path / "table.parquet", table)
    again = load_table(tmp_path / "table.parquet")
    assert all(np.array_equal(again.columns[key], table.columns[key]) for key in table.columns)


@pytest.mark.parametrize("name", SCORERS.names())
def test_same_seed_same_files_and_scores_other_seed_others(name, tmp_path):
    first, second, third = (run(name, tmp_path / key, seed)[1] for key, seed in (("a", 0), ("b", 0), ("c", 1)))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    for key in first.columns:
        assert np.array_equal(first.columns[key], second.columns[key])
        assert not np.array_equal(first.columns[key], third.columns[key])


@pytest.mark.parametrize("name", SCORERS.names())
def test_the_default_generators_are_left_alone(name, tmp_path):
    import torch

    before = torch.random.get_rng_state()
    run(name, tmp_path / "a")
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", SCORERS.names())
def test_an_empty_folder_is_refused(name, tmp_path):
    with pytest.raises(CheckpointError):
        build(name).score(TRAIN, tmp_path, compute=ComputeOptions(), tracker=NullTracker())


def test_listing_the_family_imports_no_framework():
    code = (
        "import sys; from nasbench.scorers import SCORERS; SCORERS.names(); "
        "print([n for n in ('torch', 'torchvision', 'timm', 'sklearn', 'pandas', 'mlflow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
