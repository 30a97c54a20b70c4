"""Score every training example of the source."""

from __future__ import annotations

import numpy as np

from nasbench.core.table import save_table
from nasbench.datasets.prepared import load_prepared
from nasbench.scorers.base import ComputeOptions
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, run_stage


def body(stage: Stage) -> Outcome:
    """Apply the trained scorer and store the table."""
    name = stage.item["scorer"]
    data = load_prepared(stage.inputs["source"])
    compute = ComputeOptions(device=stage.device, checkpoint=stage.checkpoints / "scores")
    table = stage.params.scorer(name).score(data.train, stage.inputs["scorer"], compute=compute, tracker=stage.tracker)
    path = stage.output / "table.parquet"
    save_table(path, table)
    metrics: dict[str, float] = {"num_examples": len(table)}
    for column, values in table.columns.items():
        metrics |= {
            f"{column}_min": float(values.min()), f"{column}_median": float(np.median(values)),
            f"{column}_mean": float(values.mean()), f"{column}_max": float(values.max()),
        }  # fmt: skip
    return Outcome(metrics=metrics, artifacts=((path, "scores"),), tags={"scorer": stage.params.scorers[name].scorer})


SPEC = Spec(
    name="score_examples",
    arguments=("scorer",),
    inputs=lambda _params, item: {
        "source": ARTIFACTS / "data" / "source",
        "scorer": ARTIFACTS / "scorers" / item["scorer"],
    },
    sections=lambda item: (f"scorers.{item['scorer']}", "compute"),
    output=lambda item: ARTIFACTS / "scores" / item["scorer"],
    body=body,
    computes=True,
)

if __name__ == "__main__":
    run_stage(SPEC)
