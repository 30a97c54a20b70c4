"""Relative improvement of every arm (proxy x searcher) over random sampling."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from nasbench.analysis.relative_improvement import bootstrap_interval
from nasbench.core.files import read_json, write_json
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, run_stage

METRICS = ARTIFACTS / "metrics"


def read_cells(folder: Path, labels: list[str]) -> list[dict[str, Any]]:
    """Read metrics.json of each trained cell, with its label added."""
    return [{"label": label, **read_json(folder / label / "metrics.json")} for label in labels]


def spread(values: list[float]) -> float:
    """Return the sample standard deviation, 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def accuracies(cells: list[dict[str, Any]]) -> list[list[float]]:
    """Return Top-1 as [cells][seeds]."""
    return [cell["top1_per_seed"] for cell in cells]


def body(stage: Stage) -> Outcome:
    """Compare, and store everything that the gate and the report need."""
    params = stage.params
    samples = read_cells(stage.inputs["samples"], [str(cell) for cell in params.baseline.cells])
    arms: list[dict[str, Any]] = []
    for proxy, searcher in params.arms:
        labels = [f"{proxy}-{searcher}-{seed}" for seed in params.search.seeds]
        cells = read_cells(stage.inputs["cells"], labels)
        interval = bootstrap_interval(
            accuracies(cells), accuracies(samples), confidence=params.gate.confidence,
            resamples=params.comparison.resamples, seed=params.comparison.seed,
        )  # fmt: skip
        means = [cell["top1"] for cell in cells]
        arms.append(
            {
                "name": f"{proxy}-{searcher}", "proxy": proxy, "searcher": searcher, "cells": cells,
                "top1": fmean(means), "top1_sd": spread(means), "relative_improvement": interval.estimate,
                "relative_improvement_low": interval.low, "relative_improvement_high": interval.high,
                "statement": interval.statement,
            }
        )  # fmt: skip
    means = [cell["top1"] for cell in samples]
    comparison = {
        "confidence": params.gate.confidence, "arms": arms,
        "baseline": {"cells": samples, "top1": fmean(means), "top1_sd": spread(means)},
    }  # fmt: skip
    write_json(stage.output / "comparison.json", comparison)
    best = max(arms, key=lambda arm: arm["relative_improvement"])
    named = ("top1", "top1_sd", "relative_improvement", "relative_improvement_low", "relative_improvement_high")
    metrics = {name: best[name] for name in named} | {
        "best_arm": best["name"], "random_top1": fmean(means), "random_top1_sd": spread(means),
        "arms": {arm["name"]: {name: arm[name] for name in named} for arm in arms},
    }  # fmt: skip
    for arm in arms:
        stage.tracker.log_metrics({f"{arm['name']}.{name}": arm[name] for name in named})
    return Outcome(metrics=metrics, artifacts=((stage.output / "comparison.json", "comparison"),))


SPEC = Spec(
    name="compare_cells",
    inputs=lambda _params, _item: {"cells": METRICS / "augment_cell", "samples": METRICS / "augment_samples"},
    sections=lambda _item: ("search", "baseline", "comparison", "gate.confidence"),
    output=lambda _item: ARTIFACTS / "comparison",
    body=body,
)

if __name__ == "__main__":
    run_stage(SPEC)
