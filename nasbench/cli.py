"""``nasbench``: the pipeline's parts for one-off use, without DVC. ``--json`` prints machine-readable output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nasbench import __version__, cli_options
from nasbench.config.component import describe, fields_of, parse
from nasbench.core.errors import FileReadError, NasbenchError
from nasbench.core.files import check_writable, write_json
from nasbench.core.registry import Registry

if TYPE_CHECKING:
    from nasbench.core.genotype import Cell, Genotype
    from nasbench.datasets.base import ImageSet
    from nasbench.spaces.base import NetworkShape, SearchSpace

T = TypeVar("T")


def _families() -> dict[str, Registry[Any]]:
    from nasbench.datasets import DATASETS
    from nasbench.scorers import SCORERS
    from nasbench.searchers import SEARCHERS
    from nasbench.selectors import SELECTORS
    from nasbench.spaces import SPACES

    return {
        "datasets": DATASETS, "scorers": SCORERS, "selectors": SELECTORS, "searchers": SEARCHERS, "spaces": SPACES,
    }  # fmt: skip


def _build(registry: Registry[T], name: str, fields: Mapping[str, Any]) -> T:
    return parse(registry.get(name), fields, name)


def _shape_for(images: ImageSet, **fields: Any) -> NetworkShape:
    """Return the shape of a network that fits the images."""
    from nasbench.spaces.base import NetworkShape

    channels, side, _ = images.image_shape
    return parse(
        NetworkShape, {"num_classes": images.num_classes, "in_channels": channels, "image_size": side, **fields}
    )


def _read_genotype(file: Path) -> tuple[SearchSpace, Genotype, Mapping[str, Cell]]:
    """Read a genotype file and check it against its space."""
    from nasbench.core.genotype import load_genotype
    from nasbench.spaces import SPACES

    genotype, cells = load_genotype(file)
    space = _build(SPACES, genotype.space, {})
    space.check(genotype)
    space.check_cells(genotype, cells)
    return space, genotype, cells


def _say(value: Mapping[str, Any], as_json: bool) -> None:
    text = json.dumps(value, indent=2) if as_json else "\n".join(f"{key}: {entry}" for key, entry in value.items())
    click.echo(text)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def cli() -> None:
    """Is a small proxy of the data enough to search a neural architecture?"""


@cli.command("list")
@click.argument(
    "family", required=False, type=click.Choice(["datasets", "scorers", "selectors", "searchers", "spaces"])
)
@cli_options.as_json
def list_members(family: str | None, as_json: bool) -> None:
    """List what can be named in params.yaml, with each member's parameters and their defaults."""
    families = _families()
    listing = {
        name: [describe(registry.get(member)) for member in registry.names()]
        for name, registry in families.items()
        if family in {None, name}
    }
    if as_json:
        click.echo(json.dumps(listing, indent=2))
        return
    for name, members in listing.items():
        click.secho(name, bold=True)
        for member in members:
            click.echo(f"  {member['name']:<28} {member['summary']}")
            for field, default in member["fields"].items():
                click.echo(f"      {field}: {json.dumps(default)}")


@cli.command()
@click.option("--genotype", required=True, help="A published name (DARTS_V2, ...) or a genotype file.")
@cli_options.shape(cells=20, channels=36)
@click.option("--classes", type=click.IntRange(min=2), default=10)
@click.option("--image-size", type=click.IntRange(min=1), default=32)
@click.option("--in-channels", type=click.IntRange(min=1), default=3)
@cli_options.as_json
def cost(
    genotype: str, cells: int, channels: int, classes: int, image_size: int, in_channels: int, stem: str, as_json: bool
) -> None:
    """Count parameters and multiply-adds (convolutions and linear layers, no auxiliary head); always prints JSON."""
    del as_json  # every command has --json; here it changes nothing
    import torch

    from nasbench.spaces.base import NetworkShape
    from nasbench.spaces.network import build_network
    from nasbench.training.cost import measure

    fields = {"num_cells": cells, "channels": channels, "num_classes": classes, "in_channels": in_channels,
              "image_size": image_size, "stem": stem}  # fmt: skip
    with torch.device("meta"):
        network = build_network(_cells_of(genotype), parse(NetworkShape, fields))
    counted = measure(network, (in_channels, image_size, image_size))
    click.echo(json.dumps({"genotype": genotype, "params": counted.parameters, "macs": counted.macs, **fields}))


def _cells_of(genotype: str) -> Mapping[str, Cell]:
    """Return the cells of a published name, or of a file checked against its space."""
    from nasbench.spaces.published import published_cells

    if not Path(genotype).is_file():
        if len(Path(genotype).parts) > 1 or Path(genotype).suffix == ".json":
            raise FileReadError(f"there is no genotype file {genotype}. Check the path, or give a published name.")
        return published_cells(genotype)
    return _read_genotype(Path(genotype))[2]


@cli.command()
@click.option("--dataset", default="image-folder")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data"))
@click.option("--split", default="train")
@click.option("--model", default="resnet20", help="resnet20, resnet56, ... or timm:<name>.")
@click.option("--weights", type=click.Path(path_type=Path), required=True, help="State dict of the model.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Parquet: id, label, entropy in nats.")
@cli_options.compute
@cli_options.numbers("--input-mean", "Normalisation that the weights were trained with, as 0.485,0.456,0.406 or 0.13.")
@cli_options.numbers("--input-std", "Likewise.")
@cli_options.settings("the dataset")
@cli_options.as_json
def score(
    dataset: str, root: Path, split: str, model: str, weights: Path, out: Path, device: str, threads: int,
    input_mean: tuple[float, ...] | None, input_std: tuple[float, ...] | None, settings: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Score every image by the entropy of a model's prediction."""
    import tempfile

    from nasbench.core.table import save_table
    from nasbench.datasets import DATASETS
    from nasbench.scorers.base import ComputeOptions
    from nasbench.scorers.entropy import Entropy
    from nasbench.tracking.tracker import NullTracker
    from nasbench.training.determinism import configure

    check_writable(out)
    images = _build(DATASETS, dataset, cli_options.settings_of(settings)).load(split, root=root)
    options: dict[str, Any] = {"model": model, "weights": str(weights)}
    options |= {"input_mean": input_mean} if input_mean else {}
    options |= {"input_std": input_std} if input_std else {}
    scorer = parse(Entropy, options, "score")
    compute = ComputeOptions(device=device)
    configure(threads)
    with tempfile.TemporaryDirectory() as folder:
        scorer.adopt(images, Path(folder))
        table = scorer.score(images, Path(folder), compute=compute, tracker=NullTracker())
    save_table(out, table)
    mean = float(table.column("entropy").mean())
    _say({"out": str(out), "num_examples": len(table), "entropy_mean": mean}, as_json)


@cli.command()
@click.option(
    "--scores", type=click.Path(path_type=Path), required=True, help="Parquet, or text: index, entropy, label."
)
@click.option("--selector", required=True)
@click.option("--fraction", type=float, default=None)
@click.option("--size", type=int, default=None)
@cli_options.seed
@click.option("--out", type=click.Path(path_type=Path), required=True)
@cli_options.settings("the selector")
@cli_options.as_json
def select(
    scores: Path, selector: str, fraction: float | None, size: int | None, seed: int, out: Path,
    settings: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Select a proxy set; writes its sorted row numbers as ``indices``."""
    from nasbench.core.proxy import save_proxy
    from nasbench.core.table import load_table
    from nasbench.selectors import SELECTORS
    from nasbench.selectors.selection import describe, select_proxy, size_for

    chosen = _build(SELECTORS, selector, cli_options.settings_of(settings))
    table = load_table(scores)
    whole = chosen.name == "whole" and fraction is None and size is None
    k = len(table) if whole else size_for(fraction, size, len(table))
    proxy = select_proxy(chosen, table, k, seed)
    save_proxy(out, proxy, describe(table, proxy))
    _say({"out": str(out), "selector": selector, "num_examples": len(proxy), "of": len(table)}, as_json)


@cli.command()
@cli_options.dataset
@click.option("--proxy", type=click.Path(path_type=Path), default=None, help="Proxy file; without one the whole set.")
@click.option("--space", default="darts")
@click.option("--searcher", default="darts")
@cli_options.shape(cells=8, channels=16)
@click.option(
    "--crop-padding", type=click.IntRange(min=0), default=4, help="Pixels around an image before its random crop."
)
@click.option("--flip/--no-flip", default=True, help="Mirror images at random; wrong for digits.")
@cli_options.seed
@cli_options.compute
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Genotype file (JSON).")
@cli_options.settings("the searcher")
@cli_options.as_json
def search(
    dataset: str, root: Path, dataset_settings: Sequence[str], proxy: Path | None, space: str, searcher: str,
    cells: int, channels: int, stem: str, crop_padding: int, flip: bool, seed: int, device: str, threads: int,
    out: Path, settings: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Search a cell; --set gives fields of the searcher, for example --set epochs=10."""
    from nasbench.core.genotype import save_genotype
    from nasbench.datasets import DATASETS
    from nasbench.searchers import SEARCHERS
    from nasbench.searchers.base import SearchTask
    from nasbench.spaces import SPACES
    from nasbench.tracking.tracker import NullTracker
    from nasbench.training.determinism import configure
    from nasbench.training.recipe import Augmentation

    chosen, where = _build(SEARCHERS, searcher, cli_options.settings_of(settings)), _build(SPACES, space, {})
    source = _build(DATASETS, dataset, cli_options.settings_of(dataset_settings, "--dataset-set"))
    check_writable(out)
    images = source.load("train", root=root)
    weights, alphas = _halves(images, proxy, seed)
    shape = _shape_for(images, num_cells=cells, channels=channels, stem=stem)
    task = SearchTask(space=where, shape=shape, images=images, weight_indices=weights, alpha_indices=alphas,
                      augmentation=Augmentation(crop_padding=crop_padding, flip=flip), seed=seed,
                      device=device)  # fmt: skip
    configure(threads)
    result = chosen.search(task, NullTracker())
    save_genotype(out, result.genotype, where.cells(result.genotype))
    _say({"out": str(out), "genotype": result.genotype.fingerprint, "seconds": result.seconds,
          "warnings": list(result.warnings)}, as_json)  # fmt: skip


def _halves(images: Any, proxy: Path | None, seed: int) -> Any:
    import numpy as np

    from nasbench.core.proxy import ProxySet, load_proxy

    if proxy is None:
        rows = np.arange(len(images), dtype=np.int64)
        chosen = ProxySet(indices=rows, num_examples=len(images), dataset=images.fingerprint,
                          selector={"selector": "whole"}, seed=seed)  # fmt: skip
    else:
        chosen = load_proxy(proxy)
    chosen.check_dataset(images.fingerprint, len(images))
    return chosen.halves()


@cli.command()
@click.option("--genotype", type=click.Path(path_type=Path), required=True, help="Genotype file.")
@cli_options.dataset
@click.option("--preset", default=None, help="Recipe of a paper, for example nastransfer.")
@cli_options.shape(cells=20, channels=36)
@cli_options.seed
@cli_options.compute
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Also write the figures as JSON.")
@cli_options.settings("the recipe")
@cli_options.as_json
def augment(
    genotype: Path, dataset: str, root: Path, dataset_settings: Sequence[str], preset: str | None, cells: int,
    channels: int, stem: str, seed: int, device: str, threads: int, out: Path | None, settings: Sequence[str],
    as_json: bool,
) -> None:  # fmt: skip
    """Train a genotype from scratch; --set gives fields of the recipe, for example --set epochs=20."""
    from nasbench.datasets import DATASETS
    from nasbench.tracking.tracker import NullTracker
    from nasbench.training.augment import augment_cell
    from nasbench.training.determinism import configure
    from nasbench.training.presets import preset as named_preset
    from nasbench.training.recipe import Recipe

    base = fields_of(named_preset(preset)) if preset else {}
    recipe = parse(Recipe, {**base, **cli_options.settings_of(settings)}, "recipe")
    if out:
        check_writable(out)
    space, value, _ = _read_genotype(genotype)
    source = _build(DATASETS, dataset, cli_options.settings_of(dataset_settings, "--dataset-set"))
    train, test = (source.load(split, root=root) for split in ("train", "test"))
    shape = _shape_for(train, num_cells=cells, channels=channels, stem=stem, auxiliary=recipe.auxiliary_weight > 0)
    configure(threads)
    result = augment_cell(space, value, shape, train, test, recipe, seed=seed, device=device, amp=False,
                          checkpoint=None, tracker=NullTracker(), description="augment")  # fmt: skip
    figures = {"top1": result.top1, "best_top1": result.best_top1, "parameters": result.parameters,
               "macs": result.macs, "seconds": result.seconds}  # fmt: skip
    if out:
        write_json(out, figures)
    _say(figures, as_json)


@cli.command()
@click.option("--genotype", required=True, help="A published name or a genotype file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="SVG file.")
@cli_options.as_json
def draw(genotype: str, out: Path, as_json: bool) -> None:
    """Draw a cell as a graph."""
    from nasbench.analysis.draw import write_drawing

    write_drawing(out, _cells_of(genotype), title=Path(genotype).stem)
    _say({"out": str(out)}, as_json)


@cli.command("relocate")
@click.option("--root", type=click.Path(path_type=Path), default=Path(), help="The checkout.")
@cli_options.as_json
def relocate_store(root: Path, as_json: bool) -> None:
    """Repair artifact paths in mlruns/mlflow.db after the checkout has moved."""
    from nasbench.tracking.relocate import relocate

    _say({"changed": relocate(root)}, as_json)


def main() -> None:
    """Entry point; turns errors into a message and exit code 1."""
    try:
        cli(prog_name="nasbench")
    except (NasbenchError, OSError) as error:  # an OSError is of the system, for example no room for a temporary file
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
