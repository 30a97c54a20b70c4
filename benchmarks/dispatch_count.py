"""How many operations PyTorch executes in a call: on a GPU the number of kernels to launch, by and large.

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]``; nothing runs here. What is counted are the
operators below autograd, in the forward and the backward pass. Not counted is what computes nothing: views (their
schema says that each output is an alias of an input that is not written to), detaching, and fresh memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

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
