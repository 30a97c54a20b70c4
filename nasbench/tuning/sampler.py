"""Optuna's sampler and pruner, made to give the same trials after a kill, and to stop what cannot reach the margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nasbench.core.seeding import derive_seed

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
"""States of trials that count towards the total; one that failed is run again."""

_SEEDS = 2**32  # NumPy's RandomState takes no more


def rank_of(study: Study, trial: FrozenTrial) -> int:
    """Return how many counted trials stand before one: its number, had none failed."""
    earlier = study.get_trials(deepcopy=False, states=COUNTED)
    return sum(other.number < trial.number for other in earlier)


class RankedSampler(BaseSampler):
    """The tree-structured Parzen estimator, drawing for each trial from the seed, its rank and its forerunners.

    A sampler that draws from one stream repeats its first points when a study is taken up again; this one does
    not, and a trial that was killed gets the same point when it is run again.

    Reference: Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011; with constraints, Watanabe
    and Hutter, c-TPE, IJCAI 2023, arXiv:2211.14411. The code is Optuna's.

    Args:
        seed: Of the study.
        start: Parameters of the first trials, instead of drawn ones; taken by rank, so that no number of workers
            takes one twice.
    """

    def __init__(self, seed: int, start: Sequence[Mapping[str, Any]]) -> None:
        self._seed, self._start = seed, tuple(start)
        self._present: dict[int, tuple[int, TPESampler]] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the trial's own sampler."""
        rank = rank_of(study, trial)
        sampler = TPESampler(seed=derive_seed(self._seed, "tuning", rank) % _SEEDS)
        self._present[trial.number] = (rank, sampler)
        sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what is drawn jointly; nothing for a starting point."""
        rank, sampler = self._present[trial.number]
        return {} if rank < len(self._start) else sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw jointly."""
        return self._present[trial.number][1].sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter, or take it from the starting point."""
        rank, sampler = self._present[trial.number]
        if rank < len(self._start):
            return self._start[rank][param_name]
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Forget the trial's sampler."""
        _, sampler = self._present.pop(trial.number)
        sampler.after_trial(study, trial, state, values)


class MarginPruner(BasePruner):
    """Stops a trial whose mean over the seeds so far cannot reach the target any more.

    What a trial reports is its shortfall: the target minus the mean Top-1 of the seeds that ran.

    Args:
        target: Least mean Top-1.
        ceiling: Top-1 that a seed yet to run is thought to reach at most.
        num_seeds: How many seeds a trial has.
    """

    def __init__(self, target: float, ceiling: float, num_seeds: int) -> None:
        self._target, self._ceiling, self._num_seeds = target, ceiling, num_seeds

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether even the ceiling in every seed that is left leaves the mean below the target."""
        del study
        if trial.last_step is None:
            return False
        done = trial.last_step + 1
        mean = self._target - trial.intermediate_values[trial.last_step]
        best = (mean * done + self._ceiling * (self._num_seeds - done)) / self._num_seeds
        return done < self._num_seeds and best < self._target
