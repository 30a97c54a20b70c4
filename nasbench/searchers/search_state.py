"""The state of one gradient search between its epochs, and its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nasbench.config.component import fields_of
from nasbench.core.errors import CheckpointError
from nasbench.core.files import fingerprint
from nasbench.core.seeding import derive_seed, generator
from nasbench.searchers.base import SearchTask
from nasbench.searchers.halves import Halves, batch_size
from nasbench.searchers.settings import BilevelSettings
from nasbench.searchers.strategy import Strategy
from nasbench.spaces.mixed import use_recomputation
from nasbench.training.augment import check_shape
from nasbench.training.checkpoint import load_checkpoint, save_checkpoint
from nasbench.training.determinism import device_of, seeded
from nasbench.training.transforms import num_batches

ALPHA_SCALE = 1e-3


class SearchState:
    """Supernet, architecture, both optimisers, both halves, and the records of the epochs so far.

    Args:
        name: The searcher's registered name.
        settings: The searcher itself.
        task: What it is given.
        strategy: What makes the searcher.

    Attributes:
        architecture: The space's groups of alphas [E, O] first, then the strategy's own parameters.
        records: One an epoch.
        epochs: E, raised where ``least_steps`` asks for it.
        notes: What was adapted to a small proxy.

    Raises:
        ConfigError: The halves overlap or are too small for the batch, or the shape does not fit the images.
    """

    def __init__(self, name: str, settings: BilevelSettings, task: SearchTask, strategy: Strategy) -> None:
        self.name, self.settings, self.task, self.strategy = name, settings, task, strategy
        check_shape(task.shape, task.images)
        self.device = device_of(task.device)
        self.records: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.epochs = self._num_epochs()
        self.halves = self._halves(0)
        with seeded(derive_seed(task.seed, "supernet")):
            model = strategy.supernet(task.space, strategy.shape(task.shape))
        use_recomputation(model, task.recompute)
        self.model = model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = list(self.model.parameters())
        shapes = {**task.space.alpha_shapes, **strategy.own_parameters(task.space)}
        rng = generator(task.seed, "alphas")
        self.architecture = {
            group: torch.tensor(ALPHA_SCALE * rng.standard_normal(shape), dtype=torch.float32, device=self.device)
            for group, shape in shapes.items()
        }
        for values in self.architecture.values():
            values.requires_grad_()
        self.weight_optimizer = torch.optim.SGD(
            self.weights,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        if settings.momentum:  # fused SGD starts all buffers in one step, or none: some weights get no gradient in it
            for weight in self.weights:
                self.weight_optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        self.alpha_optimizer = torch.optim.Adam(
            list(self.architecture.values()),
            lr=settings.alpha_learning_rate,
            betas=settings.alpha_betas,
            weight_decay=settings.alpha_weight_decay,
        )

    def _num_epochs(self) -> int:
        settings = self.settings
        steps = self._steps(0)
        epochs = max(settings.epochs, math.ceil(settings.least_steps / steps))
        if epochs > settings.epochs:
            self.notes.append(
                f"{epochs} epochs instead of {settings.epochs}: at {steps} steps an epoch they make at least "
                f"{settings.least_steps} steps."
            )
        return epochs

    def _halves(self, epoch: int) -> Halves:
        wanted = self.strategy.batch_size(self.settings.batch_size, epoch)
        size = batch_size(self.settings, wanted, self.task)
        if size != wanted and not any(note.startswith("batches") for note in self.notes):
            self.notes.append(f"batches of {size} images instead of {wanted}: a half of the proxy has no more.")
        return Halves(size, self.task, self.device)

    def begin_epoch(self, epoch: int) -> None:
        """Let the strategy get ready, and take another batch size where it wants one.

        The alpha half then goes on with its next epoch, as its order is one of whole epochs.
        """
        self.strategy.begin_epoch(epoch, self.records)
        wanted = self.strategy.batch_size(self.settings.batch_size, epoch)
        if batch_size(self.settings, wanted, self.task) != self.halves.size:
            place = self.halves.alphas.place
            self.halves = self._halves(epoch)
            self.halves.alphas.seek(place[0] + 1, 0)

    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the architecture as arrays."""
        return {group: values.detach().cpu().double().numpy() for group, values in self.architecture.items()}

    def num_steps(self, epochs: Sequence[int]) -> int:
        """Return the steps of these epochs."""
        return sum(self._steps(epoch) for epoch in epochs)

    def _steps(self, epoch: int) -> int:
        wanted = self.strategy.batch_size(self.settings.batch_size, epoch)
        return num_batches(len(self.task.weight_indices), batch_size(self.settings, wanted, self.task))

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
        """Take over the checkpoint, if there is one.

        Raises:
            CheckpointError: It is truncated, or of another search, method or space.
        """
        file = self.task.checkpoint
        state = None if file is None else load_checkpoint(file, "search", self.identity)
        if state is None:
            return
        try:
            self.model.load_state_dict(state["weights"])
            with torch.no_grad():
                for group, values in self.architecture.items():
                    values.copy_(state["architecture"][group])
            self.weight_optimizer.load_state_dict(state["weight_optimizer"])
            self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
            self.records = list(state["records"])
            self.halves = self._halves(max(len(self.records) - 1, 0))
            self.halves.alphas.seek(*state["alpha_place"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file} does not fit this search ({error}). Delete it.") from error

    def save(self) -> None:
        """Write the checkpoint."""
        if self.task.checkpoint is not None:
            state = {
                "weights": self.model.state_dict(),
                "architecture": {group: values.detach() for group, values in self.architecture.items()},
                "weight_optimizer": self.weight_optimizer.state_dict(),
                "alpha_optimizer": self.alpha_optimizer.state_dict(),
                "alpha_place": list(self.halves.alphas.place),
                "records": self.records,
            }
            save_checkpoint(self.task.checkpoint, "search", self.identity, state)
