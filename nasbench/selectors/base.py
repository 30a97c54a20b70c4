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
        needs: Score columns that the table must have.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return k row numbers, sorted and unique.

        Args:
            table: n rows with the columns of `needs`.
            k: How many, 1 <= k <= n.
            rng: The only source of randomness.

        Raises:
            SelectionError: k is out of range.
            ScoreError: A needed column is missing.
        """
