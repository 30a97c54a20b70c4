"""The histogram of log10(entropy) that the probabilistic selection looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from nasbench.core.errors import ConfigError, ScoreError, nearest

DEFAULT_BIN_WIDTH = 0.5
"""In decades; the published code's value for CIFAR-10."""

BIN_WIDTHS: Mapping[str, float] = MappingProxyType({"cifar10": 0.5, "cifar100": 0.25, "svhn": 0.2, "imagenet": 0.25})
"""Dataset -> width in decades of log10(entropy), as in the published code of Na et al. (IJCAI 2021)."""

_PRESETS = ", ".join(repr(name) for name in BIN_WIDTHS)


def _check_bin_width(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    # Left to itself, pydantic would complain once for each member of the union, in paths that no file has.
    try:
        return check(value)
    except ValidationError as error:
        kind, text = "bin_width", "Allowed: a number from 0.001 to 10 (decades), or a preset: {expected}"
        raise PydanticCustomError(kind, text, {"expected": _PRESETS}) from error


BinWidth = Annotated[
    Annotated[float, Field(ge=0.001, le=10)] | Literal["cifar10", "cifar100", "svhn", "imagenet"],
    WrapValidator(_check_bin_width),
]
"""What the field ``bin_width`` of a selector may be: decades, or a name of BIN_WIDTHS."""

_BLOCK = 16_384  # rows that are handled at a time, so that they stay in the processor's cache
_LINEAR_BINS = 20
_CLOSE = 1e-6  # in bins: more than rounding can move a value or an edge, at any width that is allowed
_TOLERANCE = 1e-9  # in bins: forgives the rounding of log10 and of widths such as 0.2


def width_of(bin_width: float | str) -> float:
    """Return a bin width in decades from a number of decades or the name of a preset.

    Raises:
        ConfigError: There is no preset of that name.

    Example:
        >>> width_of("svhn"), width_of(0.3)
        (0.2, 0.3)
    """
    if not isinstance(bin_width, str):
        return float(bin_width)
    if bin_width not in BIN_WIDTHS:
        raise ConfigError(
            f"bin_width: {bin_width!r} is no preset. Allowed: a number of decades, or {_PRESETS}."
            f"{nearest(bin_width, BIN_WIDTHS)}"
        )
    return BIN_WIDTHS[bin_width]


@dataclass(frozen=True, kw_only=True, eq=False)
class LogHistogram:
    """A histogram of log10(entropy in nats) with equal widths.

    Bins are half-open: a value on an inner edge belongs to the bin above it, as in NumPy, and the highest bin
    also holds its upper edge. Entropies of exactly 0, which have no logarithm, share one bin of their own
    below all others.

    Attributes:
        edges: float64 [B+1], ascending; B = 0 (one edge) where every entropy is 0.
        counts: int64 [B], heights of the bins from the lowest up.
        num_zeros: Height of the bin of zeros.
        bin_of: int32 [n], 0 to B-1, or -1 for an entropy of 0.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    num_zeros: int
    bin_of: npt.NDArray[np.int32]

    @property
    def heights(self) -> npt.NDArray[np.int64]:
        """int64 [B+1]: the bins, then the bin of zeros; so ``heights[bin_of]`` is right for -1 too."""
        return np.append(self.counts, self.num_zeros)


def histogram_edges(low: float, high: float, bin_width: float) -> npt.NDArray[np.float64]:
    """Return the edges of the bins that hold all values from ``low`` to ``high``.

    The lowest edge is round(low) moved down by whole widths until it is at most ``low``; the highest is
    round(high) moved up likewise. Where the width does not divide the span between the two (0.3, say), the
    highest edge is moved up to the next whole width, so that all widths stay equal. There is always at least
    one bin.

    Args:
        low: The least log10(entropy).
        high: The largest.
        bin_width: In decades, above 0.

    Returns:
        float64 [B+1], rounded to 10 decimals, so that -5.4 is the number that one would type.

    Example:
        >>> len(histogram_edges(-5.800, 0.3437, 0.2)) - 1
        32
    """
    bottom, top = round(low), round(high)
    start = bottom - bin_width * max(0, math.ceil((bottom - low) / bin_width - _TOLERANCE))
    end = top + bin_width * max(0, math.ceil((high - top) / bin_width - _TOLERANCE))
    bins = max(1, math.ceil((end - start) / bin_width - _TOLERANCE))
    return np.round(start + bin_width * np.arange(bins + 1), 10)


def log_histogram(entropy: npt.NDArray[np.float64], bin_width: float) -> LogHistogram:
    """Sort examples into bins of log10(entropy).

    Reference: Na et al., IJCAI 2021, arXiv:2106.04784, section 4; edges as in the published code.
    Differs from the published code: that code wants every value strictly between two edges and stops on a
    value that lies on one, and on an entropy of 0; here both have a bin (see `LogHistogram`).

    Args:
        entropy: float64 [n] in nats, at least 0, n >= 1.
        bin_width: In decades, above 0.

    Raises:
        ScoreError: An entropy is negative.
    """
    least, largest = float(entropy.min()), float(entropy.max())
    if least < 0:
        row = int(np.flatnonzero(entropy < 0)[0])
        raise ScoreError(
            f"the entropy of row {row} is {entropy[row]}; an entropy is never below 0. "
            f"Score the examples again in float64."
        )
    num_zeros = 0 if least > 0 else int(np.count_nonzero(entropy == 0))
    if num_zeros == len(entropy):
        bin_of, counts = np.full(len(entropy), -1, dtype=np.int32), np.zeros(0, dtype=np.int64)
        return LogHistogram(edges=np.zeros(1), counts=counts, num_zeros=num_zeros, bin_of=bin_of)
    least = least or float(np.min(entropy, where=entropy > 0, initial=largest))
    low, high = np.log10(np.array([least, largest]))
    edges = histogram_edges(float(low), float(high), bin_width)
    bin_of, counts = _sort_into(edges, entropy, bin_width, zeros=num_zeros > 0)
    return LogHistogram(edges=edges, counts=counts, num_zeros=num_zeros, bin_of=bin_of)


def _sort_into(
    edges: npt.NDArray[np.float64], entropy: npt.NDArray[np.float64], bin_width: float, *, zeros: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the bin of every row and the heights.

    As the widths are equal, a division finds the bin, except close to an edge: there the edges decide, which are
    rounded to what one would type. Searching among the edges for every row takes eight times as long.
    """
    last = len(edges) - 2
    bin_of = np.empty(len(entropy), dtype=np.int32)
    counts = np.zeros(last + 1, dtype=np.int64)
    scratch = np.empty((3, min(_BLOCK, len(entropy))))  # new arrays would cost more time than the arithmetic
    for start in range(0, len(entropy), _BLOCK):
        values, found = entropy[start : start + _BLOCK], bin_of[start : start + _BLOCK]
        logarithms, place, apart = scratch[:, : len(values)]
        np.log10(np.where(values > 0, values, 1.0) if zeros else values, out=logarithms)
        np.multiply(np.subtract(logarithms, edges[0], out=place), 1 / bin_width, out=place)
        found[:] = place
        np.abs(np.subtract(place, np.rint(place, out=apart), out=apart), out=apart)
        close = np.flatnonzero(apart < _CLOSE)
        found[close] = np.searchsorted(edges, logarithms[close], side="right") - 1
        np.clip(found, 0, last, out=found)
        counts += np.bincount(found[values > 0] if zeros else found, minlength=last + 1)
        if zeros:
            found[values == 0] = -1
    return bin_of, counts


def linear_histogram(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Sort numbers into equal bins from the least to the largest.

    Args:
        values: float64 [n], finite, n >= 1.

    Returns:
        The edges, float64 [B+1] with B = 20 (1 where all are equal or too near for 20 edges), and the bin of each
        row, int64 [n]. A value on an inner edge belongs to the bin above, the largest value to the last bin.

    Example:
        >>> edges, bin_of = linear_histogram(np.array([0.0, 10.0, 5.0, 20.0]))
        >>> bin_of
        array([ 0, 10,  5, 19])
    """
    low, high = float(values.min()), float(values.max())
    edges = 2 * np.linspace(low / 2, high / 2, _LINEAR_BINS + 1)  # high - low may be too large for a float
    if np.any(np.diff(edges) <= 0):
        edges = np.array([low, high])
    found = np.searchsorted(edges[1:-1], values, side="right")
    return edges, found.astype(np.int64, copy=False)
