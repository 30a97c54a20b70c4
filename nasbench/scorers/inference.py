"""A model's pass over a set: in the fastest form that gives the same numbers, block by block, resumable."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasbench.core.errors import ScoreError
from nasbench.datasets.base import ImageSet
from nasbench.scorers import partial
from nasbench.scorers.folding import Precision, prepared
from nasbench.training.checkpoint import state_fingerprint
from nasbench.training.metrics import progress
from nasbench.training.transforms import Batches

PerBatch = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(what the model gives [B, ...], its inputs [B, C, H, W], labels [B]) -> scores [B] or [B, d]."""


def num_outputs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Return how many numbers a model gives of one image of (C, H, W)."""
    first = next(model.parameters(), torch.empty(0))
    with evaluating(model):
        return int(model(torch.zeros((1, *image_shape), device=first.device)).numel())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and convolutions in full float32 (CUDA would round them to TF32)."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            yield
    finally:
        model.train(training)


def score_set(
    model: nn.Module,
    images: ImageSet,
    per_batch: PerBatch,
    *,
    batch_size: int,
    device: torch.device,
    width: int | None = None,
    dtype: type[np.floating[Any]] = np.float64,
    precision: Precision = "float32",
    checkpoint: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    description: str = "score",
) -> npt.NDArray[Any]:
    """Return one score, or one row of scores, for every image, without augmentation.

    A pass that was killed goes on after the last block that was saved, and gives the same bytes.

    Args:
        model: Images [B, C, H, W] -> whatever ``per_batch`` takes; left as it is, but for its device.
        images: n images; their own mean and std normalise them. They need not be in memory.
        per_batch: Makes scores of what the model gives.
        batch_size: Images a step; results may differ in the last digits of float32 between batch sizes.
        device: Where the model is moved to.
        width: d of a row of scores, or None for one number an image.
        dtype: Of the result.
        precision: Of the model's arithmetic; the output is float32 before ``per_batch`` sees it.
        checkpoint: See `nasbench.scorers.partial.open_partial`.
        identity: What else than model, images and these options must be equal in a resumed pass.
        description: In front of the progress bar.

    Returns:
        dtype [n] or [n, width]; mapped from a file where that was wanted or it is large.

    Raises:
        ScoreError: A score is not finite; the first such row is named.
        CheckpointError: The checkpoint belongs to another pass, or is damaged.
    """
    shape = (len(images),) if width is None else (len(images), width)
    whole = {} if checkpoint is None else _identity(model, images, batch_size, device, precision, identity)
    scores = partial.open_partial(checkpoint, shape, dtype, whole)
    model.to(device)
    with evaluating(model):
        ready = prepared(model, images.image_shape, precision)
        kind = next(ready.parameters(), torch.empty(0)).dtype
        normalise, plain = _Normalise(images, device), _pixels_only(images)
        with progress(_steps(len(images), batch_size), _steps(scores.done, batch_size), description) as bar:
            for rows in _blocks(scores.done, len(images), batch_size):
                row = int(rows[0])
                for raw, labels in Batches(plain, rows, None, batch_size, 0, device).epoch(0):
                    pixels = normalise(raw)
                    values = per_batch(ready(pixels.to(kind)).float(), pixels, labels).cpu().numpy()
                    _check(values, row, images, description)
                    scores.values[row : row + len(values)] = values
                    row += len(values)
                    bar.update()
                scores.save(row)
    return scores.values


def _pixels_only(images: ImageSet) -> ImageSet:
    """Return the same images, whose batches are pixels in [0, 1]."""
    channels = images.image_shape[0]
    return dataclasses.replace(images, mean=(0.0,) * channels, std=(1.0,) * channels)


class _Normalise:
    """(x - mean) / std of pixels x in [0, 1], as an evaluation loop of torchvision rounds it: the same bits.

    A training's batches divide once by 255 std, which is faster and differs in the last bit.
    """

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        width = images.image_shape[2]
        # Repeated along the row: an inner loop over W C numbers instead of C.
        self._mean = torch.tensor(images.mean, dtype=torch.float32).repeat(width).to(device)  # [W C]
        self._std = torch.tensor(images.std, dtype=torch.float32).repeat(width).to(device)  # [W C]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return [B, C, H, W] in channels_last memory."""
        batch = pixels.permute(0, 2, 3, 1).contiguous()  # [B, H, W, C], as it lies in memory
        rows = batch.view(*batch.shape[:2], -1).sub_(self._mean).div_(self._std)
        return rows.view(batch.shape).permute(0, 3, 1, 2)


def _blocks(done: int, count: int, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows that are left, in blocks of whole batches: only a block's bytes are on the device at a time.

    A last row alone joins the block before it, as it joins the last batch where there is one block only.
    """
    size = max(1, partial.ROWS_PER_BLOCK // batch_size) * batch_size
    while done < count:
        stop = count if count - done <= size + 1 else done + size
        yield np.arange(done, stop, dtype=np.int64)
        done = stop


def _steps(count: int, batch_size: int) -> int:
    return -(-count // batch_size)


def _identity(
    model: nn.Module,
    images: ImageSet,
    batch_size: int,
    device: torch.device,
    precision: Precision,
    more: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "weights": state_fingerprint(model.state_dict()),
        "images": images.fingerprint,
        "input_mean": list(images.mean),
        "input_std": list(images.std),
        "batch_size": batch_size,
        "device": device.type,
        "precision": precision,
        **(more or {}),
    }


def _check(values: npt.NDArray[Any], first: int, images: ImageSet, what: str) -> None:
    finite = np.isfinite(values).reshape(len(values), -1)
    if not finite.all():
        place = int(np.flatnonzero(~finite.all(axis=1))[0])
        value = values.reshape(len(values), -1)[place][~finite[place]][0]
        raise ScoreError(
            f"{what}: the score of row {first + place} (id {images.ids[first + place]!r}) is {value}; it must be "
            f"finite. The model's weights or its training have gone wrong: train it again."
        )
