"""What the compiled kernels are told of a chain: its states, and the links that lead from one to a later one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

LINK_KINDS = {"skip_connect": 0, "avg_pool_3x3": 1, "convolution": 2, "projection": 3, "one": 4, "separable": 5}
"""With its number in kernels/chain.h: the state; its average over the 3x3 pixels around each; a convolution of its
ReLU, 1x1 at stride 1 or 3x3; a convolution 1x1 of its averages over 2x2 pixels; 1 whatever the state; a separable
convolution of its ReLU."""

NORMS = {"none": 0, "batch": 1, "moving": 2, "running": 3}
"""By what a BN normalises, with its number in kernels/chain.h; ``moving``: by the batch, and the running ones move."""


class Part(NamedTuple):
    """A tensor of those that are given, or a row of one.

    Attributes:
        tensor: Its number.
        row: None for the whole tensor.
    """

    tensor: int
    row: int | None

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return it."""
        return tensors[self.tensor] if self.row is None else tensors[self.tensor][self.row]


class Link(NamedTuple):
    """What leads from one state to a later one.

    Attributes:
        source: Number of the state that it leaves.
        target: Number of the state that it enters; a state is the sum of what enters it.
        kind: A key of `LINK_KINDS`.
        factor: Place of what it is multiplied with, or None for 1.
        kernel: k of a convolution.
        stride: Likewise, 1 or 2.
        dilation: Of a separable convolution.
        norm: A key of `NORMS`.
        parts: Its tensors by name: ``weight`` [C', C, k, k] in any shape, where it has weights (k is 1 where there is a
            depthwise one); ``depthwise`` [C, 1, k, k] of a separable convolution; ``bias`` [C'], only before a BN;
            ``gain`` and ``shift`` [C'] of the BN.
    """

    source: int
    target: int
    kind: str
    factor: int | None = None
    kernel: int = 0
    stride: int = 1
    dilation: int = 1
    norm: str = "none"
    parts: tuple[tuple[str, Part], ...] = ()

    def plain(self, state: Tensor, tensors: Sequence[Tensor], factors: Tensor, eps: float) -> Tensor:
        """Return what it adds to its target in plain steps, differentiable any number of times."""
        if self.kind == "one":
            state = torch.ones_like(state)
        elif self.kind == "avg_pool_3x3":
            state = F.avg_pool2d(state, 3, 1, padding=1, count_include_pad=False)
        elif self.kind == "projection":
            state = F.avg_pool2d(state, 2, stride=2, ceil_mode=True)
        elif self.kind in {"convolution", "separable"}:
            state = F.relu(state)
        if self.parts:
            own = {name: part.of(tensors) for name, part in self.parts}
            channels, kernel, stride = state.shape[1], self.kernel, self.stride if self.kind == "convolution" else 1
            if self.kind == "separable":
                square, padding = own["depthwise"].reshape(channels, 1, kernel, kernel), self.dilation * (kernel // 2)
                state, kernel = F.conv2d(state, square, None, self.stride, padding, self.dilation, channels), 1
            weight = own["weight"].reshape(-1, channels, kernel, kernel)
            state = F.conv2d(state, weight, own.get("bias"), stride, padding=kernel // 2)
            if self.norm != "none":
                state = F.batch_norm(state, None, None, own.get("gain"), own.get("shift"), True, 0.0, eps)
        return state if self.factor is None else factors[self.factor] * state


class Shape(NamedTuple):
    """Of a state: channels C and pixels H x W."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """Numbers of one image in lanes: groups of 16 channels."""
        return -(-self.channels // 16) * 16 * self.height * self.width


class ChainForm(NamedTuple):
    """What a chain consists of, beside its tensors.

    Attributes:
        states: The first is given, the last is wanted.
        links: In the order of the states that they leave.
        eps: Of all BN.
    """

    states: tuple[Shape, ...]
    links: tuple[Link, ...]
    eps: float

    @property
    def live(self) -> set[int]:
        """The states that lead to the last one; what enters others has no gradient."""
        found = {len(self.states) - 1}
        for link in reversed(self.links):  # those that leave a state come after all that enter it
            if link.target in found and link.kind != "one":
                found.add(link.source)
        return found

    def inner(self, link: Link) -> int:
        """Return how many numbers of one image, in lanes, come out of a link's depthwise convolution."""
        shape = self.states[link.target]._replace(channels=self.states[link.source].channels)
        return shape.size if link.kind == "separable" else 0

    def plain(self, factors: Tensor, x: Tensor, *tensors: Tensor) -> Tensor:
        """Return the last state in plain steps, differentiable any number of times."""
        sums: list[Tensor | None] = [x, *(None for _ in self.states[1:])]
        for link in self.links:
            value = link.plain(self._state(sums, link.source, x), tensors, factors, self.eps)
            known = sums[link.target]
            sums[link.target] = value if known is None else known + value
        return self._state(sums, len(sums) - 1, x)

    def _state(self, sums: Sequence[Tensor | None], number: int, x: Tensor) -> Tensor:
        """Return a state; zeros where nothing enters it."""
        known = sums[number]
        return x.new_zeros(len(x), *self.states[number]) if known is None else known
