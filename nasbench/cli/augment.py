"""``nasbench augment``: train a cell from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from nasbench.cli import options
from nasbench.cli.parts import dataset_of, read_genotype, say, shape_for
from nasbench.config.component import fields_of, parse
from nasbench.core.files import check_writable, write_json


@click.command()
@click.option("--genotype", type=click.Path(path_type=Path), required=True, help="Genotype file.")
@options.dataset
@click.option("--preset", default=None, help="Recipe of a paper, for example nastransfer.")
@options.shape(cells=20, channels=36)
@options.seed
@options.compute
@options.kernels
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Also write the figures as JSON.")
@options.settings("the recipe")
@options.as_json
def augment(
    genotype: Path, dataset: str, root: Path, dataset_settings: Sequence[str], preset: str | None, cells: int,
    channels: int, stem: str, seed: int, device: str, threads: int, out: Path | None, settings: Sequence[str],
    as_json: bool,
) -> None:  # fmt: skip
    """Train a genotype from scratch; --set gives fields of the recipe, for example --set epochs=20."""
    from nasbench.tracking.tracker import NullTracker
    from nasbench.training.augment import augment_cell
    from nasbench.training.determinism import configure
    from nasbench.training.presets import preset as named_preset
    from nasbench.training.recipe import Recipe

    base = fields_of(named_preset(preset)) if preset else {}
    recipe = parse(Recipe, {**base, **options.settings_of(settings)}, "recipe")
    if out:
        check_writable(out)
    space, value, _ = read_genotype(genotype)
    source = dataset_of(dataset, dataset_settings)
    train, test = (source.load(split, root=root) for split in ("train", "test"))
    shape = shape_for(train, num_cells=cells, channels=channels, stem=stem, auxiliary=recipe.auxiliary_weight > 0)
    configure(threads)
    result = augment_cell(space, value, shape, train, test, recipe, seed=seed, device=device, amp=False,
                          checkpoint=None, tracker=NullTracker(), description="augment")  # fmt: skip
    figures = {"top1": result.top1, "best_top1": result.best_top1, "parameters": result.parameters,
               "macs": result.macs, "seconds": result.seconds}  # fmt: skip
    if out:
        write_json(out, figures)
    say(figures, as_json)
