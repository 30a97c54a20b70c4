"""Training of a network from scratch: one loop for every recipe."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench.config.component import fields_of
from nasbench.core.errors import CheckpointError, ConfigError, TrainingError
from nasbench.core.seeding import derive_seed
from nasbench.datasets.base import ImageSet
from nasbench.tracking.tracker import NullTracker, Tracker
from nasbench.training.checkpoint import load_checkpoint, save_checkpoint, state_fingerprint
from nasbench.training.cost import measure
from nasbench.training.determinism import device_of, seeded
from nasbench.training.hooks import ExampleHook
from nasbench.training.metrics import Average, evaluate, peak_memory_bytes, progress
from nasbench.training.recipe import Recipe
from nasbench.training.result import TrainResult
from nasbench.training.schedule import learning_rate
from nasbench.training.transforms import Batches

EVALUATION_BATCH = 256


def fit(
    model: nn.Module,
    train: ImageSet,
    test: ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    amp: bool = False,
    checkpoint: Path | None = None,
    tracker: Tracker = NullTracker(),  # noqa: B008 - frozen and without state
    description: str = "",
    identity: Mapping[str, Any] | None = None,
    hook: ExampleHook | None = None,
) -> TrainResult:
    """Train a network and test it after each epoch.

    Given the same weights, sets, recipe and seed the result is the same bits on one machine and device, also
    after a kill and resume. Training statistics are those of the training passes (augmented images, weights
    changing from step to step); ``train_loss`` is what is minimised, with label smoothing and auxiliary loss.

    Args:
        model: ``forward(images [B, C, H, W])`` gives logits [B, K] or a pair (logits, auxiliary logits or
            None); with ``recipe.drop_path`` above 0 it also takes ``drop_path``. It is changed in place.
        train: Training split.
        test: Test split; never used to choose anything but the reported ``best_top1``.
        recipe: How to train.
        seed: Data order, augmentation, drop path and dropout derive from it.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        amp: Forward passes of training in bfloat16; CUDA only.
        checkpoint: File to resume from and to write after each epoch, or None.
        tracker: Gets the five curves once an epoch; after a resume those of the earlier epochs first, so that
            its curves are whole.
        description: In front of the progress bar.
        identity: More JSON values that a checkpoint must share, for example the genotype.
        hook: Told of every example at each presentation; changes no bit of the training.

    Raises:
        ConfigError: Device, AMP or recipe cannot be had with this machine or model.
        CheckpointError: The checkpoint is truncated or belongs to another training.
        TrainingError: The loss is not finite; the checkpoint of the last good epoch is kept.
    """
    started = time.perf_counter()
    place = device_of(device, amp=amp)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
    known: dict[str, Any] = {"recipe": fields_of(recipe), "seed": seed, "amp": amp, **(identity or {})}
    if checkpoint is not None:
        known |= {"train": train.fingerprint, "test": test.fingerprint}
        known["initial_weights"] = state_fingerprint(model.state_dict())
    presented = train if hook is None else _labelled_by_row(train)
    run = _Run(
        model=model.to(device=place, memory_format=torch.channels_last),  # type: ignore[call-overload]
        train=Batches(presented, None, recipe.augmentation, recipe.batch_size, seed, place),
        test=Batches(test, None, None, EVALUATION_BATCH, seed, place),
        recipe=recipe,
        seed=seed,
        amp=amp,
        checkpoint=checkpoint,
        identity=known,
        hook=hook,
        labels=None if hook is None else torch.tensor(train.labels, device=place),
    )
    run.resume()
    for record in run.history:
        _log(tracker, record)
    with progress(recipe.epochs * len(run.train), len(run.history) * len(run.train), description) as bar:
        for epoch in range(len(run.history), recipe.epochs):
            run.history.append(run.one_epoch(epoch, bar.update))
            run.save()
            _log(tracker, run.history[-1])
    cost = measure(run.model, train.image_shape)
    return TrainResult(
        top1=run.history[-1]["test_top1"],
        best_top1=max(record["test_top1"] for record in run.history),
        parameters=cost.parameters,
        macs=cost.macs,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=peak_memory_bytes(place),
        history=tuple(run.history),
    )


def _log(tracker: Tracker, record: Mapping[str, float]) -> None:
    tracker.log_metrics({name: record[name] for name in record if name != "epoch"}, step=int(record["epoch"]))


def _labelled_by_row(images: ImageSet) -> ImageSet:
    """Return the same images, each with its row number for a label, so that a shuffled batch says which rows it has."""
    return dataclasses.replace(images, labels=np.arange(len(images), dtype=np.int64), num_classes=len(images))


@dataclass(kw_only=True)
class _Run:
    """State of one training between its epochs."""

    model: nn.Module
    train: Batches
    test: Batches
    recipe: Recipe
    seed: int
    amp: bool
    checkpoint: Path | None
    identity: Mapping[str, Any]
    hook: ExampleHook | None = None
    labels: Tensor | None = None  # int64 [n], where `train` is labelled by row
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def resume(self) -> None:
        """Take over the checkpoint, if there is one."""
        if self.checkpoint is None:
            return
        state = load_checkpoint(self.checkpoint, "training", self.identity)
        if state is None:
            return
        try:
            self.model.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history = list(state["history"])
            if self.hook is not None:
                self.hook.load_state(state["hook"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{self.checkpoint} does not fit the network ({error}). Delete it.") from error

    def save(self) -> None:
        """Write the checkpoint; no generator's state is in it: each epoch seeds its own from (seed, epoch)."""
        if self.checkpoint is not None:
            state = {
                "weights": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": self.history,
            }
            if self.hook is not None:
                state["hook"] = self.hook.state()
            save_checkpoint(self.checkpoint, "training", self.identity, state)

    def one_epoch(self, epoch: int, advance: Callable[[], object]) -> dict[str, float]:
        """Train and test once; returns the epoch's record."""
        rate = learning_rate(self.recipe, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        average = Average()
        self.model.train()
        with seeded(derive_seed(self.seed, "epoch", epoch)):
            for step, (images, found) in enumerate(self.train.epoch(epoch)):
                labels = found if self.labels is None else self.labels[found]
                loss, logits = self._step(images, labels, epoch)
                self._check(loss, f"training loss in epoch {epoch}, step {step}")
                if self.hook is not None:
                    self.hook.presented(epoch, found, logits.detach(), labels)
                average.add(loss, logits, labels)
                advance()
        self.model.eval()
        with seeded(derive_seed(self.seed, "test", epoch)):  # a network may draw in evaluation too, as one with noise
            test_loss, test_top1 = evaluate(self._logits, self.test)
        self._check(test_loss, f"test loss after epoch {epoch}")
        return {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": average.loss,
            "train_top1": average.top1,
            "test_loss": test_loss,
            "test_top1": test_top1,
            **({} if self.hook is None else self.hook.end_epoch(epoch)),
        }

    def _step(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[float, Tensor]:
        recipe = self.recipe
        drop = {"drop_path": recipe.drop_path * epoch / recipe.epochs} if recipe.drop_path else {}
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.amp):
            output = self.model(images, **drop)
        logits, auxiliary = (output, None) if isinstance(output, Tensor) else output
        smoothing = recipe.label_smoothing
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        if recipe.auxiliary_weight:
            if auxiliary is None:
                raise ConfigError(
                    f"auxiliary_weight: {recipe.auxiliary_weight} has no effect, as the network has no "
                    f"auxiliary head. Build it with auxiliary=True, or set auxiliary_weight to 0."
                )
            extra = functional.cross_entropy(auxiliary.float(), labels, label_smoothing=smoothing)
            loss = loss + recipe.auxiliary_weight * extra
        value = float(loss.detach())
        if math.isfinite(value):  # else the caller raises; the weights are left as they were
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.gradient_clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), recipe.gradient_clip)
            self.optimizer.step()
        return value, logits

    def _logits(self, images: Tensor) -> Tensor:
        output = self.model(images)
        return output if isinstance(output, Tensor) else output[0]

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            saved = self.checkpoint is not None and len(self.history) > 0
            kept = f" {self.checkpoint} holds the last good epoch." if saved else ""
            raise TrainingError(
                f"the {what} is {value}.{kept} Lower learning_rate, set gradient_clip, or check the images."
            )
