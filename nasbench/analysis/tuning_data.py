"""What the page about a search for the smallest proxy shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from nasbench.analysis.report_data import Count, Positive
from nasbench.config.component import component


@component
class TunedTrial:
    """One proxy that a tuning tried.

    Attributes:
        number: From 0, in the order of the trials.
        selector: Registered name.
        fields: The selector's fields that were searched.
        fraction: k/n, in (0, 1].
        size: k.
        top1: Mean Top-1 over the seeds that ran, in [0, 1]; None where none did.
        top1_per_seed: Of each seed that ran.
        outcome: ``within`` the margin, ``below`` it, or ``pruned``: stopped before its last seed.
        reason: Why it was stopped; empty otherwise.
    """

    number: Count
    selector: str
    fields: Mapping[str, float | int | str | bool] = Field(default_factory=dict)
    fraction: Annotated[float, Field(gt=0, le=1)]
    size: Count
    top1: float | None = None
    top1_per_seed: tuple[float, ...] = ()
    outcome: Literal["within", "below", "pruned"]
    reason: str = ""


@component
class TuningData:
    """A search for the smallest proxy that keeps the margin.

    Attributes:
        study: Its name.
        whole_top1_per_seed: Top-1 with the whole set, of each seed.
        margin: Top-1 that may be lost.
        num_examples: n of the whole set.
        trials: Those that are finished.
        running: How many are under way in other processes.
        importances: Parameter -> share in the spread of Top-1; empty where too little is known.
    """

    study: str
    whole_top1_per_seed: Annotated[tuple[float, ...], Field(min_length=1)]
    margin: Positive
    num_examples: Count
    trials: tuple[TunedTrial, ...]
    running: Count = 0
    importances: Mapping[str, float] = Field(default_factory=dict)

    @property
    def whole_top1(self) -> float:
        """Mean Top-1 with the whole set."""
        return sum(self.whole_top1_per_seed) / len(self.whole_top1_per_seed)

    @property
    def whole_spread(self) -> float:
        """Largest less smallest Top-1 with the whole set; 0 for one seed, which says nothing of chance."""
        return max(self.whole_top1_per_seed) - min(self.whole_top1_per_seed)

    @property
    def best(self) -> TunedTrial | None:
        """The smallest proxy within the margin, the earlier of equals; None where there is none."""
        kept = [trial for trial in self.trials if trial.outcome == "within"]
        return min(kept, key=lambda trial: (trial.size, trial.number), default=None)
