"""The documents say what is so: every command exists and every link leads somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nasbench.cli import cli
from nasbench.config.load import load_yaml
from nasbench.datasets import DATASETS
from nasbench.datasets.base import ImageSet
from nasbench.datasets.digits import Digits
from nasbench.scorers import SCORERS
from nasbench.searchers import SEARCHERS
from nasbench.selectors import SELECTORS
from nasbench.spaces import SPACES
from pipelines.picture import draw

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("studies/*/README.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = [
    (f"studies/{path.parent.name}/README.md", f"studies/{path.parent.name}")
    for path in ROOT.glob("studies/*/params.yaml")
]
RUN_BY_THE_END_TO_END_TEST = {"dvc metrics diff", "dvc exp run -S gate.least_seeds=1"}


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


@pytest.mark.parametrize("command", [line for line in commands(README) if line.startswith("make ")])
def test_make_knows_the_target(command: str) -> None:
    done = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [line for line in commands(README) if line.startswith("nasbench ")])
def test_nasbench_commands_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the digits every tenth, as a command may train on them."""
    load = Digits.load

    def every_tenth(self: Digits, split: str, **places: Any) -> ImageSet:
        images = load(self, split, **places)
        return replace(images, images=images.images[::10], labels=images.labels[::10], ids=images.ids[::10])

    monkeypatch.setattr(Digits, "load", every_tenth)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output


def test_every_other_command_is_run_end_to_end() -> None:
    others = {line for line in commands(README) if not line.startswith(("make ", "nasbench "))}
    assert others == RUN_BY_THE_END_TO_END_TEST
    text = (ROOT / "tests/end_to_end/test_second_clone.py").read_text(encoding="utf-8")
    text = text.replace('"least_seeds": 1,', '"gate.least_seeds=1"')  # the test makes its settings from a dictionary
    for command in others:
        assert all(f'"{word}"' in text for word in command.split()), command


def test_make_targets_named_in_the_text_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")))
        assert named <= targets, document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_readme_lists_every_member() -> None:
    families = {
        "datasets": DATASETS, "scorers": SCORERS, "selectors": SELECTORS, "searchers": SEARCHERS, "spaces": SPACES,
    }  # fmt: skip
    for family, registry in families.items():
        (row,) = re.findall(rf"^\| {family} \| (.*) \|$", README, flags=re.MULTILINE)
        listed = re.sub(r"\([^)]*\)", "", row).replace(", -p", ", entropy-tails-p").split(",")
        assert {name.strip() for name in listed} == set(registry.names())


def test_the_picture_is_of_the_present_graph() -> None:
    assert (ROOT / "docs/pipeline.svg").read_text(encoding="utf-8") == draw(load_yaml(ROOT / "dvc.yaml")["stages"])


@pytest.mark.parametrize(("document", "folder"), [("README.md", "."), *STUDIES])
def test_the_printed_figures_are_the_committed_metrics(document: str, folder: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    block = re.search(r"<!-- run -->(.*?)<!-- /run -->", text, flags=re.DOTALL)
    assert block, document
    metrics = json.loads((ROOT / folder / "artifacts/metrics/compare_cells/metrics.json").read_text(encoding="utf-8"))
    assert metrics["arms"]
    rows = [line for line in block[1].splitlines() if line.startswith("|")]
    for name, arm in metrics["arms"].items():
        proxy = name.rsplit("-", 1)[0]
        (row,) = (line for line in rows if line.startswith(f"| {proxy} ") and f"{100 * arm['top1']:.2f}" in line)
        low, high = arm["relative_improvement_low"], arm["relative_improvement_high"]
        assert f"{arm['relative_improvement']:+.2f} [{low:+.2f}, {high:+.2f}]" in row
    assert f"{100 * metrics['random_top1']:.2f}" in block[1]
    transfer = json.loads((ROOT / folder / "artifacts/metrics/transfer_cell/metrics.json").read_text(encoding="utf-8"))
    if transfer["transferred"]:
        assert f"{100 * transfer['top1']:.2f}" in block[1]
        assert f"{100 * transfer['random_top1']:.2f}" in block[1]


def test_no_document_or_code_names_a_place_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    pattern = re.compile(r"(?<![\w.])/(?:home|root|Users)/")
    for name in listed:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".json", ".lock"} and path.is_file():
            assert not pattern.search(path.read_text(encoding="utf-8")) or path == Path(__file__), name


def test_the_lock_files_hold_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in text
        pinned = re.findall(r"^[a-z0-9][^\n]*==", text, flags=re.MULTILINE)
        assert len(pinned) > 100
        assert text.count("--hash=sha256:") >= len(pinned)


def test_the_command_is_installed() -> None:
    done = subprocess.run([sys.executable, "-m", "nasbench", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
