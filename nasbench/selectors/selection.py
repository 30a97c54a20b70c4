"""From a selector to a proxy set: sizes, checks, exact weighted sampling, and what a proxy looks like."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.config.component import fields_of
from nasbench.core.errors import SelectionError
from nasbench.core.proxy import ProxySet
from nasbench.core.seeding import generator
from nasbench.core.table import ExampleTable
from nasbench.selectors.balance import count_classes
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.histogram import DEFAULT_BIN_WIDTH, linear_histogram, log_histogram, width_of
from nasbench.selectors.ranks import lowest

_BLOCK = 16_384  # rows that are handled at a time, so that they stay in the processor's cache


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


def proxy_size(
    selector: ProxySelector, table: ExampleTable, fraction: float | None, size: int | None, seed: int
) -> int:
    """Return the size k of the proxy that a selector is to make.

    Args:
        selector: Any registered selector.
        table: What is selected from.
        fraction: Share of the rows that the selector can choose from (`ProxySelector.num_available`): of all n, or of
            the examples of the classes that it chooses.
        size: Or k itself. Both may be None for a selector that may take all there is.
        seed: Of the selection, as for `select_proxy`; which classes are drawn may depend on it.

    Raises:
        SelectionError: Both are given, or neither although the selector needs one, or k does not lie in 1 to n.
    """
    available = selector.num_available(table, generator(seed, "select", selector.name))
    if fraction is None and size is None and selector.may_take_all:
        return available
    return size_for(fraction, size, available)


def select_proxy(selector: ProxySelector, table: ExampleTable, k: int, seed: int) -> ProxySet:
    """Select k examples; the same table, selector, k and seed give the same proxy.

    Args:
        selector: Any registered selector.
        table: Scores of the n training examples of one dataset.
        k: How many.
        seed: Of the selection; each selector draws from a stream of its own.

    Returns:
        The proxy, with the fingerprints of dataset and table, and the selector's name and fields.

    Raises:
        SelectionError: k does not lie in 1 to n, or the selector cannot select so many.
        ScoreError: The table lacks a column, or the features, that the selector needs.
    """
    check_size(k, len(table))
    table.require(selector.needs)
    indices = selector.select(table, k, generator(seed, "select", selector.name))
    if len(indices) != k:
        raise SelectionError(f"selector {selector.name!r} gave {len(indices)} rows instead of {k}. Correct its code.")
    return ProxySet(
        indices=indices,
        num_examples=len(table),
        dataset=table.dataset,
        selector={"name": selector.name, **fields_of(selector)},
        seed=seed,
        table=table.fingerprint,
    )


def finishing_times(
    probability: npt.NDArray[np.float64], group: npt.NDArray[Any], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return when each row finishes an exponential race: the first k are a weighted sample without replacement.

    Row i finishes at E_i / p_i with E_i ~ Exp(1). The first is i with probability p_i / sum p; as the race forgets
    what has passed, the next is drawn likewise of the rest, and so on: the first k to finish are k rows drawn one
    after the other, each in proportion to what is left.

    Reference: Efraimidis and Spirakis, Weighted random sampling with a reservoir, Information Processing
    Letters 97, 2006, algorithm A (its keys u^(1/w) are exp of minus these times).

    Args:
        probability: float64 [G], of one row of each group, all above 0; need not sum to 1.
        group: whole numbers [n], the group of each row (-1 is the last one).
        rng: One exponential number a row is drawn from it.

    Returns:
        float64 [n].
    """
    times = rng.standard_exponential(len(group))
    scratch = np.empty(min(_BLOCK, len(group)))
    for start in range(0, len(group), _BLOCK):
        some = times[start : start + _BLOCK]
        # Much faster than probability[group], which makes a new array and looks at every index twice.
        some /= probability.take(group[start : start + _BLOCK], out=scratch[: len(some)], mode="wrap")
    return times


def weighted_sample(probability: npt.NDArray[np.float64], k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw k rows one after the other without replacement, each time in proportion to what is left.

    The same distribution as ``Generator.choice(n, k, replace=False, p=probability)``, without a loop (see
    `finishing_times`).

    Args:
        probability: float64 [n], all above 0; need not sum to 1.
        k: How many, 1 <= k <= n.
        rng: One exponential number a row is drawn from it.

    Returns:
        int64 [k], sorted and unique.
    """
    check_size(k, len(probability))
    return lowest(rng.standard_exponential(len(probability)) / probability, k)


def describe(table: ExampleTable, proxy: ProxySet) -> dict[str, Any]:
    """Return what selecting did to the classes and to the histogram of every score.

    Args:
        table: What was selected from.
        proxy: What was selected.

    Returns:
        Plain values: ``num_examples`` n, ``num_selected`` k, ``fraction`` k/n, ``classes`` with the lists
        ``before`` and ``after`` (examples a class), and ``scores``: column -> histogram with ``edges`` [B+1],
        ``before`` and ``after`` [B]. Where the table has a column ``entropy``, its histogram stands as ``entropy``
        too. The one of entropy is of log10(entropy) and has ``bin_width``, ``zeros_before`` and ``zeros_after``
        (entropies of exactly 0, which have no logarithm); its width is the selector's own where that has one (a
        preset's name becomes its number), else 0.5. All others have equal bins from the least to the largest value.

    Raises:
        ProxyMismatchError: The proxy was selected from another dataset.
        ScoreError: A label is above 10 million, which no class index is, or an entropy negative.
        ConfigError: The proxy names a bin width that there is not.
    """
    proxy.check_dataset(table.dataset, len(table))
    classes = count_classes(table.labels)
    scores = {name: _describe_linear(table, proxy, name) for name in table.columns if name != "entropy"}
    result: dict[str, Any] = {
        "num_examples": len(table),
        "num_selected": len(proxy),
        "fraction": len(proxy) / len(table),
        "classes": {
            "before": np.bincount(table.labels, minlength=classes).tolist(),
            "after": np.bincount(table.labels[proxy.indices], minlength=classes).tolist(),
        },
        "scores": scores,
    }
    if "entropy" in table.columns:
        result["entropy"] = scores["entropy"] = _describe_entropy(table, proxy)
    return result


def _describe_linear(table: ExampleTable, proxy: ProxySet, name: str) -> dict[str, Any]:
    edges, bin_of = linear_histogram(table.column(name))
    bins = len(edges) - 1
    return {
        "edges": edges.tolist(),
        "before": np.bincount(bin_of, minlength=bins).tolist(),
        "after": np.bincount(bin_of[proxy.indices], minlength=bins).tolist(),
    }


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
