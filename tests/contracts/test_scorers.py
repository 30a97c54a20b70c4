"""What every registered scorer must do; a new one needs entries in `SMALL` and `CHANGES`, and no other test."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import inspect
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import CheckpointError, ConfigError, ScoreError, TrainingError
from nasbench.core.table import FEATURES, load_table, save_table
from nasbench.datasets.base import ImageSet
from nasbench.scorers import SCORERS, partial
from nasbench.scorers.base import ComputeOptions, ExampleScorer
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.determinism import seeded

TINY = "timm:test_resnet"
RECIPE = {"epochs": 2, "batch_size": 16, "augmentation": {"crop_padding": 1, "flip": False}}
CONSTANT = RECIPE | {"schedule": "step", "learning_rate": 0.01}


@functools.cache
def backbone_file(seed: int = 0) -> str:
    """Weights of a tiny model of timm, as if they were ImageNet's."""
    folder = Path(tempfile.mkdtemp(prefix="nasbench-scorers-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / f"backbone-{seed}.pt"
    with seeded(seed):
        torch.save(timm.create_model("test_resnet", num_classes=7, in_chans=3).state_dict(), path)
    return str(path)


SMALL: dict[str, dict[str, Any]] = {
    "entropy": {"recipe": RECIPE, "batch_size": 8},
    "features": {"recipe": RECIPE, "batch_size": 8},
    "forgetting": {"recipe": RECIPE | {"epochs": 3}},
    "pixels": {"batch_size": 8},
    "reconstruction": {"epochs": 2, "batch_size": 8},
    "transfer-loss": {"backbone": TINY, "weights": backbone_file(), "recipe": CONSTANT, "batch_size": 8},
}
"""Fields that make a scorer quick on 40 images of 8x8."""

CLASSIFIER = {
    "model": TINY,
    "recipe": RECIPE | {"epochs": 1},
    "precision": "bfloat16",
    "input_mean": [0.2],
    "input_std": [0.9],
}
CHANGES: dict[str, dict[str, Any]] = {
    "entropy": CLASSIFIER,
    "features": CLASSIFIER,
    "forgetting": {"model": TINY, "recipe": RECIPE | {"epochs": 4}},
    "pixels": {"batch_size": 16},
    "reconstruction": {"loss": "bce", "epochs": 1, "batch_size": 10, "learning_rate": 0.01},
    "transfer-loss": {
        "backbone": "timm:test_resnet.r160_in1k",
        "weights": backbone_file(1),
        "variant": "code",
        "recipe": CONSTANT | {"epochs": 1},
    },
}
"""Another value of each field, which must change the scores; those of `ELSEWHERE` are tested in their own files."""

ELSEWHERE = {
    "entropy": {"weights", "pretrained", "batch_size"},
    "features": {"weights", "pretrained", "batch_size"},
    "transfer-loss": {"batch_size"},
}
SAME = {("transfer-loss", "backbone"), ("pixels", "batch_size")}
"""Changes that are another name for the same (a test of its own shows that it matters), or matter for memory only."""


def made_up(count: int, seed: int, channels: int = 1, side: int = 8) -> ImageSet:
    rng = np.random.default_rng(seed)
    return ImageSet(
        images=rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8),
        labels=np.arange(count) % 4,
        ids=tuple(f"image-{row}" for row in range(count)),
        num_classes=4,
        mean=(0.5,) * channels,
        std=(0.3,) * channels,
    )


TRAIN, TEST = made_up(40, 0), made_up(12, 1)


def build(name: str, **changes: Any) -> ExampleScorer:
    fields = SMALL[name] | changes
    if "input_mean" in changes or "input_std" in changes:
        fields = {"input_mean": [0.5], "input_std": [0.3]} | fields
    return parse(SCORERS.get(name), fields)


def train(scorer: ExampleScorer, folder: Path, seed: int = 0, **options: Any):
    folder.mkdir(exist_ok=True)
    compute = ComputeOptions(checkpoint=options.get("checkpoint"))
    sets = options.get("sets", (TRAIN, TEST))
    return scorer.train(*sets, folder, seed=seed, compute=compute, tracker=options.get("tracker", NullTracker()))


def score(scorer: ExampleScorer, folder: Path, images: ImageSet = TRAIN, checkpoint: Path | None = None):
    return scorer.score(images, folder, compute=ComputeOptions(checkpoint=checkpoint), tracker=NullTracker())


def arrays(table) -> dict[str, np.ndarray]:
    found = dict(table.columns)
    return found if table.features is None else found | {FEATURES: table.features}


def same(first, second) -> bool:
    one, other = arrays(first), arrays(second)
    return one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)


@pytest.fixture(scope="module")
def trained(made):
    """Folder of each member's model after a small training, with its metrics and table."""
    return lambda name: made(name)[:3]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same, and PyTorch's own generator before and after."""

    @functools.cache
    def of(name: str):
        folder, before = tmp_path_factory.mktemp(name) / "model", torch.random.get_rng_state()
        metrics = train(build(name), folder)
        return folder, metrics, score(build(name), folder), before, torch.random.get_rng_state()

    return of


every_member = pytest.mark.parametrize("name", SCORERS.names())
TRAINED = [name for name in SCORERS.names() if name != "pixels"]  # which has nothing to train
every_trained_member = pytest.mark.parametrize("name", TRAINED)


def test_every_member_is_known_here():
    assert set(SCORERS.names()) == set(SMALL) == set(CHANGES)
    for name in SMALL:
        fields = {field.name for field in dataclasses.fields(SCORERS.get(name))}
        assert fields == set(CHANGES[name]) | ELSEWHERE.get(name, set()), name


@every_member
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
    documented = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__)
    assert all(f"{field.name}:" in documented for field in dataclasses.fields(cls))
    assert parse(cls, fields_of(cls())) == cls()


@every_member
def test_scores_are_finite_named_and_of_this_dataset(name, tmp_path, trained):
    _, metrics, table = trained(name)
    assert name not in TRAINED or 0 <= metrics.get("top1", metrics.get("test_loss", -1)) <= 1
    assert set(arrays(table)) == set(SCORERS.get(name).columns)
    assert all(column.dtype == np.float64 and np.isfinite(column).all() for column in table.columns.values())
    if table.features is not None:
        assert table.features.dtype == np.float32
        assert table.features.shape == (len(TRAIN), 64)
    assert table.dataset == TRAIN.fingerprint
    assert tuple(table.ids) == TRAIN.ids
    assert table.labels.tolist() == TRAIN.labels.tolist()
    save_table(tmp_path / "table.parquet", table)
    assert same(load_table(tmp_path / "table.parquet"), table)


@every_trained_member
def test_same_seed_same_files_and_scores_other_seed_others(name, tmp_path, trained):
    folder, _, first = trained(name)
    train(build(name), tmp_path / "b")
    train(build(name), tmp_path / "c", seed=1)
    files = sorted(path.name for path in folder.iterdir())
    assert files
    assert all((folder / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    assert same(first, score(build(name), tmp_path / "b"))
    other = arrays(score(build(name), tmp_path / "c"))
    assert all(not np.array_equal(values, other[key]) for key, values in arrays(first).items())


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in CHANGES for field in CHANGES[name]])
def test_every_field_matters(name, field, tmp_path, trained):
    scorer = build(name, **{field: CHANGES[name][field]})
    if field in {"input_mean", "input_std"}:
        assert fields_of(scorer)[field] == CHANGES[name][field]
    train(scorer, tmp_path / "a")
    changed = score(scorer, tmp_path / "a")
    assert same(changed, trained(name)[2]) == ((name, field) in SAME)


class Killed(NullTracker):
    """Fails like a killed process when the first epoch has been logged."""

    def log_metrics(self, metrics, step=None):
        raise KeyboardInterrupt


@every_trained_member
def test_a_killed_training_goes_on_and_gives_the_same_bytes(name, tmp_path, trained):
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(build(name), tmp_path / "a", checkpoint=checkpoint, tracker=Killed())
    assert checkpoint.is_file()
    assert not list((tmp_path / "a").iterdir())
    tracker = RecordingTracker()
    train(build(name), tmp_path / "a", checkpoint=checkpoint, tracker=tracker)
    folder = trained(name)[0]
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes(), path.name
    steps = [step for step, metrics in tracker.metrics if "train_loss" in metrics]
    assert steps == list(range(len(steps)))  # the curves are whole
    assert len(steps) >= 2
    with pytest.raises(CheckpointError, match="belongs to another run"):
        train(build(name), tmp_path / "b", seed=1, checkpoint=checkpoint)


PASSES = [name for name in SMALL if name != "forgetting"]  # its scores are counted in training


@pytest.mark.parametrize("name", PASSES)
def test_a_killed_pass_goes_on_and_gives_the_same_bytes(name, tmp_path, trained, monkeypatch):
    folder, _, whole = trained(name)
    checkpoint = tmp_path / "checkpoint.pt"
    monkeypatch.setattr(partial, "ROWS_PER_BLOCK", 16)
    save, seen = partial.PartialScores.save, []

    def killed(self, done):
        save(self, done)
        seen.append(done)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(partial.PartialScores, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        score(build(name), folder, checkpoint=checkpoint)
    other = dataclasses.replace(TRAIN, images=255 - TRAIN.images)
    with pytest.raises(CheckpointError, match=r"belongs to another run: .*images is"):
        score(build(name), folder, other, checkpoint=checkpoint)
    assert same(score(build(name), folder, checkpoint=checkpoint), whole)
    assert seen == [16, 32, 40]  # nothing was computed twice
    assert same(score(build(name), folder, checkpoint=checkpoint), whole)
    assert seen == [16, 32, 40]  # whole passes are kept until the caller has stored the table
    partial.discard(checkpoint)
    assert not partial.folder_beside(checkpoint).exists()


@every_member
def test_the_default_generators_are_left_alone(name, made):
    *_, before, after = made(name)
    assert torch.equal(before, after)


@every_member
def test_an_empty_folder_is_refused(name, tmp_path):
    with pytest.raises(CheckpointError):
        score(build(name), tmp_path)


@every_member
def test_a_folder_of_another_scorer_is_refused(name, trained):
    others = [other for other in SMALL if {name, other} != {"entropy", "features"} and name != other]
    for other in others:  # entropy and features read the same kind of classifier
        with pytest.raises(CheckpointError):
            score(build(name), trained(other)[0])


@every_member
@pytest.mark.parametrize("images", [made_up(40, 0, channels=3), made_up(40, 0, side=9)], ids=["colour", "larger"])
def test_images_of_another_shape_are_refused(name, images, trained):
    with pytest.raises(CheckpointError, match="Train "):
        score(build(name), trained(name)[0], images)


@every_trained_member
def test_an_altered_file_is_refused(name, tmp_path, trained):
    for path in trained(name)[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = next(path for path in tmp_path.iterdir() if path.suffix in {".pt", ".npy"})
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(CheckpointError):
        score(build(name), tmp_path)


@every_trained_member
def test_a_loss_that_is_not_finite_is_named(name, tmp_path):
    rate = {"learning_rate": 1e30}
    changes = rate if name == "reconstruction" else {"recipe": SMALL[name]["recipe"] | rate}
    scorer = build(name, **changes)

    def both() -> None:
        train(scorer, tmp_path / "a")
        score(scorer, tmp_path / "a")

    with pytest.raises((TrainingError, ScoreError), match=r"learning_rate|train it again"):
        both()


@every_trained_member
def test_given_weights_are_taken_only_where_nothing_is_trained(name, tmp_path):
    scorer = build(name)
    assert not scorer.takes_given_weights
    with pytest.raises(ConfigError, match="train and a test split"):
        scorer.adopt(TRAIN, tmp_path)


def test_pixels_are_the_images_themselves(tmp_path):
    scorer = build("pixels")
    assert scorer.takes_given_weights
    scorer.adopt(TRAIN, tmp_path)
    whole = TRAIN.images.transpose(0, 3, 1, 2).reshape(len(TRAIN), -1) / 255
    assert np.abs(score(scorer, tmp_path).features - whole).max() < 1e-6
