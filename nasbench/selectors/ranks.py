"""The lowest and the highest of n numbers, with defined ties, in time proportional to n."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def lowest(values: npt.NDArray[Any], k: int) -> npt.NDArray[np.int64]:
    """Return the rows of the k lowest values; of equal ones the earlier rows count as the lower.

    The same rows as ``np.sort(np.argsort(values, kind="stable")[:k])``, without sorting all of them.

    Args:
        values: [n], no NaN.
        k: How many, 0 <= k <= n.

    Returns:
        int64 [k], sorted and unique.

    Example:
        >>> lowest(np.array([3.0, 1.0, 2.0, 1.0, 2.0]), 3)
        array([1, 2, 3])
    """
    if k >= len(values):
        return np.arange(len(values), dtype=np.int64)
    if k < 1:
        return np.zeros(0, dtype=np.int64)
    bound = np.partition(values, k - 1)[k - 1]
    rows = np.flatnonzero(values <= bound)
    if len(rows) == k:
        return rows.astype(np.int64, copy=False)
    tied = values[rows] == bound
    surplus = np.flatnonzero(tied)[k - len(rows) :]  # the last ones: k - len(rows) is negative
    return np.delete(rows, surplus).astype(np.int64, copy=False)


def highest(values: npt.NDArray[Any], k: int) -> npt.NDArray[np.int64]:
    """Return the rows of the k highest values; of equal ones the later rows count as the higher.

    So the k highest and the n - k lowest are always complements.

    Args:
        values: [n], no NaN.
        k: How many, 0 <= k <= n.

    Returns:
        int64 [k], sorted and unique.

    Example:
        >>> highest(np.array([3.0, 1.0, 2.0, 1.0, 2.0]), 2)
        array([0, 4])
    """
    rest = np.ones(len(values), dtype=bool)
    rest[lowest(values, len(values) - k)] = False
    return np.flatnonzero(rest).astype(np.int64, copy=False)
