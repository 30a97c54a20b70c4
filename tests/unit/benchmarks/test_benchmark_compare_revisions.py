"""Comparing two revisions, and two files of results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import compare_revisions
from benchmarks.common import BenchmarkError, Result, Timing, report

ROOT = Path(__file__).resolve().parents[3]
BENCHMARK = """
import time
from nasbench import speed

def ours(quick):
    lines = {"wait": lambda: (lambda: time.sleep(speed.SECONDS)), "quick" if quick else "full": lambda: (lambda: 1)}
    return {**lines, "broken": lambda: speed.missing} if speed.SECONDS > 1 else lines
"""


def write_results(path: Path, name: str, seconds: dict[str, float], plain: float) -> Path:
    lines = [
        Result(name=line, ours=Timing(seconds=(value, value)), plain=Timing(seconds=(plain,)))
        for line, value in seconds.items()
    ]
    report(name, lines, path)
    return path


def test_two_files_of_results_are_compared_line_by_line(tmp_path, capsys) -> None:
    old = write_results(tmp_path / "old.json", "x", {"a": 4.0, "b": 1.0, "gone": 1.0}, plain=8.0)
    new = write_results(tmp_path / "new.json", "x", {"new": 1.0, "a": 2.0, "b": 2.0}, plain=12.0)
    stored = json.loads(new.read_text())
    stored["machine"]["cpu"] = "another"
    new.write_text(json.dumps(stored))
    capsys.readouterr()
    lines = compare_revisions.compare_results(old, new)
    assert [line.name for line in lines] == ["a", "b"]
    assert [line.ratio for line in lines] == [2.0, 0.5], "above 1 the new one is faster"
    assert lines[0].figures == {"old_ratio": 2.0, "new_ratio": 6.0}
    assert "cpu differs: " in capsys.readouterr().out
    compare_revisions.main(["--results", str(old), str(new), "--json", str(tmp_path / "out.json")])
    assert "2.00" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["benchmark"] == "compare_revisions"


def test_files_that_have_nothing_in_common_are_refused(tmp_path) -> None:
    one = write_results(tmp_path / "one.json", "x", {"a": 1.0}, plain=1.0)
    with pytest.raises(BenchmarkError, match="share no line"):
        compare_revisions.compare_results(one, write_results(tmp_path / "b.json", "x", {"b": 1.0}, plain=1.0))
    with pytest.raises(BenchmarkError, match=r"is of x, .* of y"):
        compare_revisions.compare_results(one, write_results(tmp_path / "y.json", "y", {"a": 1.0}, plain=1.0))


def test_what_shall_be_compared_must_be_said(capsys) -> None:
    for arguments in ([], ["a", "--results", "b", "c"], ["a", "b", "c"]):
        with pytest.raises(SystemExit):
            compare_revisions.main(arguments)
    assert "give one or two revisions, or --results OLD NEW" in capsys.readouterr().err


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two revisions of a small package that waits, and a benchmark of it."""
    if shutil.which("git") is None:
        pytest.skip("there is no git on this machine")
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "nasbench" / "core", root / "nasbench" / "core")
    (root / "nasbench" / "__init__.py").write_text("")
    benchmarks = root / "benchmarks"
    benchmarks.mkdir()
    for name in ("__init__.py", "common.py", "revision_worker.py"):
        shutil.copy(ROOT / "benchmarks" / name, benchmarks)
    (benchmarks / "waiting.py").write_text(BENCHMARK)
    run = [
        "git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false",
    ]  # fmt: skip
    subprocess.run([*run, "init", "--quiet", "--initial-branch=main"], check=True)
    for seconds in (0.15, 0.3):
        (root / "nasbench" / "speed.py").write_text(f"SECONDS = {seconds}\n")
        subprocess.run([*run, "add", "nasbench"], check=True)
        subprocess.run([*run, "commit", "--quiet", "-m", f"{seconds}"], check=True)
    return root


@pytest.fixture
def waiting(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compare_revisions, "BENCHMARKS", checkout / "benchmarks")
    return checkout


def test_two_revisions_are_timed_in_turns(waiting: Path) -> None:
    found = compare_revisions.compare_revisions(
        ("HEAD~1", "HEAD"), "waiting", quick=True, rounds=2, lines="wait", root=waiting
    )
    assert [line.name for line in found] == ["wait"]
    assert found[0].plain is not None
    assert 0.15 <= found[0].plain.minimum < 0.29 < found[0].ours.minimum
    worktrees = subprocess.run(
        ["git", "-C", str(waiting), "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert worktrees.stdout.count("\n") == 1, "what was checked out is taken away"


def test_a_revision_that_does_not_exist_is_refused(waiting: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"git worktree add failed: .*nowhere"):
        compare_revisions.compare_revisions(("nowhere", None), "waiting", quick=True, root=waiting)


def test_a_benchmark_that_a_revision_cannot_run_is_told(waiting: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"HEAD cannot run this benchmark: ModuleNotFoundError: .*absent"):
        compare_revisions.compare_revisions(("HEAD", None), "absent", quick=True, root=waiting)


def test_the_worker_answers_what_goes_wrong(waiting: Path) -> None:
    (waiting / "nasbench" / "speed.py").write_text("SECONDS = 2\n")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.revision_worker", "waiting"], cwd=waiting, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(waiting)}, check=True,
        input='{"do": "names"}\n{"do": "time", "line": "broken"}\n{"do": "time", "line": "full"}\n',
    )  # fmt: skip
    names, broken, full = map(json.loads, done.stdout.splitlines())
    assert names["names"] == ["wait", "full", "broken"]
    assert Path(names["package"]) == (waiting / "nasbench").resolve()
    assert broken["error"].startswith("AttributeError: ")
    assert full["seconds"] < 0.01, "a short call is timed often"
