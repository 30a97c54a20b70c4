"""``nasbench list``: what can be named in params.yaml."""

from __future__ import annotations

import json
from typing import Any

import click

from nasbench.cli import options
from nasbench.config.component import describe
from nasbench.core.registry import Registry


def families() -> dict[str, Registry[Any]]:
    """Return every family by its plural."""
    from nasbench.datasets import DATASETS
    from nasbench.scorers import SCORERS
    from nasbench.searchers import SEARCHERS
    from nasbench.selectors import SELECTORS
    from nasbench.spaces import SPACES

    return {
        "datasets": DATASETS, "scorers": SCORERS, "selectors": SELECTORS, "searchers": SEARCHERS, "spaces": SPACES,
    }  # fmt: skip


@click.command("list")
@click.argument(
    "family", required=False, type=click.Choice(["datasets", "scorers", "selectors", "searchers", "spaces"])
)
@options.as_json
def list_members(family: str | None, as_json: bool) -> None:
    """List what can be named in params.yaml, with each member's parameters and their defaults."""
    every = families()
    listing = {
        name: [describe(registry.get(member)) for member in registry.names()]
        for name, registry in every.items()
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
