"""Weights of one operation on all edges of a cell, held in few large tensors.

Row r of a bank belongs to the r-th edge that has the operation. `Bank.operation_state` gives the rows of one edge under
the names that the same operation has in a discrete network (`nasbench.spaces.ops.build`), as views: so weights can be
read, written and handed over edge by edge. All weights have three axes, so that a network that is moved to
channels_last memory leaves their layout alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.kernel_forms import Form
from nasbench.spaces.separable import InverseMoments, Moments

Rows = slice | list[int]
"""Some rows of a bank: a run of them, or their numbers."""

AnyMoments = Moments | InverseMoments


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Draw weights as PyTorch's convolutions do: uniform within 1 / sqrt(fan_in)."""
    return nn.Parameter(nn.init.uniform_(torch.empty(*shape), -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)))


class Statistics(BatchNorm):
    """BN without scale and shift for the m*C channels of m edges, of which any may be normalised.

    Args:
        num_rows: m.
        channels: C.
    """

    def __init__(self, num_rows: int, channels: int) -> None:
        super().__init__(num_rows * channels, affine=False)
        self.channels = channels

    def running(self, rows: Rows) -> Moments:
        """Return the running statistics of these rows; views of them where they are a run."""
        mean, variance = self._tables()
        return Moments(mean[rows], variance[rows])

    def _tables(self) -> tuple[Tensor, Tensor]:
        """Return views [m, C] of the running statistics."""
        mean, variance = self.tables()
        return mean.view(-1, self.channels), variance.view(-1, self.channels)

    def _store(self, rows: Rows, moments: Sequence[Tensor]) -> None:
        """Write statistics back that were copies, not views."""
        for table, values in zip(self._tables(), moments, strict=True):
            table[rows] = values.view(-1, self.channels)

    def update(self, rows: Rows, moments: AnyMoments, pixels: int) -> None:
        """Move the running statistics towards those of a batch, in training mode.

        Args:
            rows: Whose.
            moments: Of the batch.
            pixels: N * H * W.

        Raises:
            ValueError: There is no more than one pixel, whose variance means nothing.
        """
        if not self.training:
            return
        if isinstance(moments, InverseMoments):  # of float32 where the images are of bfloat16, or the other way round
            moments = InverseMoments(*(part.to(self._tables()[0].dtype) for part in moments)).moments(self.eps)
        running = self.running(rows)
        self.move(running, moments, pixels)
        if not isinstance(rows, slice):
            self._store(rows, running)

    def scaled(self, x: Tensor, rows: Rows, scale: Tensor) -> Tensor:
        """Normalise [N, m*C, H, W] and multiply the channels of edge e by scale[e]."""
        weight = scale.repeat_interleave(self.channels)
        # Copies: what autograd keeps must not be changed by the next rows that are normalised.
        mean, variance = (part.reshape(-1).clone() for part in self.running(rows))
        known = self.training or not self.by_batch
        output = F.batch_norm(
            x, mean if known else None, variance if known else None, weight, None, self.by_batch, self.momentum or 0.0,
            self.eps,
        )  # fmt: skip
        if self.training:
            self._store(rows, (mean, variance))
        return output


class JoinedStatistics:
    """The BN of several banks that are computed as one.

    Args:
        norms: Of each bank.
        rows: Of each bank.
    """

    def __init__(self, norms: Sequence[Statistics], rows: Sequence[Rows]) -> None:
        self.norms, self.rows = norms, rows
        self.eps, self.by_batch = norms[0].eps, norms[0].by_batch

    @classmethod
    def of(cls, parts: Sequence[JoinedStatistics]) -> JoinedStatistics:
        """Join what is joined already."""
        return cls([norm for part in parts for norm in part.norms], [rows for part in parts for rows in part.rows])

    def running(self) -> Moments:
        """Return their running statistics."""
        found = [norm.running(rows) for norm, rows in zip(self.norms, self.rows, strict=True)]
        return Moments(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def parts(self, moments: AnyMoments) -> Iterator[tuple[Statistics, Rows, AnyMoments]]:
        """Take statistics of all rows apart by BN."""
        sizes = [rows.stop - rows.start if isinstance(rows, slice) else len(rows) for rows in self.rows]
        own = zip(*(torch.split(moment, sizes) for moment in moments), strict=True)
        for norm, rows, part in zip(self.norms, self.rows, own, strict=True):
            yield norm, rows, type(moments)(*part)


Notes = list[tuple[JoinedStatistics, AnyMoments, int]]
"""BN, statistics of the batch, pixels: what the running statistics are to be moved by."""


def update_statistics(notes: Notes) -> None:
    """Move running statistics as noted; where a BN was used in runs that follow each other, in one step for all."""
    used: dict[tuple[Statistics, int], list[tuple[Rows, AnyMoments]]] = {}
    for joined, moments, pixels in notes:
        if not joined.norms[0].training:
            continue
        for norm, rows, own in joined.parts(moments):
            used.setdefault((norm, pixels), []).append((rows, own))
    for (norm, pixels), found in used.items():
        runs = [rows for rows, _ in found if isinstance(rows, slice)]
        if len(runs) == len(found) and all(a.stop == b.start for a, b in pairwise(runs)):
            whole = type(found[0][1])(*(torch.cat(parts) for parts in zip(*(own for _, own in found), strict=True)))
            norm.update(slice(runs[0].start, runs[-1].stop), whole, pixels)
            continue
        for rows, own in found:
            norm.update(rows, own, pixels)


class Bank(nn.Module):
    """One operation on several edges; the first axis of all its weights are the rows."""

    def split(self, sizes: Sequence[int], weights: Sequence[Tensor] | None = None) -> list[tuple[Tensor, ...]]:
        """Return the weights of each run of rows. Split once for all runs, their gradients are joined once.

        Args:
            sizes: Of the runs.
            weights: What is split; the bank's own parameters by default.
        """
        known = self.parameters() if weights is None else weights
        known = [weight if torch.is_grad_enabled() else weight.detach() for weight in known]
        return list(zip(*(torch.split(weight, list(sizes)) for weight in known), strict=True))

    @abstractmethod
    def norms_in_order(self) -> list[Statistics]:
        """Return its BNs, in the order of its convolutions."""

    @abstractmethod
    def operation_state(self, row: int) -> dict[str, Tensor]:
        """Return views of the weights and running statistics of a row, by their names in the operation itself."""


def _statistics_state(norm: Statistics, row: int, prefix: str) -> dict[str, Tensor]:
    mean, variance = norm.running(slice(row, row + 1))
    return {f"{prefix}.running_mean": mean[0], f"{prefix}.running_var": variance[0]}


class SeparableBank(Bank):
    """Separable convolutions: (ReLU, depthwise, pointwise, BN) once or twice; the stride is in the first.

    Args:
        num_rows: m edges.
        channels: C.
        kernel: k.
        dilation: 1 or 2.
        repeats: 1 or 2.

    Attributes:
        form: Dilation and repeats; banks of one form may be computed as one.
    """

    def __init__(self, num_rows: int, channels: int, *, kernel: int, dilation: int, repeats: int) -> None:
        super().__init__()
        self.kernel, self.form = kernel, (dilation, repeats)
        self.kernels = nn.ParameterList(
            _uniform(num_rows, channels, kernel**2, fan_in=kernel**2) for _ in range(repeats)
        )
        self.mixing = nn.ParameterList(_uniform(num_rows, channels, channels, fan_in=channels) for _ in range(repeats))
        self.norms = nn.ModuleList(Statistics(num_rows, channels) for _ in range(repeats))

    def statistics(self, number: int) -> Statistics:
        """Return the BN of the first or second convolution."""
        return self.norms[number]  # type: ignore[return-value]

    def norms_in_order(self) -> list[Statistics]:
        """See the base class."""
        return list(self.norms)  # type: ignore[arg-type]

    def kernel_form(self, edges: tuple[int, ...]) -> Form:
        """Return what the compiled kernels are told of it on some of a fan's edges."""
        return Form(edges, self.kernel, *self.form)

    def widened(self, kernels: Tensor, largest: int) -> Tensor:
        """Return depthwise weights [m, C, k*k] as [m*C, 1, l, l], with zeros around a smaller kernel."""
        kernel = math.isqrt(kernels.shape[-1])
        border = (largest - kernel) // 2
        square = kernels.view(-1, 1, kernel, kernel)
        return F.pad(square, (border,) * 4) if border else square

    def all_widened(self, largest: int) -> list[Tensor]:
        """Return all weights with kernels [m, C, l*l], which have zeros around a smaller kernel."""
        shape = (*self.mixing[0].shape[:2], largest**2)
        return [*(self.widened(kernels, largest).view(shape) for kernels in self.kernels), *self.mixing]

    def operation_state(self, row: int) -> dict[str, Tensor]:
        """See the base class."""
        state: dict[str, Tensor] = {}
        names = [("body.0", "body.1", "body.2"), ("body.4", "body.5", "norm")]
        names = names if len(self.norms) == 2 else [("body.0", "body.1", "norm")]
        norms = [self.statistics(number) for number in range(len(names))]
        for kernels, mixing, norm, (first, second, last) in zip(self.kernels, self.mixing, norms, names, strict=True):
            state[f"{first}.weight"] = kernels.detach()[row].view(-1, 1, self.kernel, self.kernel)
            state[f"{second}.weight"] = mixing.detach()[row, :, :, None, None]
            state |= _statistics_state(norm, row, last)
        return state


class HalvingBank(Bank):
    """The skip connection of stride 2: ReLU, two pointwise convolutions side by side, BN.

    Args:
        num_rows: m edges.
        channels: C.
    """

    def __init__(self, num_rows: int, channels: int) -> None:
        super().__init__()
        even = channels // 2
        self.even = _uniform(num_rows, even, channels, fan_in=channels)
        self.odd = _uniform(num_rows, channels - even, channels, fan_in=channels)
        self.norm = Statistics(num_rows, channels)

    def norms_in_order(self) -> list[Statistics]:
        """See the base class."""
        return [self.norm]

    def forward(self, activated: Tensor, weights: Sequence[Tensor], rows: Rows, scale: Tensor, stride: int) -> Tensor:
        """Map [N, C, H, W] to [N, m*C, ceil(H/2), ceil(W/2)].

        Args:
            activated: After the ReLU.
            weights: Of these rows.
            rows: Of m edges.
            scale: What the output of each of them is multiplied with [m].
            stride: 2.
        """
        height, width = activated.shape[-2:]
        shifted = F.pad(activated, (0, width % 2, 0, height % 2))[:, :, 1:, 1:]
        halves = [
            torch.unflatten(F.conv2d(x, weight.flatten(0, 1)[..., None, None], stride=stride), 1, (-1, weight.shape[1]))
            for x, weight in zip((activated, shifted), weights, strict=True)
            if weight.shape[1]
        ]
        output = torch.cat([part for edge in zip(*(h.unbind(1) for h in halves), strict=True) for part in edge], dim=1)
        return self.norm.scaled(output, rows, scale)

    def operation_state(self, row: int) -> dict[str, Tensor]:
        """See the base class."""
        return {
            "body.even.weight": self.even.detach()[row, :, :, None, None],
            "body.odd.weight": self.odd.detach()[row, :, :, None, None],
            **_statistics_state(self.norm, row, "norm"),
        }  # fmt: skip


class ConvBank(Bank):
    """NAS-Bench-201's convolution: ReLU, convolution with bias, BN. All edges of a state are one convolution.

    Args:
        num_rows: m edges.
        channels: C.
        kernel: k.
    """

    def __init__(self, num_rows: int, channels: int, kernel: int) -> None:
        super().__init__()
        fan_in = channels * kernel**2
        self.form = (channels, kernel, kernel)
        self.weight = _uniform(num_rows, channels, fan_in, fan_in=fan_in)
        self.bias = _uniform(num_rows, channels, fan_in=fan_in)
        self.norm = Statistics(num_rows, channels)

    def norms_in_order(self) -> list[Statistics]:
        """See the base class."""
        return [self.norm]

    def kernel_form(self, edges: tuple[int, ...]) -> Form:
        """Return what the compiled kernels are told of it on some of a fan's edges."""
        return Form(edges, self.form[-1], dense=True)

    def forward(self, activated: Tensor, weights: Sequence[Tensor], rows: Rows, scale: Tensor, stride: int) -> Tensor:
        """Map [N, C, H, W] to [N, m*C, ceil(H/stride), ceil(W/stride)]; the arguments are those of `HalvingBank`."""
        weight, bias = (part.flatten(0, 1) for part in weights)
        output = F.conv2d(activated, torch.unflatten(weight, 1, self.form), bias, stride, padding=self.form[-1] // 2)
        return self.norm.scaled(output, rows, scale)

    def operation_state(self, row: int) -> dict[str, Tensor]:
        """See the base class."""
        return {
            "body.weight": torch.unflatten(self.weight.detach()[row], 1, self.form),
            "body.bias": self.bias.detach()[row],
            **_statistics_state(self.norm, row, "norm"),
        }  # fmt: skip
