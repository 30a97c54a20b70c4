"""``nasbench document``: a page a selector, with a picture of what it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench.cli import options
from nasbench.cli.parts import dataset_of, explained, say

if TYPE_CHECKING:
    from nasbench.core.table import ExampleTable
    from nasbench.datasets.base import ImageSet

_COMMAND = "nasbench document --selector {name} --dataset image-folder --root ROOT --scores scores.parquet --out pages"


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the pages.")
@click.option("--selector", "names", multiple=True, help="May be repeated; all selectors if absent.")
@click.option("--dataset", default="digits")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data"))
@click.option("--split", default="train")
@options.pairs("--dataset-set", "dataset_settings", "A field of the dataset; may be repeated.")
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Score table of these images; may be repeated. For the digits they are made if absent.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Where the digits' scorers keep their models, so that a second call is quick.",
)
@click.option("--fraction", type=float, default=0.1)
@options.seed
@options.as_json
def document(
    out: Path, names: Sequence[str], dataset: str, root: Path, split: str, dataset_settings: Sequence[str],
    scores: Sequence[Path], folder: Path | None, fraction: float, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Write a page about each selector with a picture of the examples that it takes."""
    from nasbench.analysis.selector_page import INDEX, index_text
    from nasbench.cli.digit_scores import score_digits
    from nasbench.core.errors import NasbenchError
    from nasbench.core.files import write_text
    from nasbench.selectors import SELECTORS

    if not scores and dataset != "digits":
        raise click.UsageError("give --scores FILE, made by `nasbench score`; only those of the digits are made here.")
    if scores:
        options.refuse_typed("with --scores", "folder")
    kinds = [SELECTORS.get(name) for name in dict.fromkeys(names or SELECTORS.names())]
    images = dataset_of(dataset, dataset_settings).load(split, root=root)
    needs = {column for kind in kinds for column in kind.needs}
    table, how = score_digits(images, needs, folder, seed=seed) if not scores else (_read(scores, images), {})
    left_out: dict[str, str] = {}
    written = []
    for kind in kinds:
        try:
            _write(out, kind, table, images, _where(dataset, root), how, fraction, seed)
            written.append(kind)
        except NasbenchError as error:
            if names:  # asked for by name
                raise
            left_out[kind.name] = str(error)
            click.echo(f"no page for {kind.name}: {error}", err=True)
    if not names:
        write_text(out / INDEX, index_text(written))
    say({"out": str(out), "pages": [kind.name for kind in written], "left_out": left_out}, as_json)


def _read(files: Sequence[Path], images: ImageSet) -> ExampleTable:
    """Return the columns and features of all files as one table of the images."""
    from nasbench.cli.parts import check_table, together
    from nasbench.core.table import load_table

    tables = {str(file): load_table(file) for file in files}
    for name, table in tables.items():
        check_table(name, table, images)
    return together(list(tables.values()), images)


def _where(dataset: str, root: Path) -> str:
    """Return what a page calls the images."""
    names = {"digits": "the digits", "image-folder": f"the image folder {root.resolve().name}"}
    return names.get(dataset, dataset)


def _fields(kind: type[Any], num_classes: int) -> dict[str, Any]:
    """Return the fields of a page's selector: its defaults, but half of the classes where it can leave some out."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {"num_classes": max(1, num_classes // 2)} if "num_classes" in names else {}


def _write(
    out: Path,
    kind: type[Any],
    table: ExampleTable,
    images: ImageSet,
    where: str,
    how: dict[str, str],
    fraction: float,
    seed: int,
) -> None:
    from nasbench.analysis.selector_page import run_text, write_page
    from nasbench.config.component import parse
    from nasbench.selectors.selection import proxy_size, select_proxy

    selector = parse(kind, _fields(kind, images.num_classes), kind.name)
    share = None if kind.name == "whole" else fraction
    proxy = select_proxy(selector, table, proxy_size(selector, table, share, None, seed), seed)
    told = explained(selector, table, proxy, images)
    sentences = list(dict.fromkeys(how[column] for column in kind.needs if column in how))
    write_page(out, kind, told, run_text(told, where, sentences, _COMMAND.format(name=kind.name)))
