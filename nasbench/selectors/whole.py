"""The whole set as its own proxy."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.errors import SelectionError
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.base import ProxySelector


@SELECTORS.register
@component
class Whole(ProxySelector):
    """Take every example: the reference that a proxy is compared with.

    Formula: D' = D, k = n.
    Reference: the "Base (100 %)" columns of Na et al., IJCAI 2021, arXiv:2106.04784, Table 2.
    Differs from the paper: nothing known.

    Shape: table of n rows -> int64 [n].
    Raises: SelectionError where k is not n.

    Example:
        >>> table = ExampleTable(dataset="", labels=np.zeros(3, dtype=np.int64))
        >>> Whole().select(table, 3, np.random.default_rng(0))
        array([0, 1, 2])
    """

    name: ClassVar[str] = "whole"
    may_take_all: ClassVar[bool] = True

    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return 0 to n-1."""
        if k != len(table):
            raise SelectionError(f"'whole' takes all {len(table)} examples, not {k}. Leave out fraction and size.")
        return np.arange(k, dtype=np.int64)
