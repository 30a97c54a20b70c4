"""What selectors that order the examples by a number have in common: class balance."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.selectors.balance import pick_per_class
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.ranks import lowest
from nasbench.selectors.selection import check_size


@component
class ScoreSelector(ProxySelector):
    """Orders the rows by one number each and picks from one end, in all rows or in every class.

    Attributes:
        class_balance: Whether each class gives its share of k, by largest remainder (see
            `nasbench.selectors.balance.class_quotas`); then proxies of growing k need not be nested. Off by default,
            as in the papers.
    """

    class_balance: bool = False

    @abstractmethod
    def order_by(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return the numbers to order by, float64 [n], no NaN.

        Args:
            table: n rows with the columns of ``needs``.
            rng: The only source of randomness.
        """

    def pick(self, values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
        """Return which of some rows are taken: those of the lowest numbers; of equal ones the earlier.

        Args:
            values: float64 [m], numbers of all rows, or of one class.
            count: How many, 0 <= count <= m.

        Returns:
            int64 [count], sorted places among the m rows.
        """
        return lowest(values, count)

    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return k row numbers, sorted and unique; see the class."""
        check_size(k, len(table))
        values = self.order_by(table, rng)
        return pick_per_class(values, table.labels, k, self.pick) if self.class_balance else self.pick(values, k)
