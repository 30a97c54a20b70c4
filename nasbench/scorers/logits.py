"""What a classifier says of images, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasbench.datasets.base import ImageSet
from nasbench.scorers.folding import Precision
from nasbench.scorers.inference import score_set


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


def loss_from_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each row's class, in nats and float64.

    With d_i = z_i - z_y, the loss is log(1 + sum of exp(d_i) over i != y): like the entropy it keeps its relative
    precision where the class is all but certain, and a loss below 1e-16 does not become 0.

    Args:
        logits: [N, K], any floating type.
        labels: int64 [N].

    Returns:
        float64 [N], at least 0.

    Example:
        >>> loss_from_logits(torch.tensor([[0.0, 0.0], [0.0, -80.0]]), torch.tensor([1, 0]))
        tensor([6.9315e-01, 1.8049e-35], dtype=torch.float64)
    """
    values = logits.to(torch.float64)
    own = values.gather(1, labels[:, None])  # [N, 1]
    others = (values - own).scatter(1, labels[:, None], -torch.inf)
    return torch.logaddexp(torch.zeros((), dtype=torch.float64, device=values.device), others.logsumexp(dim=1))


def entropies(
    model: nn.Module,
    images: ImageSet,
    *,
    batch_size: int,
    device: torch.device,
    precision: Precision = "float32",
    checkpoint: Path | None = None,
    identity: Mapping[str, Any] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the entropy of a classifier's prediction for every image; see `nasbench.scorers.inference.score_set`.

    Returns:
        float64 [n], nats.

    Raises:
        ScoreError: An entropy is not finite; the first such row is named.
    """
    values = score_set(
        model,
        images,
        lambda logits, _pixels, _labels: entropy_from_logits(logits),
        batch_size=batch_size,
        device=device,
        precision=precision,
        checkpoint=checkpoint,
        identity=identity,
        description="entropy",
    )
    return np.array(values)


def losses(
    model: nn.Module,
    images: ImageSet,
    *,
    batch_size: int,
    device: torch.device,
    checkpoint: Path | None = None,
    identity: Mapping[str, Any] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the cross-entropy of every image's own class, float64 [n] in nats; otherwise as `entropies`."""
    values = score_set(
        model,
        images,
        lambda logits, _pixels, labels: loss_from_logits(logits, labels),
        batch_size=batch_size,
        device=device,
        checkpoint=checkpoint,
        identity=identity,
        description="loss",
    )
    return np.array(values)


def top1(
    model: nn.Module, images: ImageSet, *, batch_size: int, device: torch.device, description: str = "top1"
) -> float:
    """Return the share of images in [0, 1] whose class a classifier names; see `entropies`."""
    correct = score_set(
        model,
        images,
        lambda logits, _pixels, labels: (logits.argmax(dim=1) == labels).double(),
        batch_size=batch_size,
        device=device,
        description=description,
    )
    return float(correct.mean())
