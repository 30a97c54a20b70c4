"""The examples that a network reconstructs, or classifies, most easily or with most trouble."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.ranks import highest, lowest
from nasbench.selectors.scored import ScoreSelector


@component
class _LossSelector(ScoreSelector):
    """What both have in common: one column, one side of it."""

    keep: Literal["easy", "hard"] = "easy"

    def order_by(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return the losses; no randomness is used."""
        return table.column(self.needs[0])

    def pick(self, values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
        """Return the side that is kept."""
        return lowest(values, count) if self.keep == "easy" else highest(values, count)


@SELECTORS.register
@component
class AutoencoderLoss(_LossSelector):
    """Take the k examples that a trained autoencoder reconstructs best: AE, without labels.

    Formula: D' = argmin over |D'| = k of the sum over D' of L(D(E(x)), x), E and D encoder and decoder.
    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, section 3.2.3, equation 4.
    Differs from the paper: it does not say how ties are broken; here the earlier row counts as the lower, so that the
    easy k and the hard n - k are complements. Which loss it is, is the scorer's matter.

    Attributes:
        keep: ``easy`` (lowest loss, the paper's) or ``hard`` (its supplement's "opposite direction").
        class_balance: Whether each class gives its share of k, by largest remainder. Ours; off, as in the paper.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where the table has no reconstruction_loss.

    Example:
        >>> losses = {"reconstruction_loss": np.array([0.3, 0.1, 0.9, 0.2])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=losses)
        >>> AutoencoderLoss().select(table, 2, np.random.default_rng(0))
        array([1, 3])
    """

    name: ClassVar[str] = "ae"
    needs: ClassVar[tuple[str, ...]] = ("reconstruction_loss",)


@SELECTORS.register
@component
class TransferLoss(_LossSelector):
    """Take the k examples that a classifier transferred from ImageNet finds easiest: TL.

    Formula: D' = argmin over |D'| = k of the sum over D' of L(phi(x), y), phi the classifier.
    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, section 3.3.3, equation 7.
    Differs from the paper: it does not say how ties are broken; here the earlier row counts as the lower, so that the
    easy k and the hard n - k are complements.

    Attributes:
        keep: ``easy`` (lowest loss, the paper's) or ``hard`` (its supplement's "opposite direction").
        class_balance: Whether each class gives its share of k, by largest remainder. Ours; off, as in the paper.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where the table has no transfer_loss.

    Example:
        >>> losses = {"transfer_loss": np.array([0.3, 0.1, 0.9, 0.2])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=losses)
        >>> TransferLoss(keep="hard").select(table, 2, np.random.default_rng(0))
        array([0, 2])
    """

    name: ClassVar[str] = "tl"
    needs: ClassVar[tuple[str, ...]] = ("transfer_loss",)
