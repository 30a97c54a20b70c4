"""The whole pipeline, small, in a second clone: the same bytes; then an experiment, and a champion of it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from nasbench.core.genotype import load_genotype, save_genotype
from nasbench.core.proxy import load_proxy, save_proxy
from nasbench.tracking.keeper import Keeper
from pipelines.leftovers import remove_leftovers
from pipelines.params import load_params
from pipelines.warm import WarmStart

sys.path.insert(0, str(Path(__file__).parent))
import pipeline
from pipeline import query, results

LENIENT = {"least_relative_improvement": -99, "least_seeds": 1, "least_cells": 2}
"""A gate that lets one search and two random cells pass."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, committed."""
    return pipeline.clone(tmp_path_factory.mktemp("second"), pipeline.small_params())


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[dict[str, str]]:
    """What ``make repro`` gives to its items, here for every command of this module: a warm process and a keeper.

    The copies of the warm process keep bytecode as `pipeline.run` does.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        with WarmStart() as warm, Keeper(folder) as keeper:
            yield {**warm.environment, **keeper.environment}


@pytest.fixture(scope="module")
def clone(folder: Path, shared: dict[str, str]) -> Path:
    """The clone after its first run, by DVC itself, one item after the other; committed."""
    pipeline.run(folder, "-m", "dvc", "repro", environment=shared)
    pipeline.commit(folder, "run")
    return folder


@pytest.fixture(scope="module")
def promoted(clone: Path, shared: dict[str, str]) -> Path:
    """The clone after an experiment with a gate that lets cells pass."""
    settings = [word for name, value in LENIENT.items() for word in ("-S", f"gate.{name}={value}")]
    pipeline.run(clone, "-m", "dvc", "exp", "run", *settings, environment=shared)
    return clone


def test_two_clones_give_the_same_bytes(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One was made by ``make repro`` two items at a time, the other by ``dvc repro``."""
    first, second = results(pipeline.first_run(tmp_path_factory)[1]), results(clone)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_proxy_of_another_dataset_and_a_foreign_genotype_are_refused(clone: Path, shared: dict[str, str]) -> None:
    proxy = clone / "artifacts/proxies/p1/proxy.json"
    text = proxy.read_text()
    foreign = dataclasses.replace(load_proxy(proxy), dataset="0" * 32)
    try:
        proxy.unlink()
        save_proxy(proxy, foreign)
        done = pipeline.run(clone, "-m", "pipelines.search_cell", "p1", "darts", "0", code=1, environment=shared)
        assert "ProxyMismatchError" in done.stderr
        assert f"is of dataset {foreign.dataset}" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        proxy.write_text(text)
    genotype = clone / "artifacts/genotypes/p1-darts-0/genotype.json"
    text = genotype.read_text()
    found, cells = load_genotype(genotype)
    metrics = clone / "artifacts/metrics/augment_cell/p1-darts-0/metrics.json"
    kept = metrics.read_bytes()
    try:
        genotype.unlink()
        save_genotype(genotype, dataclasses.replace(found, space="other"), cells)
        done = pipeline.run(clone, "-m", "pipelines.augment_cell", "p1", "darts", "0", code=1, environment=shared)
        assert "GenotypeError" in done.stderr
        assert "is of space 'other'" in done.stderr
        assert metrics.read_bytes() == kept
    finally:
        genotype.write_text(text)


def test_experiments_and_differences_work(promoted: Path) -> None:
    commands = (
        ("params", "diff", "--json"), ("metrics", "show", "--json"), ("metrics", "diff", "--json"),
        ("plots", "show", "--out", "plots"),
    )  # fmt: skip
    difference, shown, metrics, _ = pipeline.dvc(promoted, [({}, command) for command in commands])
    assert json.loads(difference) == {
        "params.yaml": {
            f"gate.{name}": {"old": old, "new": LENIENT[name], "diff": LENIENT[name] - old}
            for name, old in pipeline.small_params()["gate"].items()
            if name in LENIENT
        }
    }
    assert "artifacts/metrics/compare_cells/metrics.json" in json.dumps(json.loads(shown))
    changed = {f"artifacts/metrics/{name}/metrics.json" for name in ("promote_cell", "transfer_cell")}
    assert set(json.loads(metrics)) == changed
    assert "test_top1" in (promoted / "plots" / "index.html").read_text()
    assert query(promoted, "select alias from registered_model_aliases")


def test_a_standing_champion_goes_to_the_target_where_the_next_run_promotes_none(
    promoted: Path, shared: dict[str, str]
) -> None:
    first = pipeline.metrics(promoted, "transfer_cell")
    assert (first["promoted"], first["origin"]) == (True, "promoted")
    params = pipeline.small_params()
    params["promotion"]["if_refused"] = "champion"
    params["search"]["proxies"] = [name for name in params["search"]["proxies"] if name not in first["cell"]]
    assert len(params["search"]["proxies"]) == 1, "the next run searches where the champion was not found"
    with (promoted / "params.yaml").open("w", encoding="utf-8") as handle:
        YAML().dump(params, handle)
    assert remove_leftovers(load_params(promoted / "params.yaml"), promoted / "artifacts")
    pipeline.run(promoted, "-m", "dvc", "repro", environment=shared)
    promotion = pipeline.promotion(promoted)
    assert promotion["promoted"] is False
    assert first["genotype"] not in {verdict["genotype"] for verdict in promotion["verdicts"]}
    second = pipeline.metrics(promoted, "transfer_cell")
    assert (second["promoted"], second["origin"], second["genotype"]) == (True, "champion", first["genotype"])
    assert second["top1_per_seed"] == first["top1_per_seed"]
    assert "of an earlier run" in (promoted / "artifacts/report/index.html").read_text()
