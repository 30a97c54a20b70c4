"""The Dockerfile: linted, and saying what README and Makefile rely on. Building it needs a container engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def lint(text: str) -> tuple[int, str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert program, "hadolint is missing: run `make setup-dev`"
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def instructions(text: str = TEXT) -> list[tuple[str, str]]:
    """Return (instruction, its text with continued lines joined)."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def values(word: str) -> list[str]:
    return [text for name, text in instructions() if name == word]


def test_hadolint_finds_nothing():
    assert lint(TEXT) == (0, "")


@pytest.mark.parametrize(
    ("present", "worse", "rule"),
    [
        ("USER 1000:1000", "USER root", "DL3002"),
        ('CMD ["make", "repro"]', "CMD make repro", "DL3025"),
        ('"-o", "pipefail", ', "", "DL4006"),
    ],
)
def test_hadolint_would_find_what_matters(present, worse, rule):
    assert present in TEXT
    code, said = lint(TEXT.replace(present, worse) + "RUN make help | head\n")
    assert code != 0
    assert rule in said


def test_the_base_can_be_chosen_and_is_a_slim_python_by_default():
    assert values("ARG") == ["BASE=python:3.11-slim"]
    assert values("FROM") == ["${BASE}"]
    assert "--build-arg BASE=$(BASE)" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_user_is_a_number_and_not_root_from_before_the_first_copy():
    assert values("USER") == ["1000:1000"]
    order = [name for name, _ in instructions()]
    assert order.index("USER") < order.index("COPY")
    assert all(text.startswith("--chown=1000:1000 ") for text in values("COPY"))


def test_nothing_calls_home():
    (environment,) = values("ENV")
    pairs = dict(pair.split("=", 1) for pair in environment.split())
    assert pairs["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert pairs["DO_NOT_TRACK"] == "true"
    assert pairs["DVC_NO_ANALYTICS"] == "1"
    assert pairs["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_it_installs_the_lock_file_with_hashes_and_runs_the_job_of_make_repro():
    installs = [text for text in values("RUN") if "pip install" in text]
    assert [("--require-hashes -r requirements.lock" in text) for text in installs] == [True]
    assert values("RUN")[-1].endswith("&& make setup")
    assert [json.loads(text) for text in values("CMD")] == [["make", "repro"]]
    assert re.search(r"^repro: setup\b", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_it_has_a_compiler_for_the_kernels():
    (packages,) = [text for text in values("RUN") if "apt-get install" in text]
    assert {"gcc", "libc6-dev"} <= set(packages.split())


def test_no_address_of_a_package_index_stands_in_it_or_in_the_lock_file():
    for name in ("Dockerfile", "requirements.lock"):
        assert not re.search(r"(index-url|find-links|trusted-host)", (ROOT / name).read_text(encoding="utf-8")), name


def test_the_build_context_holds_git_and_leaves_out_what_git_ignores():
    def patterns(name: str) -> set[str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return {line.strip().strip("/").removeprefix("**/") for line in lines if line.strip() and line[0] not in "#!"}

    sent = patterns(".dockerignore")
    assert ".git" not in sent
    assert not sent & {
        "requirements.lock",
        "params.yaml",
        "dvc.yaml",
        "dvc.lock",
        ".dvc",
        "pyproject.toml",
        "README.md",
    }
    folders = {name for name in patterns(".gitignore") if "artifacts" not in name}
    assert folders <= sent
    assert {"artifacts/*", "studies/*/artifacts/*", ".dvc/cache"} <= sent


def give_repository(folder: Path) -> str:
    """Run the image's own lines in a folder, without the installation; return the commit."""
    (block,) = [text for text in values("RUN") if "git init" in text]
    script = block.removesuffix("&& make setup").strip()
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=folder, check=True, capture_output=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return head.stdout.strip()


@pytest.mark.parametrize("broken", [False, True])
def test_a_source_archive_becomes_a_repository(tmp_path, broken):
    (tmp_path / "code.py").write_text("1")
    if broken:  # what a linked worktree leaves in the build context
        (tmp_path / ".git").write_text("gitdir: /nowhere")
    first = give_repository(tmp_path)
    assert len(first) == 40
    assert give_repository(tmp_path) == first
