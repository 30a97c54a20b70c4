"""A step of a supernet against textbook per-edge modules, in NCHW and in channels_last memory.

Run it as ``python -m benchmarks.supernet_step [--quick] [--kernels] [--lines TEXT] [--json [FILE]]``; with
``--kernels`` ours computes by the compiled kernels (``compute.kernels: compiled``). The lines, each against
`benchmarks.plain_supernet` or its siblings in either memory format:

- forward and backward (cross-entropy; weights and alphas require gradients) of three sizes of the DARTS supernet, and
  of NAS-Bench-201's with sampled operations (GDAS; both sides get the same samples);
- whole search steps (alpha step and weight step, with clipping and both optimisers) of PC-DARTS, second-order DARTS,
  SDARTS-RS, SGAS with half of its decisions made, and GDAS. Ours is the product's own loop, with its checks, its
  statistics and the reading of the alpha batch; the plain step has none of them.

Figures: weights, and for the first line the operations that PyTorch executes and the bytes held for the backward pass.
Images and labels are noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from benchmarks import network_steps, search_steps
from benchmarks.activation_memory import held_for_backward, known_tensors, peak_of_tensors
from benchmarks.common import Result, compare, parse_options, peak_memory_of, report
from benchmarks.dispatch_count import count_operations, num_tensors
from benchmarks.network_steps import MEMORY, ForwardBackward, Size
from benchmarks.plain_nas_bench_201 import PlainNasBench201
from benchmarks.plain_supernet import PlainSupernet
from benchmarks.supernet_check import Sides, check_same_function, num_weights
from nasbench.searchers.strategy import Moment, softmax_of
from nasbench.spaces.base import Mixture
from nasbench.spaces.darts import Darts
from nasbench.spaces.nas_bench_201 import NasBench201

Call = Callable[[], object]

SIZES = (
    Size(channels=16, cells=8, batch=16, side=32),
    Size(channels=8, cells=5, batch=32, side=32),
    Size(channels=4, cells=5, batch=64, side=8),
)
SAMPLED = Size(channels=16, cells=15, batch=32, side=32)
QUICK_SIZES = (Size(channels=4, cells=3, batch=2, side=8),)
QUICK_SAMPLED = Size(channels=4, cells=3, batch=2, side=8)
ROUNDS = 7


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that is timed.

    Attributes:
        name: With its size.
        ours: Builds the product's side.
        plain: Builds the plain side in a memory format.
        check: Whether both are the same function; raises where they are not.
        memory: Names of the plain side's memory formats.
    """

    name: str
    ours: Callable[[], Call]
    plain: Callable[[torch.memory_format], Call]
    check: Callable[[], None] = lambda: None
    memory: Sequence[str] = field(default=tuple(MEMORY))


def check_darts(size: Size) -> None:
    """Refuse to time the DARTS supernets where they are not the same function."""
    space = Darts()
    ours, plain = space.supernet(size.shape), PlainSupernet(space.candidates, size.shape)
    sides: Sides = (
        (ours, lambda images, alphas: Mixture(softmax_of(alphas)).apply(ours, images)),
        (plain, lambda images, alphas: plain(images, softmax_of(alphas))),
    )
    check_same_function(f"DARTS, {size}", sides, size.images(2), space.alpha_shapes)


def check_partial(size: Size) -> None:
    """Likewise those of PC-DARTS, with numbers in place of the softmaxed betas."""
    space = Darts()
    ours = space.supernet(size.shape, partial_channels=search_steps.PARTIAL)
    plain = PlainSupernet(space.candidates, size.shape, search_steps.PARTIAL)
    norms = {
        kind: torch.linspace(0.2, 0.9, shape[0], dtype=torch.float64) for kind, shape in space.alpha_shapes.items()
    }
    sides: Sides = (
        (ours, lambda images, alphas: Mixture(softmax_of(alphas), edge_norm=norms).apply(ours, images)),
        (plain, lambda images, alphas: plain(images, softmax_of(alphas), norms)),
    )
    check_same_function(f"PC-DARTS, {size}", sides, size.images(2), space.alpha_shapes)


def check_decided(size: Size) -> None:
    """Likewise those of SGAS in the middle of its search."""
    space = Darts()
    ours, plain = space.supernet(size.shape), PlainSupernet(space.candidates, size.shape)
    strategy, choices = search_steps.sgas_strategy(space), search_steps.sgas_choices(space)
    sides: Sides = (
        (ours, lambda images, alphas: strategy.alpha_mixture(alphas, Moment(0, 1)).apply(ours, images)),
        (plain, lambda images, alphas: plain(images, softmax_of(alphas), choices=choices)),
    )
    check_same_function(f"SGAS, {size}", sides, size.images(2), space.alpha_shapes)


def check_nas_bench_201(size: Size) -> None:
    """Likewise those of NAS-Bench-201."""
    space = NasBench201()
    ours, plain = space.supernet(size.shape), PlainNasBench201(size.shape)
    sides: Sides = (
        (ours, lambda images, alphas: Mixture(softmax_of(alphas)).apply(ours, images)),
        (plain, lambda images, alphas: plain(images, softmax_of(alphas)["cell"])),
    )
    check_same_function(f"NAS-Bench-201, {size}", sides, size.images(2), space.alpha_shapes)


CHECKS = {search_steps.PC_DARTS: check_partial, search_steps.SGAS: check_decided}
"""Of whole search steps whose network no other line has checked."""


def network_lines(quick: bool) -> Iterator[Line]:
    """Yield the lines of forward and backward passes."""
    for size in QUICK_SIZES if quick else SIZES:
        yield Line(
            name=f"DARTS, {size}",
            ours=lambda size=size: network_steps.darts_ours(size),  # type: ignore[misc]
            plain=lambda memory, size=size: network_steps.darts_plain(size, memory),  # type: ignore[misc]
            check=lambda size=size: check_darts(size),  # type: ignore[misc]
        )
    size = QUICK_SAMPLED if quick else SAMPLED
    times = f"{network_steps.SAMPLES} equal samples"
    yield Line(
        name=f"GDAS, NAS-Bench-201, {size}, {times}",
        ours=lambda: network_steps.gdas_ours(size),
        plain=lambda memory: network_steps.gdas_plain(size, memory),
        check=lambda: check_nas_bench_201(size),
    )
    yield Line(
        name=f"GDAS with unchosen weights added, NAS-Bench-201, {size}, {times}",
        ours=lambda: network_steps.gdas_ours(size, add_unchosen=True),
        plain=lambda memory: network_steps.gdas_plain(size, memory, add_unchosen=True),
    )
    yield Line(
        name=f"GDAS against all operations, NAS-Bench-201, {size}, {times}",
        ours=lambda: network_steps.gdas_ours(size),
        plain=lambda memory: network_steps.gdas_plain(size, memory, every=True),
    )


def search_lines(quick: bool) -> Iterator[Line]:
    """Yield the lines of whole search steps."""
    first = QUICK_SIZES[0] if quick else SIZES[0]
    sizes = {
        "first": first,
        "second": QUICK_SIZES[0] if quick else SIZES[1],
        "pc": first if quick else replace(first, batch=4 * first.batch),
        "gdas": QUICK_SAMPLED if quick else SAMPLED,
    }
    for search in search_steps.searches(sizes):
        check = CHECKS.get(search.name, lambda _: None)
        yield Line(
            name=str(search), ours=search.ours, plain=search.against,
            check=lambda check=check, size=search.size: check(size),  # type: ignore[misc]
        )  # fmt: skip


def lines(quick: bool) -> list[Line]:
    """Return every line; nothing is built yet."""
    return [*network_lines(quick), *search_lines(quick)]


def ours(quick: bool) -> Mapping[str, Callable[[], Call]]:
    """Return what builds the product's side of each line, for `benchmarks.compare_revisions`."""
    return {line.name: line.ours for line in lines(quick)}


def measured(line: Line, rounds: int, figures: bool = False) -> Iterator[Result]:
    """Yield a line against the plain side in each of its memory formats.

    Args:
        line: What is timed.
        rounds: How often.
        figures: Also count operations and bytes, of forward and backward passes.
    """
    line.check()
    mine = line.ours()
    for name in line.memory:
        plain = line.plain(MEMORY[name])
        result = compare(f"{line.name}: plain {name}", mine, plain, rounds=rounds, warm_up=True)
        if figures and name == line.memory[0]:
            result = result.with_figures(
                **{f"{side}_{key}": value for side, step in (("ours", mine), ("plain", plain))
                   for key, value in footprint(step).items()},
            )  # fmt: skip
        yield result


def footprint(step: Call) -> dict[str, int | float]:
    """Return what forward and backward passes take beside time."""
    if not isinstance(step, ForwardBackward):
        return {}
    known = known_tensors(step.network, step.images, *step.leaves)
    return {
        "weights": num_weights(step.network),
        "weight_tensors": num_tensors(step.network),
        "operations": count_operations(step).total(),
        "held_mb": held_for_backward(step.loss, known) / 2**20,
        "peak_tensors_mb": peak_of_tensors(step) / 2**20,
        "peak_resident_mb": peak_memory_of(step) / 2**20,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--lines", default="", metavar="TEXT")
    parser.add_argument("--kernels", action="store_true")
    own, others = parser.parse_known_args()
    options = parse_options("A step of a supernet; --lines TEXT takes only lines whose name contains it.", others)
    rounds = 2 if options.quick else ROUNDS
    network_steps.use_kernels(own.kernels)
    results = [
        result
        for number, line in enumerate(lines(options.quick))
        if own.lines in line.name
        for result in measured(line, rounds, figures=number == 0)
    ]
    report("supernet_step_kernels" if own.kernels else "supernet_step", results, options.json)


if __name__ == "__main__":
    main()
