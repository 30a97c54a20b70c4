"""Where runs are kept: the URI, the first initialisation, and what goes wrong with it."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from nasbench.core.errors import ConfigError, TrackingError
from nasbench.tracking import store


def experiment(root, name):
    return store.experiment_id(store.connect(root), root, name)


def test_the_default_store_is_sqlite_below_the_root(tmp_path):
    assert store.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert store.database_file(tmp_path) == tmp_path / "mlruns" / "mlflow.db"
    assert store.artifact_location(tmp_path, "study") == f"{tmp_path}/mlruns/artifacts/study"


def test_a_server_is_taken_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert store.tracking_uri(tmp_path) == "https://mlflow.example.org"
    assert store.database_file(tmp_path) is None
    assert store.artifact_location(tmp_path, "study") is None
    assert store.lock_folder(tmp_path) == tmp_path / "mlruns" / "locks"


def test_a_relative_sqlite_path_is_taken_from_the_root_and_not_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/here.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.database_file(tmp_path) == tmp_path / "runs" / "here.db"
    assert store.artifact_location(tmp_path, "study") == f"{tmp_path}/runs/artifacts/study"


@pytest.mark.parametrize("folder", ["./mlruns", "file:///tmp/mlruns"])
def test_a_plain_folder_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", folder)
    with pytest.raises(TrackingError, match=r"a folder\. Allowed are sqlite:///FILE\.db"):
        store.tracking_uri(tmp_path)


def test_telemetry_is_off_unless_the_user_says_otherwise(root, monkeypatch):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "false")
    store.connect(root)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "false"


def test_an_experiment_is_made_once_with_its_artifacts_beside_the_database(root):
    first = experiment(root, "default")
    assert experiment(root, "default") == first
    assert experiment(root, "cifar10_small") != first
    made = store.connect(root).get_experiment(first)
    assert made.artifact_location == str(root / "mlruns" / "artifacts" / "default")


@pytest.mark.parametrize("name", ["", "a/b", "../up", "a b", "x" * 101, "-a"])
def test_an_experiment_name_that_is_no_folder_name_is_refused(root, name):
    with pytest.raises(ConfigError, match="allowed are up to 100 letters"):
        experiment(root, name)


def test_a_ready_store_is_not_made_again(root, monkeypatch):
    monkeypatch.setattr(store, "_make_tables", lambda *_: pytest.fail("looked at the schema again"))
    store.connect(root)


def test_a_deleted_experiment_is_refused_with_the_way_back(root):
    number = experiment(root, "default")
    store.connect(root).delete_experiment(number)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {number}"):
        experiment(root, "default")


def test_a_moved_checkout_is_noticed_before_artifacts_go_to_the_old_place(root):
    experiment(root, "default")
    moved = root.rename(root.parent / "moved")
    with pytest.raises(TrackingError, match=r"the checkout was moved\. Run 'nasbench relocate' once\."):
        experiment(moved, "default")


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "mlruns").write_text("a file stands where the folder should be")
    with pytest.raises(TrackingError, match=r"cannot write .*locks.*Make the folder writable"):
        store.connect(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(TrackingError, match="Permission denied"):
        store.connect(tmp_path)


def test_a_file_that_is_no_database_is_a_clear_error(root):
    (root / "mlruns" / "mlflow.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(TrackingError, match="file is not a database"):
        experiment(root, "default")


def test_a_server_that_does_not_answer_is_an_error_without_the_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"http://someone:\*\*\*@127\.0\.0\.1:9 failed") as caught:
        experiment(tmp_path, "default")
    assert "secret@" not in str(caught.value).split(" failed:")[0]


def test_a_lock_is_held_alone_and_names_its_holder(tmp_path):
    path = tmp_path / "locks" / "one.lock"
    with (
        store.exclusive(path),
        pytest.raises(TrackingError, match=f"is held by process {os.getpid()}"),
        store.exclusive(path, seconds=0.0),
    ):
        pytest.fail("two holders")
    with store.exclusive(path, seconds=0.0):
        assert path.read_text() == str(os.getpid())


def test_a_lock_waits_as_long_as_it_was_told_to(tmp_path):
    path = tmp_path / "one.lock"
    started = time.monotonic()
    with store.exclusive(path), pytest.raises(TrackingError), store.exclusive(path, seconds=0.3):
        pytest.fail("two holders")
    assert 0.3 <= time.monotonic() - started < 5.0


def test_errors_of_the_program_are_not_dressed_up_as_errors_of_the_store():
    with pytest.raises(ZeroDivisionError), store.storing("sqlite:///x"):
        raise ZeroDivisionError


def first_experiment(root, begin, answers):
    begin.wait()
    answers.put(experiment(root, "default"))


def test_two_processes_on_a_fresh_store_do_not_break_each_other(tmp_path):
    """A marker without its database does not hide that the tables are to be made."""
    import mlflow.tracking  # noqa: F401  once, for both copies of this process

    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "ready").touch()
    context = multiprocessing.get_context("fork")
    begin, answers = context.Barrier(2), context.SimpleQueue()
    both = [context.Process(target=first_experiment, args=(tmp_path, begin, answers)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(timeout=120)
    assert [process.exitcode for process in both] == [0, 0]
    assert [answers.get(), answers.get()] == ["1", "1"]
    assert (tmp_path / "mlruns" / "mlflow.db").stat().st_size > 0
