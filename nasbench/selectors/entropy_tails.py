"""Both ends of the distribution of entropy: the selection proposed by Na et al. (IJCAI 2021)."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.histogram import DEFAULT_BIN_WIDTH, BinWidth, LogHistogram, log_histogram, width_of
from nasbench.selectors.ranks import highest, lowest
from nasbench.selectors.scored import ScoreSelector
from nasbench.selectors.selection import finishing_times


@SELECTORS.register
@component
class EntropyTailsDeterministic(ScoreSelector):
    """Take the easiest beta k and the most difficult (1 - beta) k examples.

    Formula: D' = bottom-(beta k) of f(x), and top-((1 - beta) k) of f(x).
    Reference: Na et al., IJCAI 2021, arXiv:2106.04784, section 4, "deterministic selection".
    Differs from the paper: it does not say how beta k is rounded; here to the nearest number, halves up,
    and the top gets the rest. Ties: the earlier row counts as the lower.

    Attributes:
        low_entropy_ratio: beta, 0 < beta < 1. The paper tried 0.5 to 0.9 on NAS-Bench-1shot1 and found 0.9
            best, which is the default.
        class_balance: Whether each class gives its share of k, by largest remainder, and splits it at beta. Ours;
            off, as in the paper.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where the table has no entropy.

    Example:
        >>> entropy = {"entropy": np.array([0.3, 0.1, 0.9, 0.2, 0.5])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(5, dtype=np.int64), columns=entropy)
        >>> EntropyTailsDeterministic(low_entropy_ratio=0.6).select(table, 3, np.random.default_rng(0))
        array([1, 2, 3])
    """

    name: ClassVar[str] = "entropy-tails-deterministic"
    needs: ClassVar[tuple[str, ...]] = ("entropy",)

    low_entropy_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.9

    def order_by(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return the entropies; no randomness is used."""
        return table.column("entropy")

    def pick(self, values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
        """Return both ends."""
        low = math.floor(self.low_entropy_ratio * count + 0.5)
        return np.sort(np.concatenate([lowest(values, low), highest(values, count - low)]))


@component
class _EntropyTailsProbabilistic(ScoreSelector):
    """What P1, P2 and P3 share: the histogram, equation 2, and sampling without replacement."""

    needs: ClassVar[tuple[str, ...]] = ("entropy",)

    bin_width: BinWidth = DEFAULT_BIN_WIDTH

    @property
    def width(self) -> float:
        """The bin width in decades, also where ``bin_width`` names a preset."""
        return width_of(self.bin_width)

    @abstractmethod
    def bin_weights(self, heights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return W(h) of every bin up to a common factor, 0 for an empty bin.

        Args:
            heights: int64 [B], numbers of examples, not all 0.
        """

    def probabilities(self, table: ExampleTable) -> npt.NDArray[np.float64]:
        """Return P(x; H) = norm(W(h_x; H) / |h_x|) of every row, equation 2.

        Args:
            table: n rows with ``entropy``.

        Returns:
            float64 [n], all above 0, sum 1.

        Raises:
            ScoreError: No column ``entropy``, or a negative entropy.
        """
        histogram, share = self._shares(table)
        return share[histogram.bin_of]

    def _shares(self, table: ExampleTable) -> tuple[LogHistogram, npt.NDArray[np.float64]]:
        """Return the histogram and the probability of one row of each bin, float64 [B+1] as its ``heights``."""
        histogram = log_histogram(table.column("entropy"), self.width)
        heights = histogram.heights
        share = self.bin_weights(heights) / np.maximum(heights, 1)
        share /= np.sum(share * heights)
        return histogram, share

    def order_by(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return when each row finishes the exponential race that samples without replacement."""
        histogram, share = self._shares(table)
        return finishing_times(share, histogram.bin_of, rng)


@SELECTORS.register
@component
class EntropyTailsP1(_EntropyTailsProbabilistic):
    """Sample with the fullest bin nearly shut and every sparse bin nearly emptied: the paper's main method.

    Formula: P1(x; H) = norm(W1(h_x) / |h_x|), W1(h) = (max |h'| - |h| + 1) / sum over h'' of the same.
    Reference: Na et al., IJCAI 2021, arXiv:2106.04784, equations 2 and 3.
    Differs from the paper: empty bins get weight 0, as in the published code, where equation 3 gives them the
    largest; no example lies in one, so P1 is the same. An entropy of 0 and a value on an edge have a bin (see
    `LogHistogram`), where the published code stops.

    Attributes:
        bin_width: Of log10(entropy), in decades, 0.001 to 10, or the name of a dataset for the published code's
            value: ``cifar10`` (0.5, the default), ``cifar100`` (0.25), ``svhn`` (0.2), ``imagenet`` (0.25).
        class_balance: Whether each class gives its share of k, by largest remainder; the probabilities stay those
            of the whole set. Ours; off, as in the paper, whose classes come out unequal.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where an entropy is missing or negative.

    Example:
        >>> entropy = {"entropy": np.array([0.2, 0.2, 0.2, 1e-6])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=entropy)
        >>> EntropyTailsP1().probabilities(table).round(3)
        array([0.083, 0.083, 0.083, 0.75 ])
    """

    name: ClassVar[str] = "entropy-tails-p1"

    def bin_weights(self, heights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return max |h'| - |h| + 1."""
        return np.where(heights > 0, heights.max() - heights + 1.0, 0.0)


@SELECTORS.register
@component
class EntropyTailsP2(_EntropyTailsProbabilistic):
    """Sample every bin alike.

    Formula: P2(x; H) = norm(W2(h_x) / |h_x|), W2(h) = 1 / number of bins.
    Reference: Na et al., IJCAI 2021, arXiv:2106.04784, equations 2 and 4.
    Differs from the paper: an entropy of 0 and a value on an edge have a bin (see `LogHistogram`), where the
    published code stops.

    Attributes:
        bin_width: Of log10(entropy), in decades, 0.001 to 10, or the name of a dataset for the published code's
            value: ``cifar10`` (0.5, the default), ``cifar100`` (0.25), ``svhn`` (0.2), ``imagenet`` (0.25).
        class_balance: Whether each class gives its share of k, by largest remainder; the probabilities stay those
            of the whole set. Ours; off, as in the paper, whose classes come out unequal.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where an entropy is missing or negative.

    Example:
        >>> entropy = {"entropy": np.array([0.2, 0.2, 0.2, 1e-6])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=entropy)
        >>> EntropyTailsP2().probabilities(table).round(3)
        array([0.167, 0.167, 0.167, 0.5  ])
    """

    name: ClassVar[str] = "entropy-tails-p2"

    def bin_weights(self, heights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the same for every bin that holds an example."""
        return np.where(heights > 0, 1.0 / len(heights), 0.0)


@SELECTORS.register
@component
class EntropyTailsP3(_EntropyTailsProbabilistic):
    """Sample a bin the more the fewer it holds.

    Formula: P3(x; H) = norm(W3(h_x) / |h_x|), W3(h) = (1 / |h|) / sum over h'' of 1 / |h''|.
    Reference: Na et al., IJCAI 2021, arXiv:2106.04784, equations 2 and 5.
    Differs from the paper: empty bins, for which equation 5 divides by 0, get weight 0, as in the published
    code. An entropy of 0 and a value on an edge have a bin (see `LogHistogram`), where that code stops.

    Attributes:
        bin_width: Of log10(entropy), in decades, 0.001 to 10, or the name of a dataset for the published code's
            value: ``cifar10`` (0.5, the default), ``cifar100`` (0.25), ``svhn`` (0.2), ``imagenet`` (0.25).
        class_balance: Whether each class gives its share of k, by largest remainder; the probabilities stay those
            of the whole set. Ours; off, as in the paper, whose classes come out unequal.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where an entropy is missing or negative.

    Example:
        >>> entropy = {"entropy": np.array([0.2, 0.2, 0.2, 1e-6])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=entropy)
        >>> EntropyTailsP3().probabilities(table).round(3)
        array([0.083, 0.083, 0.083, 0.75 ])
    """

    name: ClassVar[str] = "entropy-tails-p3"

    def bin_weights(self, heights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return 1 / |h|."""
        return np.where(heights > 0, 1.0 / np.maximum(heights, 1), 0.0)
