"""Reconstruction and transfer loss: the paper's defaults, the slips of its code by name, and refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from nasbench.config.component import parse
from nasbench.core.errors import CheckpointError, ConfigError
from nasbench.datasets.base import ImageSet
from nasbench.models import timm_zoo
from nasbench.scorers.autoencoding import image_losses, training_loss
from nasbench.scorers.base import ComputeOptions
from nasbench.scorers.reconstruction import Reconstruction
from nasbench.scorers.transfer_loss import TRANSFER, TransferLoss
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.determinism import seeded

RECIPE = {"epochs": 3, "batch_size": 16, "schedule": "step", "augmentation": {"crop_padding": 0, "flip": False}}


def image_set(count: int, seed: int, channels: int = 3) -> ImageSet:
    """Even rows are smooth, odd rows are noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 16, 16, channels))
    pixels[::2] = np.linspace(60, 190, 16, dtype=np.int64)[None, :, None, None]
    ids = tuple(map(str, range(count)))
    sets = {"images": pixels.astype(np.uint8), "labels": np.arange(count) % 3, "ids": ids, "num_classes": 3}
    return ImageSet(**sets, mean=(0.5,) * channels, std=(0.3,) * channels)


TRAIN, TEST = image_set(48, 0), image_set(10, 1)


def run(scorer, folder: Path, sets=(TRAIN, TEST), tracker=None):
    folder.mkdir(exist_ok=True)
    metrics = scorer.train(*sets, folder, seed=0, compute=ComputeOptions(), tracker=tracker or NullTracker())
    return metrics, scorer.score(sets[0], folder, compute=ComputeOptions(), tracker=NullTracker())


def test_losses_of_an_image_are_the_formulas():
    logits = torch.tensor([[[[0.0, math.log(3)]]], [[[-math.log(3), 2.0]]]])  # reconstructions 1/2, 3/4; 1/4, ...
    images = torch.tensor([[[[0.25, 0.75]]], [[[0.0, 1.0]]]])
    assert image_losses(logits, images, "mse")[0].item() == pytest.approx(0.25**2 / 2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert image_losses(logits, images, "bce")[0].item() == pytest.approx((math.log(2) + entropy) / 2)
    exchanged = -(math.log(0.25) + math.log(0.75)) / 2
    swapped = image_losses(logits, images, "bce-swapped")
    assert swapped[0].item() == pytest.approx((exchanged + entropy) / 2)
    # Black and white pixels: a logarithm of zero counts as -100.
    white = 1 / (1 + math.exp(2.0))
    assert swapped[1].item() == pytest.approx((100 * 0.25 + 100 * white) / 2)
    assert torch.equal(
        swapped.float(),
        torch.stack([
            torch.nn.functional.binary_cross_entropy(image, logit.sigmoid())
            for image, logit in zip(images.double(), logits.double(), strict=True)
        ]).float(),
    )  # fmt: skip


def test_training_losses_are_pytorch_s():
    logits, images = torch.randn(4, 1, 3, 3), torch.rand(4, 1, 3, 3)
    wanted = torch.nn.functional.mse_loss(logits.sigmoid(), images)
    torch.testing.assert_close(training_loss(logits, images, "mse"), wanted)
    wanted = torch.nn.functional.binary_cross_entropy(logits.sigmoid(), images)
    for loss in ("bce", "bce-swapped"):
        torch.testing.assert_close(training_loss(logits, images, loss), wanted)


def test_the_defaults_are_the_paper_s_and_its_code_s():
    """Section 7 of the fact sheet: Adam by default, batch 64, 50 epochs; SGD 1e-3, 0.9, 3e-4, 75 epochs."""
    scorer = Reconstruction()
    assert (scorer.loss, scorer.epochs, scorer.batch_size, scorer.learning_rate) == ("mse", 50, 64, 1e-3)
    assert (TRANSFER.epochs, TRANSFER.learning_rate, TRANSFER.momentum, TRANSFER.weight_decay) == (75, 1e-3, 0.9, 3e-4)
    assert (TRANSFER.schedule, TRANSFER.decay, TRANSFER.gradient_clip) == ("step", 1.0, 0.0)
    assert (TransferLoss().variant, TransferLoss().trained_epochs) == ("paper", 75)
    assert TransferLoss(variant="code").trained_epochs == 50


def test_smooth_images_are_reconstructed_better_than_noise(tmp_path):
    tracker = RecordingTracker()
    metrics, table = run(Reconstruction(epochs=8, batch_size=8), tmp_path / "a", tracker=tracker)
    losses = table.columns["reconstruction_loss"]
    assert losses[::2].max() < losses[1::2].min()
    curve = [found["train_loss"] for _, found in tracker.metrics]
    assert len(curve) == 8
    assert curve[-1] < curve[0]
    assert metrics["train_loss"] == curve[-1]
    assert metrics["test_loss"] == tracker.metrics[-1][1]["test_loss"]


def test_the_code_s_loss_trains_alike_and_scores_otherwise(tmp_path):
    plain = run(Reconstruction(loss="bce", epochs=1), tmp_path / "a")
    swapped = run(Reconstruction(loss="bce-swapped", epochs=1), tmp_path / "b")
    assert plain[0]["test_loss"] == swapped[0]["test_loss"]
    assert not np.allclose(*(table.columns["reconstruction_loss"] for _, table in (plain, swapped)))
    score = Reconstruction(loss="bce-swapped").score
    with pytest.raises(CheckpointError, match="trained for loss 'bce', not 'bce-swapped'"):
        score(TRAIN, tmp_path / "a", compute=ComputeOptions(), tracker=NullTracker())


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("backbone") / "weights.pt"
    with seeded(3):
        torch.save(timm.create_model("test_resnet", num_classes=11).state_dict(), path)
    return str(path)


def transfer(weights: str, **fields) -> TransferLoss:
    return parse(TransferLoss, {"backbone": "timm:test_resnet", "weights": weights, "recipe": RECIPE, **fields})


def test_the_backbone_keeps_its_weights_and_the_variants_do_what_they_say(weights, tmp_path):
    given = torch.load(weights, weights_only=True)
    for variant in ("paper", "code"):
        run(transfer(weights, variant=variant), tmp_path / variant)
        stored = torch.load(tmp_path / variant / "weights.pt", weights_only=True)["state_dict"]
        description = json.loads((tmp_path / variant / "model.json").read_text(encoding="utf-8"))
        body = {name.removeprefix("backbone."): value for name, value in stored.items() if "backbone." in name}
        assert all(torch.equal(given[name], value) for name, value in body.items() if "running" not in name
                   and "num_batches" not in name)  # fmt: skip
        followed = any(not torch.equal(given[name], value) for name, value in body.items() if "running" in name)
        assert followed == (variant == "code")
        assert description["epochs"] == (2 if variant == "code" else 3)
        own = timm.create_model("test_resnet").default_cfg
        assert tuple(description["input_mean"]) == ((0.0,) * 3 if variant == "code" else own["mean"])
        assert tuple(description["input_std"]) == ((1.0,) * 3 if variant == "code" else own["std"])


def test_scores_are_the_cross_entropy_of_the_stored_model(weights, tmp_path):
    from nasbench.scorers.transfer import load_transfer

    metrics, table = run(transfer(weights), tmp_path / "a")
    model, description = load_transfer(tmp_path / "a", TRAIN)
    pixels = torch.from_numpy(TRAIN.images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (description.input_mean, description.input_std))
    with torch.no_grad():
        logits = model.eval()((pixels - mean) / std)
    wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(TRAIN.labels), reduction="none")
    np.testing.assert_allclose(table.columns["transfer_loss"], wanted.numpy(), rtol=1e-4)
    assert metrics["parameters"] == sum(weight.numel() for weight in model.head.parameters())


def test_without_a_file_the_backbone_s_weights_are_asked_of_timm(weights, tmp_path, monkeypatch):
    asked = []
    create = timm_zoo.create

    def offline(name, num_classes, channels, pretrained):
        asked.append((name, pretrained))
        return create(name, num_classes, channels, False)

    monkeypatch.setattr(timm_zoo, "create", offline)
    run(TransferLoss(backbone="timm:test_resnet", recipe=transfer(weights).recipe), tmp_path / "a")
    assert asked[0] == ("test_resnet", True)


def test_the_hub_s_weights_are_the_backbone_s(weights, tmp_path, monkeypatch):
    """Read by timm and the hub's own client out of their cache, filled with made-up numbers; no network."""
    revision, repository = "0" * 40, tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision, encoding="utf-8")
    (repository / "snapshots" / revision).mkdir(parents=True)
    whole = timm.create_model("test_resnet").state_dict()
    cached = {name: torch.full_like(value, 0.01) for name, value in whole.items()}
    save_file(cached, repository / "snapshots" / revision / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    _, table = run(TransferLoss(backbone="timm:test_resnet", recipe=transfer(weights).recipe), tmp_path / "a")
    stored = torch.load(tmp_path / "a" / "weights.pt", weights_only=True)["state_dict"]
    body = {name.removeprefix("backbone."): value for name, value in stored.items() if "backbone." in name}
    assert body
    assert all(torch.equal(cached[name], value) for name, value in body.items())
    assert np.isfinite(table.columns["transfer_loss"]).all()


@pytest.mark.parametrize(("fields", "said"), [
    ({"backbone": "resnet20"}, "no ImageNet weights here"),
    ({"backbone": "resnet21"}, "there is no 'resnet21'"),
    ({"variant": "code", "recipe": RECIPE | {"schedule": "cosine"}}, "needs a constant learning rate"),
    ({"variant": "code", "recipe": RECIPE | {"warmup_epochs": 1}}, "needs a constant learning rate"),
    ({"recipe": RECIPE | {"auxiliary_weight": 0.4}}, "auxiliary_weight 0.4"),
    ({"variant": "papers"}, "Did you mean 'paper'"),
    ({"batch_size": 0}, "batch_size"),
])  # fmt: skip
def test_options_are_checked(fields, said):
    with pytest.raises(ConfigError, match=said):
        parse(TransferLoss, fields)


def test_a_backbone_that_cannot_take_the_images_is_named(weights, tmp_path):
    with seeded(0):
        torch.save(timm.create_model("test_vit3").state_dict(), tmp_path / "vit.pt")
    scorer = TransferLoss(backbone="timm:test_vit3", weights=str(tmp_path / "vit.pt"))
    with pytest.raises(ConfigError, match=r"'timm:test_vit3' does not take images of \(C, H, W\) = \(3, 16, 16\)"):
        run(scorer, tmp_path / "a")
    with pytest.raises(CheckpointError, match="there is no weights file"):
        run(transfer(str(tmp_path / "absent.pt")), tmp_path / "b")
