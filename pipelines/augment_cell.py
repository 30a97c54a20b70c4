"""Train a searched or a random cell from scratch on the source."""

from __future__ import annotations

import sys

from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, run_stage
from pipelines.training import train_cell


def body(stage: Stage) -> Outcome:
    """Augment one cell."""
    return train_cell(stage, stage.params.augment, stage.inputs["source"], stage.inputs["genotype"])


SPEC = Spec(
    name="augment_cell",
    arguments=("proxy", "searcher", "seed"),
    inputs=lambda _params, item: {
        "source": ARTIFACTS / "data" / "source",
        "genotype": ARTIFACTS / "genotypes" / f"{item['proxy']}-{item['searcher']}-{item['seed']}" / "genotype.json",
    },
    sections=lambda _item: ("augment", "space", "compute"),
    output=None,
    body=body,
    computes=True,
)

SAMPLES = Spec(
    name="augment_samples",
    arguments=("cell",),
    inputs=lambda _params, item: {
        "source": ARTIFACTS / "data" / "source",
        "genotype": ARTIFACTS / "genotypes" / "baseline" / item["cell"] / "genotype.json",
    },
    sections=lambda _item: ("augment", "space", "compute"),
    output=None,
    body=body,
    computes=True,
)

if __name__ == "__main__":
    run_stage(SAMPLES if len(sys.argv) == 2 else SPEC)
