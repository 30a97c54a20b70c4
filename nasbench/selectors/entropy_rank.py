"""The examples that a trained classifier is least, or most, sure of."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.ranks import highest
from nasbench.selectors.scored import ScoreSelector


@SELECTORS.register
@component
class EntropyTopK(ScoreSelector):
    """Take the k examples of highest entropy: the difficult ones.

    Formula: D' = argmax over |D'| = k of the sum of f(x), f(x) = -sum_y P(y|x) log P(y|x).
    Reference: Na et al., IJCAI 2021, arXiv:2106.04784, equation 1 and section 3.1, after Settles 2009.
    Differs from the paper: it does not say how ties are broken; here the later row counts as the higher, so
    that the top k and the bottom n - k are always complements.

    Attributes:
        class_balance: Whether each class gives its share of k, by largest remainder. Ours; off, as in the paper.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where the table has no entropy.

    Example:
        >>> entropy = {"entropy": np.array([0.3, 0.1, 0.9, 0.2])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=entropy)
        >>> EntropyTopK().select(table, 2, np.random.default_rng(0))
        array([0, 2])
    """

    name: ClassVar[str] = "entropy-top-k"
    needs: ClassVar[tuple[str, ...]] = ("entropy",)

    def order_by(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return the entropies; no randomness is used."""
        return table.column("entropy")

    def pick(self, values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
        """Return the highest."""
        return highest(values, count)


@SELECTORS.register
@component
class EntropyBottomK(ScoreSelector):
    """Take the k examples of lowest entropy: the easy ones.

    Formula: D' = argmin over |D'| = k of the sum of f(x), f(x) = -sum_y P(y|x) log P(y|x).
    Reference: Na et al., IJCAI 2021, arXiv:2106.04784, equation 1 and section 3.1.
    Differs from the paper: it does not say how ties are broken; here the earlier row counts as the lower, so
    that proxies of growing k are nested.

    Attributes:
        class_balance: Whether each class gives its share of k, by largest remainder. Ours; off, as in the paper.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where the table has no entropy.

    Example:
        >>> entropy = {"entropy": np.array([0.3, 0.1, 0.9, 0.2])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=entropy)
        >>> EntropyBottomK().select(table, 2, np.random.default_rng(0))
        array([1, 3])
    """

    name: ClassVar[str] = "entropy-bottom-k"
    needs: ClassVar[tuple[str, ...]] = ("entropy",)

    def order_by(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return the entropies; no randomness is used."""
        return table.column("entropy")
