"""Runs in a real store: what goes in at the start, curves, files, ends, and attempts that were interrupted."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nasbench.core.errors import FileReadError, TrackingError
from nasbench.tracking import mlflow_tracker, store
from nasbench.tracking.keeper import SOCKET, Keeper, KeptRuns
from nasbench.tracking.mlflow_tracker import DatasetInput, MlflowTracker, flatten, open_run, provenance
from nasbench.tracking.runs import MlflowRuns, OpenedRun

PROJECT = Path(__file__).resolve().parents[3]
MD5 = "0123456789abcdef0123456789abcdef"


@pytest.fixture(params=["in this process", "by a keeper"])
def where(request, root, monkeypatch):
    """The root of a store, reached in each of the two ways."""
    if request.param == "in this process":
        yield root
        return
    with Keeper(root) as keeper:
        monkeypatch.setenv(SOCKET, keeper.environment[SOCKET])
        yield root


def opened(root, resume_key="", **changes):
    given = {"params": {"epochs": 2}, "tags": {}, "datasets": [], "resume_key": resume_key, **changes}
    return open_run(root, "default", "search_cell@p1", **given)


def run_of(root, tracker):
    return store.connect(root).get_run(tracker.run_id)


def history(root, tracker, key):
    return [(point.step, point.value) for point in store.connect(root).get_metric_history(tracker.run_id, key)]


def test_a_run_holds_all_that_it_was_given(where, tmp_path):
    drawing = tmp_path / "cell.svg"
    drawing.write_text("<svg/>")
    data = [DatasetInput(name="proxies/p1", digest=f"{MD5}.dir", context="search", tags={"stage": "select_proxy"})]
    with opened(
        where, params={"a": {"b": [1, 2], "c": True}, "d": None}, tags={"stage": "search"}, datasets=data
    ) as run:
        run.log_metrics({"train_loss": 2.0, "bad": math.nan}, step=0)
        run.log_metrics({"train_loss": 1.0}, step=1)
        run.log_metrics({"top1": 0.5})
        run.tag("warning", "collapse")
        run.log_artifact(drawing, "drawings")
    stored = run_of(where, run)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "search_cell@p1"
    assert stored.data.params == {"a.b": "[1,2]", "a.c": "true", "d": "null"}
    assert stored.data.metrics["top1"] == 0.5
    assert math.isnan(stored.data.metrics["bad"])
    assert {key: stored.data.tags[key] for key in ("stage", "warning")} == {"stage": "search", "warning": "collapse"}
    assert history(where, run, "train_loss") == [(0, 2.0), (1, 1.0)]
    (entry,) = stored.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("proxies/p1", f"{MD5}.dir")
    assert json.loads(entry.dataset.source)["tags"]["dvc.md5"] == f"{MD5}.dir"
    assert {tag.key: tag.value for tag in entry.tags} == {"mlflow.data.context": "search", "stage": "select_proxy"}
    (kept,) = (where / "mlruns" / "artifacts" / "default" / run.run_id / "artifacts" / "drawings").iterdir()
    assert kept.read_text() == "<svg/>"
    assert run.complete


def test_many_metrics_travel_in_few_batches(root, monkeypatch):
    calls = []
    plain = MlflowRuns.log
    monkeypatch.setattr(MlflowRuns, "log", lambda self, *given: calls.append(len(given[1])) or plain(self, *given))
    with opened(root) as run:
        for epoch in range(600):
            run.log_metrics({"train_loss": float(epoch), "test_loss": 0.0}, step=epoch)
    assert calls == [500, 500, 200]
    assert history(root, run, "train_loss") == [(epoch, float(epoch)) for epoch in range(600)]


def test_a_long_run_is_seen_while_it_runs(root, monkeypatch):
    monkeypatch.setattr(mlflow_tracker, "_FLUSH_SECONDS", 0.0)
    with opened(root) as run:
        run.log_metrics({"train_loss": 3.0}, step=0)
        assert history(root, run, "train_loss") == [(0, 3.0)]


def test_hundreds_of_parameters_and_long_values_are_kept_whole(root):
    long = "x" * 7000
    params = {f"p{number}": number for number in range(250)} | {"long": long, "other": long + "y"}
    with opened(root, params=params) as run:
        pass
    stored = run_of(root, run).data.params
    assert len(stored) == 252
    assert len(stored["long"]) < 500
    assert stored["long"] != stored["other"]
    file = root / "mlruns" / "artifacts" / "default" / run.run_id / "artifacts" / "params.json"
    assert json.loads(file.read_text())["long"] == long


def test_short_parameters_need_no_file(root):
    with opened(root) as run:
        pass
    assert not (root / "mlruns" / "artifacts" / "default" / run.run_id).exists()


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("loss is nan"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")],
)
def test_a_run_that_breaks_off_says_how_and_keeps_its_curves(where, error, status):
    def work(run):
        run.log_metrics({"train_loss": 1.0}, step=0)
        raise error

    with pytest.raises(type(error)), opened(where) as run:
        work(run)
    stored = run_of(where, run)
    assert stored.info.status == status
    assert stored.data.tags.get("nasbench.error") == ("ValueError: loss is nan" if status == "FAILED" else None)
    assert history(where, run, "train_loss") == [(0, 1.0)]


def kill(root, key, **changes):
    """Leave a run as a killed process leaves it: RUNNING, with two epochs logged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowRuns, "close", lambda *_: None)
        with opened(root, key, **changes) as run:
            for epoch in range(2):
                run.log_metrics({"train_loss": 9.0, "valid_loss": 5.0}, step=epoch)
    assert run_of(root, run).info.status == "RUNNING"
    return run


def test_a_killed_run_goes_on_and_no_epoch_stands_twice(root):
    killed = kill(root, "key")
    with opened(root, "key") as run:
        for epoch in range(4):
            run.log_metrics({"train_loss": float(epoch)}, step=epoch)
        run.log_metrics({"top1": 0.5})
    assert run.resumed
    assert run.run_id == killed.run_id
    assert history(root, run, "train_loss") == [(0, 9.0), (1, 9.0), (2, 2.0), (3, 3.0)]
    assert history(root, run, "top1") == [(0, 0.5)]
    assert run_of(root, run).info.status == "FINISHED"


def test_an_interrupted_run_goes_on_too(root):
    with pytest.raises(KeyboardInterrupt), opened(root, "key") as first:
        raise KeyboardInterrupt
    with opened(root, "key") as run:
        pass
    assert run.run_id == first.run_id


@pytest.mark.parametrize("changes", [{"params": {"epochs": 3}}, {"tags": {"mlflow.source.git.commit": "other"}}])
def test_a_killed_run_of_other_parameters_or_code_is_closed_and_not_mixed_in(root, changes):
    killed = kill(root, "key")
    with opened(root, "key", **changes) as run:
        pass
    assert run.run_id != killed.run_id
    stored = run_of(root, killed)
    assert stored.info.status == "KILLED"
    assert stored.data.tags["nasbench.superseded_by"] == run.run_id


def test_finished_failed_and_foreign_runs_are_left_alone(root):
    with opened(root, "key") as finished:
        pass
    with pytest.raises(ValueError, match="x"), opened(root, "key") as failed:
        raise ValueError("x")
    foreign = kill(root, "another-key")
    with opened(root, "key") as run:
        assert not run.resumed
    states = [run_of(root, one).info.status for one in (finished, failed, foreign)]
    assert states == ["FINISHED", "FAILED", "RUNNING"]
    assert run.run_id not in {finished.run_id, failed.run_id}


def test_the_same_work_is_not_done_twice_at_once(root):
    with opened(root, "key"), pytest.raises(TrackingError, match="is held by process"), opened(root, "key"):
        pytest.fail("two writers")


def test_a_store_that_fails_at_the_start_stops_before_any_work(tmp_path):
    (tmp_path / "mlruns").write_text("in the way")
    with pytest.raises(TrackingError), opened(tmp_path):
        pytest.fail("work was begun")


def test_parameters_that_the_store_refuses_stop_before_any_work(root):
    with pytest.raises(TrackingError, match="Invalid"), opened(root, params={"a|b": 1}):
        pytest.fail("work was begun")
    client = store.connect(root)
    (run,) = client.search_runs([store.experiment_id(client, root, "default")])
    assert run.info.status == "FAILED"


class BrokenRuns:
    """Fails the given number of times, then takes what it gets."""

    def __init__(self, failures):
        self.failures, self.taken, self.status = failures, [], None

    def _fail(self):
        if self.failures:
            self.failures -= 1
            raise TrackingError("the network is down")

    def log(self, run_id, metrics, tags):
        self._fail()
        self.taken.append(([point[:2] for point in metrics], dict(tags)))

    def log_artifact(self, run_id, path, folder):
        self._fail()

    def close(self, run_id, status):
        self._fail()
        self.status = status


def test_a_store_that_fails_for_a_while_loses_nothing(caplog):
    runs = BrokenRuns(1)
    tracker = MlflowTracker(runs, OpenedRun(run_id="r"))
    tracker.log_metrics({"top1": 0.5})
    tracker.tag("k", "v")
    with caplog.at_level(logging.WARNING):
        tracker.flush()
    assert "1 metrics wait to be sent again: the network is down" in caplog.text
    tracker.close("FINISHED")
    assert runs.taken == [([("top1", 0.5)], {"k": "v"})]
    assert tracker.complete


def test_a_store_that_fails_for_good_never_breaks_the_work_but_is_reported(caplog, tmp_path):
    tracker = MlflowTracker(BrokenRuns(1000), OpenedRun(run_id="r"))
    file = tmp_path / "a"
    file.touch()
    with caplog.at_level(logging.WARNING):
        tracker.log_metrics({"top1": 0.5})
        tracker.log_artifact(file)
        tracker.close("FINISHED")
    assert not tracker.complete
    assert "run r keeps no copy of" in caplog.text
    assert "run r could not be set FINISHED" in caplog.text
    assert "run r lacks 1 metrics; metrics.json has them" in caplog.text


def test_an_artifact_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileReadError, match="there is no file"):
        MlflowTracker(BrokenRuns(0), OpenedRun(run_id="r")).log_artifact(tmp_path / "absent")


def test_a_folder_is_kept_with_its_content(where, tmp_path):
    (tmp_path / "genotype" / "deep").mkdir(parents=True)
    (tmp_path / "genotype" / "deep" / "a.json").write_text("{}")
    with opened(where) as run:
        run.log_artifact(tmp_path / "genotype", "kept")
    kept = where / "mlruns" / "artifacts" / "default" / run.run_id / "artifacts" / "kept" / "deep" / "a.json"
    assert kept.read_text() == "{}"


def test_very_long_tags_are_cut(root):
    with opened(root, tags={"long": "y" * 9000}) as run:
        run.tag("also", "z" * 9000)
    tags = run_of(root, run).data.tags
    assert (len(tags["long"]), len(tags["also"])) == (5000, 5000)


@pytest.mark.parametrize("digest", ["", "a" * 37])
def test_a_digest_that_mlflow_cannot_hold_is_refused(digest):
    with pytest.raises(TrackingError, match="1 to 36 characters"):
        DatasetInput(name="source", digest=digest, context="search")


def test_a_resume_key_that_could_change_the_query_is_refused(root):
    with pytest.raises(TrackingError, match="resume_key"), opened(root, "x' or '1'='1"):
        pytest.fail("opened")


def test_flatten_joins_names_with_dots_and_keeps_empty_mappings():
    assert flatten({"a": {"b": {"c": 1}}, "d": {}, "e.f": 2}) == {"a.b.c": 1, "d": {}, "e.f": 2}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_provenance_names_the_commit_and_whether_files_differ(tmp_path, monkeypatch):
    for file in ("code.py", "dvc.lock", "artifacts/metrics.json"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    commit, dirty = "mlflow.source.git.commit", "mlflow.source.git.dirty"
    assert provenance(tmp_path) == {commit: git(tmp_path, "rev-parse", "HEAD"), dirty: "false"}
    (tmp_path / "dvc.lock").write_text("2")
    (tmp_path / "artifacts" / "metrics.json").write_text("2")
    assert provenance(tmp_path)[dirty] == "false"
    (tmp_path / "code.py").write_text("2")
    assert provenance(tmp_path)[dirty] == "true"
    monkeypatch.setenv("DVC_STAGE", "search_cell@p1")
    monkeypatch.setenv("DVC_EXP_NAME", "brave-cat")
    tags = provenance(tmp_path)
    assert (tags["dvc.stage"], tags["dvc.exp_name"]) == ("search_cell@p1", "brave-cat")


def test_provenance_without_git_is_silent(tmp_path, monkeypatch):
    assert provenance(tmp_path) == {}
    monkeypatch.setenv("PATH", "")
    assert provenance(tmp_path) == {}


def test_a_keeper_of_another_store_is_not_used(root, tmp_path, monkeypatch):
    with Keeper(tmp_path / "other") as keeper:
        monkeypatch.setenv(SOCKET, keeper.environment[SOCKET])
        with pytest.raises(TrackingError, match="serves another store"):
            KeptRuns(keeper.environment[SOCKET], store.tracking_uri(root))
        with opened(root) as run:
            pass
    assert run_of(root, run).info.status == "FINISHED"
    assert not (tmp_path / "other").exists()


def test_a_keeper_that_has_gone_is_not_needed(root, monkeypatch):
    monkeypatch.setenv(SOCKET, str(root / "nobody"))
    with opened(root) as run:
        pass
    assert run_of(root, run).info.status == "FINISHED"


def test_a_process_with_a_keeper_does_not_import_mlflow(root):
    program = (
        "import sys; from pathlib import Path; from nasbench.tracking.mlflow_tracker import open_run\n"
        "with open_run(Path(sys.argv[1]), 'default', 'n', params={}, tags={}, datasets=[], resume_key='k') as run:\n"
        "    run.log_metrics({'top1': 0.25})\n"
        "print(run.run_id, 'mlflow' in sys.modules)"
    )
    with Keeper(root) as keeper:
        done = subprocess.run(
            [sys.executable, "-c", program, str(root)],
            env={**os.environ, **keeper.environment}, cwd=PROJECT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    run_id, imported = done.stdout.split()
    assert imported == "False"
    assert store.connect(root).get_run(run_id).data.metrics == {"top1": 0.25}


def test_a_keeper_passes_on_what_the_store_says(where):
    with pytest.raises(TrackingError, match="Invalid"), opened(where, params={"a|b": 1}):
        pytest.fail("work was begun")


def test_a_keeper_leaves_nothing_behind(root):
    with Keeper(root) as keeper:
        path = Path(keeper.environment[SOCKET])
        assert path.is_socket()
        assert path.parent.stat().st_mode & 0o077 == 0
    assert not path.parent.exists()


def test_a_keeper_whose_socket_has_too_long_a_path_is_left_out(root, tmp_path, monkeypatch):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)  # the folder found earlier is remembered there
    with Keeper(root) as keeper:
        assert keeper.environment == {}
        assert list(long.iterdir()) == []
        with opened(root) as run:
            pass
    assert run_of(root, run).info.status == "FINISHED"
