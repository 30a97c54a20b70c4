"""``nasbench relocate``: repair the store after the checkout has moved."""

from __future__ import annotations

from pathlib import Path

import click

from nasbench.cli import options
from nasbench.cli.parts import say


@click.command("relocate")
@click.option("--root", type=click.Path(path_type=Path), default=Path(), help="The checkout.")
@options.as_json
def relocate_store(root: Path, as_json: bool) -> None:
    """Repair artifact paths in mlruns/mlflow.db after the checkout has moved."""
    from nasbench.tracking.relocate import relocate

    say({"changed": relocate(root)}, as_json)
