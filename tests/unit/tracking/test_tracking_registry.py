"""Promotion: the same rules in memory and in a real registry."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nasbench.core.errors import RegistryError
from nasbench.core.genotype import Cell, Genotype, save_genotype
from nasbench.tracking import store
from nasbench.tracking.cell_registry import (
    CellRegistry,
    MlflowCellRegistry,
    Promotion,
    RecordingCellRegistry,
    champion_alias,
)
from nasbench.tracking.gate import Evidence, Gate
from nasbench.tracking.mlflow_tracker import open_run

GATE = Gate(least_relative_improvement=0.0, confidence=0.9, least_seeds=2, least_cells=5, margin=0.0)
CELL = Cell(nodes=((("skip_connect", 0), ("none", 1)),), concat=(2,))


class Bench:
    """A registry with what it takes to promote cells into it."""

    def __init__(self, registry: CellRegistry, folder: Path, run_id: str) -> None:
        self.registry, self.folder, self.run_id = registry, folder, run_id

    def cell(self, gene: int) -> tuple[Path, Genotype]:
        genotype = Genotype(space="darts", genes=(gene,))
        folder = self.folder / str(gene)
        save_genotype(folder / "genotype.json", genotype, {"normal": CELL})
        (folder / "normal.svg").write_text("<svg/>")
        return folder, genotype

    def promote(self, gene: int = 0, top1: float = 0.9, gate: Gate = GATE, **changes) -> Promotion:
        folder, genotype = self.cell(gene)
        evidence = Evidence(
            space="darts", genotype=genotype.fingerprint, selector="random", searcher="darts", source="digits",
            protocol="p", seeds=(0, 1), num_random_cells=5, top1=top1, relative_improvement=1.0,
            relative_improvement_low=0.5, relative_improvement_high=1.5, confidence=0.9, dvc_md5="f" * 32 + ".dir",
        )  # fmt: skip
        return self.registry.promote(folder, dataclasses.replace(evidence, **changes), gate, self.run_id)

    def champion(self, source: str = "") -> int | None:
        found = self.registry.champion("darts", source)
        return found and found.version


@pytest.fixture
def mlflow_bench(root, tmp_path):
    with open_run(root, "default", "promote_cell", params={}, tags={}, datasets=[], resume_key="") as run:
        yield Bench(MlflowCellRegistry(root), tmp_path, run.run_id)


@pytest.fixture(params=["in memory", "in MLflow"])
def bench(request, tmp_path):
    if request.param == "in MLflow":
        return request.getfixturevalue("mlflow_bench")
    return Bench(RecordingCellRegistry(), tmp_path, "run")


def test_an_empty_registry_has_no_champion(bench):
    assert bench.champion() is None
    assert bench.champion("digits") is None


def test_a_cell_that_passes_becomes_champion(bench):
    promotion = bench.promote()
    assert promotion == Promotion(model="cell-darts", version=1, passed=True, reasons=(), created=True)
    champion = bench.registry.champion("darts")
    assert champion.version == 1
    assert champion.evidence.genotype == Genotype(space="darts", genes=(0,)).fingerprint
    assert champion.evidence.seeds == (0, 1)
    assert bench.champion("digits") == 1
    assert bench.champion("cifar10") is None


def test_a_refused_cell_stays_with_its_reasons_and_the_champion_stays_too(bench):
    bench.promote(0)
    promotion = bench.promote(1, relative_improvement_low=-0.5)
    assert (promotion.version, promotion.passed, promotion.created) == (2, False, True)
    assert promotion.reasons == (
        "The lower end of the 90% interval of relative improvement, -0.5 %, is below the least asked for, +0 %.",
    )
    assert bench.champion() == 1


def test_a_better_cell_takes_over_and_a_worse_one_does_not(bench):
    bench.promote(0, top1=0.9)
    assert not bench.promote(1, top1=0.89).passed
    assert bench.promote(2, top1=0.91).passed
    assert bench.champion() == 3


def test_the_same_evidence_again_changes_nothing(bench):
    first = bench.promote(0, top1=0.9)
    refused = bench.promote(1, top1=0.8)
    bench.promote(2, top1=0.95)
    assert bench.promote(0, top1=0.9, commit="later") == dataclasses.replace(first, created=False)
    assert bench.promote(1, top1=0.8) == dataclasses.replace(refused, created=False)
    assert bench.champion() == 3
    assert bench.promote(3, top1=0.99).version == 4


def test_other_rules_judge_the_same_version_anew(bench):
    assert not bench.promote(0, gate=Gate(least_seeds=3)).passed
    promotion = bench.promote(0, gate=GATE)
    assert (promotion.version, promotion.passed, promotion.created) == (1, True, False)
    assert bench.champion() == 1


def test_a_champion_that_the_rules_no_longer_let_pass_loses_its_aliases(bench):
    bench.promote(0)
    promotion = bench.promote(0, gate=Gate(least_seeds=3, confidence=0.9))
    assert (promotion.passed, promotion.reasons) == (
        False,
        ("The number of seeds, 2, is below the least asked for, 3.",),
    )
    assert bench.champion() is None
    assert bench.champion("digits") is None


def test_a_champion_judged_anew_is_not_compared_with_itself(bench):
    bench.promote(0)
    assert bench.promote(0, gate=Gate(margin=1.0, confidence=0.9)).passed


def test_cells_are_compared_within_their_source_only(bench):
    bench.promote(0, top1=0.98, source="digits")
    assert bench.promote(1, top1=0.6, source="cifar10 small").passed
    assert bench.champion("digits") == 1
    assert bench.champion("cifar10 small") == 2
    assert bench.champion() == 2
    assert champion_alias("cifar10 small") == "champion-cifar10-small"


def test_a_folder_of_another_cell_is_refused_before_anything_is_written(bench):
    folder, _ = bench.cell(5)
    with pytest.raises(RegistryError, match="Give the folder that the figures were measured on"):
        bench.promote(0, genotype="0" * 32)
    assert folder.is_dir()
    assert bench.champion() is None
    assert bench.promote(0).version == 1


def test_a_kill_before_the_verdict_is_made_good(bench, monkeypatch):
    registry = type(bench.registry)
    plain = registry._tag

    def killed(self, space, version, key, value):
        if key == "gate" and value != "pending":
            raise KeyboardInterrupt
        plain(self, space, version, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_tag", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.promote(0)
    promotion = bench.promote(0)
    assert (promotion.version, promotion.passed, promotion.created) == (1, True, False)
    assert bench.champion() == 1


def test_a_version_carries_its_figures_files_and_verdict(mlflow_bench, root):
    mlflow_bench.promote(0, commit="abc")
    mlflow_bench.promote(1, top1=0.5)
    client = store.connect(root)
    version = client.get_model_version_by_alias("cell-darts", "champion")
    expected = {
        "top1": "0.9", "relative_improvement": "1.0", "relative_improvement_low": "0.5",
        "relative_improvement_high": "1.5", "seeds": "[0,1]", "selector": "random", "searcher": "darts",
        "source": "digits", "dvc_md5": "f" * 32 + ".dir", "commit": "abc", "gate": "passed", "gate_reasons": "[]",
    }  # fmt: skip
    assert {key: version.tags[key] for key in expected} == expected
    assert version.run_id == mlflow_bench.run_id
    assert sorted(path.name for path in Path(version.source).iterdir()) == ["genotype.json", "normal.svg"]
    (refused,) = client.search_model_versions("name = 'cell-darts' and tags.gate = 'failed'")
    assert json.loads(refused.tags["gate_reasons"]) == [
        "Top-1 50.000 % is -40.000 points from the champion's 90.000 %, which is below the margin of 0 points."
    ]


def test_a_version_that_was_not_made_here_is_a_clear_error(mlflow_bench, root):
    mlflow_bench.promote(0)
    store.connect(root).delete_model_version_tag("cell-darts", "1", "evidence")
    with pytest.raises(RegistryError, match="version 1 of cell-darts has no readable evidence"):
        mlflow_bench.champion()


def test_the_champions_genotype_is_read_and_checked(bench):
    bench.promote(0)
    champion = bench.registry.champion("darts")
    assert bench.registry.genotype(champion) == (bench.folder / "0" / "genotype.json").read_bytes()
    foreign = dataclasses.replace(champion.evidence, genotype=bench.cell(1)[1].fingerprint)
    with pytest.raises(RegistryError, match=r"genotype"):
        bench.registry.genotype(dataclasses.replace(champion, evidence=foreign))


def test_a_champion_whose_files_are_gone_is_an_error(mlflow_bench, root):
    mlflow_bench.promote(0)
    (kept,) = root.rglob("cells/*/genotype.json")
    kept.unlink()
    with pytest.raises(RegistryError, match=r"has no genotype.json: its run's artifacts are gone"):
        mlflow_bench.registry.genotype(mlflow_bench.registry.champion("darts"))
