"""How many operations PyTorch executes in a call: on a GPU the number of kernels to launch, by and large.

Run it as ``python -m benchmarks.dispatch_count [--quick] [--json [FILE]]``: forward and backward pass of the DARTS
supernet and of its textbook modules, on PyTorch's meta device, where nothing has a value but what would run on a GPU
is dispatched. The figures hold for every machine. Also used by `benchmarks.supernet_step`. What is counted are the
operators below autograd, in the forward and the backward pass. Not counted is what computes nothing: views (their
schema says that each output is an alias of an input that is not written to), detaching, and fresh memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.common import measure, parse_options, report
from benchmarks.network_steps import OURS, Size
from benchmarks.plain_supernet import PlainSupernet
from nasbench.spaces.darts import Darts

_NOTHING = frozenset({
    "aten::detach", "aten::_unsafe_view", "aten::_reshape_alias", "aten::lift_fresh", "aten::empty",
    "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::new_empty_strided",
})  # fmt: skip


def computes(operator: Any) -> bool:
    """Whether an operator (an ``OpOverload``) does more than look at memory in another way or ask for some."""
    schema = operator._schema  # noqa: SLF001 - PyTorch has no public way to it
    if schema.name in _NOTHING:
        return False
    aliases = [value.alias_info is not None and not value.alias_info.is_write for value in schema.returns]
    return not (aliases and all(aliases))


class OperationCounter(TorchDispatchMode):
    """Counts the operators that are executed inside its ``with`` block.

    Attributes:
        counts: Executions by operator, for example ``aten.convolution.default``.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """All of them."""
        return self.counts.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operator and execute it."""
        del types
        if computes(func):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def count_operations(call: Callable[[], object]) -> Counter[str]:
    """Return how often each operator is executed in a call; ``.total()`` of it is their number."""
    with OperationCounter() as counter:
        call()
    counts: Counter[str] = counter.counts
    return counts


def num_tensors(module: torch.nn.Module) -> int:
    """Return how many parameter tensors a network has: what an optimiser without fusion loops over."""
    return len(list(module.parameters()))


def off_cpu_counts(size: Size) -> tuple[Counter[str], Counter[str]]:
    """Return the operators of a forward and backward pass of the DARTS supernet: ours, and the textbook modules'."""
    space = Darts()
    counts = []
    for build in (space.supernet, lambda shape: PlainSupernet(space.candidates, shape)):
        with torch.device("meta"):
            network = build(size.shape).to(memory_format=OURS)
            weights = {group: torch.ones(shape, requires_grad=True) for group, shape in space.alpha_shapes.items()}
            images = torch.ones(size.batch, 3, size.side, size.side).contiguous(memory_format=OURS)
            labels = torch.zeros(size.batch, dtype=torch.int64)

        def step(network: Any = network, weights: Any = weights, images: Any = images, labels: Any = labels) -> None:
            functional.cross_entropy(network(images, weights), labels).backward()  # type: ignore[no-untyped-call]

        counts.append(count_operations(step))
    return counts[0], counts[1]


def main() -> None:
    """Run the benchmark."""
    options = parse_options("Operators of a forward and backward pass off the CPU.")
    size = (
        Size(channels=4, cells=3, batch=2, side=8) if options.quick else Size(channels=16, cells=8, batch=16, side=32)
    )
    counts: list[tuple[Counter[str], Counter[str]]] = []
    line = measure(f"DARTS, {size}: counting both", lambda: counts.append(off_cpu_counts(size)), rounds=1)
    (ours, plain), *_ = counts
    figures = {
        "operations": ours.total(),
        "plain_operations": plain.total(),
        "times_fewer": plain.total() / ours.total(),
    }
    most = {f"most_often_{number}": f"{name} {count}" for number, (name, count) in enumerate(ours.most_common(10), 1)}
    report("dispatch_count", [line.with_figures(**figures, **most)], options.json)


if __name__ == "__main__":
    main()
