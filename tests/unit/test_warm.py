"""The warm process runs other processes' command lines as if they ran them themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from pipelines import warm
from pipelines.warm import WarmStart, hand_over

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the warm process is for Linux")

SCRIPT = """
import os, sys, time
from pathlib import Path
from pipelines.warm import SOCKET, hand_over
code = hand_over()
if code is not None:
    sys.exit(code)
if "--sleep" in sys.argv:
    Path("process").write_text(str(os.getpid()))
    time.sleep(60)
warm = SOCKET not in os.environ
print("warm" if warm else "cold", Path.cwd().name, os.environ["COLOUR"], *sys.argv[1:])
sys.stderr.write("said\\n")
if "--raise" in sys.argv:
    raise ValueError("no good")
sys.exit(7 if "--fail" in sys.argv else None)
"""


LIGHT = ("tqdm", "jinja2")
QUICK = f"""
import runpy, sys, types
from pipelines.warm import PACKAGES
sys.modules |= {{name: types.ModuleType(name) for name in PACKAGES if name not in {LIGHT!r}}}
del sys.modules["pipelines.warm"]
runpy.run_module("pipelines.warm", run_name="__main__", alter_sys=True)
"""
"""The warm process, with empty modules for what takes long to import; the runs end to end have the real ones."""

popen = subprocess.Popen


def quickly(command: list[str]) -> subprocess.Popen[bytes]:
    program, *module, address = command
    assert module == ["-m", "pipelines.warm"]
    return popen([program, "-c", QUICK, address])


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", quickly)
            started = stack.enter_context(WarmStart())
        address = Path(started.environment[warm.SOCKET])
        for _ in range(1200):
            if address.exists():
                break
            time.sleep(0.1)
        assert address.exists(), "the warm process did not get ready"
        yield {**os.environ, **started.environment, "COLOUR": "green"}
    assert not address.parent.exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    (place / "script.py").write_text(SCRIPT)
    return place


def start(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-m", "script", *arguments], cwd=folder, env={**environment, "PYTHONPATH": root},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_every_package_is_installed() -> None:
    """One that is not would end the warm process; looked up without importing."""
    assert set(LIGHT) < set(warm.PACKAGES)
    for name in warm.PACKAGES:
        path: list[str] | None = None
        for number, _ in enumerate(parts := name.split("."), start=1):
            spec = PathFinder.find_spec(".".join(parts[:number]), path)
            assert spec, name
            path = list(spec.submodule_search_locations or ())


def test_packages_are_there_already(folder: Path, environment: dict[str, str]) -> None:
    (folder / "script.py").write_text(
        SCRIPT.replace("Path.cwd().name", "warm_module in sys.modules", 1).replace(
            "warm = SOCKET", f"warm_module = {LIGHT[0]!r}; warm = SOCKET"
        )
    )
    assert wait_for(lambda: start(folder, environment).communicate(timeout=60)[0].startswith("warm True"), 60.0)


@pytest.mark.parametrize(("argument", "code"), [("one two", 0), ("--fail", 7), ("--raise", 1)])
def test_output_folder_environment_arguments_and_exit_code_are_the_callers(
    folder: Path, environment: dict[str, str], argument: str, code: int
) -> None:
    process = start(folder, environment, argument)
    out, err = process.communicate(timeout=60)
    assert out == f"warm work green {argument}\n"
    assert err.startswith("said\n")
    assert ("ValueError: no good" in err) == (argument == "--raise")
    assert process.returncode == code


def test_code_is_read_anew_each_time(folder: Path, environment: dict[str, str]) -> None:
    assert start(folder, environment).communicate(timeout=60)[0].startswith("warm")
    (folder / "script.py").write_text(SCRIPT.replace('"warm"', '"changed"'))
    assert start(folder, environment).communicate(timeout=60)[0].startswith("changed")


def wait_for(condition: object, seconds: float = 20.0) -> bool:
    for _ in range(int(seconds * 20)):
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def alive(number: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


def test_work_ends_when_the_caller_is_killed(folder: Path, environment: dict[str, str]) -> None:
    process = start(folder, environment, "--sleep")
    note = folder / "process"
    assert wait_for(lambda: note.is_file() and note.read_text())
    worker = int(note.read_text())
    assert worker != process.pid
    assert alive(worker)
    process.kill()
    process.communicate()
    assert wait_for(lambda: not alive(worker))


def test_a_killed_worker_is_an_error_of_the_caller(folder: Path, environment: dict[str, str]) -> None:
    process = start(folder, environment, "--sleep")
    note = folder / "process"
    assert wait_for(lambda: note.is_file() and note.read_text())
    os.kill(int(note.read_text()), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was killed" in err


def test_without_a_warm_process_the_caller_works_itself(
    folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = start(folder, {**environment, warm.SOCKET: str(folder / "absent")}).communicate(timeout=60)
    assert out.startswith("cold work green")
    monkeypatch.delenv(warm.SOCKET, raising=False)
    assert hand_over() is None


def test_a_path_too_long_for_a_socket_means_no_warm_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(warm, "_LONGEST_ADDRESS", 5)
    with WarmStart() as started:
        assert started.environment == {}
    assert list(tmp_path.iterdir()) == []
