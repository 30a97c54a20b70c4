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
        bin_of: int64 [n], 0 to B-1, or -1 for an entropy of 0.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    num_zeros: int
    bin_of: npt.NDArray[np.int64]

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
    negative = np.flatnonzero(entropy < 0)
    if len(negative):
        raise ScoreError(
            f"the entropy of row {int(negative[0])} is {entropy[negative[0]]}; an entropy is never below 0. "
            f"Score the examples again in float64."
        )
    zero = entropy == 0
    num_zeros = int(np.count_nonzero(zero))
    bin_of = np.full(len(entropy), -1, dtype=np.int64)
    if num_zeros == len(entropy):
        return LogHistogram(edges=np.zeros(1), counts=np.zeros(0, dtype=np.int64), num_zeros=num_zeros, bin_of=bin_of)
    logarithms = np.log10(entropy[~zero] if num_zeros else entropy)
    edges = histogram_edges(float(logarithms.min()), float(logarithms.max()), bin_width)
    found = np.searchsorted(edges, logarithms, side="right") - 1
    bin_of[~zero] = np.clip(found, 0, len(edges) - 2)
    counts = np.bincount(bin_of[~zero], minlength=len(edges) - 1)
    return LogHistogram(edges=edges, counts=counts.astype(np.int64), num_zeros=num_zeros, bin_of=bin_of)
