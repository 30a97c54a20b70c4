"""From a selector to a proxy set: sizes, checks, exact weighted sampling, and what a proxy looks like."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.config.component import fields_of
from nasbench.core.errors import ScoreError, SelectionError
from nasbench.core.proxy import ProxySet
from nasbench.core.seeding import generator
from nasbench.core.table import ExampleTable
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.histogram import DEFAULT_BIN_WIDTH, log_histogram, width_of

_MAX_LABEL = 10_000_000  # classes are counted in an array of that length; no dataset has as many


def size_for(fraction: float | None, size: int | None, num_examples: int) -> int:
    """Return the size k of a proxy from exactly one of its two descriptions.

    Args:
        fraction: r, 0 < r <= 1; k = floor(r n) as in the published code of Na et al. (IJCAI 2021). The number
            is read as it is written: 0.29 of 100 examples are 29, although 0.29 * 100 in binary is 28.99...
        size: k itself, 1 <= k <= n.
        num_examples: n.

    Raises:
        SelectionError: Both or neither are given, or k does not lie in 1 to n.

    Example:
        >>> size_for(0.1, None, 73_257)
        7325
    """
    if (fraction is None) == (size is None):
        raise SelectionError(
            f"fraction is {fraction} and size is {size}; exactly one must be given. Remove or add one."
        )
    if fraction is not None:
        if not (math.isfinite(fraction) and 0 < fraction <= 1):
            raise SelectionError(f"fraction {fraction} must lie above 0 and at most at 1. Correct it.")
        k = math.floor(Fraction(repr(float(fraction))) * num_examples)
        if k < 1:
            raise SelectionError(
                f"fraction {fraction} of {num_examples} examples is less than one. "
                f"Take at least {1 / max(num_examples, 1):.3g}."
            )
        return k
    check_size(size or 0, num_examples)
    return size or 0


def check_size(k: int, num_examples: int) -> None:
    """Refuse a size that cannot be.

    Raises:
        SelectionError: k does not lie in 1 to n.
    """
    if not 1 <= k <= num_examples:
        raise SelectionError(
            f"{k} of {num_examples} examples cannot be selected; k must lie in 1 to {num_examples}. "
            f"Change size or fraction."
        )


def select_proxy(selector: ProxySelector, table: ExampleTable, k: int, seed: int) -> ProxySet:
    """Select k examples; the same table, selector, k and seed give the same proxy.

    Args:
        selector: Any registered selector.
        table: Scores of the n training examples of one dataset.
        k: How many.
        seed: Of the selection; each selector draws from a stream of its own.

    Returns:
        The proxy, with the table's dataset fingerprint and the selector's name and fields.

    Raises:
        SelectionError: k does not lie in 1 to n, or the selector cannot select so many.
        ScoreError: The table lacks a column that the selector needs.
    """
    check_size(k, len(table))
    for column in selector.needs:
        table.column(column)
    indices = selector.select(table, k, generator(seed, "select", selector.name))
    if len(indices) != k:
        raise SelectionError(f"selector {selector.name!r} gave {len(indices)} rows instead of {k}. Correct its code.")
    return ProxySet(
        indices=indices,
        num_examples=len(table),
        dataset=table.dataset,
        selector={"name": selector.name, **fields_of(selector)},
        seed=seed,
    )


def weighted_sample(probability: npt.NDArray[np.float64], k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw k rows one after the other without replacement, each time in proportion to what is left.

    The same distribution as ``Generator.choice(n, k, replace=False, p=probability)``, without a loop: row i
    finishes an exponential race at time E_i / p_i with E_i ~ Exp(1), and the first k to finish are taken.

    Reference: Efraimidis and Spirakis, Weighted random sampling with a reservoir, Information Processing
    Letters 97, 2006, algorithm A (its keys u^(1/w) are exp of minus these times).

    Args:
        probability: float64 [n], all above 0; need not sum to 1.
        k: How many, 1 <= k <= n.
        rng: One exponential number a row is drawn from it.

    Returns:
        int64 [k], sorted and unique.
    """
    check_size(k, len(probability))
    times = rng.standard_exponential(len(probability)) / probability
    first = np.argpartition(times, k - 1)[:k]
    return np.sort(first).astype(np.int64)


def describe(table: ExampleTable, proxy: ProxySet) -> dict[str, Any]:
    """Return what selecting did to the classes and, where there is one, to the histogram of entropy.

    Args:
        table: What was selected from.
        proxy: What was selected.

    Returns:
        Plain values: ``num_examples`` n, ``num_selected`` k, ``fraction`` k/n, ``classes`` with the lists
        ``before`` and ``after`` (examples a class), and ``entropy`` (only where the table has one) with
        ``bin_width``, ``edges`` [B+1] of log10(entropy), ``before`` and ``after`` [B], ``zeros_before`` and
        ``zeros_after`` (entropies of exactly 0, which have no logarithm). The bin width is the selector's own
        where it has one (a preset's name becomes its number), else 0.5.

    Raises:
        ProxyMismatchError: The proxy was selected from another dataset.
        ScoreError: A label is above 10 million, which no class index is.
        ConfigError: The proxy names a bin width that there is not.
    """
    proxy.check_dataset(table.dataset, len(table))
    classes = _count_classes(table.labels)
    result: dict[str, Any] = {
        "num_examples": len(table),
        "num_selected": len(proxy),
        "fraction": len(proxy) / len(table),
        "classes": {
            "before": np.bincount(table.labels, minlength=classes).tolist(),
            "after": np.bincount(table.labels[proxy.indices], minlength=classes).tolist(),
        },
    }
    if "entropy" in table.columns:
        result["entropy"] = _describe_entropy(table, proxy)
    return result


def _count_classes(labels: npt.NDArray[np.int64]) -> int:
    largest = int(labels.max())
    if largest > _MAX_LABEL:
        raise ScoreError(
            f"label {largest} in row {int(labels.argmax())} is no class index; allowed are 0 to {_MAX_LABEL}. "
            f"Number the classes from 0 without gaps, and look whether the columns of the score file are mixed up."
        )
    return largest + 1


def _describe_entropy(table: ExampleTable, proxy: ProxySet) -> dict[str, Any]:
    width = width_of(proxy.selector.get("bin_width", DEFAULT_BIN_WIDTH))
    histogram = log_histogram(table.column("entropy"), width)
    chosen = histogram.bin_of[proxy.indices]
    return {
        "bin_width": width,
        "edges": histogram.edges.tolist(),
        "before": histogram.counts.tolist(),
        "after": np.bincount(chosen[chosen >= 0], minlength=len(histogram.counts)).tolist(),
        "zeros_before": histogram.num_zeros,
        "zeros_after": int(np.count_nonzero(chosen < 0)),
    }
