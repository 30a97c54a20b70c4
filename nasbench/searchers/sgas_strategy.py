"""How the bilevel loop is changed by SGAS: edges are decided one after the other, and then have one operation only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nasbench.core.genotype import Genotype
from nasbench.searchers.sgas_scores import Decided, Decision, num_decisions
from nasbench.searchers.strategy import Architecture, EpochEnd, Moment, Record, Strategy, softmax_of
from nasbench.spaces.base import Alphas, Mixture, SearchSpace


class SgasStrategy(Strategy):
    """DARTS of first order whose edges are decided at the end of certain epochs, one of each group at a time.

    Args:
        space: With the trait ``edges``.
        first_epoch: At whose end the first decision is made, from 0.
        interval: Epochs from one decision to the next.
        batch_growth: Images by which a batch grows after each decision.
        history: Epochs that criterion 2 looks back; None is criterion 1.
    """

    def __init__(
        self, space: SearchSpace, *, first_epoch: int, interval: int, batch_growth: int, history: int | None
    ) -> None:
        super().__init__()
        self.first_epoch, self.interval, self.batch_growth = first_epoch, interval, batch_growth
        self.history = history
        self.rounds = max(num_decisions(space).values())
        self.decided = Decided(space)

    def rounds_before(self, epoch: int) -> int:
        """Return how many epochs before this one end with a decision."""
        passed = 0 if epoch <= self.first_epoch else (epoch - 1 - self.first_epoch) // self.interval + 1
        return min(passed, self.rounds)

    def batch_size(self, size: int, epoch: int) -> int:
        """Return the images a step: more after each decision, as less is computed for each."""
        return size + self.batch_growth * self.rounds_before(epoch)

    def begin_epoch(self, epoch: int, records: Sequence[Record]) -> None:
        """Take the decisions out of the last record."""
        del epoch
        made = records[-1]["decisions"] if records else []
        self.decided = Decided(self.decided.space, tuple(Decision(*decision) for decision in made))

    def alpha_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Return the softmax for open edges and weight 1 for the one operation of a decided edge."""
        del moment
        weights = softmax_of(architecture)
        if not self.decided.decisions:
            return Mixture(weights)
        fixed = {
            group: torch.where(
                torch.from_numpy(self.decided.settled[group]).to(p.device)[:, None],
                torch.from_numpy(self.decided.one_hot[group]).to(p),
                p,
            )
            for group, p in weights.items()
        }
        return Mixture(fixed, active=self.decided.active)

    def frozen(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """Return the decided and the pruned edges."""
        return self.decided.settled

    def genotype(self, space: SearchSpace, architecture: Alphas) -> Genotype:
        """Return the decided edges, completed by the most important open ones."""
        del space
        return self.decided.genotype(architecture)

    def end_epoch(self, end: EpochEnd) -> dict[str, Any]:
        """Decide, where this epoch ends with a decision, and record all decisions so far."""
        if self.rounds_before(end.epoch + 1) > self.rounds_before(end.epoch):
            self.decided = self.decided.decide(end.alphas, self._earlier(end.records))
        return {
            "decisions": [list(decision) for decision in self.decided.decisions],
            "decided_share": self.decided.share,
        }

    def _earlier(self, records: Sequence[Record]) -> list[Alphas] | None:
        if self.history is None:
            return None
        return [
            {group: np.asarray(values) for group, values in record["alphas"].items()}
            for record in records[-self.history :]
        ]
