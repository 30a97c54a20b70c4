"""The command line, run in this process through the entry point that is installed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasbench.cli import main
from nasbench.core.genotype import save_genotype
from nasbench.core.table import ExampleTable, save_table
from nasbench.selectors import SELECTORS
from nasbench.spaces.darts import Darts
from nasbench.spaces.published import published_cells


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def nasbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """Run a command in this process, through the entry point that is installed.

    PyTorch's settings, which some commands change for the whole process, are put back after the test.
    """
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def run(line: str, **paths: Any) -> Done:
        monkeypatch.setattr("sys.argv", ["nasbench", *(word.format(**paths) for word in shlex.split(line))])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Done(int(caught.value.code or 0), captured.out, captured.err)

    yield run
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])
    torch.utils.deterministic.fill_uninitialized_memory = filled
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def refused(nasbench: Callable[..., Done], tmp_path: Path) -> Callable[..., str]:
    """Run a command that must fail: exit code 1, one message on stderr, nothing written anywhere below tmp_path."""

    def run(line: str, **paths: Any) -> str:
        before = entries(tmp_path)
        done = nasbench(line, **paths)
        assert done.code == 1
        assert done.out == ""
        assert re.match(r"\w+Error: \S", done.err), done.err
        assert "Traceback" not in done.err
        assert entries(tmp_path) == before
        return done.err

    return run


ROWS = 200


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """ROOT/train and ROOT/other of two classes with three pictures each."""
    rng = np.random.default_rng(0)
    for name in [
        f"{split}/{kind}/{row}.png" for split in ("train", "other") for kind in ("bee", "ant") for row in "210"
    ]:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


def needed_columns() -> set[str]:
    return {column for name in SELECTORS.names() for column in SELECTORS.get(name).needs} - {"features"}


@pytest.fixture
def scores(tmp_path: Path) -> dict[str, Path]:
    """One table as Parquet, with all that any selector reads, and its entropy as text."""
    rng = np.random.default_rng(0)
    entropy, labels = np.exp(rng.normal(-4, 3, ROWS)), rng.integers(0, 5, ROWS)
    columns = {name: rng.random(ROWS) for name in sorted(needed_columns())} | {"entropy": entropy}
    features = rng.normal(size=(ROWS, 4)).astype(np.float32)
    table = ExampleTable(dataset="d" * 32, labels=labels, columns=columns, features=features)
    save_table(tmp_path / "s.parquet", table)
    lines = [
        f"{row}\t{value!r}\t{label}\n" for row, (value, label) in enumerate(zip(entropy.tolist(), labels, strict=True))
    ]
    (tmp_path / "s.tsv").write_text("".join(lines))
    return {"parquet": tmp_path / "s.parquet", "tsv": tmp_path / "s.tsv"}


@pytest.fixture
def darts_v2(tmp_path: Path) -> Path:
    """A genotype file of the published cells."""
    cells = published_cells("DARTS_V2")
    save_genotype(tmp_path / "DARTS_V2.json", Darts().genotype(cells), Darts().cells(Darts().genotype(cells)))
    return tmp_path / "DARTS_V2.json"
