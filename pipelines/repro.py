"""``make repro``: `dvc repro`, with the items of one stage side by side, and the table at the end.

DVC has no parallel repro. Safe is: several ``dvc --wait-for-lock repro --single-item`` processes over items whose
dependencies are up to date; so an item starts as soon as those that it needs have ended and a process is free.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path

from nasbench.core.errors import NasbenchError
from nasbench.core.files import read_json
from nasbench.tracking.keeper import Keeper
from pipelines.leftovers import remove_leftovers
from pipelines.params import Params, load_params
from pipelines.stamp_inputs import stamp_inputs
from pipelines.warm import WarmStart, run_module

_REPORT = Path("artifacts/report")


def items(params: Params) -> dict[str, list[str]]:
    """Return every item with those that it needs; of several that are ready the first here is the most urgent."""
    source = ["prepare_data@source"]
    graph: dict[str, list[str]] = {"stamp_inputs": [], "prepare_data@source": ["stamp_inputs"]}
    graph |= {f"train_scorer@{name}": source for name in params.scorers}
    graph |= {f"score_examples@{name}": [f"train_scorer@{name}"] for name in params.scorers}
    for name, proxy in params.proxies.items():
        graph[f"select_proxy@{name}"] = (
            source if proxy.table == "data/source" else [proxy.table.replace("scores/", "score_examples@")]
        )
    searches = {f"{proxy}-{searcher}-{seed}": proxy for proxy, searcher in params.arms for seed in params.search.seeds}
    graph |= {f"search_cell@{name}": [f"select_proxy@{proxy}"] for name, proxy in searches.items()}
    graph |= {f"augment_cell@{name}": [f"search_cell@{name}"] for name in searches}
    graph |= {"sample_cells": [], "prepare_data@target": ["stamp_inputs"]}
    augmented = {f"augment_samples@{cell}": ["sample_cells", *source] for cell in params.baseline.cells}
    trained = [*augmented, *(f"augment_cell@{name}" for name in searches)]
    graph |= {"compare_cells": trained, "promote_cell": ["compare_cells"], **augmented}
    transferred = {
        f"transfer_samples@{cell}": ["sample_cells", "prepare_data@target"] for cell in params.baseline.cells
    }  # fmt: skip
    graph |= {"transfer_cell": ["promote_cell", *transferred], **transferred}
    return {**graph, "make_report": list(graph)}


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


def run_dvc(*arguments: str) -> None:
    """Run a command of DVC.

    Raises:
        NasbenchError: It failed.
    """
    if run_module("dvc", "--wait-for-lock", *arguments):
        raise NasbenchError(
            "a stage failed; its message stands above. Nothing finished is lost: run the command again."
        )


def stale() -> bool:
    """Whether ``dvc status`` finds anything to do in this study; without a target it would look at all of them.

    Data outside of the repository are stamped before, which DVC would do only while it reproduces.
    """
    stamp_inputs(load_params())
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "status", "--json", "dvc.yaml"]
    result = subprocess.run(command, capture_output=True, check=False, text=True)
    if result.returncode != 0:
        return True
    return any(changes != ["always changed"] for changes in json.loads(result.stdout).values())


def side_by_side(graph: Mapping[str, Sequence[str]], jobs: int, work: Callable[[str], None]) -> None:
    """Work on every item once those that it needs are done; of several that could begin the graph's first one does.

    Args:
        graph: Item -> items that it needs.
        jobs: Items at a time, at least 1.
        work: Called in a thread; when it raises, nothing more is begun, and the error goes on once the others ended.
    """
    sorter, rank = TopologicalSorter(graph), {item: place for place, item in enumerate(graph)}
    sorter.prepare()
    ready: list[str] = []
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()], key=rank.__getitem__)
            while ready and len(running) < jobs:
                item = ready.pop(0)
                running[pool.submit(work, item)] = item
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                done.result()
                sorter.done(running.pop(done))


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
            side_by_side(items(params), jobs, lambda item: run_dvc("repro", "--single-item", item))
        if jobs == 1 or stale():  # stages that a user has added to dvc.yaml
            run_dvc("repro")


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
