"""Training of an autoencoder, its losses, and its place in a folder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nasbench.core.errors import CheckpointError, TrainingError
from nasbench.core.seeding import derive_seed
from nasbench.datasets.base import ImageSet
from nasbench.models.autoencoder import ConvAutoencoder
from nasbench.models.state_dict import fit_state_dict
from nasbench.scorers.base import ComputeOptions
from nasbench.scorers.classifier import normalised
from nasbench.scorers.inference import score_set
from nasbench.scorers.stored import CURE, load_description, load_weights, save_model
from nasbench.tracking.tracker import Tracker
from nasbench.training.checkpoint import load_checkpoint, save_checkpoint, state_fingerprint
from nasbench.training.cost import measure
from nasbench.training.determinism import device_of, seeded
from nasbench.training.metrics import peak_memory_bytes, progress
from nasbench.training.recipe import Augmentation
from nasbench.training.transforms import Batches

Loss = Literal["mse", "bce", "bce-swapped"]
_KIND = "autoencoder"
_SMALLEST_LOG = -100.0  # PyTorch's binary cross-entropy cuts logarithms off there
_SHUFFLED = Augmentation(crop_padding=0, flip=False)


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """How an autoencoder is trained (Adam); see `nasbench.scorers.reconstruction.Reconstruction`."""

    loss: Loss
    epochs: int
    batch_size: int
    learning_rate: float


def training_loss(logits: Tensor, images: Tensor, loss: Loss) -> Tensor:
    """Return the mean loss of a batch.

    Args:
        logits: [B, C, H, W], whose sigmoid is the reconstruction.
        images: [B, C, H, W] in [0, 1].
        loss: ``bce-swapped`` trains as ``bce`` does.
    """
    if loss == "mse":
        return functional.mse_loss(logits.sigmoid(), images)
    return functional.binary_cross_entropy_with_logits(logits, images)


def image_losses(logits: Tensor, images: Tensor, loss: Loss) -> Tensor:
    """Return the loss of each image, float64 [B], the mean over its pixels.

    With x an image's pixel and y its reconstruction: (x - y)^2; or -x log y - (1 - x) log(1 - y); or, exchanged,
    -y log x - (1 - y) log(1 - x), where a logarithm is at least -100.
    """
    wide, pixels = logits.to(torch.float64), images.to(torch.float64)
    if loss == "mse":
        values = (wide.sigmoid() - pixels).square()
    elif loss == "bce":
        values = functional.binary_cross_entropy_with_logits(wide, pixels, reduction="none")
    else:
        share = wide.sigmoid()
        values = -share * pixels.log().clamp(min=_SMALLEST_LOG) - (1 - share) * torch.log1p(-pixels).clamp(
            min=_SMALLEST_LOG
        )
    return values.flatten(1).mean(dim=1)


def train_autoencoder(
    train: ImageSet, test: ImageSet, recipe: AutoencoderRecipe, *, seed: int, compute: ComputeOptions, tracker: Tracker
) -> tuple[ConvAutoencoder, dict[str, Any]]:
    """Train an autoencoder; the same seed gives the same bits, also after a kill and resume.

    Returns:
        The autoencoder, and ``train_loss``, ``test_loss`` (of the last epoch), ``parameters``, ``macs``, ``seconds``
        and ``peak_memory_bytes``.

    Raises:
        TrainingError: The loss is not finite; the checkpoint of the last good epoch is kept.
        CheckpointError: The checkpoint belongs to another training.
        ConfigError: The images are too small. AMP is not used here.
    """
    started = time.perf_counter()
    place = device_of(compute.device)
    with seeded(derive_seed(seed, "reconstruction", "weights")):
        model = ConvAutoencoder(train.image_shape[0], min(train.image_shape[1:]))
    run = _Training(model.to(place), train, test, recipe, seed, compute.checkpoint, place)
    run.resume()
    for record in run.history:
        _log(tracker, record)
    steps = len(run.batches)
    with progress(recipe.epochs * steps, len(run.history) * steps, "training autoencoder") as bar:
        for epoch in range(len(run.history), recipe.epochs):
            run.history.append(run.one_epoch(epoch, bar.update))
            run.save()
            _log(tracker, run.history[-1])
    cost = measure(model, train.image_shape)
    last = run.history[-1]
    return model, {
        "train_loss": last["train_loss"],
        "test_loss": last["test_loss"],
        "parameters": cost.parameters,
        "macs": cost.macs,
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": peak_memory_bytes(place),
    }


def _log(tracker: Tracker, record: dict[str, float]) -> None:
    losses = {name: record[name] for name in ("train_loss", "test_loss")}
    tracker.log_metrics(losses, step=int(record["epoch"]))


def _unscaled(images: ImageSet) -> ImageSet:
    """Return the same images, whose batches are pixels in [0, 1]."""
    channels = images.image_shape[0]
    return normalised(images, (0.0,) * channels, (1.0,) * channels)


class _Training:
    """State of a training between its epochs."""

    def __init__(
        self,
        model: ConvAutoencoder,
        train: ImageSet,
        test: ImageSet,
        recipe: AutoencoderRecipe,
        seed: int,
        checkpoint: Path | None,
        place: torch.device,
    ) -> None:
        self.model, self.recipe, self.checkpoint = model, recipe, checkpoint
        self.batches = Batches(
            _unscaled(train), None, _SHUFFLED, recipe.batch_size, derive_seed(seed, "reconstruction", "training"), place
        )
        self.test = Batches(_unscaled(test), None, None, recipe.batch_size, 0, place)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
        self.history: list[dict[str, float]] = []
        self.identity: dict[str, Any] = {"recipe": asdict(recipe), "seed": seed}
        if checkpoint is not None:
            self.identity |= {"train": train.fingerprint, "test": test.fingerprint}
            self.identity["initial_weights"] = state_fingerprint(model.state_dict())

    def resume(self) -> None:
        state = None if self.checkpoint is None else load_checkpoint(self.checkpoint, _KIND, self.identity)
        if state is None:
            return
        try:
            self.model.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history = list(state["history"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{self.checkpoint} does not fit the autoencoder ({error}). Delete it.") from error

    def save(self) -> None:
        if self.checkpoint is not None:
            state = {
                "weights": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": self.history,
            }
            save_checkpoint(self.checkpoint, _KIND, self.identity, state)

    def one_epoch(self, epoch: int, advance: Callable[[], object]) -> dict[str, float]:
        total, seen = 0.0, 0
        self.model.train()
        for images, _ in self.batches.epoch(epoch):
            self.optimizer.zero_grad(set_to_none=True)
            loss = training_loss(self.model(images), images, self.recipe.loss)
            value = float(loss.detach())
            self._check(value, f"training loss in epoch {epoch}")
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total, seen = total + value * len(images), seen + len(images)
            advance()
        return {"epoch": epoch, "train_loss": total / seen, "test_loss": self._test(epoch)}

    @torch.no_grad()
    def _test(self, epoch: int) -> float:
        self.model.eval()
        total = 0.0
        for images, _ in self.test.epoch(0):
            total += float(training_loss(self.model(images), images, self.recipe.loss)) * len(images)
        self._check(total, f"test loss after epoch {epoch}")
        return total / self.test.num_images

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            saved = self.checkpoint is not None and len(self.history) > 0
            kept = f" {self.checkpoint} holds the last good epoch." if saved else ""
            raise TrainingError(f"the {what} is {value}.{kept} Lower learning_rate, or check the images.")


def save_autoencoder(
    folder: Path, model: ConvAutoencoder, images: ImageSet, recipe: AutoencoderRecipe, *, test_loss: float
) -> None:
    """Write an autoencoder into a folder; equal ones give equal bytes."""
    channels = images.image_shape[0]
    description = {
        "model": _KIND,
        "image_shape": list(images.image_shape),
        "input_mean": [0.0] * channels,
        "input_std": [1.0] * channels,
        "dataset": images.fingerprint,
        "recipe": asdict(recipe),
        "test_loss": test_loss,
    }
    save_model(folder, model, description)


def load_autoencoder(folder: Path, images: ImageSet, loss: Loss) -> ConvAutoencoder:
    """Read the autoencoder of a folder.

    Raises:
        CheckpointError: It is absent, truncated, altered, made for images of another shape, or trained with a loss
            that does not go with the wanted one.
    """
    value, stamp = load_description(folder, "trained autoencoder")
    try:
        kind, shape, trained = value["model"], value["image_shape"], value["recipe"]["loss"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no trained autoencoder ({error}). {CURE}") from error
    if kind != _KIND or shape != images.image_shape:
        raise CheckpointError(
            f"the model in {folder} is {kind!r} for images {shape}, not an autoencoder for {images.image_shape}. "
            f"Train one on this dataset."
        )
    if trained != loss:
        raise CheckpointError(f"the autoencoder in {folder} was trained for loss {trained!r}, not {loss!r}. {CURE}")
    with seeded(0):  # the weights that it begins with are drawn, and then replaced
        model = ConvAutoencoder(images.image_shape[0], min(images.image_shape[1:]))
    fit_state_dict(model, load_weights(folder, stamp).state)
    return model


def reconstruction_losses(
    model: ConvAutoencoder, images: ImageSet, loss: Loss, *, batch_size: int, compute: ComputeOptions
) -> npt.NDArray[np.float64]:
    """Return every image's loss, float64 [n]; see `nasbench.scorers.inference.score_set`."""
    values = score_set(
        model,
        _unscaled(images),
        lambda logits, pixels, _labels: image_losses(logits, pixels, loss),
        batch_size=batch_size,
        device=device_of(compute.device),
        checkpoint=compute.checkpoint,
        identity={"scorer": "reconstruction", "loss": loss},
        description="reconstruction",
    )
    return np.array(values)
