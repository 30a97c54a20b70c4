"""Clipping and SGD on a supernet's weights against PyTorch's optimiser in a loop, and against its foreach form.

Run it as ``python -m benchmarks.optimizer_step [--quick] [--json [FILE]]``. Both sides clip the 2-norm of the gradient
at 5 and take a step of SGD with momentum 0.9 and weight decay 3e-4. Ours are the searcher's own optimiser and weights
(`nasbench.searchers.search_state`), clipped as `nasbench.searchers.bilevel` does; the plain side has one tensor for
each module of the textbook supernet. The gradients are noise, the same number of values on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.common import BenchmarkError, Result, compare, parse_options, report
from benchmarks.network_steps import Size, in_memory
from benchmarks.plain_supernet import PlainSupernet
from benchmarks.search_steps import search_state
from nasbench.searchers.darts import Darts as DartsSearch
from nasbench.searchers.strategy import Strategy
from nasbench.spaces.darts import Darts
from nasbench.training.determinism import seeded

CLIP = 5.0
RATE, MOMENTUM, DECAY = 0.025, 0.9, 3e-4
SIZES = (Size(channels=16, cells=8, batch=16, side=32), Size(channels=4, cells=5, batch=64, side=8))
QUICK_SIZES = (Size(channels=4, cells=3, batch=2, side=8),)
ROUNDS = 15

Step = Callable[[], object]


def _draw_gradients(weights: list[Tensor]) -> None:
    with seeded(1):
        for weight in weights:
            weight.grad = torch.randn_like(weight)


def our_step(size: Size) -> tuple[Step, list[Tensor]]:
    """Build the searcher's optimiser; returns the step and the weights."""
    settings = DartsSearch(
        batch_size=size.batch, learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY, gradient_clip=CLIP
    )
    state = search_state("darts", size, Darts(), settings, Strategy())
    _draw_gradients(state.weights)

    def step() -> None:
        nn.utils.clip_grad_norm_(state.weights, settings.gradient_clip)
        state.weight_optimizer.step()

    return step, state.weights


def plain_step(size: Size, foreach: bool) -> tuple[Step, list[Tensor]]:
    """Build PyTorch's optimiser on the plain supernet's weights; returns the step and the weights."""
    with seeded(0):
        network = in_memory(PlainSupernet(Darts().candidates, size.shape), torch.contiguous_format)
    weights: list[Tensor] = list(network.parameters())
    _draw_gradients(weights)
    optimizer = torch.optim.SGD(
        weights, RATE, momentum=MOMENTUM, weight_decay=DECAY, foreach=foreach, fused=False
    )  # fmt: skip

    def step() -> None:
        nn.utils.clip_grad_norm_(weights, CLIP, foreach=foreach)
        optimizer.step()

    return step, weights


def ours(quick: bool) -> Mapping[str, Callable[[], Step]]:
    """Return what builds the product's side of each line, for `benchmarks.compare_revisions`."""
    return {f"clip and SGD, {size}": lambda size=size: our_step(size)[0] for size in (QUICK_SIZES if quick else SIZES)}  # type: ignore[misc]


def measured(size: Size, rounds: int) -> list[Result]:
    """Return a size against both forms.

    Raises:
        BenchmarkError: The two sides have other numbers of weights.
    """
    mine, weights = our_step(size)
    results = []
    for name, foreach in (("loop", False), ("foreach", True)):
        other, others = plain_step(size, foreach)
        numbers = [sum(weight.numel() for weight in side) for side in (weights, others)]
        if numbers[0] != numbers[1]:
            raise BenchmarkError(f"{size}: ours has {numbers[0]} weights, the plain supernet {numbers[1]}.")
        line = compare(f"clip and SGD, {size}: plain {name}", mine, other, rounds=rounds, warm_up=True)
        results.append(
            line.with_figures(weights=numbers[0], ours_tensors=len(weights), plain_tensors=len(others))
        )  # fmt: skip
    return results


def main() -> None:
    """Run the benchmark."""
    options = parse_options("Clipping and SGD on a supernet's weights against PyTorch's loop and foreach forms.")
    sizes, rounds = (QUICK_SIZES, 2) if options.quick else (SIZES, ROUNDS)
    report("optimizer_step", [result for size in sizes for result in measured(size, rounds)], options.json)


if __name__ == "__main__":
    main()
