"""Train the champion, or a random cell, from scratch on the target."""

from __future__ import annotations

import dataclasses
import sys

from nasbench.core.errors import GenotypeError
from nasbench.core.files import read_json, write_text
from pipelines.compare_cells import accuracies, read_cells
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, item_folder, run_stage
from pipelines.training import train_cell

METRICS = ARTIFACTS / "metrics"


def body_sample(stage: Stage) -> Outcome:
    """Train one random cell on the target."""
    return train_cell(stage, stage.params.transfer, stage.inputs["target"], stage.inputs["genotype"])


def body(stage: Stage) -> Outcome:
    """Train the cell that promote_cell chose on the target, and compare it with the random cells there."""
    from nasbench.analysis.relative_improvement import bootstrap_interval

    params = stage.params
    chosen = read_json(stage.inputs["promotion"] / "promotion.json")["transfer"]
    if chosen is None:
        write_text(item_folder("curves", stage.spec, stage.item).with_suffix(".csv"), "epoch,test_top1\n")
        return Outcome(metrics={"transferred": False, "promoted": False}, tags={"gate": "failed"})
    outcome = train_cell(stage, params.transfer, stage.inputs["target"], stage.inputs["promotion"] / "genotype.json")
    if outcome.metrics["genotype"] != chosen["genotype"]:
        raise GenotypeError("the promoted genotype and the trained one differ. Run promote_cell again.")
    promoted = chosen["origin"] != "best"
    samples = read_cells(stage.inputs["samples"], [str(cell) for cell in params.baseline.cells])
    interval = bootstrap_interval(
        [outcome.metrics["top1_per_seed"]], accuracies(samples), confidence=params.gate.confidence,
        resamples=params.comparison.resamples, seed=params.comparison.seed,
    )  # fmt: skip
    metrics = {
        **outcome.metrics, "transferred": True, "promoted": promoted,
        "origin": chosen["origin"], "cell": chosen["cell"],
        "random_top1": sum(cell["top1"] for cell in samples) / len(samples),
        "relative_improvement": interval.estimate, "relative_improvement_low": interval.low,
        "relative_improvement_high": interval.high, "statement": interval.statement,
    }  # fmt: skip
    gate = {"gate": "passed" if promoted else "failed"}
    return dataclasses.replace(outcome, metrics=metrics, tags={**outcome.tags, **gate})


SPEC = Spec(
    name="transfer_cell",
    inputs=lambda _params, _item: {
        "target": ARTIFACTS / "data" / "target",
        "promotion": ARTIFACTS / "promotion",
        "samples": METRICS / "transfer_samples",
    },
    sections=lambda _item: ("transfer", "space", "compute", "baseline", "comparison", "gate.confidence"),
    output=None,
    body=body,
    computes=True,
)

SAMPLES = Spec(
    name="transfer_samples",
    arguments=("cell",),
    inputs=lambda _params, item: {
        "target": ARTIFACTS / "data" / "target",
        "genotype": ARTIFACTS / "genotypes" / "baseline" / item["cell"] / "genotype.json",
    },
    sections=lambda _item: ("transfer", "space", "compute"),
    output=None,
    body=body_sample,
    computes=True,
)

if __name__ == "__main__":
    run_stage(SAMPLES if len(sys.argv) == 2 else SPEC)
