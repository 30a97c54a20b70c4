"""What RobustDARTS adds to DARTS: drop path in the supernet, and the dominant eigenvalue with its stop rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nasbench.searchers.curvature import largest_eigenvalue
from nasbench.searchers.hypergradient import AlphaGradient
from nasbench.searchers.strategy import Architecture, EpochEnd, Moment, Record, Strategy, softmax_of
from nasbench.spaces.base import Mixture

EIGENVALUE = "dominant_eigenvalue"


class StopRule:
    """Stop where the smoothed eigenvalue has grown too fast, and go back to before it did.

    Formula: with lambda(i) the i-th tracked eigenvalue and bar-lambda(i) its mean over the ``window`` values around
    it (fewer at the start), stop if bar-lambda(i) > factor * bar-lambda(i - look_back); the result is the epoch of
    lambda(i - look_back). So the i-th value is judged (window - 1)/2 values later. Growth from a mean that is not
    positive has no factor and does not count.

    Args:
        window: Tracked values that are averaged, odd.
        look_back: Tracked values between the two means.
        factor: Growth that is too much.
        first_epoch: Epochs before this one are not gone back to.
    """

    def __init__(self, *, window: int, look_back: int, factor: float, first_epoch: int) -> None:
        self.half, self.look_back, self.factor, self.first_epoch = window // 2, look_back, factor, first_epoch

    def __call__(self, records: Sequence[Record]) -> int | None:
        """Return the epoch to go back to if the last tracked value says stop, else None."""
        tracked = [(int(record["epoch"]), float(record[EIGENVALUE])) for record in records if EIGENVALUE in record]
        late = len(tracked) - 1 - self.half
        early = late - self.look_back
        if early < 0 or tracked[early][0] < self.first_epoch:
            return None
        values = [value for _, value in tracked]
        before, now = self._smoothed(values, early), self._smoothed(values, late)
        return tracked[early][0] if before > 0 and self.factor * before < now else None

    def _smoothed(self, values: Sequence[float], index: int) -> float:
        return float(np.mean(values[max(0, index - self.half) : index + self.half + 1]))


class RobustStrategy(Strategy):
    """DARTS with drop path on the mixed edges, eigenvalue tracking and early stop.

    Args:
        alpha_gradient: First or second order.
        drop_path: Probability in the last epoch; grows linearly from 0 in the first.
        interval: Epochs between two eigenvalues; 0 for none.
        stop: When to stop; None never does.
    """

    def __init__(
        self, alpha_gradient: AlphaGradient, *, drop_path: float, interval: int, stop: StopRule | None
    ) -> None:
        super().__init__(alpha_gradient)
        self._drop_path, self._interval, self._stop = drop_path, interval, stop
        self._present = 0.0  # drop path of the epoch that is under way

    def alpha_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Mix by softmax; whole mixed edges are dropped, also those that are mostly a skip connection."""
        self._present = self._drop_path * moment.epoch / max(moment.epochs - 1, 1)
        return Mixture(softmax_of(architecture), drop_path=self._present)

    def evaluation_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Mix by softmax; nothing is dropped."""
        del moment
        return Mixture(softmax_of(architecture))

    def end_epoch(self, end: EpochEnd) -> dict[str, Any]:
        """Record the drop path of the epoch, and the dominant eigenvalue where its turn has come."""
        found: dict[str, Any] = {"drop_path": self._present} if self._drop_path else {}
        if self._interval and end.epoch % self._interval == 0:
            found[EIGENVALUE] = largest_eigenvalue(end.valid_loss, list(end.architecture.values()), end.seed)
        return found

    def stopped_at(self, records: Sequence[Record]) -> int | None:
        """Ask the stop rule."""
        return None if self._stop is None else self._stop(records)
