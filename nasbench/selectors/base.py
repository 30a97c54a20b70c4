"""What every selector is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.core.table import ExampleTable


class ProxySelector(ABC):
    """Chooses k of n examples. Subclasses are components: their fields are their parameters.

    Attributes:
        name: Registered name.
        needs: Score columns that the table must have, and ``"features"`` where it reads the table's features.
        may_take_all: Whether k need not be given: then all rows that there are to choose from are taken.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    may_take_all: ClassVar[bool] = False

    def num_available(self, table: ExampleTable, rng: np.random.Generator) -> int:
        """Return how many rows there are to choose k from; a proxy's fraction is a share of them.

        All n, unless the selector leaves out some of the classes.

        Args:
            table: n rows with the columns of `needs`.
            rng: A generator in the state in which `select` will be given one.
        """
        return len(table)

    @abstractmethod
    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return k row numbers, sorted and unique.

        Args:
            table: n rows with the columns of `needs`.
            k: How many, 1 <= k <= n.
            rng: The only source of randomness.

        Raises:
            SelectionError: k is out of range.
            ScoreError: A needed column, or the features, are missing.
        """
