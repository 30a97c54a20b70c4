"""The page about search spaces says what the code says: every number, every operation, every source."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from nasbench.cli import cli
from nasbench.core.seeding import generator
from nasbench.spaces import SPACES
from nasbench.spaces.base import NetworkShape, SearchSpace
from nasbench.spaces.nats_bench_size import WIDTHS

PAGE = Path(__file__).resolve().parents[1] / "docs/spaces.md"
TEXT = PAGE.read_text(encoding="utf-8")


def rows(text: str, first: str) -> list[dict[str, str]]:
    """The table whose first column has this title."""
    (table,) = re.findall(rf"^\| {first} \|.*\n(?:\|.*\n)+", text, flags=re.MULTILINE)
    titles, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return [dict(zip(titles, line, strict=True)) for line in lines]


def named(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", text))


TABLE = {named(row["space"])[0]: row for row in rows(TEXT, "space \\| cell kinds")}
SECTIONS = {
    name: section
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    for name in section.splitlines()[0].split(", ")
}


def number(text: str) -> int:
    assert re.fullmatch(r"\d{1,3}(,\d{3})*", text), text
    return int(text.replace(",", ""))


def build(name: str) -> SearchSpace:
    return SPACES.get(name)()


def places_for_edges(space: SearchSpace) -> int:
    """Of one cell, from its wiring: alphas' rows, all earlier states and the output, or the fixed cell's edges."""
    if "edges" in space.traits:
        (edges,) = {edges for edges, _ in space.alpha_shapes.values()}
        return edges
    cell = next(iter(space.cells(space.sample(generator(0, "page"))).values()))
    if space.connection_groups:
        nodes = len(cell.nodes)
        return sum(range(1, nodes + 1)) + nodes + 1
    return sum(len(edges) for edges in cell.nodes)


def test_the_page_has_every_space_and_no_other() -> None:
    assert sorted(TABLE) == sorted(SECTIONS) == sorted(SPACES.names())
    assert len(re.findall(r"^## ", TEXT, flags=re.MULTILINE)) == len(set(SECTIONS.values()))


@pytest.mark.parametrize("name", SPACES.names())
def test_counts(name: str) -> None:
    space, row = build(name), TABLE[name]
    cells = space.cells(space.sample(generator(0, "page")))
    (operations,) = {n for group, (_, n) in space.alpha_shapes.items() if group not in space.connection_groups}
    assert number(row["cell kinds"]) == len(cells)
    assert number(row["nodes"]) == len(next(iter(cells.values())).nodes)
    assert number(row["edges"]) == places_for_edges(space)
    assert number(row["operations"]) == operations
    assert number(row["genes"]) == len(space.choices)
    assert number(row["genotypes"]) == space.cardinality
    assert number(row["alphas"]) == sum(edges * n for edges, n in space.alpha_shapes.values())
    assert set(row["traits"].split(", ")) - {"none"} == space.traits


@pytest.mark.parametrize("name", SPACES.names())
def test_supernet_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in (nn.Conv2d, nn.Linear):  # counting needs no values
        monkeypatch.setattr(layer, "reset_parameters", lambda self: None)
    cells, channels = map(int, TABLE[name]["supernet L x C"].split(" x "))
    with torch.device("meta"):
        supernet = build(name).supernet(NetworkShape(num_cells=cells, channels=channels, num_classes=10))
    assert number(TABLE[name]["its weights"]) == sum(parameter.numel() for parameter in supernet.parameters())


@pytest.mark.parametrize("name", [name for name in SPACES.names() if not name.startswith("robust-darts")])
def test_alphas_and_operations(name: str) -> None:
    space, section = build(name), SECTIONS[name]
    if name.startswith("nas-bench-1shot1"):
        (row,) = (row for row in rows(section, "space") if row["space"] == f"`{name}`")
        shapes = row["alphas"]
        assert row["parents of the nodes"] == ", ".join(map(str, type(space).num_parents))
        assert row["states in the output"] == str(type(space).num_output_parents)
    else:
        (shapes,) = re.findall(r"Alphas: ([^.]*)\.", section)
    assert shapes == ", ".join(f"`{group}` {edges} x {n}" for group, (edges, n) in space.alpha_shapes.items())
    (listed,) = re.findall(r"^(?:Operations|Widths): ([^.;]*)[.;]", section, flags=re.MULTILINE)
    (candidates,) = {
        row for group, found in space.candidates.items() if group not in space.connection_groups for row in found
    }
    assert named(listed) == candidates


def test_operations_of_s1_to_s4() -> None:
    section = SECTIONS["robust-darts-s1"]
    for row in rows(section, "space"):
        (name,) = named(row["space"])
        found = {edge for edges in build(name).candidates.values() for edge in edges}
        assert found == {named(row["operations of every edge"])}
    s1, candidates = rows(section, "node <- input"), build("robust-darts-s1").candidates
    assert [row["node <- input"] for row in s1] == [f"{node} <- {i}" for node in range(2, 6) for i in range(node)]
    for kind in ("normal", "reduce"):
        assert tuple(named(row[f"`{kind}`"]) for row in s1) == candidates[kind]
    widths = {name: {n for _, n in build(name).alpha_shapes.values()} for name in TABLE if name.startswith("robust")}
    assert widths == {f"robust-darts-s{i}": {3 if i == 3 else 2} for i in (1, 2, 3, 4)}
    assert "14 x 2 (S1, S2, S4) or 14 x 3 (S3)" in section


@pytest.mark.parametrize("name", SPACES.names())
def test_sources_and_modules(name: str) -> None:
    """The page names the same papers as the docstrings, links the module, and says what differs."""
    section, cls = SECTIONS[name], SPACES.get(name)
    assert f"](../{cls.__module__.replace('.', '/')}.py)" in section
    papers = re.findall(r"\[arXiv:(\d{4}\.\d{5})\]\(https://arxiv.org/abs/\1\)", section)
    assert papers
    documented = import_module(cls.__module__)
    text = "\n".join(member.__doc__ or "" for member in vars(documented).values() if isinstance(member, type))
    assert set(papers) <= set(re.findall(r"arXiv:(\d{4}\.\d{5})", text))
    assert "Differs from the paper:" in section


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert targets
    for target in targets:
        assert (PAGE.parent / target).exists(), target


def test_the_command_and_the_widths_named_are_there() -> None:
    done = CliRunner().invoke(cli, ["list", "spaces"])
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in TABLE)
    assert named(re.findall(r"^Widths: ([^;]*);", TEXT, flags=re.MULTILINE)[0]) == tuple(map(str, WIDTHS))
