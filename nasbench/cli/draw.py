"""``nasbench draw``: a cell as a graph."""

from __future__ import annotations

from pathlib import Path

import click

from nasbench.cli import options
from nasbench.cli.parts import cells_of, say


@click.command()
@click.option("--genotype", required=True, help="A published name or a genotype file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="SVG file.")
@options.as_json
def draw(genotype: str, out: Path, as_json: bool) -> None:
    """Draw a cell as a graph."""
    from nasbench.analysis.draw import write_drawing

    write_drawing(out, cells_of(genotype), title=Path(genotype).stem)
    say({"out": str(out)}, as_json)
