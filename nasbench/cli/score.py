"""``nasbench score``: from images to scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from nasbench.cli import options
from nasbench.cli.parts import build, say
from nasbench.config.component import parse
from nasbench.core.errors import ConfigError
from nasbench.core.files import check_writable


@click.command()
@click.option("--scorer", "scorer_name", metavar="NAME", default="entropy", help="See `nasbench list scorers`.")
@click.option("--dataset", default="image-folder", help="See `nasbench list datasets`.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data"), help="Folder of its files.")
@click.option("--split", default="train", help="Split that is scored, and trained on where no weights are given.")
@click.option("--test-split", default="test", help="Split that a training is tested on.")
@click.option("--model", default=None, help="resnet20, resnet56, ... or timm:<name>; the scorer's own if absent.")
@click.option("--weights", type=click.Path(path_type=Path), default=None, help="State dict of the model.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=None,
    help="Where a training keeps model and checkpoint; the same command goes on from there. Needed without weights.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Parquet: id, label, scores.")
@options.seed
@options.compute
@click.option("--amp", is_flag=True, help="Train with bfloat16 (CUDA only).")
@options.numbers("--input-mean", "Normalisation that the weights were trained with, as 0.485,0.456,0.406 or 0.13.")
@options.numbers("--input-std", "Likewise.")
@options.pairs("--recipe", "recipe", "A key of the scorer's recipe, as epochs=20; may be repeated.")
@options.settings("the scorer, or of the dataset if only that has it")
@options.pairs("--scorer-set", "scorer_settings", "A field of the scorer; may be repeated.")
@options.pairs("--dataset-set", "dataset_settings", "A field of the dataset; may be repeated.")
@options.as_json
def score(
    scorer_name: str, dataset: str, root: Path, split: str, test_split: str, model: str | None, weights: Path | None,
    folder: Path | None, out: Path, seed: int, device: str, threads: int, amp: bool,
    input_mean: tuple[float, ...] | None, input_std: tuple[float, ...] | None, recipe: Sequence[str],
    settings: Sequence[str], scorer_settings: Sequence[str], dataset_settings: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Score every image, by default by the entropy of a model's prediction."""
    from nasbench.cli.scoring import divide, merged_recipe, scored
    from nasbench.core.table import save_table
    from nasbench.datasets import DATASETS
    from nasbench.scorers import SCORERS
    from nasbench.training.determinism import configure

    kind, source = SCORERS.get(scorer_name), DATASETS.get(dataset)
    of_scorer, of_dataset = divide(settings, kind, source)
    typed: dict[str, Any] = {"model": model, "weights": None if weights is None else str(weights),
             "input_mean": input_mean, "input_std": input_std}  # fmt: skip
    typed = {name: value for name, value in typed.items() if value is not None}
    if recipe:
        typed["recipe"] = merged_recipe(kind, options.settings_of(recipe, "--recipe"))
    fields = _joined(typed, of_scorer, options.settings_of(scorer_settings, "--scorer-set"))
    scorer = parse(kind, fields, "score")
    chosen = build(DATASETS, dataset, _joined(of_dataset, options.settings_of(dataset_settings, "--dataset-set")))
    if folder is None and not scorer.takes_given_weights:
        raise click.UsageError(
            f"the scorer {scorer_name!r} trains a model where no weights are given: give --folder DIR, which keeps it "
            f"and lets an interrupted training go on, or --weights FILE."
        )
    if scorer.takes_given_weights:
        options.refuse_typed("where weights are given: nothing is trained", "seed", "test_split", "amp")
    check_writable(out)
    images = chosen.load(split, root=root)
    configure(threads)
    load_test = partial(chosen.load, test_split, root=root)
    with scored(scorer, images, load_test, folder, seed=seed, device=device, amp=amp) as table:
        save_table(out, table)
        figures: dict[str, Any] = scorer.summary(table)
        if table.features is not None:
            figures["num_features"] = table.features.shape[1]
    say({"out": str(out), "num_examples": len(images), **figures}, as_json)


def _joined(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return all fields; the same one in two ways is an error."""
    fields: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name in fields:
                raise ConfigError(f"{name}: is given twice, in two ways. Give it once.")
            fields[name] = value
    return fields
