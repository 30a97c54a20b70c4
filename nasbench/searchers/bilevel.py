"""The one gradient loop: weights on one half of the proxy, architecture parameters on the other."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench.core.errors import TrainingError
from nasbench.core.genotype import Genotype
from nasbench.core.seeding import derive_seed
from nasbench.searchers import diagnostics
from nasbench.searchers.base import SearchResult, SearchTask
from nasbench.searchers.hypergradient import AlphaStep, put_back
from nasbench.searchers.search_state import SearchState
from nasbench.searchers.settings import BilevelSettings
from nasbench.searchers.strategy import EpochEnd, Moment, Strategy
from nasbench.spaces.base import Mixture
from nasbench.tracking.tracker import Tracker
from nasbench.training.determinism import seeded
from nasbench.training.metrics import Average, evaluate, evaluating, progress
from nasbench.training.schedule import cosine

LOG = logging.getLogger(__name__)


def bilevel_search(
    name: str, settings: BilevelSettings, task: SearchTask, tracker: Tracker, strategy: Strategy
) -> SearchResult:
    """Minimise L_val(w*(alpha), alpha) over alpha with w* approximated by gradient steps on L_train.

    Each step trains the alphas on a batch of the alpha half, then the weights on a batch of the weight half. Alphas
    start at 1e-3 times a standard normal. Reference: Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, Algorithm 1.
    Differs from the published code: the alpha half is read by one iterator that restarts when it is exhausted (as
    in the code of Na et al., arXiv:2106.04784), not by a fresh one each step; the genotype is derived after the last
    update.

    The checkpoint holds weights, architecture, both optimisers, the place in the alpha half's order and the records;
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
    search = _Search(SearchState(name, settings, task, strategy))
    state = search.state
    state.resume()
    for record in state.records:
        _log(tracker, record)
    total, done = state.num_steps(range(state.epochs)), state.num_steps(range(len(state.records)))
    with progress(total, done, f"search {name}") as bar:
        while len(state.records) < state.epochs and strategy.stopped_at(state.records) is None:
            state.records.append(search.one_epoch(len(state.records), bar.update))
            state.save()
            _log(tracker, state.records[-1])
    return _result(state, tracker, time.perf_counter() - started)


def _result(state: SearchState, tracker: Tracker, seconds: float) -> SearchResult:
    stopped = state.strategy.stopped_at(state.records)
    if stopped is not None:
        state.notes.append(
            f"stopped after {len(state.records)} of {state.epochs} epochs; the genotype is that of epoch {stopped}."
        )
    last = state.records[-1 if stopped is None else stopped]
    genotype = Genotype(space=state.task.space.name, genes=tuple(last["genes"]))
    cells = state.task.space.cells(genotype)
    warnings = tuple(diagnostics.collapse_warning(kind, cells[kind]) for kind in diagnostics.collapsed(cells))
    if warnings:
        tracker.tag("warning", " ".join(warnings))
    if state.notes:
        tracker.tag("note", " ".join(state.notes))
    return SearchResult(
        genotype=genotype, trajectory=tuple(state.records), seconds=seconds, warnings=warnings,
        notes=tuple(state.notes),
    )  # fmt: skip


def _log(tracker: Tracker, record: Mapping[str, Any]) -> None:
    """Log every number of a record."""
    numbers = {
        name: value
        for name, value in record.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "epoch"
    }
    tracker.log_metrics(numbers, step=record["epoch"])


class _Search:
    """Takes the steps of one search."""

    def __init__(self, state: SearchState) -> None:
        self.state = state
        self.strategy, self.settings, self.model = state.strategy, state.settings, state.model

    def one_epoch(self, epoch: int, advance: Callable[[], object]) -> dict[str, Any]:
        """Train once over the weight half, then evaluate on the alpha half; returns the epoch's record."""
        state, settings = self.state, self.settings
        frozen = epoch < settings.alpha_warmup_epochs
        if frozen:
            LOG.info("%s, epoch %d: alphas frozen until epoch %d", state.name, epoch, settings.alpha_warmup_epochs)
        average = Average()
        self.model.train()
        state.begin_epoch(epoch)
        steps = len(state.halves.weights)
        rate = self._set_rate(Moment(epoch, state.epochs))
        with seeded(derive_seed(state.task.seed, "search-epoch", epoch)):
            for step, batch in enumerate(state.halves.weights.epoch(epoch)):
                moment = Moment(epoch, state.epochs, step, steps)
                rate = self._set_rate(moment)
                if self.strategy.alphas_first and not frozen:
                    self._alpha_step(batch, moment, rate)
                self._weight_step(batch, moment, average)
                if not self.strategy.alphas_first and not frozen:
                    self._alpha_step(batch, moment, rate)
                advance()
            valid_loss, one_shot_top1 = self._evaluate(Moment(epoch, state.epochs, steps, steps))
        self._check(valid_loss, f"validation loss after epoch {epoch}")
        extras = self._extras(epoch)  # before the genotype, which may follow from what a strategy decides there
        return {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": average.loss,
            "train_top1": average.top1,
            "valid_loss": valid_loss,
            "one_shot_top1": one_shot_top1,
            "alphas_frozen": frozen,
            **self._describe(epoch),
            **extras,
        }

    def _set_rate(self, moment: Moment) -> float:
        settings = self.settings
        place = moment.epoch + (moment.step / moment.steps if settings.schedule == "step" else 0)
        rate = cosine(settings.learning_rate, settings.final_learning_rate, place, moment.epochs)
        if moment.epoch < settings.warmup_epochs:
            rate = rate * (moment.epoch + 1) / settings.warmup_epochs
        for group in self.state.weight_optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _logits(self, images: Tensor, mixture: Mixture) -> Tensor:
        return mixture.apply(self.model, self.strategy.view(images))

    def _weight_step(self, batch: tuple[Tensor, Tensor], moment: Moment, average: Average) -> None:
        images, labels = batch
        with torch.no_grad():
            mixture = self.strategy.weight_mixture(self.state.architecture, moment)
        self.state.weight_optimizer.zero_grad(set_to_none=True)
        logits = self._logits(images, mixture)
        loss = functional.cross_entropy(logits, labels)
        value = float(loss.detach())
        self._check(value, f"training loss in epoch {moment.epoch}, step {moment.step}")
        loss.backward()  # type: ignore[no-untyped-call]
        for weight in self.state.weights:
            if (
                weight.grad is None
            ):  # nothing of it was computed: momentum and weight decay go on, as for its neighbours
                weight.grad = torch.zeros_like(weight)
        if self.settings.gradient_clip:
            nn.utils.clip_grad_norm_(self.state.weights, self.settings.gradient_clip)
        self.state.weight_optimizer.step()
        average.add(value, logits, labels)

    def _alpha_step(self, train: tuple[Tensor, Tensor], moment: Moment, rate: float) -> None:
        valid, state = next(self.state.halves.alphas), self.state

        def loss_on(batch: tuple[Tensor, Tensor]) -> Tensor:
            mixture = self.strategy.alpha_mixture(state.architecture, moment)
            return functional.cross_entropy(self._logits(batch[0], mixture), batch[1])

        tensors, memory = list(state.architecture.values()), state.weight_optimizer.state
        loss, gradients = self.strategy.alpha_gradient(
            AlphaStep(
                train_loss=lambda: loss_on(train),
                valid_loss=lambda: loss_on(valid),
                weights=state.weights,
                alphas=tensors,
                buffers=list(self.model.buffers()),
                momenta=[memory.get(weight, {}).get("momentum_buffer") for weight in state.weights],
                learning_rate=rate,
                momentum=self.settings.momentum,
                weight_decay=self.settings.weight_decay,
            )
        )
        where = f"in epoch {moment.epoch}, step {moment.step}"
        self._check(float(loss), f"validation loss {where}")
        self._check(float(sum(gradient.abs().sum() for gradient in gradients)), f"alpha gradient {where}")
        for values, gradient in zip(tensors, gradients, strict=True):
            values.grad = gradient
        if self.settings.alpha_gradient_clip:
            nn.utils.clip_grad_norm_(tensors, self.settings.alpha_gradient_clip)
        self._move_architecture()

    def _move_architecture(self) -> None:
        """Take the optimiser's step; rows that the strategy froze keep their values."""
        kept = [
            (self.state.architecture[group], torch.from_numpy(rows).to(self.state.device))
            for group, rows in self.strategy.frozen().items()
        ]
        before = [values.detach()[rows].clone() for values, rows in kept]
        self.state.alpha_optimizer.step()
        with torch.no_grad():
            for (values, rows), old in zip(kept, before, strict=True):
                values[rows] = old

    def _evaluate(self, moment: Moment) -> tuple[float, float]:
        with torch.no_grad():
            mixture = self.strategy.evaluation_mixture(self.state.architecture, moment)
        with evaluating(self.model, batch_statistics=self.settings.batch_statistics):
            return evaluate(lambda images: self._logits(images, mixture), self.state.halves.evaluation)

    def _extras(self, epoch: int) -> dict[str, Any]:
        """Return what the strategy adds to the record; the network is left as it was."""
        state = self.state
        moment = Moment(epoch, state.epochs, 1, 1)

        def valid_loss() -> Tensor:
            images, labels = next(iter(state.halves.evaluation.epoch(0)))
            mixture = self.strategy.evaluation_mixture(state.architecture, moment)
            return functional.cross_entropy(self._logits(images, mixture), labels)

        arrays = state.arrays()
        seed = derive_seed(state.task.seed, "epoch-end", epoch)
        with put_back(list(self.model.buffers())), seeded(seed):
            return self.strategy.end_epoch(
                EpochEnd(
                    epoch=epoch,
                    records=state.records,
                    alphas={group: arrays[group] for group in state.task.space.alpha_shapes},
                    architecture=state.architecture,
                    valid_loss=valid_loss,
                    seed=seed,
                )
            )

    def _describe(self, epoch: int) -> dict[str, Any]:
        space, arrays = self.state.task.space, self.state.arrays()
        alphas = {group: arrays[group] for group in space.alpha_shapes}
        genotype = self.strategy.genotype(space, arrays)
        cells = space.cells(genotype)
        before = self._collapsed_before()
        for kind in diagnostics.collapsed(cells):
            if kind not in before:
                text = diagnostics.collapse_warning(kind, cells[kind])
                LOG.warning("%s, epoch %d: %s", self.state.name, epoch, text)
        return {
            "alpha_entropy": diagnostics.alpha_entropy(alphas),
            "skip_share": diagnostics.skip_share(cells),
            "parameter_free_share": diagnostics.parameter_free_share(cells),
            "genes": list(genotype.genes),
            "alphas": {group: values.tolist() for group, values in alphas.items()},
        }

    def _collapsed_before(self) -> tuple[str, ...]:
        if not self.state.records:
            return ()
        space = self.state.task.space
        last = Genotype(space=space.name, genes=tuple(self.state.records[-1]["genes"]))
        return diagnostics.collapsed(space.cells(last))

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            saved = self.state.task.checkpoint is not None and len(self.state.records) > 0
            kept = f" {self.state.task.checkpoint} holds the last good epoch." if saved else ""
            raise TrainingError(
                f"{self.state.name}: the {what} is {value}.{kept} Lower learning_rate, set gradient_clip, "
                f"or check the images."
            )
