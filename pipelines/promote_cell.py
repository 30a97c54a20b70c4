"""Register the best cell of every arm; the gate decides whether the alias champion moves."""

from __future__ import annotations

from typing import Any

from nasbench.core.files import fingerprint, read_json, write_bytes, write_json
from nasbench.tracking.cell_registry import CellRegistry, MlflowCellRegistry
from nasbench.tracking.gate import Evidence
from nasbench.tracking.mlflow_tracker import provenance
from pipelines.lineage import dvc_md5
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, relevant, run_stage


def best_cell(arm: dict[str, Any]) -> dict[str, Any]:
    """Return the arm's cell with the highest mean Top-1; of equals the one of the earlier seed."""
    best: dict[str, Any] = max(arm["cells"], key=lambda cell: cell["top1"])
    return best


def evidence_for(stage: Stage, arm: dict[str, Any]) -> Evidence:
    """Put together what the gate judges: the arm's relative improvement, the best cell's Top-1."""
    params = stage.params
    cell = best_cell(arm)
    protocol = fingerprint(
        {**relevant(params, ("source", "augment", "space", "compute")), "data": dvc_md5(stage.inputs["source"])}
    )
    return Evidence(
        space=params.search_space().name,
        genotype=cell["genotype"],
        selector=params.proxies[arm["proxy"]].selector,
        searcher=params.searchers[arm["searcher"]].searcher,
        source=params.source.label,
        protocol=protocol,
        seeds=params.search.seeds,
        num_random_cells=len(params.baseline.cells),
        top1=cell["top1"],
        relative_improvement=arm["relative_improvement"],
        relative_improvement_low=arm["relative_improvement_low"],
        relative_improvement_high=arm["relative_improvement_high"],
        confidence=params.gate.confidence,
        dvc_md5=dvc_md5(stage.inputs["genotypes"] / cell["label"]),
        commit=provenance(stage.root).get("mlflow.source.git.commit", ""),
    )


def body(stage: Stage) -> Outcome:
    """Judge the arms, best first; keep the genotype of the cell that goes to the target."""
    params = stage.params
    comparison = read_json(stage.inputs["comparison"] / "comparison.json")
    arms = sorted(comparison["arms"], key=lambda arm: -arm["relative_improvement"])
    registry = MlflowCellRegistry(stage.root)
    verdicts = []
    for arm in arms:
        evidence = evidence_for(stage, arm)
        cell = best_cell(arm)
        outcome = registry.promote(stage.inputs["genotypes"] / cell["label"], evidence, params.gate, stage.run_id)
        verdicts.append(
            {
                "arm": arm["name"], "cell": cell["label"], "genotype": cell["genotype"], "passed": outcome.passed,
                "reasons": list(outcome.reasons), "note": _note(arm, len(arms)),
                "model": outcome.model, "version": outcome.version,
            }
        )  # fmt: skip
    champion = registry.champion(params.search_space().name, params.source.label)
    promoted = [
        verdict for verdict in verdicts
        if verdict["passed"] and champion and champion.evidence.genotype == verdict["genotype"]
    ]  # fmt: skip
    judged = promoted[0] if promoted else verdicts[0]
    write_json(
        stage.output / "promotion.json",
        {
            "promoted": bool(promoted), "judged": judged["arm"],
            "transfer": _transfer(stage, registry, judged, "promoted" if promoted else params.promotion.if_refused),
            "verdicts": [_without_version(verdict) for verdict in verdicts],
        },
    )  # fmt: skip
    return Outcome(
        metrics={
            "promoted": bool(promoted), "cell": judged["cell"], "genotype": judged["genotype"],
            "num_passed": sum(verdict["passed"] for verdict in verdicts),
        },
        tags={"gate": "passed" if promoted else "failed", "genotype": judged["genotype"]},
        details={"verdicts": verdicts, "champion": champion.evidence.genotype if champion else ""},
        artifacts=((stage.output / "promotion.json", "promotion"),),
    )  # fmt: skip


def _transfer(stage: Stage, registry: CellRegistry, judged: dict[str, Any], origin: str) -> dict[str, Any] | None:
    """Store the genotype of the cell that goes to the target, and say where it comes from; None where none goes."""
    params = stage.params
    file = stage.output / "genotype.json"
    if origin in {"promoted", "best"}:
        write_bytes(file, (stage.inputs["genotypes"] / judged["cell"] / "genotype.json").read_bytes())
        proxy, searcher = judged["arm"].rsplit("-", 1)
        return {
            "origin": origin, "cell": judged["cell"], "genotype": judged["genotype"], "proxy": proxy,
            "selector": params.proxies[proxy].selector, "searcher": params.searchers[searcher].searcher,
        }  # fmt: skip
    champion = registry.champion(params.search_space().name, params.source.label)
    if origin == "nothing" or champion is None:
        return None
    write_bytes(file, registry.genotype(champion))
    evidence = champion.evidence
    return {
        "origin": origin, "cell": "champion", "genotype": evidence.genotype, "proxy": "",
        "selector": evidence.selector, "searcher": evidence.searcher,
    }  # fmt: skip


def _note(arm: dict[str, Any], num_arms: int) -> str:
    """Say what was chosen among, and what the interval rests on."""
    chosen = (
        f"The cell is the best of {len(arm['cells'])} by Top-1 on the test images, which biases its Top-1 upwards; "
        f"the gate judges the mean relative improvement of its arm, one of {num_arms}, without correcting for their "
        f"number."
    )
    return f"{chosen} Interval: {arm['statement']}." if arm["statement"] else chosen


def _without_version(verdict: dict[str, Any]) -> dict[str, Any]:
    """Leave out the version's number, which depends on what else the registry holds."""
    return {name: value for name, value in verdict.items() if name != "version"}


SPEC = Spec(
    name="promote_cell",
    inputs=lambda _params, _item: {
        "comparison": ARTIFACTS / "comparison",
        "genotypes": ARTIFACTS / "genotypes",
        "source": ARTIFACTS / "data" / "source",
    },
    sections=lambda _item: (
        "gate",
        "promotion",
        "search",
        "source",
        "space",
        "augment",
        "baseline",
        "compute",
        "proxies",
        "searchers",
    ),
    output=lambda _item: ARTIFACTS / "promotion",
    body=body,
)

if __name__ == "__main__":
    run_stage(SPEC)
