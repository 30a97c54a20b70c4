"""Layers of which only the first channels may be used: sliced convolutions, masked cells and residual blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.genotype import Cell
from nasbench.spaces.batch_norm import BatchNorm


class SlicedConv(nn.Conv2d):
    """A convolution that may be used with the first of its input and output channels only."""

    def forward(self, input: Tensor, width: int | None = None) -> Tensor:  # noqa: A002 - the base class's name
        """Map [N, c, H, W] to [N, width, H', W']; c may be less than the input channels.

        Args:
            input: [N, c, H, W].
            width: Output channels that are wanted; None is all.
        """
        bias = None if self.bias is None else self.bias[:width]
        output: Tensor = self._conv_forward(input, self.weight[:width, : input.shape[1]], bias)
        return output


class SlicedNorm(BatchNorm):
    """A BN that may be used with its first channels only; the running statistics of the others stay as they are."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class's name
        """Normalise [N, c, H, W] over all but the channels; c may be less than those of the module."""
        channels = input.shape[1]
        if channels == self.num_features:
            return super().forward(input)
        by_batch = self.training or self.batch_statistics
        running = (self.running_mean, self.running_var) if self.training or not by_batch else (None, None)
        mean, variance, weight, bias = (
            None if value is None else value[:channels] for value in (*running, self.weight, self.bias)
        )
        return F.batch_norm(input, mean, variance, weight, bias, by_batch, self.momentum or 0.0, self.eps)


class SlicedLinear(nn.Linear):
    """A linear layer that may be used with the first of its inputs only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class's name
        """Map [N, c] to [N, K]; c may be less than the inputs of the module."""
        return F.linear(input, self.weight[:, : input.shape[1]], self.bias)


class SlicedUnit(nn.Module):
    """A convolution and a BN of which only the first channels may be used; the caller applies a ReLU before it.

    Args:
        c_in: Largest number of input channels.
        c_out: Largest number of output channels.
        kernel: Size of the kernel, odd.
        stride: 1 or 2.
        affine: Whether the BN has a learned scale and shift; without them the convolution has a bias.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int = 1, affine: bool) -> None:
        super().__init__()
        self.body = SlicedConv(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=not affine)
        self.norm = SlicedNorm(c_out, affine=affine)

    def forward(self, x: Tensor, width: int) -> Tensor:
        """Map [N, c, H, W] to [N, width, H', W']."""
        output: Tensor = self.norm(self.body(x, width))
        return output


class Entry(NamedTuple):
    """How a masked layer is entered.

    Attributes:
        mask: [c, 1, 1], what every state of the layer is multiplied with; c is the largest width in use.
        same: Weight of "as wide as the layer before", a scalar; None where that is impossible.
        different: Weight of another width; None where that is impossible.
    """

    mask: Tensor
    same: Tensor | None
    different: Tensor | None


class MixedSkip(nn.Module):
    """The skip connection into a layer: an identity if both widths are equal, else a projection.

    Args:
        channels: Largest width of both layers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = SlicedUnit(channels, channels, 1, affine=False)

    def forward(self, x: Tensor, entry: Entry) -> Tensor:
        """Map [N, c_in, H, W] to same * x + different * projection(x), [N, c, H, W]."""
        width = entry.mask.shape[0]
        terms = []
        if entry.same is not None:  # channels beyond the smaller of two widths are zero in one and masked in the other
            terms.append(entry.same * F.pad(x[:, :width], (0, 0, 0, 0, 0, max(0, width - x.shape[1]))))
        if entry.different is not None:
            terms.append(entry.different * self.projection(x, width))
        return sum(terms[1:], start=terms[0])


class MaskedCell(nn.Module):
    """A cell of the largest width whose nodes are masked.

    Args:
        cell: One input; the output is its last node.
        channels: Largest width.
        first: Whether it follows the stem, whose width is its own, so that a skip connection is an identity.
    """

    def __init__(self, cell: Cell, channels: int, first: bool) -> None:
        super().__init__()
        self.nodes = cell.nodes
        self.edges = nn.ModuleList(
            SlicedUnit(channels, channels, 3, affine=False)
            if name != "skip_connect"
            else (nn.Identity() if first or source else MixedSkip(channels))
            for edges in cell.nodes
            for name, source in edges
        )

    def forward(self, state: Tensor, entry: Entry) -> Tensor:
        """Map [N, c_in, H, W] to [N, c, H, W]."""
        states, activated = [state], [F.relu(state)]
        operations = iter(self.edges)
        for edges in self.nodes:
            terms = list(self._terms(edges, operations, states, activated, entry))
            states.append(entry.mask * sum(terms[1:], start=terms[0]))
            activated.append(F.relu(states[-1]))
        return states[-1]

    @staticmethod
    def _terms(
        edges: Sequence[tuple[str, int]],
        operations: Iterator[nn.Module],
        states: Sequence[Tensor],
        activated: Sequence[Tensor],
        entry: Entry,
    ) -> Iterator[Tensor]:
        for (_, source), operation in zip(edges, operations, strict=False):
            if isinstance(operation, SlicedUnit):
                yield operation(activated[source], entry.mask.shape[0])
            elif isinstance(operation, MixedSkip):
                yield operation(states[source], entry)
            else:
                yield states[source]


class MaskedBlock(nn.Module):
    """A `ResidualBlock` of the largest width whose hidden state and output are masked; its BN are affine.

    Args:
        channels: Largest width.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = SlicedUnit(channels, channels, 3, stride=2, affine=True)
        self.second = SlicedUnit(channels, channels, 3, affine=True)
        self.pool = nn.AvgPool2d(2, stride=2, ceil_mode=True)
        self.project = SlicedConv(channels, channels, 1, bias=False)

    def forward(self, state: Tensor, entry: Entry) -> Tensor:
        """Map [N, c_in, H, W] to [N, c, ceil(H/2), ceil(W/2)]."""
        width = entry.mask.shape[0]
        hidden = entry.mask * self.first(F.relu(state), width)
        output: Tensor = entry.mask * (self.second(F.relu(hidden), width) + self.project(self.pool(state), width))
        return output
