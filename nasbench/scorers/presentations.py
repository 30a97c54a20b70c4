"""What is counted of each example over its presentations, and how the counts lie on disk."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasbench.core.errors import CheckpointError, FileReadError
from nasbench.core.files import fingerprint, read_json, write_bytes, write_json
from nasbench.datasets.base import ImageSet

COUNTS = "forgetting.npy"
DESCRIPTION = "forgetting.json"


class Presentations:
    """Counts transitions from correct to wrong between consecutive presentations; see `training.hooks.ExampleHook`.

    Args:
        num_examples: n.
        epochs: E, presentations of each example.

    Attributes:
        epochs: E.
        events: int64 [n], forgetting events.
        first: int64 [n], first epoch of a correct classification, E where there was none.
    """

    def __init__(self, num_examples: int, epochs: int) -> None:
        self.epochs = epochs
        self.events = torch.zeros(num_examples, dtype=torch.int64)
        self.first = torch.full((num_examples,), epochs, dtype=torch.int64)
        self._correct = torch.zeros(num_examples, dtype=torch.bool)
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def presented(self, epoch: int, rows: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Take a step's batch; it stays on the device until the epoch's end: no wait for CUDA in each step."""
        del epoch
        self._waiting.append((rows, logits.argmax(dim=1) == labels))

    def end_epoch(self, epoch: int) -> Mapping[str, float]:
        """Count the epoch's transitions.

        Returns:
            ``forgotten``: examples forgotten in this epoch; ``never_learned``: those not classified correctly so far.
        """
        rows = torch.cat([found for found, _ in self._waiting]).cpu()
        correct = torch.zeros_like(self._correct)
        correct[rows] = torch.cat([found for _, found in self._waiting]).cpu()
        self._waiting.clear()
        forgotten = self._correct & ~correct
        self.events += forgotten
        self.first[correct & (self.first == self.epochs)] = epoch
        self._correct = correct
        return {"forgotten": float(forgotten.sum()), "never_learned": float((self.first == self.epochs).sum())}

    def state(self) -> dict[str, Tensor]:
        """Return the counts and the last classification of each example."""
        return {"events": self.events, "first": self.first, "correct": self._correct}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave.

        Raises:
            KeyError: Something is missing.
            ValueError: It is of another number of examples.
        """
        if any(state[name].shape != self.events.shape for name in ("events", "first", "correct")):
            raise ValueError(f"counts of {tuple(state['events'].shape)} examples for {len(self.events)}")
        self.events, self.first, self._correct = state["events"], state["first"], state["correct"]

    @property
    def columns(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Events, E + 1 for examples never learned, and first correct epochs, E for those; int64 [n] each."""
        never = self.first == self.epochs
        return torch.where(never, self.epochs + 1, self.events).numpy(), self.first.numpy()

    def summary(self) -> dict[str, float]:
        """Return mean events of the examples ever learned, and how many were never learned or never forgotten."""
        learned = self.first < self.epochs
        events = self.events[learned]
        return {
            "mean_forgetting_events": float(events.double().mean()) if len(events) else 0.0,
            "num_never_learned": int((~learned).sum()),
            "num_unforgettable": int((events == 0).sum()),
        }


def save_counts(folder: Path, counts: Presentations, *, dataset: str, model: str) -> None:
    """Write the counts, int64 [2, n], and then what they are of; equal counts give equal bytes.

    Raises:
        FileWriteError: The folder cannot be written.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.stack(counts.columns), allow_pickle=False)
    write_bytes(folder / COUNTS, buffer.getvalue())
    content = {"dataset": dataset, "model": model, "epochs": counts.epochs, **counts.summary()}
    write_json(folder / DESCRIPTION, {**content, "counts_fingerprint": fingerprint(buffer.getvalue())})


def load_counts(folder: Path, images: ImageSet) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], str]:
    """Read the counts of a folder.

    Returns:
        Forgetting events and first correct epochs, float64 [n], and the model's name.

    Raises:
        CheckpointError: They are absent, altered, or of other images.
    """
    cure = "Run the stage train_scorer again."
    try:
        value = read_json(folder / DESCRIPTION)
        data = (folder / COUNTS).read_bytes()
        dataset, model, stamp = str(value["dataset"]), str(value["model"]), value["counts_fingerprint"]
    except (FileReadError, OSError, KeyError) as error:
        raise CheckpointError(f"{folder} holds no forgetting events ({error}). {cure}") from error
    if fingerprint(data) != stamp:
        raise CheckpointError(f"{folder / COUNTS} was altered after it was written. {cure}")
    if dataset != images.fingerprint:
        raise CheckpointError(
            f"the forgetting events in {folder} are of dataset {dataset}, not of {images.fingerprint}: they can only "
            f"be had of the images that were trained on. Train on these."
        )
    events, first = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64)
    return events, first, model
