"""NASTransfer's class proxies on labels of ImageNet-22K's size and skew, against a plain way in Python.

The plain way lists the rows of every class in a dictionary, one row after the other, and samples from the lists.
"""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

from benchmarks.common import Result, compare, parse_options, peak_memory_of, report
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.class_sampling import evenly_spaced
from nasbench.selectors.nastransfer import preset
from nasbench.selectors.selection import proxy_size, select_proxy

Rows = npt.NDArray[np.int64]

_NUM_CLASSES = 21_841
_NUM_LARGE = 11_221  # classes of 500 images or more
_PROXIES = ("imagenet22k-p1", "imagenet22k-p2", "imagenet22k-p3")


def imagenet22k_sizes(shrink: int = 1) -> Rows:
    """Return made-up class sizes with ImageNet-22K's skew: 1 to 3,050 images, 14.2 million in all.

    Half of the classes have 500 images or more, with a tail up to 3,050; of the others the smaller are the more.

    Args:
        shrink: Divides every size (a class keeps at least one image).
    """
    below = np.arange(_NUM_CLASSES - _NUM_LARGE) + 0.5
    small = (40.84 - np.sqrt(40.84**2 - 2 * 0.0784 * below)) / 0.0784
    large = 500 + 2550 * ((np.arange(_NUM_LARGE) + 0.5) / _NUM_LARGE) ** 3.24
    return np.ceil(np.concatenate([small.clip(1, 499), large]) / shrink).astype(np.int64)


def made_up_table(shrink: int) -> ExampleTable:
    """Return a table whose rows are in no order, so that every class lies all over it."""
    rng = np.random.default_rng(0)
    sizes = rng.permutation(imagenet22k_sizes(shrink))
    return ExampleTable(dataset="", labels=rng.permutation(np.repeat(np.arange(len(sizes)), sizes)))


def plain(table: ExampleTable, selector: ProxySelector, k: int | None, seed: int) -> list[int]:
    """Do the same row by row; classes of a random proxy differ from ours, as another generator draws them."""
    draw = random.Random(seed)  # noqa: S311  a sample, no secret
    rows_of: dict[int, list[int]] = {}
    for row, label in enumerate(table.labels.tolist()):
        rows_of.setdefault(label, []).append(row)
    names = sorted(rows_of)
    num_classes = getattr(selector, "num_classes", None) or len(names)
    if selector.name == "random-classes":
        chosen = draw.sample(names, num_classes)
    else:
        places = evenly_spaced(np.array([len(rows_of[name]) for name in names]), num_classes)
        chosen = [names[place] for place in places.tolist()]
    total = sum(len(rows_of[name]) for name in chosen)
    share = 1.0 if k is None else k / total
    rows: list[int] = []
    for name in chosen:
        count = round(share * len(rows_of[name]))
        if count >= getattr(selector, "min_images", 1):
            rows += draw.sample(rows_of[name], count)
    return sorted(rows)


def ours(table: ExampleTable, selector: ProxySelector, k: int | None, seed: int) -> Rows:
    """Return what the product selects, its size included."""
    size = proxy_size(selector, table, None, k, seed)
    return select_proxy(selector, table, size, seed).indices


def measured(table: ExampleTable, name: str, rounds: int) -> Result:
    """Return one line: a proxy by name."""
    chosen = preset(name)
    selector = SELECTORS.get(chosen.selector)(**chosen.options)
    table.fingerprint  # noqa: B018  computed once and kept; it is no part of selecting

    def select() -> Rows:
        return ours(table, selector, chosen.size, 0)

    result = compare(
        f"{name}, {len(table):,} rows", lambda: len(select()), lambda: len(plain(table, selector, chosen.size, 0)),
        rounds=rounds, check=lambda mine, other: abs(mine / other - 1) < 0.25,
    )  # fmt: skip
    rows = select()
    return result.with_figures(
        selected=len(rows),
        classes=len(np.unique(table.labels[rows])),
        peak_mb=round(peak_memory_of(select) / 1e6),
    )


def main() -> None:
    """Run it; `--quick` takes a hundredth of the rows."""
    options = parse_options("Class proxies of ImageNet-22K's size against a plain way in Python.")
    table = made_up_table(100 if options.quick else 1)
    names = _PROXIES if not options.quick else ("imagenet22k-p1", "imagenet22k-p3")
    report("class_proxies", [measured(table, name, 2 if options.quick else 5) for name in names], options.json)


if __name__ == "__main__":
    main()
