"""The search for the smallest proxy that keeps the margin."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from optuna.exceptions import OptunaError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nasbench.analysis.tuning_data import TunedTrial, TuningData
from nasbench.config.component import parse
from nasbench.core.errors import ConfigError, ScoreError, SelectionError, TrainingError
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.selection import proxy_size, select_proxy
from nasbench.training.metrics import progress
from nasbench.tuning.outcome import Measure
from nasbench.tuning.sampler import COUNTED, MarginPruner, RankedSampler, rank_of
from nasbench.tuning.settings import Span, TuningSettings
from nasbench.tuning.storage import WORKER, join_study, open_storage, quiet, release, worker_name

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_WHOLE, _TOP1, _REASON, _SIZE = "whole_top1_per_seed", "top1_per_seed", "reason", "size"
_LEAST_FOR_IMPORTANCE = 4
_ROUNDING = 1e-12
_TRIAL_ERRORS = (ConfigError, ScoreError, SelectionError, TrainingError)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A study, as one worker sees it.

    Attributes:
        settings: What is searched, and how.
        table: Scores of the training examples.
        measure: Says how good a proxy is.
        storage: See `nasbench.tuning.storage.open_storage`.
        name: Of the study in the storage.
        data: What else the outcomes depend on (fingerprints); part of the study's identity.
    """

    settings: TuningSettings
    table: ExampleTable
    measure: Measure
    storage: str
    name: str = "proxy"
    data: Mapping[str, str]

    def run(self, *, release_everywhere: bool = False) -> TuningData:
        """Work until the total of trials is finished or under way elsewhere; return what is known then.

        One worker with the same settings gives the same trials, also after kills and resumptions. Several workers
        share them out; which trial knows of which others then depends on their pace.

        Args:
            release_everywhere: Take trials as lost that other hosts left running.

        Raises:
            ConfigError: The storage cannot be used, or the study is another one.
            ScoreError: The table lacks what a candidate needs.
            NasbenchError: The whole set cannot be measured.
        """
        for name in self.settings.candidates:
            self.table.require(SELECTORS.get(name).needs)
        with quiet():
            study = self._join()
            release(study, everywhere=release_everywhere)
            whole = self._whole(study)
            study.pruner = self._pruner(whole)
            self._work(study, whole)
            return self._data(study, whole)

    def prepare(self) -> None:
        """Make the study and measure the whole set, so that workers that are started next find both."""
        with quiet():
            self._whole(self._join())

    def _join(self) -> Study:
        sampler = RankedSampler(self.settings.seed, [_parameters(point) for point in self.settings.start])
        identity = {**self.settings.identity, **self.data, "table": self.table.fingerprint}
        return join_study(open_storage(self.storage), self.name, identity, sampler=sampler)

    def _whole(self, study: Study) -> list[float]:
        """Return the Top-1 of each seed with the whole set; the study remembers it."""
        known = study.user_attrs.get(_WHOLE)
        if known is None:
            selector: ProxySelector = parse(SELECTORS.get("whole"), {})
            known = [
                self.measure(select_proxy(selector, self.table, len(self.table), seed), seed)
                for seed in self.settings.seeds
            ]
            study.set_user_attr(_WHOLE, known)
        return [float(value) for value in known]

    def _pruner(self, whole: Sequence[float]) -> MarginPruner:
        ceiling = min(1.0, max(whole) + self.settings.headroom)
        return MarginPruner(fmean(whole) - self.settings.margin, ceiling, len(whole))

    def _work(self, study: Study, whole: Sequence[float]) -> None:
        total, target = self.settings.trials, fmean(whole) - self.settings.margin
        with progress(total, min(total, _count(study, _FINISHED)), "tuning") as bar:
            while (trial := self._claim(study)) is not None:
                try:
                    self._try(study, trial, target)
                except BaseException:
                    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
                    raise
                bar.update(max(0, min(total, _count(study, _FINISHED)) - bar.n))

    def _claim(self, study: Study) -> Trial | None:
        """Return a trial to run, or None where the total is reached, counting those that others run."""
        if _count(study, COUNTED) >= self.settings.trials:
            return None
        trial = study.ask()
        trial.set_user_attr(WORKER, worker_name())
        if rank_of(study, study.trials[trial.number]) < self.settings.trials:
            return trial
        study.tell(trial, state=TrialState.FAIL)  # others were quicker in the same moment
        return None

    def _try(self, study: Study, trial: Trial, target: float) -> None:
        """Run one trial: selection, search and training for each seed, until it is done or hopeless."""
        name, fields, fraction = self._suggest(trial)
        selector: ProxySelector = parse(SELECTORS.get(name), fields, name)
        sizes: list[int] = []
        tops: list[float] = []
        for step, seed in enumerate(self.settings.seeds):
            try:
                sizes.append(proxy_size(selector, self.table, fraction, None, seed))
                trial.set_user_attr(_SIZE, round(fmean(sizes)))  # classes may be drawn, of different sizes
                tops.append(self.measure(select_proxy(selector, self.table, sizes[-1], seed), seed))
            except _TRIAL_ERRORS as error:
                self._stop(study, trial, 1.0, f"{type(error).__name__}: {error}")
                return
            shortfall = target - fmean(tops)
            trial.set_user_attr(_TOP1, tops)
            trial.report(shortfall, step)
            if trial.should_prune():
                self._stop(study, trial, max(shortfall, _ROUNDING), "its mean cannot reach the margin any more")
                return
        trial.set_constraint("margin", 0.0 if shortfall < _ROUNDING else shortfall)
        study.tell(trial, round(fmean(sizes)) / len(self.table))

    @staticmethod
    def _stop(study: Study, trial: Trial, violation: float, reason: str) -> None:
        trial.set_user_attr(_REASON, reason)
        trial.set_constraint("margin", violation)
        study.tell(trial, state=TrialState.PRUNED)

    def _suggest(self, trial: Trial) -> tuple[str, dict[str, Any], float]:
        candidates = self.settings.candidates
        name = str(trial.suggest_categorical("selector", list(candidates)))
        fraction = self.settings.fraction
        share = trial.suggest_float("fraction", fraction.low, fraction.high, log=fraction.log)
        fields: dict[str, Any] = {}
        for key, allowed in candidates[name].items():
            parameter = f"{name}.{key}"
            if not isinstance(allowed, Span):
                fields[key] = trial.suggest_categorical(parameter, list(allowed))
            elif allowed.whole:
                fields[key] = trial.suggest_int(parameter, int(allowed.low), int(allowed.high), log=allowed.log)
            else:
                fields[key] = trial.suggest_float(parameter, allowed.low, allowed.high, log=allowed.log)
        return name, fields, share

    def _data(self, study: Study, whole: Sequence[float]) -> TuningData:
        trials = study.get_trials(deepcopy=False)
        finished = sorted((trial for trial in trials if trial.state in _FINISHED), key=lambda trial: trial.number)
        told = tuple(self._told(number, trial) for number, trial in enumerate(finished))
        return TuningData(
            study=self.name,
            whole_top1_per_seed=tuple(whole),
            margin=self.settings.margin,
            num_examples=len(self.table),
            trials=told,
            running=sum(trial.state is TrialState.RUNNING for trial in trials),
            importances=_importances(study),
        )

    def _told(self, number: int, trial: FrozenTrial) -> TunedTrial:
        name = str(trial.params["selector"])
        tops = tuple(float(value) for value in trial.user_attrs.get(_TOP1, ()))
        size = int(trial.user_attrs.get(_SIZE, 0))
        kept = trial.state is TrialState.COMPLETE
        within = kept and all(value <= 0 for value in trial.constraints.values())
        return TunedTrial(
            number=number,
            selector=name,
            fields={key.partition(".")[2]: value for key, value in trial.params.items() if key.startswith(f"{name}.")},
            fraction=size / len(self.table) if size else float(trial.params["fraction"]),
            size=size,
            top1=fmean(tops) if tops else None,
            top1_per_seed=tops,
            outcome="within" if within else "below" if kept else "pruned",
            reason=str(trial.user_attrs.get(_REASON, "")),
        )


def _parameters(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a starting point under the names that a trial's parameters have."""
    name = point["selector"]
    return {key if key in {"selector", "fraction"} else f"{name}.{key}": value for key, value in point.items()}


def _count(study: Study, states: tuple[TrialState, ...]) -> int:
    return len(study.get_trials(deepcopy=False, states=states))


def _importances(study: Study) -> dict[str, float]:
    """Return how much each parameter matters for Top-1 (PED-ANOVA), or nothing where too little is known."""
    tops = {fmean(trial.user_attrs[_TOP1]) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    if len(tops) < _LEAST_FOR_IMPORTANCE:
        return {}
    from optuna.importance import get_param_importances  # imports scikit-learn

    target: Callable[[FrozenTrial], float] = lambda trial: -fmean(trial.user_attrs[_TOP1])  # noqa: E731
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of trials too few for a parameter; the share is then 0
            found = get_param_importances(study, target=target)
    except (OptunaError, ValueError, RuntimeError):
        return {}
    return {name: float(share) for name, share in sorted(found.items())}
