"""``nasbench select``: from scores to a proxy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nasbench.cli import options
from nasbench.cli.parts import build, dataset_of, explained, say, table_for


@click.command()
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    default=None,
    help="Parquet, or text: index, entropy, label. Not needed with --dataset by selectors that read no score.",
)
@click.option("--selector", default=None, help="See `nasbench list selectors`.")
@click.option("--preset", default=None, help="A published proxy instead, for example imagenet1k-p4 (NASTransfer).")
@click.option("--fraction", type=float, default=None, help="Share of the examples that the selector can choose from.")
@click.option("--size", type=int, default=None, help="Or their number.")
@options.seed
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON: the proxy.")
@click.option(
    "--explain",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder for an offline page about the selection, with its figures; --dataset adds pictures.",
)
@click.option("--dataset", default=None, help="The images that were scored.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data"), help="Folder of its files.")
@click.option("--split", default="train")
@options.pairs("--dataset-set", "dataset_settings", "A field of the dataset; may be repeated.")
@options.settings("the selector")
@options.as_json
def select(
    scores: Path | None, selector: str | None, preset: str | None, fraction: float | None, size: int | None,
    seed: int, out: Path, explain: Path | None, dataset: str | None, root: Path, split: str,
    dataset_settings: Sequence[str], settings: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Select a proxy set; writes its sorted row numbers as ``indices``."""
    from nasbench.core.proxy import save_proxy
    from nasbench.selectors import SELECTORS
    from nasbench.selectors.nastransfer import preset as published
    from nasbench.selectors.selection import describe, proxy_size, select_proxy

    if scores is None and dataset is None:
        raise click.UsageError("give --scores FILE, or --dataset NAME for a selector that reads no score.")
    if dataset is None:
        options.refuse_typed("without --dataset", "root", "split", "dataset_settings")
    if (selector is None) == (preset is None):
        raise click.UsageError("give exactly one of --selector and --preset.")
    fields = options.settings_of(settings)
    if preset is not None:
        options.refuse_typed("with --preset, which says it itself", "fraction", "size", "settings")
        found = published(preset)
        selector, fields, size = found.selector, dict(found.options), found.size
    chosen = build(SELECTORS, str(selector), fields)
    images = None if dataset is None else dataset_of(dataset, dataset_settings).load(split, root=root)
    table = table_for(scores, images)
    k = proxy_size(chosen, table, fraction, size, seed)
    proxy = select_proxy(chosen, table, k, seed)
    details = describe(table, proxy)
    result: dict[str, Any] = {"out": str(out), "selector": chosen.name, "num_examples": len(proxy), "of": len(table)}
    if explain is not None:
        from nasbench.analysis.explain_page import write_explanation
        from nasbench.config.component import describe as about

        told = explained(chosen, table, proxy, images)
        result["page"] = str(write_explanation(explain, told, about(type(chosen))))
    save_proxy(out, proxy, details)
    say(result, as_json)
