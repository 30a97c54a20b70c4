"""A chain of states, such as all cells of a NAS-Bench-201 network, by compiled kernels in one call, on a CPU.

The function is that of the modules, but for the order of summation. Each state takes one pass over the images:
its sum is formed, and all convolutions that leave it are computed while it is in the cache; the way back likewise
(``kernels/chain_forward.h``, ``kernels/chain_backward.h``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Container, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nasbench.spaces import kernel_library
from nasbench.spaces.chain_forms import LINK_KINDS, NORMS, ChainForm
from nasbench.spaces.kernel_library import ChainArguments, LinkArguments, StateArguments
from nasbench.spaces.separable import differentiable

Running = Sequence[tuple[Tensor, Tensor, float] | None]
"""For each link the running mean and variance [C'] and their momentum, where it has any that move or are used."""


def chain(x: Tensor, form: ChainForm, factors: Tensor, tensors: Sequence[Tensor], running: Running) -> Tensor:
    """Return the last state of a chain.

    Args:
        x: The first state [N, C, H, W].
        form: Of the chain.
        factors: What links may be multiplied with [F].
        tensors: Weights of the links.
        running: Of each link; moved in place where the form says so.

    Returns:
        [N, C', H', W'] in channels_last memory.

    Sizes are those of the form; `nasbench.spaces.chain_builder.ChainBuilder` checks them.

    Raises:
        RuntimeError: The kernels were not built, or a gradient is wanted with running statistics.
        TypeError: Not all tensors are on the CPU and of one type.
        ValueError: A batch of one pixel is to be normalised by itself.
    """
    if torch.is_grad_enabled() and any(link.norm == "running" for link in form.links):
        raise RuntimeError("the kernels have no gradient with running statistics.")
    used = [factors, *tensors, *(table for own in running if own is not None for table in own[:2])]
    if any(part.dtype != x.dtype or not part.is_cpu for part in used):
        raise TypeError(f"all tensors must be on the CPU and of the input's type, {x.dtype}.")
    for link in form.links:
        pixels = x.shape[0] * form.states[link.target].height * form.states[link.target].width
        if link.norm in {"batch", "moving"} and pixels < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got {pixels}")
    output: Tensor = _Chain.apply(form, running, factors.contiguous(), _pixels(x), *tensors)
    return output


def _pixels(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _lies_in_lanes(x: Tensor) -> bool:
    """Return whether a tensor in channels_last memory lies as the kernels' own do."""
    return x.shape[1] == 16 and x.data_ptr() % 64 == 0


class _Call:
    """One call of the kernels: their arguments, and what must live as long.

    Args:
        form: Of the chain.
        x: First state.
        factors: [F].
        tensors: Weights.
        first: The first state as the kernels' own lie.
        kept: For each state but the last what `_kept` says.
    """

    def __init__(
        self, form: ChainForm, x: Tensor, factors: Tensor, tensors: Sequence[Tensor], first: Tensor,
        kept: Sequence[Tensor],
    ) -> None:  # fmt: skip
        self.form, self.x, self.live = form, x, form.live
        self.bytes, self.batch = x.element_size(), x.shape[0]
        self.states = (StateArguments * len(form.states))()
        self.links = (LinkArguments * max(1, len(form.links)))()
        self.alive: list[Any] = [x, factors, first, *kept]
        next_of: list[int] = []
        for number, (own, shape) in enumerate(zip(self.states, form.states, strict=True)):
            own.channels, own.height, own.width = shape
            if number == len(form.states) - 1:
                break
            at = kept[number].data_ptr()
            if number == 0:
                own.values = first.data_ptr()
            else:
                own.values = at
                at += self.batch * shape.size * self.bytes
            next_of.append(at)
        self.weights = [tensor.contiguous() for tensor in tensors]
        places, known = factors.data_ptr(), kept[-1].data_ptr()
        for own, link in zip(self.links, form.links, strict=False):
            own.source, own.target, own.kind = link.source, link.target, LINK_KINDS[link.kind]
            if link.factor is not None:
                own.factor = places + link.factor * self.bytes
            if not link.parts:
                continue
            shape = form.states[link.target]
            own.kernel, own.stride, own.dilation, own.norm = link.kernel, link.stride, link.dilation, NORMS[link.norm]
            for name, part in link.parts:
                setattr(own, name, self._address(self.weights[part.tensor], part.row))
            if link.kind == "separable":
                own.inner = next_of[link.source]
                next_of[link.source] += self.batch * form.inner(link) * self.bytes
            own.z = next_of[link.source]
            next_of[link.source] += self.batch * shape.size * self.bytes
            if own.norm:
                own.known = known
                known += 4 * shape.channels * self.bytes
        self.arguments = ChainArguments(
            batch=self.batch, num_states=len(form.states), num_links=len(form.links), threads=torch.get_num_threads(),
            eps=form.eps, x=x.data_ptr(), states=ctypes.addressof(self.states), links=ctypes.addressof(self.links),
        )  # fmt: skip

    def _address(self, tensor: Tensor, row: int | None) -> int:
        """Return the address of a tensor in contiguous memory, or of a row of it."""
        return tensor.data_ptr() + (0 if row is None else row * tensor.stride(0) * self.bytes)

    def want(self, grads: Sequence[Tensor | None], of_factors: Tensor) -> None:
        """Say where gradients of weights and of each link's factor are to be written."""
        first = of_factors.data_ptr()
        for number, (own, link) in enumerate(zip(self.links, self.form.links, strict=False)):
            if link.target not in self.live:
                continue
            if link.factor is not None:
                own.grad_factor = first + number * self.bytes
            for name, part in link.parts:
                grad = grads[part.tensor]
                if grad is not None and name != "bias":  # the BN takes a bias away
                    setattr(own, f"grad_{name}", self._address(grad, part.row))

    def room_for_grads(self, grad_output: Tensor) -> None:
        """Give live states memory for their gradients; a place is used again when nothing more is led through it."""
        earliest = {number: number for number in self.live}
        earliest |= {link.target: link.source for link in reversed(self.form.links)}  # the links go up by source
        free: dict[int, list[Tensor]] = {}
        busy: dict[int, Tensor] = {}
        last = len(self.states) - 1
        for number in range(last, 0, -1):  # a pass over a state leads through all links that leave it
            if number == last and _lies_in_lanes(grad_output):
                self.states[last].grads = grad_output.data_ptr()
                continue
            if number not in self.live:
                continue
            size = self.batch * self.form.states[number].size
            busy[number] = free[size].pop() if free.get(size) else self.x.new_empty(size)
            self.states[number].grads = busy[number].data_ptr()
            self.alive.append(busy[number])
            for done in [state for state in busy if earliest[state] >= number]:
                free.setdefault(busy[done].numel(), []).append(busy.pop(done))

    def run(self, what: str) -> None:
        """Run the kernel."""
        kernel_library.run(f"chain_{what}", kernel_library.KINDS[self.x.dtype], self.arguments)


def _aligned(x: Tensor) -> Tensor:
    return x.clone() if x.data_ptr() % 64 else x


def _first(form: ChainForm, x: Tensor) -> Tensor:
    """Return the first state if it lies as the kernels' own do, or else memory for its copy."""
    return x if _lies_in_lanes(x) else x.new_empty(x.shape[0] * form.states[0].size)


def _kept(form: ChainForm, x: Tensor) -> list[Tensor]:
    """Return memory for what the way back needs, of each state but the last, and then for all statistics.

    Of a state that is its values, unless it is the first, and the z of the links that leave it.
    """
    sizes = [shape.size for shape in form.states[:-1]]
    sizes[0] = 0
    known = 0
    for link in form.links:
        if link.parts:
            sizes[link.source] += form.states[link.target].size + form.inner(link)
            known += 4 * form.states[link.target].channels * (link.norm != "none")
    return [*(x.new_empty(x.shape[0] * size) for size in sizes), x.new_empty(known)]


class _Chain(torch.autograd.Function):
    """The last state of a chain."""

    @staticmethod
    def forward(ctx: Any, form: ChainForm, running: Running, factors: Tensor, x: Tensor, *tensors: Tensor) -> Tensor:
        kept = _kept(form, x)
        call = _Call(form, x, factors, tensors, _first(form, x), kept)
        for own, tables in zip(call.links, running, strict=False):
            if tables is not None:
                own.mean, own.variance, own.momentum = tables[0].data_ptr(), tables[1].data_ptr(), tables[2]
        output = torch.empty((x.shape[0], *form.states[-1]), dtype=x.dtype, memory_format=torch.channels_last)
        call.arguments.output = output.data_ptr()
        call.run("forward")
        ctx.save_for_backward(x, factors, *tensors, *kept)
        ctx.form, ctx.count = form, len(tensors)
        ctx.set_materialize_grads(False)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:  # a later chain does not depend on it
            return tuple(None for _ in ctx.needs_input_grad)
        form, (x, factors, *others) = ctx.form, ctx.saved_tensors
        tensors, kept = others[: ctx.count], others[ctx.count :]
        if torch.is_grad_enabled():  # a second derivative is wanted
            compute = partial(_plain, form)
            return None, None, *differentiable(compute, (factors, x, *tensors), [grad])
        x, factors, grad = _pixels(x), factors.contiguous(), _pixels(grad)  # who kept them may change their layout
        kept = [part.contiguous() for part in kept]
        kept = [_aligned(part) for part in kept]
        wants_x, wants = ctx.needs_input_grad[3], ctx.needs_input_grad[4:]
        call = _Call(form, x, factors, tensors, _first(form, x), kept)
        parts = {part.tensor for link in form.links if link.target in call.live for _, part in link.parts}
        grads = [
            torch.zeros_like(tensor, memory_format=torch.contiguous_format) if wanted and number in parts else None
            for number, (tensor, wanted) in enumerate(zip(tensors, wants, strict=True))
        ]
        of_links = factors.new_zeros(len(form.links))
        call.want(grads, of_links)
        call.room_for_grads(grad)
        of_x = torch.empty_like(x) if wants_x and 0 in call.live else None
        call.arguments.grad_output = grad.data_ptr()
        call.arguments.grad_x = None if of_x is None else of_x.data_ptr()
        call.run("backward")
        return None, None, _joined(form, call.live, of_links, factors), of_x, *grads


def _joined(form: ChainForm, live: Container[int], of_links: Tensor, factors: Tensor) -> Tensor | None:
    """Return the gradient of the factors from that of every link's; None where nothing is multiplied."""
    pairs = [
        (number, link.factor)
        for number, link in enumerate(form.links)
        if link.factor is not None and link.target in live
    ]
    if not pairs:
        return None
    numbers, places = (torch.tensor(own) for own in zip(*pairs, strict=True))
    return torch.zeros_like(factors).index_add_(0, places, of_links[numbers])


def _plain(form: ChainForm, factors: Tensor, x: Tensor, *tensors: Tensor) -> list[Tensor]:
    return [form.plain(factors, x, *tensors)]
