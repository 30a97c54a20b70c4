"""What is measured while a network trains, and what is shown of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Never, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from nasbench.training.transforms import Batches

_SECONDS_BETWEEN_PAINTS = 1.0
_SECONDS_BETWEEN_LINES = 10.0


class Average:
    """Mean loss and accuracy over the images of an epoch."""

    def __init__(self) -> None:
        self._count = 0
        self._loss = 0.0
        self._correct: Tensor | int = 0

    def add(self, loss: float, logits: Tensor, labels: Tensor) -> None:
        """Take a batch.

        Args:
            loss: Mean over the batch.
            logits: [B, K].
            labels: int64 [B].
        """
        self._count += len(labels)
        self._loss += loss * len(labels)
        # Stays on the device until `top1` is read: no wait for CUDA in each step.
        self._correct = self._correct + (logits.detach().argmax(dim=1) == labels).sum()

    @property
    def loss(self) -> float:
        """Mean loss."""
        return self._loss / self._count

    @property
    def top1(self) -> float:
        """Accuracy in [0, 1]."""
        return int(self._correct) / self._count


class Classifier(Protocol):
    """Anything that gives logits."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of images [B, C, H, W]."""


@torch.no_grad()
def evaluate(classify: Classifier, batches: Batches) -> tuple[float, float]:
    """Return mean cross-entropy (nats) and accuracy in [0, 1] over batches without augmentation.

    The caller puts the network into the mode it wants (running or batch statistics).
    """
    average = Average()
    for images, labels in batches.epoch(0):
        logits = classify(images).float()
        average.add(float(functional.cross_entropy(logits, labels)), logits, labels)
    return average.loss, average.top1


@contextmanager
def evaluating(model: nn.Module, *, batch_statistics: bool) -> Iterator[None]:
    """Evaluate with batch or running statistics; the running ones are left as they were.

    For a network without dropout or drop path, as a supernet is: training mode is what makes its batch
    normalisations use the batch. Afterwards the network is in training mode.

    Args:
        model: The network.
        batch_statistics: Normalise by the batch (True) or by the running statistics (False).
    """
    saved = [buffer.clone() for buffer in model.buffers()]
    model.train(batch_statistics)
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), saved, strict=True):
                buffer.copy_(value)
        model.train()


def peak_memory_bytes(device: torch.device) -> int:
    """Return the largest memory so far: allocated on a CUDA device, or resident in this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def progress(total: int, done: int, description: str) -> tqdm[Never]:
    """Return a bar on stderr with the estimated time to the end.

    It paints once a second on a terminal and every ten seconds into a log; ``TQDM_DISABLE=1`` turns it off.

    Args:
        total: Steps of the whole run.
        done: Steps that a checkpoint has already paid for.
        description: What stands in front of the bar.
    """
    pause = _SECONDS_BETWEEN_PAINTS if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
    return tqdm(
        total=total,
        initial=done,
        desc=description or None,
        unit="step",
        file=sys.stderr,
        ncols=100,
        mininterval=pause,
    )
