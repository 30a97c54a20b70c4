"""What training gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Outcome of one training from scratch.

    Attributes:
        top1: Test accuracy in [0, 1] after the last epoch: the figure that is compared.
        best_top1: Best test accuracy over epochs; printed by several papers' codes, biased upwards.
        parameters: Trainable numbers without the auxiliary head.
        macs: Multiply-adds of convolutions and linear layers for one image (no auxiliary head).
        seconds: Wall time of this process (a resumed run counts only its own part).
        peak_memory_bytes: Largest resident set (CPU) or allocated device memory (CUDA).
        history: One record an epoch: ``epoch``, ``learning_rate``, ``train_loss``, ``train_top1``, ``test_loss``,
            ``test_top1``.
    """

    top1: float
    best_top1: float
    parameters: int
    macs: int
    seconds: float
    peak_memory_bytes: int
    history: tuple[Mapping[str, float], ...]
