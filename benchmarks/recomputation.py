"""What it costs to compute separable convolutions again in the backward pass, and what it saves.

Run it as ``python -m benchmarks.recomputation [--quick] [--json [FILE]]``: forward and backward pass of the DARTS
supernet with `supernet.recompute` ("ours") and without it ("plain"), in turns. The ratio is below 1: the share of the
rate that is left.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.activation_memory import held_for_backward, known_tensors, peak_of_tensors
from benchmarks.common import compare, parse_options, report
from benchmarks.network_steps import ForwardBackward, Size, darts_ours
from nasbench.spaces.mixed import use_recomputation

ROUNDS = 7


def recomputing(step: ForwardBackward, enabled: bool) -> Callable[[], float]:
    """Return a call that takes the step in one of both ways."""

    def call() -> float:
        use_recomputation(step.network, enabled)
        return step()

    return call


def main() -> None:
    """Run the benchmark."""
    options = parse_options("Recomputation of separable convolutions in the backward pass.")
    size = (
        Size(channels=4, cells=3, batch=2, side=8) if options.quick else Size(channels=16, cells=8, batch=16, side=32)
    )
    step = darts_ours(size)
    line = compare(
        f"DARTS, {size}: with recomputation; plain is without",
        recomputing(step, True),
        recomputing(step, False),
        rounds=2 if options.quick else ROUNDS,
        warm_up=True,
    )
    known = known_tensors(step.network, step.images, *step.leaves)
    figures = {}
    for name, enabled in (("with", True), ("without", False)):
        use_recomputation(step.network, enabled)
        figures[f"{name}_held_mb"] = held_for_backward(step.loss, known) / 2**20
        figures[f"{name}_peak_tensors_mb"] = peak_of_tensors(step) / 2**20
    report("recomputation", [line.with_figures(**figures)], options.json)


if __name__ == "__main__":
    main()
