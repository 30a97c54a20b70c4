"""What the compiled kernels are told to compute; see `nasbench.spaces.compiled`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.spaces.separable import Moments

T = TypeVar("T")

MAX_OPERATIONS = 16
"""As in kernels/fans.c."""

TERMS = {"skip_connect": 0, "avg_pool_3x3": 1, "max_pool_3x3": 2}
"""What edges may share, with its number in kernels/fan.h; the state itself at stride 1 only."""


class Form(NamedTuple):
    """An operation on some of the edges: separable convolutions, or an ordinary one; each followed by a BN.

    Attributes:
        edges: The m edges that have it, of the n, in ascending order.
        kernel: k.
        dilation: 1 or 2.
        repeats: Convolutions one after the other, 1 or 2.
        dense: Whether it is one ordinary convolution, of stride 1.
    """

    edges: tuple[int, ...]
    kernel: int
    dilation: int = 1
    repeats: int = 1
    dense: bool = False

    def small(self, channels: int) -> int:
        """Return how many numbers the kernels keep of each of its convolutions, beside z."""
        return len(self.edges) * channels * (4 if self.dense else channels + 4)


class Operation(NamedTuple):
    """Such an operation with its tensors.

    Attributes:
        form: What it is.
        weights: Depthwise [m, C, k*k] of each of its convolutions, then pointwise [m, C, C] of each, output before
            input channel; of an ordinary one its weight [m, C, C*k*k] and its bias [m, C], or none [0].
        running: Statistics of each convolution's BN; None normalises by the batch.
    """

    form: Form
    weights: Sequence[Tensor]
    running: Sequence[Moments] | None


class Term(NamedTuple):
    """What is the same on all edges: the state itself or a pool of 3x3.

    Attributes:
        kind: A key of `TERMS`.
        norm: Whether a BN without scale and shift follows.
        running: Its statistics; None normalises by the batch.
    """

    kind: str
    norm: bool = False
    running: Moments | None = None

    def plain(self, x: Tensor, stride: int, eps: float) -> Tensor:
        """Return its value for a state in plain steps, differentiable any number of times."""
        if self.kind == "max_pool_3x3":
            x = F.max_pool2d(x, 3, stride, padding=1)
        elif self.kind == "avg_pool_3x3":
            x = F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
        return F.batch_norm(x, None, None, training=True, momentum=0.0, eps=eps) if self.norm else x


class Known(NamedTuple):
    """Statistics that were used.

    Attributes:
        operations: Of the convolutions of each operation.
        terms: Of each term that has a BN.
    """

    operations: list[list[Moments]]
    terms: list[Moments | None]


class FanForm(NamedTuple):
    """What a fan consists of, beside its tensors."""

    operations: tuple[Form, ...]
    running: tuple[Sequence[Moments] | None, ...]
    terms: tuple[Term, ...]
    stride: int
    edges: int
    eps: float

    def weights(self, tensors: Sequence[T]) -> Iterator[list[tuple[T, T]]]:
        """Yield for each operation what each of its convolutions has: kernels and mixing."""
        first = 0
        for own in self.operations:
            part = tensors[first : first + 2 * own.repeats]
            yield [(part[number], part[own.repeats + number]) for number in range(own.repeats)]
            first += len(part)
