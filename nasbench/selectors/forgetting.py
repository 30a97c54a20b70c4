"""The examples that a network forgets most often while it is trained."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.scored import ScoreSelector


@SELECTORS.register
@component
class Forgetting(ScoreSelector):
    """Take the k examples with most forgetting events: what was learned and lost again, or never learned.

    Formula: D' = argmax over |D'| = k of the sum over D' of the number of steps with acc_t(x) > acc_t+1(x), which of
    an example that is never classified rightly counts as infinite.
    Reference: Toneva et al., An Empirical Study of Example Forgetting during Deep Neural Network Learning, ICLR 2019,
    arXiv:1812.05159, section 3; as selection for a search: Na et al., IJCAI 2021, arXiv:2106.04784, section 3.1.
    Differs from the paper: neither says how ties are broken, and most examples tie, as the counts are small; here
    chance decides, and not the order of rows, in which an image folder has its classes one after another. For one seed,
    proxies of growing k are nested.

    Attributes:
        keep: ``hard`` (most events, in both papers) or ``easy`` (fewest, the "unforgettable" ones first).
        class_balance: Whether each class gives its share of k, by largest remainder. Ours; off, as in the papers.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where the table has no forgetting_events.

    Example:
        >>> events = {"forgetting_events": np.array([0.0, 3.0, 1.0, 0.0])}
        >>> table = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64), columns=events)
        >>> Forgetting().select(table, 2, np.random.default_rng(0))
        array([1, 2])
    """

    name: ClassVar[str] = "forgetting"
    needs: ClassVar[tuple[str, ...]] = ("forgetting_events",)

    keep: Literal["hard", "easy"] = "hard"

    def order_by(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return each row's place in the order of events, equal ones shuffled; no two are the same."""
        events = table.column("forgetting_events")
        first = np.lexsort((rng.random(len(events)), -events if self.keep == "hard" else events))
        places = np.empty(len(events))
        places[first] = np.arange(len(events))
        return places
