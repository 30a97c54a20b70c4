"""The training loop: it learns, each option matters, and a kill changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from nasbench.core.errors import CheckpointError, ConfigError, TrainingError
from nasbench.datasets.base import ImageSet
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.determinism import seeded
from nasbench.training.metrics import Average, progress
from nasbench.training.recipe import Augmentation, Recipe
from nasbench.training.trainer import fit

RECIPE = Recipe(
    epochs=4, batch_size=16, learning_rate=0.1, augmentation=Augmentation(crop_padding=1, flip=False, cutout=0)
)
CURVES = {"train_loss", "train_top1", "test_loss", "test_top1", "learning_rate"}


def image_set(count, seed):
    """Three classes that differ by the row that is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    pixels = rng.integers(0, 120, (count, 8, 8, 1))
    for row, label in enumerate(labels):
        pixels[row, 1 + 2 * label : 3 + 2 * label] += 120
    return ImageSet(
        images=pixels.astype(np.uint8),
        labels=labels.astype(np.int64),
        ids=tuple(map(str, range(count))),
        num_classes=3,
        mean=(0.35,),
        std=(0.25,),
    )


TRAIN, TEST = image_set(50, 0), image_set(40, 1)


class Net(nn.Module):
    """Convolution, BN, dropout (to see the generator's state), and optionally an auxiliary head."""

    def __init__(self, auxiliary=False):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Linear(96, 3)
        self.auxiliary_head = nn.Linear(96, 3) if auxiliary else None
        self.seen = []

    def forward(self, images, drop_path=None):
        self.seen.append((self.training, drop_path))
        features = nn.functional.dropout(self.body(images).flatten(1), 0.2, self.training)
        if drop_path:
            features = features * (torch.rand(len(features), 1) > drop_path) / (1 - drop_path)
        extra = self.auxiliary_head(features) if self.training and self.auxiliary_head else None
        return (self.head(features), extra) if self.auxiliary_head else self.head(features)


def net(seed=0, **options):
    with seeded(seed):
        return Net(**options)


def train(recipe=RECIPE, model=None, seed=0, **options):
    model = net() if model is None else model
    result = fit(model, TRAIN, TEST, recipe, seed=seed, **options)
    return result, {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_reports_the_last_epoch():
    tracker = RecordingTracker()
    result, _ = train(dataclasses.replace(RECIPE, epochs=6), tracker=tracker)
    assert result.top1 == result.history[-1]["test_top1"] > 0.8
    assert result.best_top1 == max(record["test_top1"] for record in result.history) >= result.top1
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert result.parameters == 6 * 9 + 12 + 96 * 3 + 3
    assert result.macs == 64 * 6 * 9 + 96 * 3
    assert result.seconds > 0
    assert result.peak_memory_bytes > 10_000_000
    assert [step for step, _ in tracker.metrics] == list(range(6))
    assert all(metrics.keys() == CURVES for _, metrics in tracker.metrics)


def test_the_auxiliary_head_is_trained_but_not_counted():
    recipe = dataclasses.replace(RECIPE, auxiliary_weight=0.4)
    model = net(auxiliary=True)
    before = model.auxiliary_head.weight.detach().clone()
    result, _ = train(recipe, model)
    assert result.parameters == 6 * 9 + 12 + 96 * 3 + 3
    assert not torch.equal(model.auxiliary_head.weight, before)
    with pytest.raises(ConfigError, match="no auxiliary head"):
        train(recipe)


def test_drop_path_grows_linearly_and_is_passed_only_where_it_is_used():
    model = net()
    train(dataclasses.replace(RECIPE, drop_path=0.2), model)
    rates = [rate for training, rate in model.seen if training]
    assert sorted(set(rates)) == pytest.approx([0.0, 0.05, 0.1, 0.15])  # p e / E
    model = net()
    train(model=model)
    assert {rate for _, rate in model.seen} == {None}


CHANGES = {
    "epochs": 5,
    "batch_size": 8,
    "learning_rate": 0.05,
    "final_learning_rate": 0.01,
    "momentum": 0.5,
    "nesterov": True,
    "weight_decay": 0.01,
    "schedule": "step",
    "decay": 0.5,
    "warmup_epochs": 2,
    "gradient_clip": 0.1,
    "label_smoothing": 0.1,
    "drop_path": 0.2,
    "auxiliary_weight": 0.4,
    "augmentation": Augmentation(crop_padding=1, flip=True, cutout=0),
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_of_a_recipe_matters(name):
    base = dataclasses.replace(RECIPE, schedule="step") if name == "decay" else RECIPE
    auxiliary = name == "auxiliary_weight"
    if auxiliary:
        base = dataclasses.replace(base, auxiliary_weight=0.1)
    _, plain = train(base, net(auxiliary=auxiliary))
    _, changed = train(dataclasses.replace(base, **{name: CHANGES[name]}), net(auxiliary=auxiliary))
    assert not same(plain, changed)


def test_the_result_depends_on_the_seed_alone():
    first, weights = train()
    torch.rand(7)  # the surrounding generator has no say
    second, same_weights = train()
    assert first.history == second.history
    assert same(weights, same_weights)
    other, _ = train(seed=1)
    assert other.history != first.history


class StopAfter(NullTracker):
    """Fails like a killed process after so many epochs."""

    def __init__(self, epochs):
        object.__setattr__(self, "left", [None] * epochs)

    def log_metrics(self, metrics, step=None):
        self.left.pop()
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epochs", [1, 3, 4])
def test_resuming_gives_the_same_bits(tmp_path, epochs):
    recipe = dataclasses.replace(RECIPE, drop_path=0.3)
    whole, weights = train(recipe)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, checkpoint=tmp_path / "c.pt", tracker=StopAfter(epochs))
    tracker = RecordingTracker()
    resumed, resumed_weights = train(recipe, checkpoint=tmp_path / "c.pt", tracker=tracker)
    assert resumed.history == whole.history
    assert resumed.top1 == whole.top1
    assert same(weights, resumed_weights)
    assert [step for step, _ in tracker.metrics] == [0, 1, 2, 3]  # the curves are whole


@pytest.mark.parametrize("change", [
    {"seed": 1},
    {"recipe": dataclasses.replace(RECIPE, epochs=5)},
    {"model": "other weights"},
    {"identity": {"genotype": "x"}},
    {"train": TEST},
    {"test": TRAIN},
])  # fmt: skip
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change):
    file = tmp_path / "c.pt"
    run = {"train": TRAIN, "test": TEST, "recipe": RECIPE, "seed": 0, "checkpoint": file}
    fit(net(), **run)
    run |= change
    model = net(1) if run.pop("model", None) else net()
    with pytest.raises(CheckpointError, match="belongs to another run"):
        fit(model, **run)


class Diverging(Net):
    """Its logits become NaN in a given forward pass of training."""

    def __init__(self, at):
        super().__init__()
        self.left = at

    def forward(self, images, drop_path=None):
        self.left -= self.training
        return super().forward(images) * (float("nan") if self.left < 0 else 1.0)


def test_a_nan_is_named_and_the_last_good_checkpoint_kept(tmp_path):
    file = tmp_path / "c.pt"
    with seeded(0):
        model = Diverging(at=5)
    with pytest.raises(TrainingError, match=r"epoch 1, step 1 is nan\. .*c\.pt holds the last good epoch"):
        train(model=model, checkpoint=file)
    weights = torch.load(file, weights_only=True)["state"]["weights"]
    assert all(bool(value.isfinite().all()) for value in weights.values())
    with seeded(0):
        steady = Diverging(at=10_000)
    resumed, _ = train(model=steady, checkpoint=file)
    assert resumed.history == train()[0].history


def test_a_nan_in_the_first_epoch_leaves_no_checkpoint(tmp_path):
    with seeded(0):
        model = Diverging(at=1)
    with pytest.raises(TrainingError, match=r"epoch 0, step 1 is nan\. Lower"):
        train(model=model, checkpoint=tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


def test_the_average_weighs_batches_by_their_size():
    average = Average()
    average.add(1.0, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    average.add(4.0, torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert average.loss == pytest.approx(2.0)
    assert average.top1 == pytest.approx(2 / 3)


def test_the_bar_goes_to_stderr_with_the_estimated_end(capsys):
    with progress(10, 4, "augment") as bar:
        bar.update(6)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "augment: 100%" in captured.err
    assert "10/10" in captured.err
