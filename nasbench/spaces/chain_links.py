"""Cells and residual blocks as links that the compiled kernels compute together; see `nasbench.spaces.chain_call`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasbench.spaces import compiled, few_launches
from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.chain_call import chain
from nasbench.spaces.chain_forms import ChainForm, Link, Part, Shape

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where a module keeps who listens to it."""


class Links:
    """States and the links between them, while they are put together.

    Args:
        shape: Of the first state.

    Attributes:
        states: Shapes of all states.
    """

    def __init__(self, shape: Shape) -> None:
        self.states = [shape]
        self._links: list[Link] = []
        self._tensors: list[Tensor] = []
        self._numbers: dict[int, int] = {}
        self._running: list[tuple[Tensor, Tensor, float] | None] = []

    def state(self, shape: Shape) -> int:
        """Add a state, and return its number."""
        self.states.append(shape)
        return len(self.states) - 1

    def add(self, source: int, target: int, kind: str, factor: int | None = None) -> None:
        """Add a link without weights; ``factor`` is the place of what it is multiplied with."""
        self._links.append(Link(source, target, kind, factor))
        self._running.append(None)

    def convolution(
        self,
        source: int,
        target: int,
        weight: Tensor,
        *,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        kind: str = "convolution",
        depthwise: Tensor | None = None,
        bias: Tensor | None = None,
        norm: BatchNorm | None = None,
        row: int | None = None,
        factor: int | None = None,
    ) -> None:
        """Add a convolution.

        Args:
            source: The state that it leaves.
            target: The state that it enters.
            weight: [C', C, k, k] in any shape, or with an axis of rows before; of a separable one [C', C].
            kernel: k.
            stride: 1 or 2.
            dilation: Of a separable convolution.
            kind: ``convolution`` or ``separable`` of the ReLU, or ``projection`` of averages.
            depthwise: [C, 1, k, k] of a separable convolution.
            bias: [C'], or rows of that.
            norm: The BN that follows, of C' channels, or of all rows' one after the other.
            row: Which row of weight, bias and BN is its own; None where there are none.
            factor: Place of what it is multiplied with.

        Raises:
            ValueError: A tensor has another size than the channels of both states ask for.
        """
        own = {"depthwise": depthwise, "weight": weight, "bias": bias}
        if norm is not None:
            own |= {"gain": norm.weight, "shift": norm.bias}
        (inputs, *_), (outputs, *_) = self.states[source], self.states[target]
        of_weight = outputs * inputs if depthwise is not None else outputs * inputs * kernel**2
        sizes = {"weight": of_weight, "depthwise": inputs * kernel**2}
        for name, tensor in own.items():
            rows = 1 if row is None or tensor is None else tensor.shape[0]
            if tensor is not None and tensor.numel() != rows * sizes.get(name, outputs):
                given = f"{name} has shape {tuple(tensor.shape)}"
                raise ValueError(f"{given}, which is not that of {inputs} channels in and {outputs} out.")
        parts = tuple((name, Part(self._number(tensor), row)) for name, tensor in own.items() if tensor is not None)
        mode, running = "none", None
        if norm is not None:
            mode = "running" if not norm.by_batch else "moving" if norm.training else "batch"
            if mode != "batch":
                mean, variance = norm.tables()
                channels = self.states[target].channels
                some = slice(None) if row is None else slice(row * channels, (row + 1) * channels)
                running = mean[some], variance[some], norm.momentum or 0.0
        self._links.append(Link(source, target, kind, factor, kernel, stride, dilation, mode, parts))
        self._running.append(running)

    def unit(self, source: int, convolutions: Sequence[nn.Conv2d], norm: BatchNorm, target: int | None = None) -> int:
        """Add ReLU, an ordinary convolution or a depthwise and a pointwise one, and a BN.

        Args:
            source: The state that they leave.
            convolutions: One, or both.
            norm: That follows.
            target: The state that they enter; None adds one.

        Returns:
            The number of the state that they enter.
        """
        first, last = convolutions[0], convolutions[-1]
        stride, (_, height, width) = first.stride[0], self.states[source]
        if target is None:
            target = self.state(Shape(last.out_channels, -(-height // stride), -(-width // stride)))
        separable = len(convolutions) == 2
        self.convolution(
            source, target, last.weight, kernel=first.kernel_size[0], stride=stride, dilation=first.dilation[0],
            kind="separable" if separable else "convolution", depthwise=first.weight if separable else None,
            bias=last.bias, norm=norm,
        )  # fmt: skip
        return target

    def _number(self, tensor: Tensor) -> int:
        """Return the number of a tensor among all."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self._tensors)
            self._tensors.append(tensor)
        return self._numbers[id(tensor)]

    def compute(self, x: Tensor, factors: Tensor, eps: float) -> Tensor:
        """Return the last state [N, C', H', W'].

        Args:
            x: The first one.
            factors: What links are multiplied with, in any shape.
            eps: Of all BN.
        """
        order = sorted(range(len(self._links)), key=lambda number: self._links[number].source)
        form = ChainForm(tuple(self.states), tuple(self._links[number] for number in order), eps)
        return chain(x, form, factors.flatten(), self._tensors, [self._running[number] for number in order])


class Linked(nn.Module):
    """A part of a network that can be given as links; ``given`` is what it takes after its input."""

    def has_links(self, *given: Any) -> bool:
        """Return whether the kernels know all of it."""
        return True

    def factors(self, *given: Any) -> Tensor | None:
        """Return what its links are multiplied with, the same for all parts of a network; None for 1 throughout."""
        return None

    @abstractmethod
    def link(self, links: Links, source: int, *given: Any) -> int:
        """Add it, and return the number of its output."""


def has_link(convolutions: Sequence[nn.Conv2d]) -> bool:
    """Return whether the kernels know an ordinary convolution, or a depthwise and a pointwise one."""
    first, last = convolutions[0], convolutions[-1]
    form = (last.kernel_size, last.stride, last.dilation, last.groups)
    if len(convolutions) == 1:
        return form in {((k, k), (s, s), (1, 1), 1) for k, s in ((1, 1), (3, 1), (3, 2))}
    return len(convolutions) == 2 and form == ((1, 1), (1, 1), (1, 1), 1) and first.groups == first.in_channels


def is_heard(module: nn.Module) -> bool:
    """Whether somebody listens to a module, as the counter of multiply-adds does; then it has to be called."""
    known = vars(module)
    return any(known[kind] for kind in HOOKS)


def by_kernels(
    parts: Sequence[nn.Module], state: Tensor, given: Sequence[Any], *, called: bool = False
) -> Tensor | None:
    """Return what parts of a network that follow each other make of a state, or None where kernels do not serve.

    With gradients all parts are one call; without them each part is, so that what it holds is soon given back.

    Args:
        parts: In order.
        state: [N, C, H, W].
        given: What each takes after its input.
        called: Whether the parts themselves are being called, so that who listens to them hears.
    """
    if not compiled.wanted_for(state) or few_launches.wanted_for(state):
        return None
    if not all(isinstance(part, Linked) and part.has_links(*given) for part in parts):
        return None
    modules = [module for part in parts for module in part.modules()]
    norms = [module for module in modules if isinstance(module, BatchNorm)]
    modes = {(norm.training, norm.by_batch, norm.eps) for norm in norms}
    if len(modes) > 1 or any(is_heard(module) for module in modules if not (called and module in parts)):
        return None
    for _, by_batch, _ in modes:
        if torch.is_grad_enabled() and not by_batch:
            return None
    eps = next((norm.eps for norm in norms), 0.0)
    for some in [parts] if torch.is_grad_enabled() else [[part] for part in parts]:
        state = _compute(some, state, given, eps)  # type: ignore[arg-type]
    return state


def _compute(parts: Iterable[Linked], state: Tensor, given: Sequence[Any], eps: float) -> Tensor:
    links, number, factors = Links(Shape(*state.shape[1:])), 0, None
    for part in parts:
        number = part.link(links, number, *given)
        factors = part.factors(*given) if factors is None else factors
    return links.compute(state, state.new_empty(0) if factors is None else factors, eps)
