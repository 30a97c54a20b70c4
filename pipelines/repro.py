"""``make repro``: `dvc repro`, with the items of one stage side by side, and the table at the end.

DVC has no parallel repro. Safe is: several ``dvc --wait-for-lock repro --single-item`` processes over
items whose dependencies are up to date; so the stages are walked in order, and only those with several items fan out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nasbench.core.errors import NasbenchError
from nasbench.core.files import read_json
from nasbench.tracking.keeper import Keeper
from pipelines.leftovers import remove_leftovers
from pipelines.params import Params, load_params
from pipelines.warm import WarmStart

_REPORT = Path("artifacts/report")


def items(params: Params) -> list[list[str]]:
    """Return the waves of targets; the items of one wave do not depend on each other."""
    searches = [
        f"{proxy}-{searcher}-{seed}" for proxy, searcher in params.arms for seed in params.search.seeds
    ]  # fmt: skip
    cells = params.baseline.cells
    return [
        ["prepare_data@source", "prepare_data@target", "sample_cells"],
        [f"train_scorer@{name}" for name in params.scorers],
        [f"score_examples@{name}" for name in params.scorers],
        [f"select_proxy@{name}" for name in params.proxies],
        [*(f"search_cell@{name}" for name in searches), *(f"augment_samples@{cell}" for cell in cells),
         *(f"transfer_samples@{cell}" for cell in cells)],
        [f"augment_cell@{name}" for name in searches],
    ]  # fmt: skip


def _prepare_environment() -> None:
    """Let stages find this Python, and keep MLflow and DVC from calling home unless the user says otherwise."""
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1"}.items():
        os.environ.setdefault(name, value)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def repository_root(start: Path) -> Path:
    """Return the folder that holds ``.dvc``, as DVC finds it.

    Raises:
        NasbenchError: There is none.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / ".dvc").is_dir():
            return folder
    raise NasbenchError(f"{start.resolve()} is not in a DVC repository. Run from a clone, or `dvc init` first.")


def _dvc(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "dvc", "--wait-for-lock", *arguments])


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    codes = [process.wait() for process in processes]
    if any(codes):
        raise NasbenchError(
            "a stage failed; its message stands above. Nothing finished is lost: run the command again."
        )


def stale() -> bool:
    """Whether ``dvc status`` finds anything to do in this study; without a target it would look at all of them."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "status", "--json", "dvc.yaml"]
    result = subprocess.run(command, capture_output=True, check=False, text=True)
    return result.returncode != 0 or result.stdout.strip() != "{}"


def deal(targets: Sequence[str], hands: int) -> list[list[str]]:
    """Deal targets round to the given number of processes, none of them empty."""
    return [list(targets[hand::hands]) for hand in range(min(hands, len(targets)))]


def reproduce(params: Params, jobs: int) -> None:
    """Bring everything up to date.

    Args:
        params: Checked parameters.
        jobs: Processes side by side, at least 1.

    Raises:
        NasbenchError: A stage failed.
    """
    remove_leftovers(params)
    if not stale():
        sys.stdout.write("Nothing has changed.\n")
        return
    with WarmStart() as warm:
        os.environ |= warm.environment
        if jobs > 1:
            for wave in items(params):
                _wait([_dvc("repro", "--single-item", *hand) for hand in deal(wave, jobs)])
        _wait([_dvc("repro")])


def main() -> None:
    """Check params.yaml, reproduce, print the table."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.repro", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="items side by side (default 2)")
    parser.add_argument("--study", type=Path, default=Path(), help="folder with params.yaml (default: here)")
    arguments = parser.parse_args()
    try:
        if not (arguments.study / "params.yaml").is_file():
            raise NasbenchError(f"--study {arguments.study}: there is no params.yaml in it.")
        if arguments.jobs < 1:
            raise NasbenchError(f"--jobs {arguments.jobs}: at least 1 is needed.")
        os.chdir(arguments.study)
        params = load_params()
        _prepare_environment()
        with Keeper(repository_root(Path())) as keeper:
            os.environ |= keeper.environment
            reproduce(params, arguments.jobs)
        summary = read_json(_REPORT / "summary.json")
    except (NasbenchError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.stdout.write(f"\n{summary['table']}\n\nReport: {arguments.study / _REPORT / 'index.html'}\n")
    sys.stdout.write("MLflow UI: make ui, then http://127.0.0.1:5000\n")


if __name__ == "__main__":
    main()
