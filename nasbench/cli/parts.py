"""What several commands do: build a member, load images, read a genotype, print a result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nasbench.cli.options import settings_of
from nasbench.config.component import parse
from nasbench.core.errors import ConfigError, FileReadError, ScoreError
from nasbench.core.registry import Registry

if TYPE_CHECKING:
    from torch.nn import Module

    from nasbench.analysis.explanation import Explanation
    from nasbench.core.genotype import Cell, Genotype
    from nasbench.core.proxy import ProxySet
    from nasbench.core.table import ExampleTable
    from nasbench.datasets.base import DatasetSpec, ImageSet
    from nasbench.selectors.base import ProxySelector
    from nasbench.spaces.base import NetworkShape, SearchSpace

T = TypeVar("T")


def build(registry: Registry[T], name: str, fields: Mapping[str, Any]) -> T:
    """Return a family's member of that name with these fields."""
    return parse(registry.get(name), fields, name)


def dataset_of(name: str, pairs: Sequence[str]) -> DatasetSpec:
    """Return the dataset of that name with the fields that ``--dataset-set`` gave."""
    from nasbench.datasets import DATASETS

    return build(DATASETS, name, settings_of(pairs, "--dataset-set"))


def table_for(scores: Path | None, images: ImageSet | None) -> ExampleTable:
    """Return the scores, or the images' labels alone where no scores are given.

    Args:
        scores: Score table, or None.
        images: Images that the scores must be of, or None where that cannot be told.

    Raises:
        ScoreError: The scores are of other images.
    """
    from nasbench.core.table import ExampleTable, load_table

    if scores is None:
        if images is None:
            raise ConfigError("neither scores nor images are given. Give one of both.")
        return ExampleTable(dataset=images.fingerprint, labels=images.labels, ids=images.ids)
    table = load_table(scores)
    if images is not None:
        check_table(str(scores), table, images)
    return table


def check_table(name: str, table: ExampleTable, images: ImageSet) -> None:
    """Refuse scores of other images.

    Raises:
        ScoreError: Number or fingerprint differ.
    """
    if len(images) != len(table) or table.dataset not in {"", images.fingerprint}:
        raise ScoreError(
            f"{name} holds scores of dataset {table.dataset or 'unknown'} with {len(table)} examples, not of "
            f"{images.fingerprint} with {len(images)}. Name the dataset and split that were scored."
        )


def together(tables: Sequence[ExampleTable], images: ImageSet) -> ExampleTable:
    """Return one table of the images with the columns and features of several."""
    from nasbench.core.table import ExampleTable

    columns = {name: column for table in tables for name, column in table.columns.items()}
    features = next((table.features for table in tables if table.features is not None), None)
    return ExampleTable(
        dataset=images.fingerprint, labels=images.labels, ids=images.ids, columns=columns, features=features
    )


def explained(selector: ProxySelector, table: ExampleTable, proxy: ProxySet, images: ImageSet | None) -> Explanation:
    """Return what a selection did, ordered by what the selector orders by where that is no column of its own.

    Args:
        selector: What selected.
        table: What it selected from.
        proxy: What it selected.
        images: To show pictures too.
    """
    from nasbench.analysis.explanation import Score, explain
    from nasbench.core.seeding import generator
    from nasbench.core.table import FEATURES
    from nasbench.selectors.scored import ScoreSelector
    from nasbench.selectors.selection import describe

    score = None
    if FEATURES in selector.needs and isinstance(selector, ScoreSelector):
        order = selector.order_by(table, generator(proxy.seed, "select", selector.name))
        score = Score(name="the distance that the selector orders by", values=order)
    return explain(
        table, proxy, describe(table, proxy), needs=selector.needs, score=score,
        pixels=None if images is None else images.images.__getitem__,
    )  # fmt: skip


def shape_for(images: ImageSet, **fields: Any) -> NetworkShape:
    """Return the shape of a network that fits the images."""
    from nasbench.spaces.base import NetworkShape

    channels, side, _ = images.image_shape
    return parse(
        NetworkShape, {"num_classes": images.num_classes, "in_channels": channels, "image_size": side, **fields}
    )


def read_genotype(file: Path) -> tuple[SearchSpace, Genotype, Mapping[str, Cell]]:
    """Read a genotype file and check it against its space."""
    from nasbench.core.genotype import load_genotype
    from nasbench.spaces import SPACES

    genotype, cells = load_genotype(file)
    space = build(SPACES, genotype.space, {})
    space.check(genotype)
    space.check_cells(genotype, cells)
    return space, genotype, cells


def cells_of(genotype: str) -> Mapping[str, Cell]:
    """Return the cells of a published name, or of a file checked against its space."""
    from nasbench.spaces.published import published_cells

    return read_genotype(Path(genotype))[2] if _is_file(genotype) else published_cells(genotype)


def network_of(genotype: str, shape: NetworkShape) -> Module:
    """Return the discrete network of a published name, or of a file checked against its space."""
    from nasbench.spaces.network import build_network
    from nasbench.spaces.published import published_cells

    if not _is_file(genotype):
        return build_network(published_cells(genotype), shape)
    space, read, _ = read_genotype(Path(genotype))
    return space.network(read, shape)


def _is_file(genotype: str) -> bool:
    """Whether this is a genotype file and not a published name."""
    if Path(genotype).is_file():
        return True
    if len(Path(genotype).parts) > 1 or Path(genotype).suffix == ".json":
        raise FileReadError(f"there is no genotype file {genotype}. Check the path, or give a published name.")
    return False


def say(value: Mapping[str, Any], as_json: bool) -> None:
    """Print a result: one JSON object, or a line an entry."""
    text = json.dumps(value, indent=2) if as_json else "\n".join(f"{key}: {entry}" for key, entry in value.items())
    click.echo(text)
