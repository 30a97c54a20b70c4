"""Training one cell with several seeds: shared by the augment and the transfer stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from nasbench.core.genotype import load_genotype
from nasbench.datasets.prepared import load_prepared
from nasbench.spaces.base import NetworkShape
from nasbench.tracking.tracker import PrefixTracker
from nasbench.training.result import TrainResult
from pipelines.curves import write_curve
from pipelines.params import Augment
from pipelines.stage import Outcome, Stage, item_folder


def train_cell(stage: Stage, section: Augment, data_path: Path, genotype_path: Path) -> Outcome:
    """Train the genotype once a seed and return the mean figures.

    Args:
        stage: The stage's frame.
        section: Size, recipe and seeds.
        data_path: Prepared dataset.
        genotype_path: The cell; checked against the space.
    """
    from nasbench.training.augment import augment_cell

    data = load_prepared(data_path)
    space = stage.params.search_space()
    genotype, cells = load_genotype(genotype_path)
    space.check(genotype)
    space.check_cells(genotype, cells)
    channels, height, _ = data.train.image_shape
    shape = NetworkShape(
        num_cells=section.num_cells, channels=section.channels, num_classes=data.train.num_classes,
        in_channels=channels, image_size=height, stem=section.stem, auxiliary=section.recipe.auxiliary_weight > 0,
    )  # fmt: skip
    name = " ".join(part for part in (stage.spec.name, stage.label) if part)
    results = [
        augment_cell(
            space, genotype, shape, data.train, data.test, section.recipe, seed=seed, device=stage.device,
            amp=stage.params.compute.amp, checkpoint=stage.checkpoints / f"seed-{seed}.pt",
            tracker=PrefixTracker(stage.tracker, f"seed_{seed}."), description=f"{name} seed {seed}",
        )
        for seed in section.seeds
    ]  # fmt: skip
    mean = mean_history(results)
    for record in mean:
        stage.tracker.log_metrics(
            {name: value for name, value in record.items() if name != "epoch"}, step=int(record["epoch"])
        )
    write_curve(item_folder("curves", stage.spec, stage.item).with_suffix(".csv"), mean)
    return Outcome(
        metrics=figures(results, section.seeds) | {"genotype": genotype.fingerprint},
        volatile={"seconds": sum(result.seconds for result in results)},
        artifacts=((genotype_path, "genotype"),),
        tags={"genotype": genotype.fingerprint, "seeds": ",".join(str(seed) for seed in section.seeds)},
    )


def figures(results: Sequence[TrainResult], seeds: Sequence[int]) -> dict[str, Any]:
    """Return the deterministic figures of one cell's trainings."""
    return {
        "top1": fmean(result.top1 for result in results),
        "top1_per_seed": [result.top1 for result in results],
        "best_top1": fmean(result.best_top1 for result in results),
        "seeds": list(seeds),
        "parameters": results[0].parameters,
        "macs": results[0].macs,
    }


def mean_history(results: Sequence[TrainResult]) -> list[Mapping[str, float]]:
    """Return the per-epoch records, averaged over seeds."""
    epochs = zip(*(result.history for result in results), strict=True)
    return [{name: fmean(record[name] for record in records) for name in records[0]} for records in epochs]
