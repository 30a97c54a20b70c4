"""How many rows of each class, so that every class keeps its share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import ScoreError

_MAX_LABEL = 10_000_000  # classes are counted in an array of that length; no dataset has as many

Pick = Callable[[npt.NDArray[Any], int], npt.NDArray[np.int64]]
"""(values of some rows, how many) -> sorted places among those rows."""


def count_classes(labels: npt.NDArray[np.int64]) -> int:
    """Return the number of classes: one more than the highest label.

    Raises:
        ScoreError: A label is above 10 million, which no class index is.
    """
    highest = int(labels.max())
    if highest > _MAX_LABEL:
        raise ScoreError(
            f"label {highest} in row {int(labels.argmax())} is no class index; allowed are 0 to {_MAX_LABEL}. "
            f"Number the classes from 0 without gaps, and look whether the columns of the score file are mixed up."
        )
    return highest + 1


def class_quotas(labels: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """Share k among the classes in proportion to their sizes, by largest remainder.

    Formula: q_c = floor(k n_c / n), plus 1 for the classes of the largest remainders (k n_c) mod n until the sum
    is k; of equal remainders the lower class comes first. So |q_c - k n_c / n| < 1, and q_c <= n_c.

    Args:
        labels: int64 [n].
        k: 0 <= k <= n.

    Returns:
        int64 [C], one a class, sum k.

    Example:
        >>> class_quotas(np.array([0, 0, 0, 0, 0, 1, 1, 2]), 4)
        array([3, 1, 0])
    """
    return quotas_of_sizes(np.bincount(labels, minlength=count_classes(labels)), k)


def quotas_of_sizes(sizes: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """Share k among classes of known sizes; see `class_quotas`.

    Args:
        sizes: int64 [C], not all 0.
        k: 0 <= k <= their sum.
    """
    quotas, remainders = np.divmod(k * sizes.astype(np.int64, copy=False), int(sizes.sum()))
    first = np.argsort(-remainders, kind="stable")[: k - int(quotas.sum())]
    quotas[first] += 1
    return quotas


def rows_of_classes(labels: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield each class that has rows, in order, with its rows in order."""
    classes = count_classes(labels)
    compact = labels.astype(np.uint16) if classes <= 65_536 else labels  # 16 bits are sorted in linear time
    order = np.argsort(compact, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=classes))
    start = 0
    for number, end in enumerate(ends.tolist()):
        if end > start:
            yield number, order[start:end]
        start = end


def pick_per_class(
    values: npt.NDArray[Any], labels: npt.NDArray[np.int64], k: int, pick: Pick
) -> npt.NDArray[np.int64]:
    """Pick from every class as many rows as its share of k is (see `class_quotas`).

    Args:
        values: [n, ...], what is picked by.
        labels: int64 [n].
        k: How many in all, 0 <= k <= n.
        pick: Is called once a class, in order of the classes, unless its share is 0.

    Returns:
        int64 [k], sorted and unique.
    """
    quotas = class_quotas(labels, k)
    chosen = [
        rows[pick(values[rows], int(quotas[number]))] for number, rows in rows_of_classes(labels) if quotas[number]
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
