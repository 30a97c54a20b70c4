"""Entropy scoring against a plain evaluation loop, with a ResNet-20.

Run it as ``python -m benchmarks.entropy_scoring [--quick] [--json [FILE]] [--images FOLDER] [--weights FILE]
[--count N]``: on seeded random images of 32x32 and seeded random weights, or on the images of a folder of class folders
(its ``train`` part) and given weights, which is where entropies are small and the differences mean something. Preparing
the model takes about 0.04 s whatever N is, 4,096 by default.

The plain way is the textbook's: NCHW, batches of 128, pixels / 255 minus mean over std, float64 entropies.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.common import Result, compare, parse_options, report
from nasbench.core.seeding import generator
from nasbench.datasets.base import ImageSet
from nasbench.datasets.image_folder import ImageFolder
from nasbench.models import zoo
from nasbench.models.state_dict import fit_state_dict, read_model_file
from nasbench.scorers.folding import Precision, prepared
from nasbench.scorers.logits import entropies, entropy_from_logits
from nasbench.scorers.trained import IMAGENET_MEAN, IMAGENET_STD
from nasbench.training.determinism import seeded

BATCH = 64
PLAIN_BATCH = 128
BIN = 0.5  # width of the published CIFAR-10 histogram, in decades
CPU = torch.device("cpu")
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is scored.

    Attributes:
        model: In evaluation mode.
        images: Of 3 channels.
        rounds: How often each way is timed.
    """

    model: nn.Module
    images: ImageSet
    rounds: int


def load_model(weights: Path | None) -> nn.Module:
    """Return a ResNet-20 with given weights, or seeded ones and running statistics of noise."""
    with seeded(0):
        model = zoo.create("resnet20", 10, 3)
        if weights is not None:
            fit_state_dict(model, read_model_file(weights).state)
        else:
            with torch.no_grad():
                for _ in range(5):
                    model(torch.randn(64, 3, 32, 32))
    return model.eval()


def load_images(folder: Path | None, count: int) -> ImageSet:
    """Return so many images, normalised as ImageNet's: of a folder, evenly spread, or seeded noise."""
    if folder is not None:
        whole = ImageFolder(mean=IMAGENET_MEAN, std=IMAGENET_STD).load("train", root=folder)
        rows = np.linspace(0, len(whole) - 1, min(count, len(whole))).astype(np.int64)
        pixels, labels = np.asarray(whole.images[rows]), whole.labels[rows]
    else:
        pixels = generator(0, "benchmark", "images").integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = np.zeros(count, dtype=np.int64)
    ids = tuple(str(row) for row in range(len(labels)))
    return ImageSet(images=pixels, labels=labels, ids=ids, num_classes=10, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def plain(task: Task) -> Scores:
    """Score with the textbook's loop."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (task.images.mean, task.images.std))
    parts = []
    with torch.no_grad():
        for start in range(0, len(task.images), PLAIN_BATCH):
            pixels = torch.tensor(task.images.images[start : start + PLAIN_BATCH])
            batch = pixels.permute(0, 3, 1, 2).contiguous().float().div(255)
            parts.append(entropy_from_logits(task.model((batch - mean) / std)))
    return torch.cat(parts).numpy()


def ours(task: Task, precision: Precision) -> Scores:
    """Score as the product does."""
    return entropies(task.model, task.images, batch_size=BATCH, device=CPU, precision=precision)


def bare_forward(task: Task, model: nn.Module) -> None:
    """Run the form of the model that is used, on batches that are ready: no reading, no entropies."""
    batch = torch.zeros(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    left = len(task.images)
    with torch.no_grad():
        while left > 0:
            model(batch[: min(left, BATCH)])
            left -= BATCH


def line(task: Task, precision: Precision) -> Result:
    """Compare one precision with the plain loop."""
    wanted, found = np.log10(plain(task)), np.log10(ours(task, precision))
    moved = np.floor(wanted / BIN) != np.floor(found / BIN)
    result = compare(
        f"{precision}, {len(task.images):,} images",
        partial(ours, task, precision),
        partial(plain, task),
        rounds=task.rounds,
    )
    return result.with_figures(
        images_per_s=len(task.images) / result.ours.median,
        max_delta_log10_entropy=float(np.abs(found - wanted).max()),
        share_in_another_bin=float(moved.mean()),
    )


def main() -> None:
    """Compare every precision, and the default one with the bare forward pass."""
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--images", type=Path, default=None)
    extra.add_argument("--weights", type=Path, default=None)
    extra.add_argument("--count", type=int, default=4096)
    own, rest = extra.parse_known_args()
    options = parse_options(__doc__ or "", rest)
    count = 256 if options.quick else own.count
    task = Task(
        model=load_model(own.weights),
        images=load_images(own.images, count),
        rounds=1 if options.quick else 5,
    )
    precisions: tuple[Precision, ...] = ("float32", "float32-folded", "bfloat16")
    lines = [line(task, precision) for precision in precisions]
    bare = compare(
        "float32; plain is the bare forward pass, the ratio its share",
        partial(ours, task, "float32"),
        partial(bare_forward, task, prepared(task.model, (3, 32, 32), "float32")),
        rounds=task.rounds,
    )
    report("entropy_scoring", [*lines, bare], options.json)


if __name__ == "__main__":
    main()
