"""A training step of a discrete network against the textbook network in NCHW and in channels_last memory.

Run it as ``python -m benchmarks.discrete_network [--quick] [--kernels] [--json [FILE]]`` (with ``--kernels`` ours
computes by the compiled kernels): DARTS_V2 with 16 channels and 8 cells
(a batch of 32), and with the paper's 36 channels and 20 cells (a batch of 4). A step is forward pass, cross-entropy,
backward pass, clipping at 5, SGD with momentum. Ours is the trainer's own step; the plain one has PyTorch's optimiser
and clipping with default arguments. Both print images a second; images are noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from benchmarks.common import Result, compare, parse_options, report
from benchmarks.network_steps import MEMORY, NUM_CLASSES, OURS, Size, in_memory, use_kernels
from benchmarks.plain_network import PlainNetwork
from benchmarks.supernet_check import Sides, check_same_function, num_weights
from nasbench.core.seeding import generator
from nasbench.datasets.base import ImageSet
from nasbench.spaces.network import build_network
from nasbench.spaces.published import published_cells
from nasbench.training.determinism import seeded
from nasbench.training.recipe import Augmentation, Recipe
from nasbench.training.trainer import _Run
from nasbench.training.transforms import Batches

CELLS = "DARTS_V2"
SIZES = (Size(channels=16, cells=8, batch=32, side=32), Size(channels=36, cells=20, batch=4, side=32))
QUICK_SIZES = (Size(channels=4, cells=3, batch=2, side=8),)
ROUNDS = 7
RECIPE = Recipe(batch_size=2, epochs=2)

Step = Callable[[], object]


def our_step(size: Size) -> Step:
    """Build the product's network and trainer; a call takes a step."""
    with seeded(0):
        network = in_memory(build_network(published_cells(CELLS), size.shape), OURS)
    noise = ImageSet(
        images=generator(0, "benchmark", "images").integers(
            0, 256, (size.batch, size.side, size.side, 3), dtype="uint8"
        ),
        labels=size.labels().numpy(),
        ids=tuple(map(str, range(size.batch))),
        num_classes=NUM_CLASSES,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    batches = Batches(noise, None, Augmentation(), size.batch, 0, "cpu")
    run = _Run(
        model=network, train=batches, test=batches, recipe=RECIPE, seed=0, amp=False, checkpoint=None, identity={}
    )
    images, labels = next(batches.epoch(0))
    # The trainer's own step, private as nothing else needs a single one.
    return lambda: run._step(images, labels, 0)[0]  # noqa: SLF001


def plain_step(size: Size, memory: torch.memory_format) -> Step:
    """Build the plain network; a call takes a step."""
    with seeded(0):
        network = in_memory(PlainNetwork(published_cells(CELLS), size.shape), memory)
    images, labels = size.images().contiguous(memory_format=memory), size.labels()
    optimizer = torch.optim.SGD(
        network.parameters(), RECIPE.learning_rate, momentum=RECIPE.momentum, weight_decay=RECIPE.weight_decay
    )

    def step() -> float:
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), RECIPE.gradient_clip)
        optimizer.step()
        return float(loss.detach())

    return step


def check(size: Size) -> int:
    """Refuse to time networks that are not the same function; returns the number of their weights."""
    mine = build_network(published_cells(CELLS), size.shape)
    plain = PlainNetwork(published_cells(CELLS), size.shape)
    sides: Sides = ((mine, lambda images, _: mine(images).logits), (plain, lambda images, _: plain(images)))
    check_same_function(f"{CELLS}, {size}", sides, size.images(2), {})
    return num_weights(mine)


def ours(quick: bool) -> Mapping[str, Callable[[], Step]]:
    """Return what builds the product's side of each line, for `benchmarks.compare_revisions`."""
    return {f"{CELLS}, {size}": lambda size=size: our_step(size) for size in (QUICK_SIZES if quick else SIZES)}  # type: ignore[misc]


def measured(size: Size, rounds: int) -> list[Result]:
    """Return a size against the plain network in either memory format."""
    weights = check(size)
    mine = our_step(size)
    results = []
    for name, memory in MEMORY.items():
        line = compare(f"{CELLS}, {size}: plain {name}", mine, plain_step(size, memory), rounds=rounds, warm_up=True)
        results.append(line.with_figures(weights=weights, images_per_s=size.batch / line.ours.median))
    return results


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--kernels", action="store_true")
    own, others = parser.parse_known_args()
    options = parse_options("A training step of a discrete network against the textbook network.", others)
    use_kernels(own.kernels)
    sizes, rounds = (QUICK_SIZES, 2) if options.quick else (SIZES, ROUNDS)
    name = "discrete_network_kernels" if own.kernels else "discrete_network"
    report(name, [result for size in sizes for result in measured(size, rounds)], options.json)


if __name__ == "__main__":
    main()
