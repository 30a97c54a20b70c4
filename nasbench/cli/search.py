"""``nasbench search``: from a proxy to a cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nasbench.cli import options
from nasbench.cli.parts import build, dataset_of, say, shape_for
from nasbench.core.files import check_writable


@click.command()
@options.dataset
@click.option("--proxy", type=click.Path(path_type=Path), default=None, help="Proxy file; without one the whole set.")
@click.option("--space", default="darts")
@click.option("--searcher", default=None, help="A searcher; darts if neither it nor a preset is given.")
@click.option("--preset", default=None, help="Published fields of a searcher for a space or dataset.")
@options.shape(cells=8, channels=16)
@click.option(
    "--crop-padding", type=click.IntRange(min=0), default=4, help="Pixels around an image before its random crop."
)
@click.option("--flip/--no-flip", default=True, help="Mirror images at random; wrong for digits.")
@options.seed
@options.compute
@options.kernels
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Genotype file (JSON).")
@options.settings("the searcher")
@options.as_json
def search(
    dataset: str, root: Path, dataset_settings: Sequence[str], proxy: Path | None, space: str, searcher: str | None,
    preset: str | None, cells: int, channels: int, stem: str, crop_padding: int, flip: bool, seed: int, device: str,
    threads: int, out: Path, settings: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Search a cell; --set gives fields of the searcher, for example --set epochs=10, also beside a preset."""
    from nasbench.core.genotype import save_genotype
    from nasbench.searchers import SEARCHERS
    from nasbench.searchers.base import SearchTask
    from nasbench.spaces import SPACES
    from nasbench.tracking.tracker import NullTracker
    from nasbench.training.determinism import configure
    from nasbench.training.recipe import Augmentation

    name, fields = _searcher(searcher, preset)
    chosen = build(SEARCHERS, name, fields | options.settings_of(settings))
    where = build(SPACES, space, {})
    chosen.check_space(where)
    source = dataset_of(dataset, dataset_settings)
    check_writable(out)
    images = source.load("train", root=root)
    weights, alphas = _halves(images, proxy, seed)
    shape = shape_for(images, num_cells=cells, channels=channels, stem=stem)
    task = SearchTask(space=where, shape=shape, images=images, weight_indices=weights, alpha_indices=alphas,
                      augmentation=Augmentation(crop_padding=crop_padding, flip=flip), seed=seed,
                      device=device)  # fmt: skip
    configure(threads)
    result = chosen.search(task, NullTracker())
    save_genotype(out, result.genotype, where.cells(result.genotype))
    say({"out": str(out), "genotype": result.genotype.fingerprint, "seconds": result.seconds,
          "warnings": list(result.warnings), "notes": list(result.notes)}, as_json)  # fmt: skip


def _searcher(name: str | None, preset: str | None) -> tuple[str, dict[str, Any]]:
    """Return the searcher's name and the fields that a preset gives it."""
    from nasbench.searchers.presets import preset as published

    if preset is None:
        return name or "darts", {}
    if name is not None:
        raise click.UsageError("--searcher has no effect with --preset, which names one. Give either of them.")
    params = published(preset).as_params()
    return params["searcher"], dict(params["options"])


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
