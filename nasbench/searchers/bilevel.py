"""The one gradient loop: weights on one half of the proxy, architecture parameters on the other."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench.config.component import fields_of
from nasbench.core.errors import CheckpointError, TrainingError
from nasbench.core.files import fingerprint
from nasbench.core.genotype import Genotype
from nasbench.core.seeding import derive_seed, generator
from nasbench.searchers import diagnostics
from nasbench.searchers.base import SearchResult, SearchTask
from nasbench.searchers.halves import Halves
from nasbench.searchers.hypergradient import AlphaGradient, AlphaStep, first_order
from nasbench.searchers.relaxations import Relaxation, softmax
from nasbench.searchers.settings import BilevelSettings
from nasbench.tracking.tracker import Tracker
from nasbench.training.augment import check_shape
from nasbench.training.checkpoint import load_checkpoint, save_checkpoint
from nasbench.training.determinism import device_of, seeded
from nasbench.training.metrics import Average, evaluate, evaluating, progress
from nasbench.training.schedule import cosine

LOG = logging.getLogger(__name__)
ALPHA_SCALE = 1e-3
_CURVES = (
    "train_loss",
    "train_top1",
    "valid_loss",
    "one_shot_top1",
    "alpha_entropy",
    "skip_share",
    "parameter_free_share",
    "learning_rate",
)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """What one gradient searcher does differently from the next.

    Attributes:
        alpha_gradient: First or second order.
        weight_relaxation: Edge weights while the weights are trained.
        alpha_relaxation: Edge weights while the alphas are trained, and in the evaluation.
        alphas_first: Within a step train the alphas, then the weights (DARTS), or the other way round (GDAS).
        before_epoch: Called with the supernet, the alphas (which it may change in place) and the epoch.
    """

    alpha_gradient: AlphaGradient = first_order
    weight_relaxation: Relaxation = softmax
    alpha_relaxation: Relaxation = softmax
    alphas_first: bool = True
    before_epoch: Callable[[nn.Module, Mapping[str, Tensor], int], None] | None = None


def bilevel_search(
    name: str, settings: BilevelSettings, task: SearchTask, tracker: Tracker, strategy: Strategy
) -> SearchResult:
    """Minimise L_val(w*(alpha), alpha) over alpha with w* approximated by gradient steps on L_train.

    Each step trains the alphas on a batch of the alpha half, then the weights on a batch of the weight half. Alphas
    start at 1e-3 times a standard normal. Reference: Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, Algorithm 1.
    Differs from the published code: the alpha half is read by one iterator that restarts when it is exhausted (as
    in the code of Na et al., arXiv:2106.04784), not by a fresh one each step; the genotype is derived after the last
    update.

    The checkpoint holds weights, alphas, both optimisers, the place in the alpha half's order and the trajectory;
    every random number of an epoch derives from (seed, epoch), so a resumed search gives the same bits.

    Args:
        name: The searcher's registered name, for the checkpoint and the messages.
        settings: The searcher itself; all its fields enter the checkpoint's identity.
        task: Space, images, halves, seed.
        tracker: Gets the curves once an epoch (after a resume those of the earlier epochs first), and the tag
            ``warning`` where the final cell collapsed.
        strategy: What makes the searcher.

    Raises:
        ConfigError: The halves overlap or are too small for the batch, or the shape does not fit the images.
        CheckpointError: The checkpoint is truncated or belongs to another search.
        TrainingError: A loss or gradient is not finite; the checkpoint of the last good epoch is kept.
    """
    started = time.perf_counter()
    search = _Search(name, settings, task, strategy)
    search.resume()
    for record in search.trajectory:
        _log(tracker, record)
    steps = len(search.halves.weights)
    description = f"search {name}"
    with progress(settings.epochs * steps, len(search.trajectory) * steps, description) as bar:
        for epoch in range(len(search.trajectory), settings.epochs):
            search.trajectory.append(search.one_epoch(epoch, bar.update))
            search.save()
            _log(tracker, search.trajectory[-1])
    genotype = Genotype(space=task.space.name, genes=tuple(search.trajectory[-1]["genes"]))
    cells = task.space.cells(genotype)
    warnings = tuple(diagnostics.collapse_warning(kind, cells[kind]) for kind in diagnostics.collapsed(cells))
    if warnings:
        tracker.tag("warning", " ".join(warnings))
    return SearchResult(
        genotype=genotype,
        trajectory=tuple(search.trajectory),
        seconds=time.perf_counter() - started,
        warnings=warnings,
    )


def _log(tracker: Tracker, record: Mapping[str, Any]) -> None:
    tracker.log_metrics({name: record[name] for name in _CURVES}, step=record["epoch"])


class _Search:
    """State of one search between its epochs."""

    def __init__(self, name: str, settings: BilevelSettings, task: SearchTask, strategy: Strategy) -> None:
        self.name, self.settings, self.task, self.strategy = name, settings, task, strategy
        check_shape(task.shape, task.images)
        device = device_of(task.device)
        self.halves = Halves(settings, task, device)
        with seeded(derive_seed(task.seed, "supernet")):
            model = task.space.supernet(task.shape)
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = list(self.model.parameters())
        rng = generator(task.seed, "alphas")
        self.alphas = {
            group: torch.tensor(ALPHA_SCALE * rng.standard_normal(shape), dtype=torch.float32, device=device)
            for group, shape in task.space.alpha_shapes.items()
        }
        for alpha in self.alphas.values():
            alpha.requires_grad_()
        self.weight_optimizer = torch.optim.SGD(
            self.weights,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.alpha_optimizer = torch.optim.Adam(
            list(self.alphas.values()),
            lr=settings.alpha_learning_rate,
            betas=settings.alpha_betas,
            weight_decay=settings.alpha_weight_decay,
        )
        self.trajectory: list[dict[str, Any]] = []

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint of this search must share with it."""
        task = self.task
        return {
            "searcher": self.name,
            "fields": fields_of(self.settings),
            "space": {"name": task.space.name, **fields_of(task.space)},
            "shape": fields_of(task.shape),
            "images": task.images.fingerprint,
            "weight_indices": fingerprint(task.weight_indices.tolist()),
            "alpha_indices": fingerprint(task.alpha_indices.tolist()),
            "augmentation": fields_of(task.augmentation),
            "seed": task.seed,
        }

    def resume(self) -> None:
        """Take over the checkpoint, if there is one."""
        file = self.task.checkpoint
        state = None if file is None else load_checkpoint(file, "search", self.identity)
        if state is None:
            return
        try:
            self.model.load_state_dict(state["weights"])
            with torch.no_grad():
                for group, alpha in self.alphas.items():
                    alpha.copy_(state["alphas"][group])
            self.weight_optimizer.load_state_dict(state["weight_optimizer"])
            self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
            self.halves.alphas.seek(*state["alpha_place"])
            self.trajectory = list(state["trajectory"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file} does not fit this search ({error}). Delete it.") from error

    def save(self) -> None:
        """Write the checkpoint."""
        if self.task.checkpoint is not None:
            state = {
                "weights": self.model.state_dict(),
                "alphas": {group: alpha.detach() for group, alpha in self.alphas.items()},
                "weight_optimizer": self.weight_optimizer.state_dict(),
                "alpha_optimizer": self.alpha_optimizer.state_dict(),
                "alpha_place": list(self.halves.alphas.place),
                "trajectory": self.trajectory,
            }
            save_checkpoint(self.task.checkpoint, "search", self.identity, state)

    def one_epoch(self, epoch: int, advance: Callable[[], object]) -> dict[str, Any]:
        """Train once over the weight half, then evaluate on the alpha half; returns the epoch's record."""
        settings, strategy = self.settings, self.strategy
        rate = cosine(settings.learning_rate, settings.final_learning_rate, epoch, settings.epochs)
        for group in self.weight_optimizer.param_groups:
            group["lr"] = rate
        frozen = epoch < settings.alpha_warmup_epochs
        if frozen:
            LOG.info("%s, epoch %d: alphas frozen until epoch %d", self.name, epoch, settings.alpha_warmup_epochs)
        average = Average()
        self.model.train()
        with seeded(derive_seed(self.task.seed, "search-epoch", epoch)):
            if strategy.before_epoch is not None:
                strategy.before_epoch(self.model, self.alphas, epoch)
            for step, batch in enumerate(self.halves.weights.epoch(epoch)):
                where = f"epoch {epoch}, step {step}"
                if strategy.alphas_first and not frozen:
                    self._alpha_step(batch, epoch, rate, where)
                self._weight_step(batch, epoch, average, where)
                if not strategy.alphas_first and not frozen:
                    self._alpha_step(batch, epoch, rate, where)
                advance()
            valid_loss, one_shot_top1 = self._evaluate(epoch)
        self._check(valid_loss, f"validation loss after epoch {epoch}")
        return {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": average.loss,
            "train_top1": average.top1,
            "valid_loss": valid_loss,
            "one_shot_top1": one_shot_top1,
            "alphas_frozen": frozen,
            **self._describe(epoch),
        }

    def _weight_step(self, batch: tuple[Tensor, Tensor], epoch: int, average: Average, where: str) -> None:
        images, labels = batch
        with torch.no_grad():
            edge_weights = self.strategy.weight_relaxation(self.alphas, epoch)
        self.weight_optimizer.zero_grad(set_to_none=True)
        logits = self.model(images, edge_weights)
        loss = functional.cross_entropy(logits, labels)
        value = float(loss.detach())
        self._check(value, f"training loss in {where}")
        loss.backward()  # type: ignore[no-untyped-call]
        if self.settings.gradient_clip:
            nn.utils.clip_grad_norm_(self.weights, self.settings.gradient_clip)
        self.weight_optimizer.step()
        average.add(value, logits, labels)

    def _alpha_step(self, train: tuple[Tensor, Tensor], epoch: int, rate: float, where: str) -> None:
        valid = next(self.halves.alphas)

        def loss_on(batch: tuple[Tensor, Tensor]) -> Tensor:
            logits = self.model(batch[0], self.strategy.alpha_relaxation(self.alphas, epoch))
            return functional.cross_entropy(logits, batch[1])

        alphas, state = list(self.alphas.values()), self.weight_optimizer.state
        loss, gradients = self.strategy.alpha_gradient(
            AlphaStep(
                train_loss=lambda: loss_on(train),
                valid_loss=lambda: loss_on(valid),
                weights=self.weights,
                alphas=alphas,
                buffers=list(self.model.buffers()),
                momenta=[state.get(weight, {}).get("momentum_buffer") for weight in self.weights],
                learning_rate=rate,
                momentum=self.settings.momentum,
                weight_decay=self.settings.weight_decay,
            )
        )
        self._check(float(loss), f"validation loss in {where}")
        self._check(float(sum(gradient.abs().sum() for gradient in gradients)), f"alpha gradient in {where}")
        for alpha, gradient in zip(alphas, gradients, strict=True):
            alpha.grad = gradient
        self.alpha_optimizer.step()

    def _evaluate(self, epoch: int) -> tuple[float, float]:
        with torch.no_grad():
            edge_weights = self.strategy.alpha_relaxation(self.alphas, epoch)
        with evaluating(self.model, batch_statistics=self.settings.batch_statistics):
            return evaluate(lambda images: self.model(images, edge_weights), self.halves.evaluation)

    def _describe(self, epoch: int) -> dict[str, Any]:
        alphas = {group: alpha.detach().cpu().double().numpy() for group, alpha in self.alphas.items()}
        genotype = self.task.space.discretize(alphas)
        cells = self.task.space.cells(genotype)
        before = self._collapsed_before()
        for kind in diagnostics.collapsed(cells):
            if kind not in before:
                text = diagnostics.collapse_warning(kind, cells[kind])
                LOG.warning("%s, epoch %d: %s", self.name, epoch, text)
        return {
            "alpha_entropy": diagnostics.alpha_entropy(alphas),
            "skip_share": diagnostics.skip_share(cells),
            "parameter_free_share": diagnostics.parameter_free_share(cells),
            "genes": list(genotype.genes),
            "alphas": {group: values.tolist() for group, values in alphas.items()},
        }

    def _collapsed_before(self) -> tuple[str, ...]:
        if not self.trajectory:
            return ()
        last = Genotype(space=self.task.space.name, genes=tuple(self.trajectory[-1]["genes"]))
        return diagnostics.collapsed(self.task.space.cells(last))

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            saved = self.task.checkpoint is not None and len(self.trajectory) > 0
            kept = f" {self.task.checkpoint} holds the last good epoch." if saved else ""
            raise TrainingError(
                f"{self.name}: the {what} is {value}.{kept} Lower learning_rate, set gradient_clip, "
                f"or check the images."
            )
