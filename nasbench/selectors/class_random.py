"""Random examples of every class."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.balance import pick_per_class
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.selection import check_size


@SELECTORS.register
@component
class ClassConditionalRandom(ProxySelector):
    """Take of every class its share of k at random: CC-RS.

    Formula: P[x in D' | class C_j] is the same for all classes; D' has q_j examples of class C_j, q_j its share of k.
    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, section 3.3.1, equation 5.
    Differs from the paper: it asks for about r n_j of each class, its code rounds that down; here shares are rounded
    by largest remainder, so that k is met exactly.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n.

    Example:
        >>> table = ExampleTable(dataset="", labels=np.array([0, 0, 0, 0, 1, 1]))
        >>> rows = ClassConditionalRandom().select(table, 3, np.random.default_rng(0))
        >>> table.labels[rows]
        array([0, 0, 1])
    """

    name: ClassVar[str] = "cc-rs"

    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return k of n row numbers, of every class uniform over all subsets of its share."""
        check_size(k, len(table))

        def draw(labels: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
            return np.sort(rng.choice(len(labels), size=count, replace=False)).astype(np.int64, copy=False)

        return pick_per_class(table.labels, table.labels, k, draw)
