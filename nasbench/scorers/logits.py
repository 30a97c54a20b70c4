"""What a classifier says of images, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasbench.core.errors import ScoreError
from nasbench.datasets.base import ImageSet
from nasbench.training.metrics import progress
from nasbench.training.transforms import Batches


def entropy_from_logits(logits: Tensor) -> Tensor:
    """Return the entropy of softmax distributions, in nats and float64.

    With m the largest logit of a row, d_i = z_i - m <= 0 and s = sum of exp(d_i) over all but that one,

        H = -sum_i p_i log p_i = log(1 + s) + sum_i (-d_i) exp(d_i) / (1 + s).

    All terms are at least 0, so nothing cancels: H keeps its relative precision down to the smallest float64, where
    log-softmax followed by the plain sum loses the share of the largest class below about 1e-16. A logit of minus
    infinity adds nothing (0 log 0 = 0); NaN or plus infinity gives NaN.

    Args:
        logits: [N, K], K at least 1, any floating type.

    Returns:
        float64 [N], each 0 <= H <= log K up to rounding.

    Example:
        >>> entropy_from_logits(torch.tensor([[0.0, 0.0], [0.0, -80.0]]))
        tensor([6.9315e-01, 1.4619e-33], dtype=torch.float64)
    """
    values = logits.to(torch.float64)
    top, where = values.max(dim=1, keepdim=True)  # [N, 1]
    below = values - top  # d, [N, K]
    parts = below.exp().scatter(1, where, 0.0)  # exp(d_i), 0 for the largest itself
    rest = parts.sum(dim=1)  # s, [N]
    weighted = torch.where(parts == 0, 0.0, -below * parts).sum(dim=1)
    entropy = torch.log1p(rest) + weighted / (1 + rest)
    return torch.where(torch.isfinite(top[:, 0]) & ~torch.isnan(rest), entropy, torch.nan)


@contextmanager
def _full_precision(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and convolutions in full float32 (CUDA would round them to TF32)."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            yield
    finally:
        model.train(training)


def entropies(
    model: nn.Module, images: ImageSet, *, batch_size: int, device: torch.device, description: str = "entropy"
) -> npt.NDArray[np.float64]:
    """Return the entropy of a classifier's prediction for every image, without augmentation.

    Args:
        model: Images float32 [B, C, H, W] -> logits [B, K].
        images: n images; their own mean and std normalise them.
        batch_size: Images a step; results may differ in the last digits of float32 between batch sizes.
        device: Where the model is moved to.
        description: In front of the progress bar.

    Returns:
        float64 [n], nats.

    Raises:
        ScoreError: An entropy is not finite; the first such row is named.
    """
    batches = Batches(images, None, None, batch_size, 0, device)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts: list[Tensor] = []
    with _full_precision(model), progress(len(batches), 0, description) as bar:
        for pixels, _ in batches.epoch(0):
            parts.append(entropy_from_logits(model(pixels).float()).cpu())
            bar.update()
    values: npt.NDArray[np.float64] = torch.cat(parts).numpy()
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        row = int(bad[0])
        raise ScoreError(
            f"{len(bad)} of {len(values)} entropies are not finite; the first is {values[row]} in row {row} "
            f"(id {images.ids[row]!r}). The model's weights or its training have gone wrong: train it again."
        )
    return values


def top1(
    model: nn.Module, images: ImageSet, *, batch_size: int, device: torch.device, description: str = "top1"
) -> float:
    """Return the share of images in [0, 1] whose class a classifier names; see `entropies`."""
    batches = Batches(images, None, None, batch_size, 0, device)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    correct = 0
    with _full_precision(model), progress(len(batches), 0, description) as bar:
        for pixels, labels in batches.epoch(0):
            correct += int((model(pixels).argmax(dim=1) == labels).sum())
            bar.update()
    return correct / len(images)
