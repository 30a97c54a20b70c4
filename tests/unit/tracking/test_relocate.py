"""A store whose checkout has moved: broken before, whole after, and nothing else touched."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from nasbench.core.errors import TrackingError
from nasbench.tracking import store
from nasbench.tracking.mlflow_tracker import open_run
from nasbench.tracking.relocate import relocate


def fill(root: Path, experiment: str = "default", note: str = "") -> str:
    """Make a run with an artifact and a model version of it; return the run's id."""
    with open_run(root, experiment, "r", params={"note": note}, tags={}, datasets=[], resume_key="") as run:
        genotype = root / "genotype.json"
        genotype.write_text("{}")
        run.log_artifact(genotype, "cell")
    client = store.connect(root)
    if not client.search_registered_models("name = 'cell-darts'"):
        client.create_registered_model("cell-darts")
    source = f"{client.get_run(run.run_id).info.artifact_uri}/cell"
    client.create_model_version("cell-darts", source=source, run_id=run.run_id, await_creation_for=0)
    return run.run_id


def download(root: Path, run_id: str, target: Path) -> str:
    target.mkdir(exist_ok=True)
    return Path(store.connect(root).download_artifacts(run_id, "cell/genotype.json", str(target))).read_text()


@pytest.fixture(scope="module")
def filled(_made_store, tmp_path_factory):
    """A filled store, the run in it, and where it was filled: nothing stands there any more."""
    former = tmp_path_factory.mktemp("former") / "a 100% checkout"
    shutil.copytree(_made_store, former)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run_id = fill(former)
    return former.rename(former.parent / "filled"), run_id, former


@pytest.fixture
def moved(filled, tmp_path):
    """A filled store that was really moved, and the run in it."""
    folder, run_id, _ = filled
    shutil.copytree(folder, tmp_path / "moved, too 50%")
    return tmp_path / "moved, too 50%", run_id


def test_a_moved_store_is_broken_before_and_whole_after(moved, tmp_path):
    root, run_id = moved
    with pytest.raises(Exception, match="Failed to download artifacts"):
        download(root, run_id, tmp_path / "before")
    changed = relocate(root)
    assert changed == {
        "experiments.artifact_location": 1,
        "model_versions.source": 1,
        "model_versions.storage_location": 1,
        "runs.artifact_uri": 1,
    }
    assert download(root, run_id, tmp_path / "after") == "{}"
    version = store.connect(root).get_model_version("cell-darts", "1")
    assert (Path(version.source) / "genotype.json").is_file()
    fill(root)


def test_a_store_in_its_place_is_left_alone(root):
    fill(root)
    assert relocate(root) == {}
    assert not list((root / "mlruns").glob("*before-relocate*"))


def test_the_database_is_backed_up_first_and_no_backup_is_overwritten(filled, moved, tmp_path):
    root, _ = moved
    *_, former = filled
    relocate(root)
    again = root.rename(tmp_path / "third")
    relocate(again)
    for name, place in (("before-relocate", former), ("before-relocate-2", root)):
        with closing(sqlite3.connect(again / "mlruns" / f"mlflow.db.{name}")) as copy:
            (location,) = copy.execute("SELECT artifact_location FROM experiments WHERE name = 'default'").fetchone()
        assert location == str(place / "mlruns" / "artifacts" / "default")


def test_two_former_places_are_both_repaired(moved, tmp_path):
    root, first = moved
    second = fill(root, "another")
    third = root.rename(tmp_path / "third")
    assert relocate(third)["runs.artifact_uri"] == 2
    assert [download(third, run, tmp_path / run) for run in (first, second)] == ["{}", "{}"]


def test_other_text_is_left_alone(root, tmp_path):
    old = f"{root}/mlruns"
    fill(root, note=f"/backup{old}/artifacts/x")
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET name = ?", (f'{{"uri": "file://{old}/artifacts/default/x"}}',))
    moved = root.rename(tmp_path / "moved")
    changed = relocate(moved)
    assert changed["runs.name"] == 1
    assert "params.value" not in changed
    with closing(sqlite3.connect(moved / "mlruns" / "mlflow.db")) as database:
        (name,) = database.execute("SELECT name FROM runs").fetchone()
    assert name == f'{{"uri": "file://{moved}/mlruns/artifacts/default/x"}}'


def test_a_root_whose_name_begins_like_the_former_one_is_not_confused(root, tmp_path):
    fill(root)
    moved = root.rename(tmp_path / f"{root.name} 2")
    relocate(moved)
    with closing(sqlite3.connect(moved / "mlruns" / "mlflow.db")) as database:
        (location,) = database.execute("SELECT artifact_location FROM experiments WHERE name = 'default'").fetchone()
    assert location == str(moved / "mlruns" / "artifacts" / "default")
    assert relocate(moved) == {}


def test_a_store_that_another_process_has_open_is_refused(moved):
    root, _ = moved
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM runs').fetchall()\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    database = root / "mlruns" / "mlflow.db"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(TrackingError, match=rf"process {holder.pid} .* has .*mlflow\.db open\. End it"):
            relocate(root)
        holder.stdin.close()
    assert relocate(root)


def test_a_store_in_the_middle_of_a_write_is_refused_and_unchanged(moved):
    root, _ = moved
    database = root / "mlruns" / "mlflow.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TrackingError, match="cannot be changed: database is locked"):
            relocate(root)
        other.execute("ROLLBACK")
    assert relocate(root)["runs.artifact_uri"] == 1


def test_a_failure_on_the_way_changes_nothing(moved, monkeypatch):
    root, _ = moved

    def half(connection, *_):
        connection.execute("UPDATE runs SET artifact_uri = 'broken'")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nasbench.tracking.relocate._rewrite", half)
        with pytest.raises(KeyboardInterrupt):
            relocate(root)
    assert relocate(root)["runs.artifact_uri"] == 1


def test_what_is_not_our_store_is_refused(tmp_path, monkeypatch):
    with pytest.raises(TrackingError, match="Run from the checkout that was moved"):
        relocate(tmp_path)
    file = tmp_path / "mlruns" / "mlflow.db"
    file.parent.mkdir()
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(TrackingError, match="is not a tracking store"):
        relocate(tmp_path)
    file.unlink()
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE experiments (name TEXT)")
    with pytest.raises(TrackingError, match="is not MLflow's: it lacks the tables of runs"):
        relocate(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match="names a server"):
        relocate(tmp_path)


def test_artifacts_in_a_place_of_the_users_own_are_refused(root):
    store.connect(root).create_experiment("elsewhere", artifact_location="/data/elsewhere")
    with pytest.raises(TrackingError, match="experiment 'elsewhere' keeps its artifacts in /data/elsewhere"):
        relocate(root)
