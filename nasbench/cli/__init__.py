"""``nasbench``: the pipeline's parts for one-off use, without DVC. ``--json`` prints machine-readable output."""

from __future__ import annotations

import sys

import click

from nasbench import __version__
from nasbench.cli import augment, cost, document, draw, listing, relocate, score, search, select, tune_proxy
from nasbench.core.errors import NasbenchError

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def cli() -> None:
    """Is a small proxy of the data enough to search a neural architecture?"""


for _command in (
    listing.list_members, cost.cost, score.score, select.select, search.search, augment.augment, draw.draw,
    document.document, tune_proxy.tune_proxy, relocate.relocate_store,
):  # fmt: skip
    cli.add_command(_command)


def main() -> None:
    """Entry point; turns errors into a message and exit code 1."""
    try:
        cli(prog_name="nasbench")
    except (NasbenchError, OSError) as error:  # an OSError is of the system, for example no room for a temporary file
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
