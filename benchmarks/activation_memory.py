"""How much memory a step needs for its backward pass.

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]``; nothing runs here. Three views, as each misses
something:

- `held_for_backward`: bytes of the tensors that autograd saves; exact, the same in every run. What a function keeps in
  another way (arguments of a recomputed block, attributes) is not seen.
- `peak_of_tensors`: largest sum of all tensors that are alive at one time, after each operator. Memory that a kernel
  takes and gives back within is not seen.
- `benchmarks.common.peak_memory_of`: growth of the process, everything included, with the noise of the allocator.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def held_for_backward(forward: Callable[[], Tensor], known: Iterable[Tensor] = ()) -> int:
    """Return the bytes of the distinct storages that a forward pass keeps for the backward pass.

    Args:
        forward: Returns a loss with its graph.
        known: Tensors that exist anyway: parameters, buffers, images.
    """
    storages: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage  # kept, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    for tensor in known:
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    held: int = sum(storage.nbytes() for storage in storages.values())
    del loss
    return held


def known_tensors(network: nn.Module, *others: Tensor) -> list[Tensor]:
    """Return a network's parameters and buffers, and other tensors."""
    return [*network.parameters(), *network.buffers(), *others]


class _LiveTensors(TorchDispatchMode):
    """Follows the storages that operators return until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()
        self.live = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute an operator and take its outputs in."""
        del types
        given = {id(value.untyped_storage()) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and id(value.untyped_storage()) not in given:
                self._follow(value.untyped_storage())
        return result

    def _follow(self, storage: Any) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, size).atexit = False

    def _freed(self, size: int) -> None:
        self.live -= size


def peak_of_tensors(call: Callable[[], object]) -> int:
    """Return the largest number of bytes in tensors that a call has alive at one time, beside those there were."""
    with _LiveTensors() as live:
        call()
    peak: int = live.peak
    return peak
