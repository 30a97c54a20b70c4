"""Random rows of classes: so many of each class, in a few passes over the labels and without sorting them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import SelectionError
from nasbench.selectors.balance import count_classes, quotas_of_sizes

Ints = npt.NDArray[np.int64]

_BLOCK = 262_144  # rows that are handled at a time, so that they stay in the processor's cache
_KEY_BITS = 40  # of a row's random number; the 24 bits above hold the class, of which there are at most 10 million
_SPARE = 6.0  # standard deviations by which more rows are drawn than are wanted


def class_sizes(labels: Ints) -> Ints:
    """Return the number of rows of each class, int64 [C]; classes without any count too.

    Raises:
        ScoreError: A label is above 10 million, which no class index is.
    """
    return np.bincount(labels, minlength=count_classes(labels)).astype(np.int64, copy=False)


def evenly_spaced(sizes: Ints, num_classes: int) -> Ints:
    """Return classes at equal distances in the order of their sizes.

    Of C classes in ascending order (of equal sizes the lower class first) the middle one of each of N equal parts is
    taken: places floor((2 i + 1) C / (2 N)), i = 0 to N-1. So their sizes are spread like those of all classes.

    Args:
        sizes: int64 [C], all above 0.
        num_classes: N, 1 <= N <= C.

    Returns:
        int64 [N], ascending.

    Example:
        >>> evenly_spaced(np.array([50, 10, 40, 20, 30, 60]), 3)
        array([0, 2, 3])
    """
    places = (2 * np.arange(num_classes, dtype=np.int64) + 1) * len(sizes) // (2 * num_classes)
    return np.sort(np.argsort(sizes, kind="stable")[places]).astype(np.int64, copy=False)


def quotas_with_minimum(sizes: Ints, k: int, minimum: int) -> Ints:
    """Share k among classes in proportion to their sizes; classes that would keep too few get nothing.

    What they would have had is shared again among the others, until every class that is left keeps enough.

    Args:
        sizes: int64 [C], not all 0.
        k: 1 <= k <= their sum.
        minimum: Least number of examples of a class that is kept, at least 1.

    Returns:
        int64 [C], sum k, every entry 0 or at least ``minimum``.

    Raises:
        SelectionError: No class would keep enough.
    """
    left = sizes
    while True:
        quotas = quotas_of_sizes(left, k)
        kept = np.where(quotas >= minimum, sizes, 0)
        if k > int(kept.sum()):
            raise SelectionError(
                f"k = {k} cannot be shared so that every class keeps at least {minimum} examples: the classes that "
                f"would keep so many hold {int(kept.sum())}. Lower min_images, choose fewer classes, or change k."
            )
        if minimum <= 1 or np.array_equal(kept > 0, left > 0):
            return quotas
        left = kept


def sample_of_classes(labels: Ints, quotas: Ints, rng: np.random.Generator) -> Ints:
    """Draw so many rows of each class, uniform over all subsets of that size.

    Every row gets a random number; the rows of the q smallest of a class are its sample. Only rows below a bound
    that lets a few more than q pass are looked at again, so time and memory go with n and with what is drawn. Of a
    class of which more than half is wanted, the rows that are left out are drawn instead.

    Args:
        labels: int64 [n].
        quotas: int64 [C], at most the sizes of the classes.
        rng: 40 bits a row are drawn from it, and again for all rows in the rare case that too few pass.

    Returns:
        int64 [k], sorted and unique, k the sum of the quotas.
    """
    sizes = class_sizes(labels)
    inverted = 2 * quotas > sizes
    wanted = np.where(inverted, sizes - quotas, quotas)
    taken = np.zeros(len(labels), dtype=bool)
    for start in range(0, len(labels), _BLOCK):
        taken[start : start + _BLOCK] = inverted.take(labels[start : start + _BLOCK])
    while wanted.any():
        rows, short = _draw(labels, sizes, wanted, rng)
        taken[rows] ^= True
        wanted = np.where(short, wanted, 0)
    return np.flatnonzero(taken).astype(np.int64, copy=False)


def _draw(labels: Ints, sizes: Ints, wanted: Ints, rng: np.random.Generator) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return the drawn rows of all classes of which enough rows passed, and which classes had too few."""
    rows, keys = _passing(labels, _bounds(sizes, wanted), rng)
    classes = (keys >> np.uint64(_KEY_BITS)).astype(np.int64)
    found = np.bincount(classes, minlength=len(sizes))
    short = found < wanted
    served = (wanted > 0) & ~short
    ordered = np.sort(keys)  # by class, and within a class by random number
    last = np.zeros(len(sizes), dtype=np.uint64)
    starts = np.cumsum(found) - found
    last[served] = ordered[(starts + wanted - 1)[served]]
    drawn = served[classes] & (keys <= last[classes])
    rows, classes = rows[drawn], classes[drawn]
    surplus = len(rows) - int(wanted[served].sum())
    return (rows if not surplus else _without_ties(rows, keys[drawn], classes, wanted)), short


def _without_ties(rows: Ints, keys: npt.NDArray[np.uint64], classes: Ints, wanted: Ints) -> Ints:
    """Return the rows without those whose number equals that of the last one of their class; the first rows stay."""
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(classes, minlength=len(wanted))
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows[order[rank < wanted[classes[order]]]]


def _bounds(sizes: Ints, wanted: Ints) -> npt.NDArray[np.uint64]:
    """Return below which random number a row of each class passes."""
    expected = wanted + _SPARE * np.sqrt(wanted) + 10.0
    share = np.where(wanted > 0, np.minimum(1.0, expected / np.maximum(sizes, 1)), 0.0)
    return np.ceil(share * 2.0**_KEY_BITS).astype(np.uint64)


def _passing(
    labels: Ints, bounds: npt.NDArray[np.uint64], rng: np.random.Generator
) -> tuple[Ints, npt.NDArray[np.uint64]]:
    """Return the rows whose random number lies below their class's bound, and their keys: class, then number."""
    found: list[tuple[Ints, npt.NDArray[np.uint64]]] = []
    for start in range(0, len(labels), _BLOCK):
        block = labels[start : start + _BLOCK]
        numbers = rng.integers(0, 1 << _KEY_BITS, len(block), dtype=np.uint64)
        places = np.flatnonzero(numbers < bounds.take(block))
        keys = (block[places].astype(np.uint64) << np.uint64(_KEY_BITS)) | numbers[places]
        found.append((places + start, keys))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([keys for _, keys in found])
