"""The one gradient loop on a tiny space."""

from __future__ import annotations

import dataclasses
import logging
import math

import numpy as np
import pytest
import torch
from tiny_space import SHAPE, TinySpace, TinySupernet, image_set
from torch import nn

from nasbench.core.errors import CheckpointError, ConfigError, TrainingError
from nasbench.searchers.base import SearchTask
from nasbench.searchers.bilevel import bilevel_search
from nasbench.searchers.halves import Endless
from nasbench.searchers.hypergradient import first_order
from nasbench.searchers.settings import BilevelSettings
from nasbench.searchers.strategy import Strategy, softmax_of
from nasbench.spaces.base import Mixture
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.metrics import evaluating
from nasbench.training.recipe import Augmentation
from nasbench.training.transforms import Batches

SETTINGS = BilevelSettings(epochs=3, batch_size=8, learning_rate=0.1, alpha_learning_rate=0.02)
CURVES = {
    "train_loss", "train_top1", "valid_loss", "one_shot_top1",
    "alpha_entropy", "skip_share", "parameter_free_share", "learning_rate",
}  # fmt: skip


def task(**changes):
    # 36 images a weight half and 20 an alpha half: an epoch ends in the middle of the alpha half's own.
    fields = {
        "space": TinySpace(),
        "shape": SHAPE,
        "images": image_set(),
        "weight_indices": np.arange(36, dtype=np.int64),
        "alpha_indices": np.arange(36, 56, dtype=np.int64),
        "augmentation": Augmentation(crop_padding=1, flip=False),
        "seed": 0,
    }
    return SearchTask(**(fields | changes))


def search(settings=SETTINGS, tracker=None, strategy=None, **changes):
    return bilevel_search("tiny", settings, task(**changes), tracker or NullTracker(), strategy or Strategy())


def test_it_learns_and_says_what_it_did():
    tracker = RecordingTracker()
    result = search(dataclasses.replace(SETTINGS, epochs=8), tracker)
    first, last = result.trajectory[0], result.trajectory[-1]
    assert last["train_loss"] < first["train_loss"]
    assert last["one_shot_top1"] > 0.6
    assert last["valid_loss"] < math.log(3)
    assert list(result.genotype.genes) == last["genes"]
    assert last["alpha_entropy"] < first["alpha_entropy"] < math.log(3) + 1e-6
    assert np.shape(last["alphas"]["normal"]) == (1, 3)
    assert [record["epoch"] for record in result.trajectory] == list(range(8))
    assert [step for step, _ in tracker.metrics] == list(range(8))
    assert all(metrics.keys() == CURVES for _, metrics in tracker.metrics)
    assert result.seconds > 0


def test_the_learning_rate_is_the_papers_cosine():
    rates = [record["learning_rate"] for record in search(dataclasses.replace(SETTINGS, epochs=4)).trajectory]
    assert rates == pytest.approx([0.001 + 0.0495 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)])


class StopAfter(NullTracker):
    """Fails like a killed process after so many epochs."""

    def __init__(self, epochs):
        object.__setattr__(self, "left", [None] * epochs)

    def log_metrics(self, metrics, step=None):
        self.left.pop()
        if not self.left:
            raise KeyboardInterrupt


class Noisy(Strategy):
    """Weights that are drawn, as Gumbel's are."""

    def weight_mixture(self, architecture, moment):
        return Mixture({k: v + 0.1 * torch.rand_like(v) for k, v in softmax_of(architecture).items()})


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_resuming_gives_the_same_bits(tmp_path, epochs):
    strategy = Noisy()
    whole = search(strategy=strategy, checkpoint=tmp_path / "whole.pt")
    file = tmp_path / "killed.pt"
    with pytest.raises(KeyboardInterrupt):
        search(tracker=StopAfter(epochs), strategy=strategy, checkpoint=file)
    torch.rand(11)
    tracker = RecordingTracker()
    resumed = search(tracker=tracker, strategy=strategy, checkpoint=file)
    assert resumed.trajectory == whole.trajectory
    assert resumed.genotype == whole.genotype
    assert [step for step, _ in tracker.metrics] == [0, 1, 2]
    states = [torch.load(path, weights_only=True)["state"] for path in (file, tmp_path / "whole.pt")]
    assert all(torch.equal(states[0]["weights"][name], value) for name, value in states[1]["weights"].items())
    assert states[0]["alpha_place"] == states[1]["alpha_place"] == [4, 3]  # 15 steps of 3 an epoch
    moments = [state["alpha_optimizer"]["state"][0]["exp_avg_sq"] for state in states]
    assert torch.equal(*moments)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    file = tmp_path_factory.mktemp("stored") / "c.pt"
    search(checkpoint=file)
    return file


@pytest.mark.parametrize("change", [
    {"seed": 1},
    {"settings": dataclasses.replace(SETTINGS, momentum=0.5)},
    {"weight_indices": np.arange(35, dtype=np.int64)},
    {"alpha_indices": np.arange(36, 57, dtype=np.int64)},
    {"images": image_set(seed=1)},
    {"augmentation": Augmentation(crop_padding=0, flip=False)},
    {"shape": dataclasses.replace(SHAPE, channels=5)},
])  # fmt: skip
def test_a_checkpoint_of_another_search_is_refused(stored, change):
    with pytest.raises(CheckpointError, match="belongs to another run"):
        search(**change, checkpoint=stored)


class Logging(Strategy):
    def __init__(self, alphas_first):
        super().__init__()
        self.alphas_first, self.log = alphas_first, []

    def weight_mixture(self, architecture, moment):
        self.log.append(("w", moment.step))
        return super().alpha_mixture(architecture, moment)

    def alpha_mixture(self, architecture, moment):
        self.log.append(("a", moment.step))
        return super().alpha_mixture(architecture, moment)


@pytest.mark.parametrize("alphas_first", [True, False])
def test_the_order_within_a_step_is_the_strategys(alphas_first):
    strategy = Logging(alphas_first)
    search(dataclasses.replace(SETTINGS, epochs=1), strategy=strategy)
    pair = "aw" if alphas_first else "wa"
    steps = [(letter, step) for step in range(5) for letter in pair]
    assert strategy.log == [*steps, ("a", 5)]  # the last one evaluates


def doubled(step):
    loss, gradients = first_order(step)
    return loss, [2 * gradient + 1 for gradient in gradients]


class Sharper(Strategy):
    def alpha_mixture(self, architecture, moment):
        return Mixture(softmax_of({group: 2 * values for group, values in architecture.items()}))


class SharperEvaluation(Strategy):
    def evaluation_mixture(self, architecture, moment):
        return Mixture(softmax_of({group: 2000 * values for group, values in architecture.items()}))


class Smaller(Strategy):
    def shape(self, shape):
        return dataclasses.replace(shape, channels=2)


class Dimmer(Strategy):
    def view(self, images):
        return 0.5 * images


class Growing(Strategy):
    def batch_size(self, size, epoch):
        return size + epoch


class Freezing(Strategy):
    def frozen(self):
        return {"normal": np.array([True])}


class WeightsFirst(Strategy):
    alphas_first = False


def test_each_part_of_a_strategy_changes_the_search():
    plain = search().trajectory
    for strategy in (
        Strategy(doubled), Noisy(), Sharper(), SharperEvaluation(), Smaller(), Dimmer(), Growing(), Freezing(),
        WeightsFirst(),
    ):  # fmt: skip
        assert search(strategy=strategy).trajectory != plain, strategy


def test_frozen_rows_keep_their_alphas_and_others_do_not():
    records = search(strategy=Freezing()).trajectory
    assert records[0]["alphas"]["normal"] == records[-1]["alphas"]["normal"]
    assert records[0]["alphas"]["reduce"] != records[-1]["alphas"]["reduce"]


class Own(Strategy):
    """Trains a parameter of its own, records it, and stops once three epochs are known."""

    def own_parameters(self, space):
        return {"own": (2,)}

    def alpha_mixture(self, architecture, moment):
        scale = architecture["own"].sum()
        return Mixture({k: v * (1 + scale) for k, v in softmax_of(architecture).items()})

    def end_epoch(self, end):
        assert len(end.records) == end.epoch
        assert set(end.alphas) == {"normal", "reduce"}
        return {
            "own": end.architecture["own"].tolist(),
            "again": end.valid_loss().item(),
            "draw": float(torch.rand(())),
        }

    def stopped_at(self, records):
        return 1 if len(records) == 3 else None


def test_own_parameters_are_trained_recorded_and_resumed_and_a_search_may_stop(tmp_path):
    settings = dataclasses.replace(SETTINGS, epochs=5)
    whole = search(settings, strategy=Own())
    assert len({tuple(record["own"]) for record in whole.trajectory}) == len(whole.trajectory) == 3
    assert list(whole.genotype.genes) == whole.trajectory[1]["genes"]
    assert whole.notes == ("stopped after 3 of 5 epochs; the genotype is that of epoch 1.",)
    with pytest.raises(KeyboardInterrupt):
        search(settings, strategy=Own(), tracker=StopAfter(2), checkpoint=tmp_path / "c.pt")
    for _ in range(2):  # the second time the checkpoint is that of the stopped search
        again = search(settings, strategy=Own(), checkpoint=tmp_path / "c.pt")
        assert (again.trajectory, again.genotype, again.notes) == (whole.trajectory, whole.genotype, whole.notes)


def test_a_growing_batch_resumes_to_the_same_bits(tmp_path):
    whole = search(strategy=Growing())
    with pytest.raises(KeyboardInterrupt):
        search(strategy=Growing(), tracker=StopAfter(2), checkpoint=tmp_path / "c.pt")
    assert search(strategy=Growing(), checkpoint=tmp_path / "c.pt").trajectory == whole.trajectory


def test_least_steps_raises_the_epochs_and_it_is_noted():
    result = search(dataclasses.replace(SETTINGS, least_steps=21))
    assert len(result.trajectory) == 5
    assert result.notes == ("5 epochs instead of 3: at 5 steps an epoch they make at least 21 steps.",)
    assert search(dataclasses.replace(SETTINGS, least_steps=15)).notes == ()


def test_a_rate_may_fall_every_step():
    by_step = search(dataclasses.replace(SETTINGS, schedule="step")).trajectory
    assert by_step[0]["learning_rate"] < search().trajectory[0]["learning_rate"]


def test_the_rate_is_multiplied_while_it_warms_up():
    plain = [record["learning_rate"] for record in search(dataclasses.replace(SETTINGS, epochs=4)).trajectory]
    warm = search(dataclasses.replace(SETTINGS, epochs=4, warmup_epochs=3)).trajectory
    assert [record["learning_rate"] for record in warm] == pytest.approx(
        [plain[0] / 3, plain[1] * 2 / 3, plain[2], plain[3]], rel=1e-12
    )
    steps = dataclasses.replace(SETTINGS, schedule="step", epochs=2)
    plain = [record["learning_rate"] for record in search(steps).trajectory]
    warm = search(dataclasses.replace(steps, warmup_epochs=2)).trajectory
    assert [record["learning_rate"] for record in warm] == pytest.approx([plain[0] / 2, plain[1]], rel=1e-12)
    with pytest.raises(ConfigError, match=r"warmup_epochs: 4 is more than the 3 epochs.*Give at most 3"):
        BilevelSettings(epochs=3, warmup_epochs=4)
    assert BilevelSettings(epochs=3, warmup_epochs=3).warmup_epochs == 3


def test_a_warm_up_resumes_to_the_same_bits(tmp_path):
    settings = dataclasses.replace(SETTINGS, warmup_epochs=2)
    whole = search(settings)
    with pytest.raises(KeyboardInterrupt):
        search(settings, tracker=StopAfter(1), checkpoint=tmp_path / "c.pt")
    assert search(settings, checkpoint=tmp_path / "c.pt").trajectory == whole.trajectory


def test_frozen_alphas_stay_as_they_are_and_it_is_said(caplog):
    with caplog.at_level(logging.INFO, logger="nasbench"):
        result = search(dataclasses.replace(SETTINGS, alpha_warmup_epochs=2))
    frozen = [record["alphas_frozen"] for record in result.trajectory]
    alphas = [record["alphas"] for record in result.trajectory]
    assert frozen == [True, True, False]
    assert alphas[0] == alphas[1] != alphas[2]
    assert np.abs(alphas[0]["normal"]).max() < 0.01  # 1e-3 times a standard normal
    assert caplog.text.count("alphas frozen") == 2
    with pytest.raises(ConfigError, match="leaves none of 3 epochs"):
        BilevelSettings(epochs=3, alpha_warmup_epochs=3)


class Skipping:
    """A gradient that pulls every alpha towards the skip connection (operation 0) or the convolution (2)."""

    def __init__(self, towards):
        self.towards = towards

    def __call__(self, step):
        gradients = [torch.ones_like(alpha) for alpha in step.alphas]
        for gradient in gradients:
            gradient[0, self.towards] = -1.0
        return torch.tensor(1.0), gradients


def test_a_collapse_is_warned_of_everywhere(caplog):
    tracker = RecordingTracker()
    result = search(tracker=tracker, strategy=Strategy(Skipping(0)))
    assert result.genotype.genes == (0, 0)
    assert len(result.warnings) == 2
    assert "the normal cell collapsed: all its 1 operations are without parameters (1 skip" in result.warnings[0]
    assert tracker.tags["warning"] == " ".join(result.warnings)
    assert caplog.text.count("the normal cell collapsed") == 1  # said when it happens, not each epoch
    assert result.trajectory[-1]["skip_share"] == result.trajectory[-1]["parameter_free_share"] == 1.0


def test_a_cell_with_parameters_is_not_warned_of():
    tracker = RecordingTracker()
    result = search(tracker=tracker, strategy=Strategy(Skipping(2)))
    assert result.genotype.genes == (2, 2)
    assert result.warnings == ()
    assert "warning" not in tracker.tags
    assert result.trajectory[-1]["skip_share"] == result.trajectory[-1]["parameter_free_share"] == 0.0


def exploding(after):
    calls = []

    def gradient(step):
        calls.append(None)
        loss, gradients = first_order(step)
        return loss, [value * (math.nan if len(calls) > after else 1.0) for value in gradients]

    return Strategy(gradient)


def test_a_nan_names_its_place_and_keeps_the_last_good_checkpoint(tmp_path):
    file = tmp_path / "c.pt"
    with pytest.raises(TrainingError, match=r"alpha gradient in epoch 1, step 2 is nan\. .*c\.pt holds the last"):
        search(strategy=exploding(7), checkpoint=file)
    assert search(checkpoint=file).trajectory == search().trajectory
    wild = dataclasses.replace(SETTINGS, learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(TrainingError, match=r"loss in epoch 0, step \d+ is (nan|inf)\. Lower learning_rate"):
        search(wild)


@pytest.mark.parametrize(("changes", "message"), [
    ({"alpha_indices": np.arange(30, 50)}, "share images"),
    ({"alpha_indices": np.arange(36, 43)}, "batch_size: 8 is larger than the alpha half of 7 images"),
    ({"weight_indices": np.arange(1)}, "weight half has 1 images"),
    ({"alpha_indices": np.array([], dtype=np.int64)}, "alpha half has 0 images"),
    ({"shape": dataclasses.replace(SHAPE, num_classes=4)}, "num_classes: 4 does not fit"),
    ({"device": "tpu"}, "is not"),
])  # fmt: skip
def test_impossible_tasks_are_refused_before_any_work(changes, message):
    with pytest.raises(ConfigError, match=message):
        search(**changes)


def test_the_batch_adapts_only_when_asked():
    small = {"alpha_indices": np.arange(36, 43, dtype=np.int64)}
    result = search(dataclasses.replace(SETTINGS, adapt_batch_size=True), **small)
    assert result.trajectory == search(dataclasses.replace(SETTINGS, batch_size=7), **small).trajectory


def test_evaluation_leaves_running_statistics_as_they_were():
    model = TinySupernet(4, 1, 3)
    images = torch.randn(8, 1, 6, 6) + 3
    weights = {"normal": torch.full((1, 3), 1 / 3), "reduce": torch.full((1, 3), 1 / 3)}
    model(images, weights)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with evaluating(model, batch_statistics=True):
        by_batch = model(images, weights)
    with evaluating(model, batch_statistics=False):
        by_running = model(images, weights)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.allclose(by_batch, by_running)
    assert torch.equal(by_batch, model(images, weights))


def test_the_endless_iterator_goes_on_and_can_be_put_back():
    batches = Batches(image_set(10), None, Augmentation(crop_padding=1), 4, 0, "cpu")
    stream = Endless(batches)
    labels = [next(stream) for _ in range(8)]
    assert stream.place == (2, 2)
    assert sorted(torch.cat([batch[1] for batch in labels[:3]]).tolist()) == sorted(image_set(10).labels.tolist())
    assert not torch.equal(labels[0][0], labels[3][0])  # another epoch, another order
    other = Endless(batches)
    other.seek(1, 1)
    for images, _ in labels[4:]:
        assert torch.equal(next(other)[0], images)


def test_a_supernet_starts_from_the_seed_and_the_alphas_from_their_own_stream():
    a, b = (search(dataclasses.replace(SETTINGS, epochs=1), seed=seed).trajectory[0] for seed in (0, 1))
    assert a["alphas"] != b["alphas"]
    assert a["train_loss"] != b["train_loss"]
    assert isinstance(TinySpace().supernet(SHAPE), nn.Module)
