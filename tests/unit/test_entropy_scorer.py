"""The entropy scorer: training, given weights, options, and refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import CheckpointError, ConfigError, ScoreError
from nasbench.datasets.base import ImageSet
from nasbench.models import zoo
from nasbench.models.state_dict import read_model_file
from nasbench.scorers.base import ComputeOptions
from nasbench.scorers.entropy import Entropy
from nasbench.scorers.trained import CLASSIC, IMAGENET_MEAN, IMAGENET_STD
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.recipe import Augmentation, Recipe

SHORT = Recipe(epochs=1, batch_size=16, learning_rate=0.05, augmentation=Augmentation(crop_padding=1, flip=False))


def made_up(count: int, seed: int, channels: int = 1, classes: int = 3, side: int = 8) -> ImageSet:
    """Classes differ in brightness, so that something can be learned."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    pixels = rng.integers(0, 100, (count, side, side, channels)) + 60 * labels[:, None, None, None]
    return ImageSet(
        images=pixels.clip(0, 255).astype(np.uint8),
        labels=labels,
        ids=tuple(str(row) for row in range(count)),
        num_classes=classes,
        mean=(0.4,) * channels,
        std=(0.25,) * channels,
    )


TRAIN, TEST = made_up(48, 0), made_up(20, 1)


def trained(folder: Path, scorer: Entropy, *, seed: int = 0, checkpoint: Path | None = None, sets=(TRAIN, TEST)):
    folder.mkdir(exist_ok=True)
    tracker = RecordingTracker()
    compute = ComputeOptions(checkpoint=checkpoint)
    return scorer.train(*sets, folder, seed=seed, compute=compute, tracker=tracker), tracker


def scores(folder: Path, scorer: Entropy, images: ImageSet = TRAIN) -> np.ndarray:
    table = scorer.score(images, folder, compute=ComputeOptions(), tracker=NullTracker())
    return table.columns["entropy"]


def weights_file(path: Path, *, classes: int = 3, channels: int = 1, name: str = "resnet20", seed: int = 3) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(zoo.create(name, classes, channels).state_dict(), path)
    return str(path)


def test_training_writes_a_classifier_and_metrics(tmp_path):
    metrics, tracker = trained(tmp_path / "a", Entropy(recipe=SHORT))
    assert {"top1", "best_top1", "parameters", "macs", "seconds", "peak_memory_bytes"} == set(metrics)
    assert 0 <= metrics["top1"] <= 1
    description = json.loads((tmp_path / "a/model.json").read_text(encoding="utf-8"))
    assert description["top1"] == metrics["top1"]
    assert description["dataset"] == TRAIN.fingerprint
    assert (description["model"], description["num_classes"]) == ("resnet20", 3)
    assert (description["input_mean"], description["input_std"]) == ([0.4], [0.25])
    assert "train_loss" in tracker.metrics[0][1]
    assert tracker.artifacts == [("scorer", tmp_path / "a/model.json")]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["model.json", "weights.pt"]


def test_scores_fit_the_table_and_the_stored_model(tmp_path):
    scorer = Entropy(recipe=SHORT)
    metrics, _ = trained(tmp_path / "a", scorer)
    table = scorer.score(TRAIN, tmp_path / "a", compute=ComputeOptions(), tracker=NullTracker())
    assert table.dataset == TRAIN.fingerprint
    assert table.ids == TRAIN.ids
    assert table.labels.tolist() == TRAIN.labels.tolist()
    model = zoo.create("resnet20", 3, 1).eval()
    model.load_state_dict(dict(read_model_file(tmp_path / "a/weights.pt").state))
    pixels = torch.from_numpy((TRAIN.images / 255.0 - 0.4) / 0.25).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        shares = model(pixels).double().softmax(dim=1)
    wanted = -(shares * shares.log()).sum(dim=1)
    np.testing.assert_allclose(table.columns["entropy"], wanted.numpy(), rtol=1e-4)
    assert metrics["parameters"] == sum(weight.numel() for weight in model.parameters())


def test_same_seed_same_bytes_other_seed_other_weights(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trained(tmp_path / name, Entropy(recipe=SHORT), seed=seed)
    for file in ("weights.pt", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def test_a_checkpoint_is_resumed_and_belongs_to_its_options(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    trained(tmp_path / "a", Entropy(recipe=SHORT), checkpoint=checkpoint)
    written = checkpoint.read_bytes()
    trained(tmp_path / "b", Entropy(recipe=SHORT), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == written
    assert (tmp_path / "a/weights.pt").read_bytes() == (tmp_path / "b/weights.pt").read_bytes()
    other = Entropy(recipe=SHORT, input_mean=(0.1,), input_std=(0.25,))
    with pytest.raises(CheckpointError, match="input_mean"):
        trained(tmp_path / "c", other, checkpoint=checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "resnet32"},
        {"recipe": dataclasses.replace(SHORT, learning_rate=0.01)},
        {"input_mean": (0.2,), "input_std": (0.25,)},
        {"input_mean": (0.4,), "input_std": (0.5,)},
    ],
)
def test_options_of_a_training_matter(tmp_path, change):
    plain, other = Entropy(recipe=SHORT), Entropy(**{"recipe": SHORT, **change})
    trained(tmp_path / "a", plain)
    trained(tmp_path / "b", other)
    assert not np.allclose(scores(tmp_path / "a", plain), scores(tmp_path / "b", other))


def test_batch_size_is_the_number_of_images_a_step(tmp_path, monkeypatch):
    weights = weights_file(tmp_path / "w.pt")
    sizes = []
    forward = zoo.create("resnet20", 3, 1).__class__.forward
    monkeypatch.setattr(
        "nasbench.models.resnet_cifar.CifarResNet.forward",
        lambda self, batch: sizes.append(len(batch)) or forward(self, batch),
    )
    scorer = Entropy(weights=weights, batch_size=20)
    scorer.adopt(TRAIN, tmp_path)
    sizes.clear()
    scores(tmp_path, scorer)
    assert sizes[-3:] == [20, 20, 8]


def test_given_weights_are_measured_and_used(tmp_path):
    scorer = Entropy(weights=weights_file(tmp_path / "w.pt"))
    metrics, _ = trained(tmp_path / "a", scorer)
    assert set(metrics) == {"top1", "parameters", "macs", "seconds", "peak_memory_bytes"}
    assert metrics["top1"] == json.loads((tmp_path / "a/model.json").read_text(encoding="utf-8"))["top1"]
    other = Entropy(weights=weights_file(tmp_path / "v.pt", seed=4))
    trained(tmp_path / "b", other)
    assert not np.allclose(scores(tmp_path / "a", scorer), scores(tmp_path / "b", other))


def test_adopting_scores_as_training_does_without_measuring(tmp_path):
    scorer = Entropy(weights=weights_file(tmp_path / "w.pt"))
    trained(tmp_path / "a", scorer)
    (tmp_path / "b").mkdir()
    scorer.adopt(TRAIN, tmp_path / "b")
    assert np.array_equal(scores(tmp_path / "a", scorer), scores(tmp_path / "b", scorer))
    assert json.loads((tmp_path / "b/model.json").read_text(encoding="utf-8"))["top1"] is None
    with pytest.raises(ConfigError, match="weights file is needed"):
        Entropy().adopt(TRAIN, tmp_path / "b")


def test_statistics_of_given_weights(tmp_path):
    """Own option before the file's own, before ImageNet's for colour, before the dataset's for grey."""
    grey, colour = made_up(8, 0), made_up(8, 0, channels=3)
    bare = weights_file(tmp_path / "bare.pt", channels=3)
    own = {"state_dict": torch.load(bare, weights_only=True), "input_mean": [0.1] * 3, "input_std": [0.2] * 3}
    torch.save(own, tmp_path / "own.pt")
    cases = [
        (Entropy(weights=weights_file(tmp_path / "grey.pt")), grey, grey.mean, grey.std),
        (Entropy(weights=bare), colour, IMAGENET_MEAN, IMAGENET_STD),
        (Entropy(weights=str(tmp_path / "own.pt")), colour, (0.1,) * 3, (0.2,) * 3),
        (
            Entropy(weights=str(tmp_path / "own.pt"), input_mean=(0.3,) * 3, input_std=(0.4,) * 3),
            colour,
            (0.3,) * 3,
            (0.4,) * 3,
        ),
    ]
    for scorer, images, mean, std in cases:
        scorer.adopt(images, tmp_path)
        description = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
        assert (tuple(description["input_mean"]), tuple(description["input_std"])) == (mean, std)


def test_our_own_file_serves_as_given_weights(tmp_path):
    trained(tmp_path / "a", Entropy(recipe=SHORT))
    again = Entropy(weights=str(tmp_path / "a/weights.pt"))
    trained(tmp_path / "b", again)
    assert np.array_equal(scores(tmp_path / "a", again), scores(tmp_path / "b", again))


def test_a_residual_network_of_more_classes_may_score_but_not_be_measured(tmp_path):
    scorer = Entropy(weights=weights_file(tmp_path / "w.pt", classes=10))
    scorer.adopt(TRAIN, tmp_path)
    assert scores(tmp_path, scorer).max() <= np.log(10)
    with pytest.raises(CheckpointError, match=r"linear.weight is float \[10, 64\] in the file, float \[3, 64\]"):
        trained(tmp_path / "a", scorer)
    assert not list((tmp_path / "a").iterdir())


def test_weights_of_fewer_classes_do_not_fit(tmp_path):
    with pytest.raises(CheckpointError, match=r"linear.weight"):
        Entropy(weights=weights_file(tmp_path / "w.pt", classes=2)).adopt(TRAIN, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_truncated_or_foreign_weights_are_refused_and_nothing_is_written(tmp_path):
    path = Path(weights_file(tmp_path / "w.pt"))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"foreign"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"w\.pt"):
            trained(tmp_path / "a", Entropy(weights=str(path)))
    with pytest.raises(CheckpointError, match="missing"):
        trained(tmp_path / "a", Entropy(model="resnet32", weights=weights_file(path)))
    assert not list((tmp_path / "a").iterdir())


def test_a_folder_without_a_classifier_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no trained classifier"):
        scores(tmp_path, Entropy())


@pytest.mark.parametrize("damage", ["truncated", "altered", "absent", "no entry", "renamed"])
def test_a_damaged_classifier_is_refused(tmp_path, damage):
    scorer = Entropy(weights=weights_file(tmp_path / "w.pt"))
    scorer.adopt(TRAIN, tmp_path)
    path, text = tmp_path / "weights.pt", tmp_path / "model.json"
    description = json.loads(text.read_text(encoding="utf-8"))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "altered":
        path.write_bytes(Path(weights_file(tmp_path / "w.pt", seed=9)).read_bytes())
    elif damage == "absent":
        path.unlink()
    elif damage == "no entry":
        del description["input_std"]
    else:
        description["model"] = "resnet32"
    text.write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(CheckpointError):
        scores(tmp_path, scorer)


@pytest.mark.parametrize("images", [made_up(6, 0, channels=3), made_up(6, 0, side=9), made_up(6, 0, classes=5)])
def test_other_images_than_the_classifier_was_made_for_are_refused(tmp_path, images):
    scorer = Entropy(weights=weights_file(tmp_path / "w.pt"))
    scorer.adopt(TRAIN, tmp_path)
    with pytest.raises(CheckpointError, match="is for images"):
        scores(tmp_path, scorer, images)


def test_weights_with_nan_give_an_error_that_names_the_row(tmp_path):
    state = torch.load(weights_file(tmp_path / "w.pt"), weights_only=True)
    state["linear.bias"][1] = torch.nan
    torch.save(state, tmp_path / "w.pt")
    scorer = Entropy(weights=str(tmp_path / "w.pt"))
    scorer.adopt(TRAIN, tmp_path)
    with pytest.raises(ScoreError, match=r"score of row 0 \(id '0'\) is nan"):
        scores(tmp_path, scorer)


def test_a_timm_model_is_trained_and_scored(tmp_path):
    scorer = Entropy(model="timm:resnet10t", recipe=SHORT)
    sets = (made_up(12, 0, side=32), made_up(6, 1, side=32))
    trained(tmp_path / "a", scorer, sets=sets)
    assert np.isfinite(scores(tmp_path / "a", scorer, sets[0])).all()


def test_pretrained_is_handed_on_and_brings_imagenet_statistics(tmp_path, monkeypatch):
    seen = []
    create = zoo.create
    monkeypatch.setattr(
        zoo,
        "create",
        lambda name, classes, channels, *, pretrained: seen.append(pretrained) or create("resnet20", classes, channels),
    )
    sets = (made_up(12, 0, channels=3), made_up(6, 1, channels=3))
    trained(tmp_path / "a", Entropy(model="timm:resnet10t", pretrained=True, recipe=SHORT), sets=sets)
    assert seen == [True]
    description = json.loads((tmp_path / "a/model.json").read_text(encoding="utf-8"))
    assert tuple(description["input_mean"]) == IMAGENET_MEAN


def test_a_model_that_cannot_take_the_images_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"'timm:vit_tiny_patch16_224' does not take images of .*\(1, 8, 8\)"):
        trained(tmp_path / "a", Entropy(model="timm:vit_tiny_patch16_224", recipe=SHORT))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"model": "resnet_20"}, "Did you mean 'resnet20'"),
        ({"weights": "w.pt", "recipe": {"epochs": 3}}, "recipe has no effect"),
        ({"weights": ""}, "weights"),
        ({"pretrained": True}, "pretrained has no effect"),
        ({"model": "timm:resnet18", "pretrained": True, "weights": "w.pt"}, "pretrained has no effect"),
        ({"recipe": {"drop_path": 0.2}}, "drop_path 0.2"),
        ({"recipe": {"auxiliary_weight": 0.4}}, "auxiliary_weight 0.4"),
        ({"input_mean": [0.5]}, "belong together"),
        ({"input_mean": [0.5], "input_std": [0.0]}, "above 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"precision": "float16"}, "precision"),
        ({"modell": "resnet20"}, "Did you mean 'model'"),
    ],
)
def test_options_are_checked(fields, problem):
    with pytest.raises(ConfigError, match=problem):
        parse(Entropy, fields)


def test_statistics_must_fit_the_channels(tmp_path):
    scorer = Entropy(recipe=SHORT, input_mean=(0.5, 0.5, 0.5), input_std=(0.5, 0.5, 0.5))
    with pytest.raises(ConfigError, match="1 channel"):
        trained(tmp_path / "a", scorer)


def test_the_default_recipe_is_the_classic_one():
    """He et al. 2016, section 4.2: SGD 0.1, momentum 0.9, weight decay 1e-4, batch 128, crop of 4 and flip."""
    assert Entropy().recipe == CLASSIC
    assert (CLASSIC.learning_rate, CLASSIC.momentum, CLASSIC.weight_decay, CLASSIC.batch_size) == (0.1, 0.9, 1e-4, 128)
    assert (CLASSIC.augmentation.crop_padding, CLASSIC.augmentation.flip, CLASSIC.gradient_clip) == (4, True, 0.0)


def test_fields_survive_plain_json():
    scorer = Entropy(model="resnet56", recipe=SHORT, input_mean=(0.1,), input_std=(0.2,))
    assert parse(Entropy, fields_of(scorer)) == scorer
