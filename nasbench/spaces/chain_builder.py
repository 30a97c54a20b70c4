"""Cells, blocks and units put together as a chain of links that compiled kernels compute in one call.

See `nasbench.spaces.chain_call`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasbench.spaces import compiled, few_launches
from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.chain_call import chain
from nasbench.spaces.chain_forms import ChainForm, Link, Part, Shape

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where a module keeps who listens to it; PyTorch has ``_global`` before these names for who listens to all."""

SERVED = {"convolution": {(1, 1, 1), (3, 1, 1), (3, 2, 1)}, "projection": {(1, 1, 1)}}
"""Kernel, stride and dilation of what the kernels know; of separable convolutions any odd kernel, 1 or 2, 1 or 2."""


class ChainBuilder:
    """States and the links between them, while they are put together.

    Args:
        shape: Of the first state.

    Attributes:
        states: Shapes of all states.
        is_plain: Whether no weight and no running statistics enter twice, and all of the latter lie side by side. The
            kernels write each gradient once.
    """

    def __init__(self, shape: Shape) -> None:
        self.states = [shape]
        self.is_plain = True
        self._links: list[Link] = []
        self._tensors: list[Tensor] = []
        self._numbers: dict[int, int] = {}
        self._rows: dict[int, set[int | None]] = {}
        self._running: list[tuple[Tensor, Tensor, float] | None] = []

    def state(self, shape: Shape) -> int:
        """Add a state, and return its number."""
        self.states.append(shape)
        return len(self.states) - 1

    def add(self, source: int, target: int, kind: str, factor: int | None = None) -> None:
        """Add a link without weights; ``factor`` is the place of what it is multiplied with.

        Raises:
            ValueError: The states are not of one shape.
        """
        if self.states[source] != self.states[target]:
            raise ValueError(f"{kind} leads from {self.states[source]} to {self.states[target]}.")
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
            ValueError: A tensor has another size than the channels of both states ask for, the states have other
                numbers of pixels, or the kernels do not know such a convolution.
        """
        self._check(source, target, kind, (kernel, stride, dilation))
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
        for tensor in (*own.values(), None if norm is None else norm.running_mean):
            if tensor is not None:
                seen = self._rows.setdefault(id(tensor), set())
                self.is_plain &= not {row, None} & seen
                seen.add(row)
        parts = tuple((name, Part(self._number(tensor), row)) for name, tensor in own.items() if tensor is not None)
        mode, running = "none", None
        if norm is not None:
            mode = "running" if not norm.by_batch else "moving" if norm.training else "batch"
            if mode != "batch":
                mean, variance = norm.tables()
                channels = self.states[target].channels
                some = slice(None) if row is None else slice(row * channels, (row + 1) * channels)
                running = mean[some], variance[some], norm.momentum or 0.0
                if mean[some].numel() != channels:
                    raise ValueError(f"a BN of {mean.numel()} channels follows a convolution with {channels}.")
                self.is_plain &= mean.is_contiguous() and variance.is_contiguous()
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

    def _check(self, source: int, target: int, kind: str, form: tuple[int, int, int]) -> None:
        kernel, stride, dilation = form
        halved = 2 if kind == "projection" else stride
        _, *pixels = self.states[source]
        if self.states[target][1:] != tuple(-(-size // halved) for size in pixels):
            raise ValueError(f"stride {halved} does not lead from {self.states[source]} to {self.states[target]}.")
        separable = kind == "separable" and kernel % 2 and stride in {1, 2} and dilation in {1, 2}
        if not separable and form not in SERVED.get(kind, ()):
            given = f"kernel {kernel}, stride {stride}, dilation {dilation}"
            raise ValueError(f"there is no kernel for {kind} with {given}.")

    def _number(self, tensor: Tensor) -> int:
        """Return the number of a tensor among all."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self._tensors)
            self._tensors.append(tensor)
        return self._numbers[id(tensor)]

    def compute(self, x: Tensor, factors: Sequence[Tensor], eps: float) -> Tensor:
        """Return the last state [N, C', H', W'].

        Args:
            x: The first one.
            factors: What links are multiplied with, one tensor after the other.
            eps: Of all BN.
        """
        order = sorted(range(len(self._links)), key=lambda number: self._links[number].source)
        form = ChainForm(tuple(self.states), tuple(self._links[number] for number in order), eps)
        live, flat, first = form.live, [], 0
        used = {link.factor for link in form.links if link.target in live}
        for tensor in factors:  # what multiplies nothing that leads to the output has no gradient
            places = range(first, first + tensor.numel())
            flat.append(tensor.flatten() if used & {*places} else tensor.detach().flatten())
            first = places.stop
        joined = torch.cat(flat) if len(flat) > 1 else flat[0] if flat else x.new_empty(0)
        return chain(x, form, joined, self._tensors, [self._running[number] for number in order])


class ChainPart(nn.Module):
    """A part of a network that can be given as links; ``given`` is what it takes after its input."""

    def is_known(self, *given: Any) -> bool:
        """Return whether the kernels know all of it."""
        return True

    def factors(self, *given: Any) -> Sequence[Tensor]:
        """Return what its links are multiplied with, the same for all parts of a network that have any."""
        return ()

    @abstractmethod
    def link(self, chain: ChainBuilder, source: int, *given: Any) -> int:
        """Add it, and return the number of its output."""


def knows(convolutions: Sequence[nn.Conv2d]) -> bool:
    """Return whether the kernels know an ordinary convolution, or a depthwise and a pointwise one."""
    first, last = convolutions[0], convolutions[-1]
    kernel, stride, dilation = first.kernel_size[0], first.stride[0], first.dilation[0]
    for own in convolutions:
        square = all(len({*pair}) == 1 for pair in (own.kernel_size, own.stride, own.dilation))
        reach = own.dilation[0] * (own.kernel_size[0] // 2)
        if not square or own.padding != (reach, reach) or own.padding_mode != "zeros":
            return False
    if len(convolutions) == 1:
        return first.groups == 1 and (kernel, stride, dilation) in SERVED["convolution"]
    pointwise = (last.kernel_size[0], last.stride[0], last.groups) == (1, 1, 1)
    depthwise = first.groups == first.in_channels == first.out_channels and first.bias is None
    return len(convolutions) == 2 and pointwise and depthwise and kernel % 2 == 1 and {stride, dilation} <= {1, 2}


def kind_of(operation: nn.Module) -> str | None:
    """Return the kind of link that an operation without weights is, or None where there is no such."""
    if type(operation) is nn.AvgPool2d:
        form = (operation.kernel_size, operation.stride, operation.padding, operation.count_include_pad)
        return "avg_pool_3x3" if form == (3, 1, 1, False) else None
    return "skip_connect" if type(operation) is nn.Identity else None


def is_heard(module: nn.Module) -> bool:
    """Return whether somebody listens to a module, as the counter of multiply-adds does; then it has to be called."""
    known = vars(module)
    return any(known[kind] for kind in HOOKS)


def by_kernels(
    stages: Sequence[Sequence[nn.Module]], state: Tensor, given: Sequence[Any], *, called: bool = False
) -> Tensor | None:
    """Return what parts of a network that follow each other make of a state, or None where kernels do not serve.

    With gradients the parts of a stage are one call, and what it holds is given back before the way back through an
    earlier one; without gradients each part is a call.

    Args:
        stages: Their parts, in order.
        state: [N, C, H, W].
        given: What each takes after its input.
        called: Whether the parts themselves are being called, so that who listens to them hears.
    """
    if not compiled.wanted_for(state) or few_launches.wanted_for(state) or state.dim() != 4 or not state.numel():
        return None
    parts = [part for stage in stages for part in stage]
    known = [[part for part in stage if isinstance(part, ChainPart) and part.is_known(*given)] for stage in stages]
    modules = [module for part in parts for module in part.modules()]
    norms = [module for module in modules if isinstance(module, BatchNorm)]
    modes = {(norm.training, norm.by_batch, norm.eps) for norm in norms}
    if sum(map(len, known)) < len(parts) or len(modes) > 1 or _is_any_heard(modules, parts if called else ()):
        return None
    if torch.is_grad_enabled() and not all(by_batch for _, by_batch, _ in modes):
        return None
    shape, builders = Shape(*state.shape[1:]), []
    for some in known if torch.is_grad_enabled() else [[part] for stage in known for part in stage]:
        builder, number = ChainBuilder(shape), 0
        for part in some:
            number = part.link(builder, number, *given)
        builders.append(builder)
        shape = builder.states[number]
        if number != len(builder.states) - 1 or not builder.is_plain:
            return None
    factors = next((own for stage in known for part in stage if (own := part.factors(*given))), ())
    eps = next((norm.eps for norm in norms), 0.0)
    for builder in builders:
        state = builder.compute(state, factors, eps)
    return state


def _is_any_heard(modules: Sequence[nn.Module], called: Sequence[nn.Module]) -> bool:
    everywhere = vars(torch.nn.modules.module)
    return any(everywhere[f"_global{kind}"] for kind in HOOKS) or any(
        is_heard(module) for module in modules if not any(module is one for one in called)
    )
