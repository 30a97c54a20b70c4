"""Uniformly random examples."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.selection import check_size


@SELECTORS.register
@component
class RandomSubset(ProxySelector):
    """Take k examples at random: the baseline of every selection.

    Formula: every subset D' of D with |D'| = k has probability 1 / C(n, k).
    Reference: "random selection" of Na et al., IJCAI 2021, arXiv:2106.04784, section 3.1.
    Differs from the paper: nothing known. Blind to classes, as there: a small proxy may lack
    a class.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n.

    Example:
        >>> table = ExampleTable(dataset="", labels=np.zeros(9, dtype=np.int64))
        >>> len(RandomSubset().select(table, 4, np.random.default_rng(0)))
        4
    """

    name: ClassVar[str] = "random"

    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return k of n row numbers, uniform over all subsets."""
        check_size(k, len(table))
        return np.sort(rng.choice(len(table), size=k, replace=False)).astype(np.int64)
