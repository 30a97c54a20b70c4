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


def _described(family: str, member: Any) -> dict[str, Any]:
    """Return what is listed of a member; of a searcher also what it can search and whose its defaults are."""
    described = describe(member)
    if family == "searchers":
        described |= {"spaces": list(member.spaces()), "defaults_from": member.defaults_from}
    return described


@click.command("list")
@click.argument(
    "family", required=False, type=click.Choice(["datasets", "scorers", "selectors", "searchers", "spaces"])
)
@options.as_json
def list_members(family: str | None, as_json: bool) -> None:
    """List what can be named in params.yaml, with each member's parameters and their defaults."""
    every = families()
    listing = {
        name: [_described(name, registry.get(member)) for member in registry.names()]
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
            for key in ("spaces", "defaults_from"):
                if key in member:
                    value = member[key] if isinstance(member[key], str) else ", ".join(member[key])
                    click.echo(f"      ({key.replace('_', ' ')}: {value})")
            for field, default in member["fields"].items():
                click.echo(f"      {field}: {json.dumps(default)}")
