"""A clone of the project with parameters so small that the whole pipeline takes a minute, and what is asked of it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from nasbench.config.load import load_yaml

ROOT = Path(__file__).resolve().parents[2]


def small_params() -> dict[str, Any]:
    """Return the default parameters with one seed, two proxies, two random cells and one epoch everywhere."""
    params = load_yaml(ROOT / "params.yaml")
    params["study"] = "small"
    params["source"]["options"] = {"test_size": 1700}
    params["target"] = {"dataset": "digits", "name": "digits_small", "options": {"test_size": 1690}}
    params["scorers"]["resnet20"]["options"]["recipe"]["epochs"] = 1
    del params["proxies"]["whole"]
    for proxy in params["proxies"].values():
        del proxy["fraction"]
        proxy["size"] = 48
    params["supernet"]["channels"] = 2
    params["searchers"]["darts"]["options"] |= {"epochs": 2, "batch_size": 24}
    params["search"] |= {"proxies": ["random", "p1"], "seeds": [0]}
    params["baseline"]["cells"] = [0, 1]
    for section in ("augment", "transfer"):
        params[section] |= {"num_cells": 3, "channels": 2, "seeds": [0]}
        params[section]["recipe"]["epochs"] = 1
    params["comparison"]["resamples"] = 200
    return params


def clone(folder: Path, params: dict[str, Any]) -> Path:
    """Copy the project's tracked and new files into a fresh git and DVC repository and commit them.

    The studies stay behind: every command of DVC would read their stages and metrics too.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    skipped = ("artifacts/", "studies/", "tests/", "dvc.lock")
    for name in listed:
        if (ROOT / name).is_file() and not name.startswith(skipped):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    with (folder / "params.yaml").open("w", encoding="utf-8") as handle:
        YAML().dump(params, handle)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, capture_output=True)
    commit(folder, "clone")
    return folder


def commit(folder: Path, message: str) -> None:
    """Commit everything that git does not ignore."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "-A"], [*identity, "commit", "-qm", message]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)


def run(
    folder: Path, *arguments: str, code: int = 0, environment: Mapping[str, str] | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` in the clone, with the clone's own code, and check its exit code.

    Python keeps the bytecode of the clone's modules there, even where the user's settings forbid it: dozens of
    processes would compile all of them.
    """
    settings = {
        **os.environ, "PYTHONPATH": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **(environment or {}),
    }  # fmt: skip
    for name in ("MLFLOW_TRACKING_URI", "PYTHONDONTWRITEBYTECODE"):
        settings.pop(name, None)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=settings, capture_output=True, text=True, check=False, input=given
    )
    assert done.returncode == code, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done


def first_run(factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a clone in which ``make repro`` has run once, and a copy of what it gave; made once for all workers.

    The clone belongs to test_repro.py, and its output is kept in repro.log; others read the copy only.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # a folder of its own in the one of them all
        base = base.parent
    folder, copy = base / "first_run", base / "first_results"
    with (base / "first_run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "repro.log").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done = run(clone(folder, small_params()), "-m", "pipelines.repro", "--jobs", "2")
            for name, content in results(folder).items():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (copy / name).write_bytes(content)
            (folder / "repro.log").write_text(done.stdout)
    return folder, copy


def results(folder: Path) -> dict[str, bytes]:
    """Return what must not differ between two clones."""
    artifacts = folder / "artifacts"
    patterns = (
        "metrics/**/*.json", "genotypes/**/*", "proxies/**/*", "comparison/*", "promotion/*", "curves/**/*.csv",
    )  # fmt: skip
    kept = [path for pattern in patterns for path in artifacts.glob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(kept) if path.is_file()}


def metrics(folder: Path, stage: str) -> dict[str, Any]:
    """Return metrics.json of a stage without items, or of ``stage/item``."""
    found: dict[str, Any] = json.loads((folder / "artifacts/metrics" / stage / "metrics.json").read_text())
    return found


def promotion(folder: Path) -> dict[str, Any]:
    """Return what promote_cell decided."""
    found: dict[str, Any] = json.loads((folder / "artifacts/promotion/promotion.json").read_text())
    return found


def query(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the clone's tracking store."""
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as connection:
        return connection.execute(sql).fetchall()


END = "end of command\n"
COMMANDS = f"""
import json, sys
from pathlib import Path
from dvc.cli import main

for texts, command in json.load(sys.stdin):
    former = {{name: Path(name).read_text(encoding="utf-8") for name in texts}}
    try:
        for name, text in texts.items():
            Path(name).write_text(text, encoding="utf-8")
        if main(command):
            sys.exit(f"dvc {{command}} failed")
    finally:
        for name, text in former.items():
            Path(name).write_text(text, encoding="utf-8")
    print(end={END!r}, flush=True)
"""


def dvc(folder: Path, steps: Sequence[tuple[Mapping[str, str], Sequence[str]]]) -> list[str]:
    """Return what commands of DVC print, each while some files have another text; one process, as it imports for long.

    Args:
        folder: The clone.
        steps: (name -> text for the time of the command, command without the word ``dvc``).
    """
    *said, rest = run(folder, "-c", COMMANDS, given=json.dumps([*map(list, steps)])).stdout.split(END)
    assert (len(said), rest) == (len(steps), "")
    return said


def statuses(folder: Path, edits: Sequence[tuple[str, str, str]]) -> list[set[str]]:
    """Return the items that DVC would run again after each edit (file, text that is there, text in its place)."""
    steps = []
    for name, before, after in edits:
        text = (folder / name).read_text(encoding="utf-8")
        assert before in text, name
        steps.append(({name: text.replace(before, after, 1)}, ("status", "--json", "dvc.yaml")))
    found = [json.loads(said) for said in dvc(folder, steps)]
    assert all(changes.pop("stamp_inputs") == ["always changed"] for changes in found)
    return [set(changes) for changes in found]
