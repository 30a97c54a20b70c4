"""Forgetting events: the definition, never-learned examples, and a hook that changes no bit of the training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from nasbench.core.errors import CheckpointError, ConfigError
from nasbench.datasets.base import ImageSet
from nasbench.models import zoo
from nasbench.scorers.base import ComputeOptions
from nasbench.scorers.forgetting import Forgetting
from nasbench.scorers.presentations import Presentations
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.determinism import seeded
from nasbench.training.recipe import Augmentation, Recipe
from nasbench.training.trainer import fit

RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=0.05, augmentation=Augmentation(crop_padding=1, flip=False))


def image_set(count: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    pixels = rng.integers(0, 200, (count, 8, 8, 1)) + 25 * labels[:, None, None, None]
    ids = tuple(map(str, range(count)))
    return ImageSet(images=pixels.astype(np.uint8), labels=labels, ids=ids, num_classes=3, mean=(0.4,), std=(0.25,))


TRAIN, TEST = image_set(49, 0), image_set(10, 1)  # one image is left over from batches of 16


def counted(history: list[str]) -> Presentations:
    """Count presentations of examples whose correctness is written as text, one letter an epoch."""
    counts = Presentations(len(history), len(history[0]))
    for epoch in range(len(history[0])):
        order = torch.randperm(len(history), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(2):
            right = torch.tensor([history[int(row)][epoch] == "+" for row in rows])
            logits = torch.stack([right.float(), 1 - right.float()], dim=1)
            counts.presented(epoch, rows, logits, torch.zeros(len(rows), dtype=torch.int64))
        counts.end_epoch(epoch)
    return counts


def test_events_are_transitions_from_correct_to_wrong():
    """Toneva et al. 2019, section 3 and algorithm 1."""
    counts = counted(["++++++", "------", "+-+-+-", "-+-++-", "-----+", "--+++-"])
    events, first = counts.columns
    assert events.tolist() == [0, 7, 3, 2, 0, 1]
    assert first.tolist() == [0, 6, 0, 1, 5, 2]
    assert counts.summary() == {"mean_forgetting_events": 6 / 5, "num_never_learned": 1, "num_unforgettable": 2}


def test_the_epoch_s_curves():
    counts = Presentations(2, 2)
    labels = torch.tensor([0, 0])
    counts.presented(0, torch.tensor([1, 0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), labels)
    assert counts.end_epoch(0) == {"forgotten": 0.0, "never_learned": 1.0}
    counts.presented(1, torch.tensor([0, 1]), torch.tensor([[0.0, 1.0], [0.0, 1.0]]), labels)
    assert counts.end_epoch(1) == {"forgotten": 1.0, "never_learned": 1.0}


def test_counts_of_another_number_of_examples_are_refused():
    with pytest.raises(ValueError, match="examples for 3"):
        Presentations(3, 2).load_state(Presentations(4, 2).state())
    with pytest.raises(KeyError):
        Presentations(3, 2).load_state({})


class Watching(Presentations):
    """Also keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__(len(TRAIN), RECIPE.epochs)
        self.shown: list[tuple[int, list[int], list[int]]] = []

    def presented(self, epoch, rows, logits, labels):
        assert not logits.requires_grad
        self.shown.append((epoch, rows.tolist(), labels.tolist()))
        super().presented(epoch, rows, logits, labels)


def run(**options):
    with seeded(0):
        model = zoo.create("resnet20", 3, 1)
    return fit(model, TRAIN, TEST, RECIPE, seed=0, **options), model.state_dict()


def test_a_hook_changes_no_bit_and_sees_each_example_once_an_epoch_with_its_label(tmp_path):
    plain, weights = run(checkpoint=tmp_path / "plain.pt")
    hook = Watching()
    watched, same_weights = run(hook=hook, checkpoint=tmp_path / "watched.pt")
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)
    names = plain.history[0].keys()
    assert [{name: record[name] for name in names} for record in watched.history] == list(plain.history)
    assert "hook" not in torch.load(tmp_path / "plain.pt", weights_only=True)["state"]
    for epoch in range(RECIPE.epochs):
        rows = [row for number, found, _ in hook.shown if number == epoch for row in found]
        labels = [label for number, _, found in hook.shown if number == epoch for label in found]
        assert sorted(rows) == list(range(len(TRAIN)))
        assert rows != sorted(rows)
        assert labels == TRAIN.labels[rows].tolist()
    with pytest.raises(CheckpointError, match="does not fit the network"):
        run(hook=Watching(), checkpoint=tmp_path / "plain.pt")


def test_the_training_accuracy_is_what_was_counted():
    hook = Watching()
    result, _ = run(hook=hook)
    assert result.history[0]["never_learned"] == pytest.approx((1 - result.history[0]["train_top1"]) * len(TRAIN))


def scores(folder, scorer, **options):
    folder.mkdir(exist_ok=True)
    tracker = options.get("tracker", NullTracker())
    compute = ComputeOptions(checkpoint=options.get("checkpoint"))
    metrics = scorer.train(TRAIN, TEST, folder, seed=0, compute=compute, tracker=tracker)
    return metrics, scorer.score(TRAIN, folder, compute=ComputeOptions(), tracker=NullTracker())


def test_the_table_holds_the_counts_and_the_curves_are_tracked(tmp_path):
    tracker = RecordingTracker()
    metrics, table = scores(tmp_path / "a", Forgetting(recipe=RECIPE), tracker=tracker)
    events, first = table.columns["forgetting_events"], table.columns["first_learned"]
    never = first == RECIPE.epochs
    assert (events[never] == RECIPE.epochs + 1).all()
    assert events[~never].max() <= RECIPE.epochs // 2
    assert metrics["num_never_learned"] == never.sum()
    assert metrics["num_unforgettable"] == (events == 0).sum()
    forgotten = sum(found["forgotten"] for _, found in tracker.metrics)
    assert forgotten == events[~never].sum()
    assert metrics["mean_forgetting_events"] == pytest.approx(forgotten / (~never).sum())
    assert Forgetting(recipe=RECIPE).summary(table) == {
        "forgetting_events_mean": pytest.approx(forgotten / (~never).sum()),
        "first_learned_mean": pytest.approx(first[~never].mean()),
        "num_never_learned": never.sum(),
    }


def test_counts_are_only_of_the_images_that_were_trained_on(tmp_path):
    scorer = Forgetting(recipe=RECIPE)
    scores(tmp_path / "a", scorer)
    other = dataclasses.replace(TRAIN, images=255 - TRAIN.images)
    with pytest.raises(CheckpointError, match=r"only be had of the images that were trained on\. Train on these"):
        scorer.score(other, tmp_path / "a", compute=ComputeOptions(), tracker=NullTracker())


@pytest.mark.parametrize(("fields", "said"), [
    ({"model": "resnet21"}, "Did you mean"),
    ({"recipe": dataclasses.replace(RECIPE, drop_path=0.1)}, "drop_path 0.1"),
])  # fmt: skip
def test_options_are_checked(fields, said):
    with pytest.raises(ConfigError, match=said):
        Forgetting(**fields)
