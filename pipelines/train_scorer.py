"""Train (or load) the model that scores examples."""

from __future__ import annotations

from typing import Any

from nasbench.datasets.prepared import load_prepared
from nasbench.scorers.base import ComputeOptions
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, run_stage


def body(stage: Stage) -> Outcome:
    """Fit the scorer's model on the source."""
    name = stage.item["scorer"]
    section = stage.params.scorers[name]
    data = load_prepared(stage.inputs["source"])
    compute = ComputeOptions(
        device=stage.device, amp=stage.params.compute.amp, checkpoint=stage.checkpoints / "model.pt"
    )
    figures: dict[str, Any] = dict(
        stage.params.scorer(name).train(
            data.train, data.test, stage.output, seed=section.seed, compute=compute, tracker=stage.tracker
        )
    )
    volatile: dict[str, float] = {
        name: float(figures.pop(name)) for name in ("seconds", "peak_memory_bytes") if name in figures
    }
    return Outcome(metrics=figures, volatile=volatile, tags={"scorer": section.scorer})


SPEC = Spec(
    name="train_scorer",
    arguments=("scorer",),
    inputs=lambda _params, item: {
        "source": ARTIFACTS / "data" / "source",
        "weights": ARTIFACTS / "inputs" / "scorers" / f"{item['scorer']}.json",
    },
    sections=lambda item: (f"scorers.{item['scorer']}", "compute"),
    output=lambda item: ARTIFACTS / "scorers" / item["scorer"],
    body=body,
    computes=True,
)

if __name__ == "__main__":
    run_stage(SPEC)
