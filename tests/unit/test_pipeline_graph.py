"""dvc.yaml and the stages' modules say the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from nasbench.config.load import load_yaml
from nasbench.core.errors import NasbenchError
from pipelines import (
    augment_cell,
    compare_cells,
    make_report,
    prepare_data,
    promote_cell,
    sample_cells,
    score_examples,
    search_cell,
    select_proxy,
    train_scorer,
    transfer_cell,
)
from pipelines.lineage import dvc_md5
from pipelines.params import load_params
from pipelines.repro import items, side_by_side
from pipelines.stage import Spec, item_folder

ROOT = Path(__file__).resolve().parents[2]
PARAMS = load_params(ROOT / "params.yaml")
SPECS: dict[str, tuple[Spec, dict[str, str]]] = {
    "prepare_data": (prepare_data.SPEC, {"role": "source"}),
    "train_scorer": (train_scorer.SPEC, {"scorer": "resnet20"}),
    "score_examples": (score_examples.SPEC, {"scorer": "resnet20"}),
    "select_proxy": (select_proxy.SPEC, {"proxy": "p1"}),
    "search_cell": (search_cell.SPEC, {"proxy": "p1", "searcher": "darts", "seed": "0"}),
    "sample_cells": (sample_cells.SPEC, {}),
    "augment_cell": (augment_cell.SPEC, {"proxy": "p1", "searcher": "darts", "seed": "0"}),
    "augment_samples": (augment_cell.SAMPLES, {"cell": "3"}),
    "compare_cells": (compare_cells.SPEC, {}),
    "promote_cell": (promote_cell.SPEC, {}),
    "transfer_samples": (transfer_cell.SAMPLES, {"cell": "3"}),
    "transfer_cell": (transfer_cell.SPEC, {}),
    "make_report": (make_report.SPEC, {}),
}


def resolved(text: str, item: dict[str, str]) -> str:
    for name, value in {**item, "role": item.get("role", "")}.items():
        text = text.replace(f"${{item.{name}}}", value)
    key = next(iter(item.values()), "")
    return text.replace("${key}", key).replace("${item.table}", "scores/resnet20").replace("${repository}", ".")


def entry(name: str) -> dict[str, Any]:
    stage = load_yaml(ROOT / "dvc.yaml")["stages"][name]
    return dict(stage.get("do", stage))


def paths(values: list[Any], item: dict[str, str]) -> set[str]:
    return {resolved(next(iter(value)) if isinstance(value, dict) else value, item) for value in values}


def test_every_stage_has_a_module_and_every_module_a_stage() -> None:
    assert set(load_yaml(ROOT / "dvc.yaml")["stages"]) == {*SPECS, "stamp_inputs"}, "which is no run"


@pytest.mark.parametrize("name", sorted(SPECS))
def test_parameters_inputs_and_outputs_agree(name: str) -> None:
    spec, item = SPECS[name]
    stage = entry(name)
    assert spec.name == name
    assert {resolved(param, item) for param in stage.get("params", [])} == set(spec.sections(item))
    deps = paths(stage["deps"], item)
    data = {path for path in deps if path.startswith("artifacts/") or path == "params.yaml"}
    assert data == {path.as_posix() for path in spec.inputs(PARAMS, item).values()}
    code = deps - data
    assert all((ROOT / path).exists() for path in code), code
    assert f"./pipelines/{resolved(stage['cmd'], item).split()[2].split('.')[1]}.py" in code
    outs = {item_folder("runs", spec, item).as_posix()} | ({spec.output(item).as_posix()} if spec.output else set())
    assert paths(stage["outs"], item) == outs
    metrics = item_folder("metrics", spec, item) / "metrics.json"
    assert paths(stage["metrics"], item) == {metrics.as_posix()}
    words = resolved(stage["cmd"], item).split()
    assert words[:2] == ["python", "-m"]
    assert words[3:] == [item[argument] for argument in spec.arguments]


COMMANDS = """
import os, subprocess, sys
from dvc.cli import main
made, project = sys.argv[1:]
for folder, *command in (
    (made, "init", "-q"), (made, "add", "-q", "folder"), (project, "stage", "list", "--name-only"),
    (project, "dag", "--dot"),
):
    os.chdir(folder)
    if main(command):
        sys.exit(f"dvc {command} failed")
    print("end of command", flush=True)
"""


@pytest.fixture(scope="module")
def dvc_says(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder that DVC has added; the stages and the graph that DVC reads. One process, as each imports for long."""
    made = tmp_path_factory.mktemp("dvc")
    (made / "folder" / "deep").mkdir(parents=True)
    (made / "folder" / "b.txt").write_text("two")
    (made / "folder" / "deep" / "a.txt").write_text("one")
    subprocess.run(["git", "init", "-q"], cwd=made, check=True)
    command = [sys.executable, "-c", COMMANDS, str(made), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, stages, dot, rest = done.stdout.split("end of command\n")
    assert not rest
    return made, stages, dot


def test_the_graph_holds_every_item(dvc_says: tuple[Path, str, str]) -> None:
    _, stages, _ = dvc_says
    assert set(stages.split()) == set(items(PARAMS))


def test_the_graph_is_dvcs_own(dvc_says: tuple[Path, str, str]) -> None:
    """What an item may wait for longest is decided by DVC's files; here the two must reach the same items."""
    _, _, dot = dvc_says
    edges = set(re.findall(r'"([^"]+)" -> "([^"]+)"', dot))
    graph = items(PARAMS)
    before = {needed: {item for needed_, item in edges if needed_ == needed} for needed, _ in edges}

    def reaches(start: str, goal: str) -> bool:
        return goal in before.get(start, set()) or any(reaches(item, goal) for item in before.get(start, set()))

    assert edges
    for item, needs in graph.items():
        assert all(reaches(needed, item) for needed in needs), item
    for needed, item in edges:
        if item in graph:
            assert _waits_for(graph, item, needed), (item, needed)


def _waits_for(graph: dict[str, list[str]], item: str, needed: str) -> bool:
    return needed in graph[item] or any(_waits_for(graph, other, needed) for other in graph[item])


def test_items_run_side_by_side_when_what_they_need_is_done() -> None:
    graph = {"a": [], "b": ["a"], "c": [], "d": ["b", "c"]}
    lock, ended, most, now = threading.Lock(), list[str](), [0], [0]

    def work(item: str) -> None:
        with lock:
            assert set(graph[item]) <= set(ended)
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            ended.append(item)
            now[0] -= 1

    side_by_side(graph, 2, work)
    assert sorted(ended) == ["a", "b", "c", "d"]
    assert most == [2]
    ended.clear()
    side_by_side(graph, 1, work)
    assert ended == ["a", "b", "c", "d"]


def test_after_a_failure_nothing_more_begins() -> None:
    begun: list[str] = []

    def work(item: str) -> None:
        begun.append(item)
        if item == "b":
            raise NasbenchError("no")

    with pytest.raises(NasbenchError, match=r"^no$"):
        side_by_side({"a": [], "b": ["a"], "c": ["b"]}, 2, work)
    assert begun == ["a", "b"]


def test_md5_is_the_one_that_dvc_records(dvc_says: tuple[Path, str, str]) -> None:
    made, _, _ = dvc_says
    recorded = load_yaml(made / "folder.dvc")["outs"][0]["md5"]
    assert dvc_md5(made / "folder") == recorded
    assert json.dumps(recorded).endswith('.dir"')
