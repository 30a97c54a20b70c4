"""The search for the smallest proxy: constraint, pruning, totals, kills, workers. Outcomes are made up."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nasbench.config.component import parse
from nasbench.core.errors import ConfigError, ScoreError, TrainingError
from nasbench.core.proxy import ProxySet
from nasbench.core.table import ExampleTable
from nasbench.tuning.settings import TuningSettings
from nasbench.tuning.storage import WORKER, open_storage, release, worker_name
from nasbench.tuning.study import Tuning

ROWS = 200
TABLE = ExampleTable(
    dataset="d" * 32,
    labels=np.arange(ROWS) % 5,
    columns={"entropy": np.exp(np.random.default_rng(0).normal(-4, 3, ROWS))},
)
FIELDS: dict[str, Any] = {
    "selectors": {"random": {}, "entropy-tails-p1": {"bin_width": {"low": 0.1, "high": 1.0, "log": True}}},
    "fraction": {"low": 0.05, "high": 0.9},
    "seeds": [0, 1, 2],
    "margin": 0.05,
    "trials": 12,
}


@dataclass
class Outcome:
    """0.9 for the whole set; less for less, and less still for random examples; a little noise by seed."""

    calls: list[tuple[str, int, int]] = field(default_factory=list)
    stop_after: int | None = None
    fail: tuple[str, ...] = ()

    def __call__(self, proxy: ProxySet, seed: int) -> float:
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        name = str(proxy.selector["name"])
        self.calls.append((name, len(proxy), seed))
        if name in self.fail:
            raise TrainingError("the loss is not finite")
        loss = {"whole": 0.0, "random": 0.15}.get(name, 0.08) * (1 - len(proxy) / ROWS)
        return 0.9 - loss + 0.001 * seed


def tuning(tmp_path: Path, outcome: Any = None, storage: str | None = None, **fields: Any) -> Tuning:
    return Tuning(
        settings=parse(TuningSettings, FIELDS | fields), table=TABLE, measure=outcome or Outcome(),
        storage=storage or str(tmp_path / "journal"), data={"train": "t"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The storage and the outcome of a study of FIELDS that ran at once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder / "journal", tuning(folder).run()


def points(data: Any) -> list[tuple[Any, ...]]:
    return [(trial.selector, trial.size, tuple(trial.fields.items()), trial.outcome) for trial in data.trials]


def test_the_best_is_the_smallest_proxy_within_the_margin(tmp_path):
    data = tuning(tmp_path, trials=25).run()
    assert data.whole_top1 == pytest.approx(0.901)
    assert len(data.trials) == 25
    within = [trial for trial in data.trials if trial.outcome == "within"]
    assert within
    assert data.best is not None
    assert data.best.size == min(trial.size for trial in within)
    for trial in data.trials:
        loss = {"random": 0.15}.get(trial.selector, 0.08) * (1 - trial.fraction)
        assert (trial.outcome == "within") == (loss <= 0.05), trial
        assert trial.fraction == trial.size / ROWS
        assert list(trial.fields) == ([] if trial.selector == "random" else ["bin_width"])
    # 1 - 0.05 / 0.08: what the made-up outcome allows; random would need two thirds of the set
    assert 0.375 <= data.best.fraction < 0.55
    assert data.best.selector == "entropy-tails-p1"
    assert set(data.importances) >= {"fraction", "selector"}


def test_constraints_reach_optuna_and_infeasible_trials_are_told_as_such(undisturbed):
    journal, data = undisturbed
    study = optuna.load_study(study_name="proxy", storage=open_storage(str(journal)))
    assert study.direction.name == "MINIMIZE"
    for trial, told in zip(study.trials, data.trials, strict=True):
        (violation,) = trial.constraints.values()
        assert (violation <= 0) == (told.outcome == "within")
        if trial.state is TrialState.COMPLETE:
            assert trial.value == told.fraction
            assert max(0.0, data.whole_top1 - 0.05 - told.top1) == pytest.approx(violation)


def test_a_hopeless_trial_is_stopped_before_its_last_seed_and_a_patient_study_stops_none(tmp_path):
    outcome = Outcome()
    data = tuning(tmp_path, outcome, headroom=0.0).run()
    stopped = [trial for trial in data.trials if trial.outcome == "pruned"]
    assert stopped
    assert all(len(trial.top1_per_seed) < 3 and "cannot reach the margin" in trial.reason for trial in stopped)
    assert all(len(trial.top1_per_seed) == 3 for trial in data.trials if trial.outcome != "pruned")
    target, ceiling = data.whole_top1 - 0.05, max(data.whole_top1_per_seed)
    for trial in stopped:
        done = len(trial.top1_per_seed)
        assert (sum(trial.top1_per_seed) + (3 - done) * ceiling) / 3 < target
        if done > 1:
            assert (sum(trial.top1_per_seed[:-1]) + (4 - done) * ceiling) / 3 >= target
    patience = Outcome()
    patient = tuning(tmp_path / "other", patience, headroom=1.0).run()
    for trial in patient.trials:  # only what a Top-1 of 1 in every seed to come could not save
        if trial.outcome == "pruned":
            assert sum(trial.top1_per_seed) + 3 - len(trial.top1_per_seed) < 3 * target
    assert len(patience.calls) > len(outcome.calls)


def test_a_larger_margin_allows_a_smaller_proxy(tmp_path):
    best = [tuning(tmp_path / str(margin), margin=margin).run().best for margin in (0.0, 0.2)]
    assert best[0] is None
    assert best[1] is not None
    assert best[1].fraction < 0.3


def test_same_seed_same_trials_another_seed_others(tmp_path, undisturbed):
    first = points(undisturbed[1])
    assert points(tuning(tmp_path / "b", storage=f"sqlite:///{tmp_path / 'b.db'}").run()) == first
    assert points(tuning(tmp_path / "c", seed=1).run()) != first


@pytest.mark.parametrize("stop_after", [1, 5, 16])
def test_a_killed_study_goes_on_as_if_nothing_had_been(tmp_path, undisturbed, stop_after):
    with pytest.raises(KeyboardInterrupt):
        tuning(tmp_path, Outcome(stop_after=stop_after)).run()
    assert points(tuning(tmp_path).run()) == points(undisturbed[1])


def test_the_number_of_trials_is_the_total_and_may_be_raised(tmp_path, undisturbed):
    outcome = Outcome()
    few = tuning(tmp_path, outcome, trials=4).run()
    assert len(few.trials) == 4
    calls = len(outcome.calls)
    assert tuning(tmp_path, outcome, trials=4).run() == few
    assert len(outcome.calls) == calls
    more = tuning(tmp_path, outcome, trials=12).run()
    assert points(more)[:4] == points(few)
    assert points(more) == points(undisturbed[1])


def test_starting_points_come_first_and_once_with_any_number_of_workers(tmp_path):
    start = [
        {"selector": "random", "fraction": 0.7},
        {"selector": "entropy-tails-p1", "fraction": 0.6, "bin_width": 0.5},
    ]
    alone = tuning(tmp_path / "a", start=start, trials=3).run()
    assert points(alone)[:2] == [
        ("random", 140, (), "within"),
        ("entropy-tails-p1", 120, (("bin_width", 0.5),), "within"),
    ]
    data = together(tmp_path, start=start, trials=5)
    assert [point for point in points(data) if point[1] == 140 and point[0] == "random"] == [points(alone)[0]]
    assert points(alone)[1] in points(data)


def together(tmp_path: Path, **fields: Any) -> Any:
    """Run three workers on one storage."""
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    tuning(tmp_path, storage=storage, **fields).prepare()
    workers = [threading.Thread(target=tuning(tmp_path, storage=storage, **fields).run) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return tuning(tmp_path, storage=storage, **fields).run()


def test_several_workers_share_the_total(tmp_path):
    data = together(tmp_path, trials=6)
    assert (len(data.trials), data.running) == (6, 0)


def test_another_study_under_the_same_name_is_refused(tmp_path):
    tuning(tmp_path, trials=1).run()
    with pytest.raises(
        ConfigError, match=r"study 'proxy' was made with other settings: margin is 0.05 there and 0.1 here"
    ):
        tuning(tmp_path, margin=0.1).run()
    other = ExampleTable(dataset="d" * 32, labels=TABLE.labels, columns={"entropy": TABLE.column("entropy") * 2})
    with pytest.raises(ConfigError, match="table is "):
        replace(tuning(tmp_path), table=other).run()
    assert len(replace(tuning(tmp_path, margin=0.1, trials=1), name="second").run().trials) == 1


def test_a_trial_that_cannot_be_measured_is_told_with_its_reason(tmp_path):
    data = tuning(tmp_path, Outcome(fail=("random",))).run()
    failed = [trial for trial in data.trials if trial.selector == "random"]
    assert failed
    for trial in failed:
        assert (trial.outcome, trial.top1) == ("pruned", None)
        assert trial.reason == "TrainingError: the loss is not finite"
    assert data.best is not None


def test_a_whole_set_that_cannot_be_measured_and_absent_scores_are_errors(tmp_path):
    with pytest.raises(TrainingError):
        tuning(tmp_path, Outcome(fail=("whole",))).run()
    bare = ExampleTable(dataset="", labels=TABLE.labels)
    with pytest.raises(ScoreError, match="no column 'entropy'"):
        replace(tuning(tmp_path), table=bare).run()


@pytest.mark.parametrize(
    ("worker", "everywhere", "released"),
    [
        (None, False, 0),  # just made, not yet signed
        ("here", False, 0),
        ("gone", False, 1),
        ("elsewhere:1:1", False, 0),
        ("elsewhere:1:1", True, 1),
    ],
)
def test_trials_of_dead_workers_are_run_again_and_those_of_others_left_alone(tmp_path, worker, everywhere, released):
    tuning(tmp_path, trials=1).run()
    study = optuna.load_study(study_name="proxy", storage=open_storage(str(tmp_path / "journal")))
    trial = study.ask()
    mine = worker_name()
    host, pid, _ = mine.rsplit(":", 2)
    names = {"here": mine, "gone": f"{host}:{pid}:1"}
    if worker is not None:
        trial.set_user_attr(WORKER, names.get(worker, worker))
    assert release(study, everywhere=everywhere) == released
    data = tuning(tmp_path, trials=3).run(release_everywhere=everywhere)
    assert (len(data.trials), data.running) == ((3, 0) if released else (2, 1))


def test_a_damaged_journal_is_named(tmp_path):
    tuning(tmp_path, trials=1).run()
    with (tmp_path / "journal").open("a") as journal:
        journal.write('{"op_code": 4, "wor\nmore\n')
    with pytest.raises(ConfigError, match="cannot open the storage"):
        tuning(tmp_path, trials=2).run()


@pytest.mark.parametrize("place", ["nothing://x", "sqlite:////proc/none/study.db", "{tmp}/file/journal"])
def test_a_storage_that_cannot_be_opened_is_named(tmp_path, place):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot open the storage"):
        open_storage(place.format(tmp=tmp_path))
