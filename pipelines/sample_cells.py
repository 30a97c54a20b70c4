"""Draw the random cells that relative improvement is measured against."""

from __future__ import annotations

from nasbench.core.genotype import save_genotype
from nasbench.core.seeding import generator
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, run_stage


def body(stage: Stage) -> Outcome:
    """Sample every baseline cell uniformly from the space."""
    space = stage.params.search_space()
    baseline = stage.params.baseline
    fingerprints = []
    for cell in baseline.cells:
        genotype = space.sample(generator(baseline.seed, "random-sampling", cell))
        save_genotype(stage.output / str(cell) / "genotype.json", genotype, space.cells(genotype))
        fingerprints.append(genotype.fingerprint)
    return Outcome(
        metrics={"num_cells": len(fingerprints), "genotypes": fingerprints},
        artifacts=tuple((stage.output / str(cell) / "genotype.json", f"genotype/{cell}") for cell in baseline.cells),
        tags={"searcher": "random-sampling"},
    )


SPEC = Spec(
    name="sample_cells",
    inputs=lambda _params, _item: {},
    sections=lambda _item: ("baseline", "space"),
    output=lambda _item: ARTIFACTS / "genotypes" / "baseline",
    body=body,
)

if __name__ == "__main__":
    run_stage(SPEC)
