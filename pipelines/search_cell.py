"""Search a cell on a proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasbench.config.component import parse
from nasbench.core.files import write_json, write_text
from nasbench.core.genotype import save_genotype
from nasbench.core.proxy import load_proxy
from nasbench.datasets.prepared import load_prepared
from nasbench.searchers.base import SearchResult, SearchTask
from nasbench.spaces.base import NetworkShape, SearchSpace
from pipelines.curves import write_curve
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, item_folder, run_stage


def make_task(stage: Stage) -> SearchTask:
    """Put together what the searcher is given."""
    data = load_prepared(stage.inputs["source"]).train
    proxy = load_proxy(stage.inputs["proxy"])
    proxy.check_dataset(data.fingerprint, len(data))
    weights, alphas = proxy.halves()
    channels, height, _ = data.image_shape
    section = stage.params.supernet
    shape = NetworkShape(
        num_cells=section.num_cells, channels=section.channels, num_classes=data.num_classes,
        in_channels=channels, image_size=height, stem=section.stem,
    )  # fmt: skip
    return SearchTask(
        space=stage.params.search_space(), shape=shape, images=data, weight_indices=weights, alpha_indices=alphas,
        augmentation=section.augmentation, seed=int(stage.item["seed"]), device=stage.device,
        checkpoint=stage.checkpoints / "search.pt", recompute=section.recompute,
    )  # fmt: skip


def body(stage: Stage) -> Outcome:
    """Search, then store genotype, drawing and trajectory."""
    from nasbench.analysis.draw import write_drawing

    task = make_task(stage)
    result = stage.params.searcher(stage.item["searcher"]).search(task, stage.tracker)
    cells = task.space.cells(result.genotype)
    genotype, drawing, trajectory = (stage.output / name for name in ("genotype.json", "cells.svg", "trajectory.json"))
    save_genotype(genotype, result.genotype, cells)
    write_drawing(drawing, cells, stage.label)
    stored = stored_trajectory(task.space, result)
    write_json(trajectory, stored)
    pictures = _draw_alphas(stage, stored)
    records = stored["epochs"]
    write_curve(item_folder("curves", stage.spec, stage.item).with_suffix(".csv"), records)
    last, notes = result.trajectory[-1], {"notes": stored["notes"]} if result.notes else {}
    names = ("one_shot_top1", "alpha_entropy", "skip_share", "parameter_free_share", "train_loss", "valid_loss")
    section = stage.params.searchers[stage.item["searcher"]]
    return Outcome(
        metrics={name: last[name] for name in names} | {
            "num_examples": len(task.weight_indices) + len(task.alpha_indices), "epochs": len(result.trajectory),
            "genotype": result.genotype.fingerprint, "warnings": list(result.warnings), **notes,
        },
        volatile={"seconds": result.seconds},
        artifacts=((genotype, "genotype"), (drawing, "genotype"), (trajectory, "search"), *pictures),
        tags={"searcher": section.searcher, "proxy": stage.item["proxy"], "seed": stage.item["seed"],
              "genotype": result.genotype.fingerprint},
    )  # fmt: skip


def stored_trajectory(space: SearchSpace, result: SearchResult) -> dict[str, Any]:
    """Return trajectory.json: what a picture of the search needs, so that it needs no space.

    ``operations`` are the names of each group's candidates, one list, or one an edge where they differ; ``edges`` the
    names of its rows where they are no edges; ``chosen`` the operation of each row in the genotype.
    """
    operations = {
        group: list(edges[0]) if len(set(edges)) == 1 else [list(edge) for edge in edges]
        for group, edges in space.candidates.items()
    }
    chosen = {
        group: [int(row.argmax()) if row.any() else None for row in rows]
        for group, rows in space.one_hot(result.genotype).items()
        if group not in space.connection_groups
    }
    optional = {"edges": {group: list(names) for group, names in space.row_names.items()}, "notes": list(result.notes)}
    return {
        "operations": operations, "chosen": chosen, "epochs": [dict(record) for record in result.trajectory],
        "warnings": list(result.warnings), **{name: value for name, value in optional.items() if value},
    }  # fmt: skip


def _draw_alphas(stage: Stage, stored: dict[str, Any]) -> list[tuple[Path, str]]:
    """Draw softmax(alpha) over the epochs, one picture a group of edges."""
    from nasbench.analysis.plots import alpha_trajectory
    from nasbench.analysis.search_trajectory import SearchTrajectory, trajectory_fields

    shown = parse(SearchTrajectory, trajectory_fields(stage.label, stored))
    pictures = []
    for group in shown.operations:
        path = stage.output / f"alphas-{group}.svg"
        write_text(path, alpha_trajectory(shown, group))
        pictures.append((path, "search"))
    return pictures


SPEC = Spec(
    name="search_cell",
    arguments=("proxy", "searcher", "seed"),
    inputs=lambda _params, item: {
        "source": ARTIFACTS / "data" / "source",
        "proxy": ARTIFACTS / "proxies" / item["proxy"] / "proxy.json",
    },
    sections=lambda item: (f"searchers.{item['searcher']}", "space", "supernet", "compute"),
    output=lambda item: ARTIFACTS / "genotypes" / f"{item['proxy']}-{item['searcher']}-{item['seed']}",
    body=body,
    computes=True,
)

if __name__ == "__main__":
    run_stage(SPEC)
