"""Examples that cover the space of features: greedy k-center."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.table import FEATURES, ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.balance import class_quotas, rows_of_classes
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.farthest_first import farthest_first, farthest_from_mean
from nasbench.selectors.selection import check_size


@SELECTORS.register
@component
class KCenter(ProxySelector):
    """Take examples so that none lies far from its nearest chosen one: greedy k-center (core-set).

    Formula: s = {u_0}; k - 1 times: u = argmax over i not in s of the min over j in s of |f_i - f_j|, s = s + {u}.
    The largest distance of an example to s is at most twice what the best k centres could reach.
    Reference: Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018,
    arXiv:1708.00489, Algorithm 1; as a proxy for architecture search in Na et al., IJCAI 2021, arXiv:2106.04784,
    section 3.1, there on features of a trained ResNet-20. The traversal is that of Gonzalez 1985.
    Differs from the paper: its s begins with the examples that have labels already, at random in its experiments; a
    proxy has none, so s begins with one example, at random (``start``) and counted in k. Of equal distances the lowest
    row is taken, which the paper leaves open; examples equal to a chosen one (distance 0) come last, in order of rows.
    Distances are differences in float64, squared and summed (see `nasbench.selectors.feature_points`), and
    what is chosen is exactly what the plain algorithm chooses by them, whatever the library for matrix products, the
    number of threads or the size of blocks. Renumbering the rows changes only how ties fall, and what ``start`` draws.

    Attributes:
        start: First centre: ``random`` (the paper's, and the default), or ``farthest-from-mean`` (the row farthest from
            the mean of all features, so that nothing is random).
        class_balance: Whether each class gives its share of k, by largest remainder, chosen in that class alone. Ours;
            off by default, as in the papers.

    Shape: table of n rows with features [n, d] -> int64 [k]. Features may be mapped from a file larger than memory.
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where the table has no features.

    Example:
        >>> features = np.array([[0.0], [1.0], [9.0], [10.0], [4.0]], dtype=np.float32)
        >>> table = ExampleTable(dataset="", labels=np.zeros(5, dtype=np.int64), features=features)
        >>> KCenter(start="farthest-from-mean").select(table, 3, np.random.default_rng(0))
        array([0, 3, 4])
    """

    name: ClassVar[str] = "k-center"
    needs: ClassVar[tuple[str, ...]] = (FEATURES,)

    start: Literal["random", "farthest-from-mean"] = "random"
    class_balance: bool = False

    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return k centres, of all rows or of every class its share."""
        check_size(k, len(table))
        features = table.feature_rows()
        if not self.class_balance:
            return self._centres(features, np.arange(len(table)), k, rng)
        quotas = class_quotas(table.labels, k)
        chosen = [
            self._centres(features, rows, int(quotas[number]), rng)
            for number, rows in rows_of_classes(table.labels)
            if quotas[number]
        ]
        return np.sort(np.concatenate(chosen))

    def _centres(
        self, features: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """Return k of some rows, sorted."""
        if k == len(rows):
            return rows
        part = None if len(rows) == len(features) else rows
        start = int(rng.choice(rows)) if self.start == "random" else farthest_from_mean(features, part)
        return np.sort(farthest_first(features, k, start, rows=part).order)
