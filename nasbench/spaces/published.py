"""Cells that were published with a paper, by the names their authors gave them.

They stand in ``published.json`` in a compact notation: nodes apart by ``;``, edges by ``+``, and
``sep_conv_3x3<1`` is the operation ``sep_conv_3x3`` on state 1. Names are the authors', hence not in kebab case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nasbench.core.errors import GenotypeError, UnknownNameError, nearest
from nasbench.core.files import read_json
from nasbench.core.genotype import Cell


@dataclass(frozen=True, kw_only=True)
class PublishedCells:
    """Two cells and where they come from.

    Attributes:
        name: The authors' name, never an alias.
        cells: ``"normal"`` and ``"reduce"``. NASNet and AmoebaNet have five nodes and further operations; they
            can be built as networks but are not genotypes of the DARTS space.
        source: The paper.
    """

    name: str
    cells: Mapping[str, Cell]
    source: str


def parse_cell(text: str, concat: tuple[int, ...] | None = None) -> Cell:
    """Read a cell in compact notation.

    Args:
        text: For example ``"skip_connect<0 + sep_conv_3x3<1; max_pool_3x3<0 + skip_connect<2"``.
        concat: States that make the output; all nodes by default.

    Raises:
        GenotypeError: The text is not a cell.

    Example:
        >>> parse_cell("skip_connect<0 + none<1").nodes
        ((('skip_connect', 0), ('none', 1)),)
    """
    nodes = tuple(tuple(_parse_edge(edge) for edge in node.split("+")) for node in text.split(";"))
    return Cell(nodes=nodes, concat=concat or tuple(range(2, 2 + len(nodes))))


def _parse_edge(text: str) -> tuple[str, int]:
    operation, _, source = text.strip().partition("<")
    if not operation or not source.isdecimal():
        raise GenotypeError(f"{text.strip()!r} is not an edge; write operation<state, for example sep_conv_3x3<0.")
    return operation, int(source)


@cache
def _stored() -> dict[str, Any]:
    return read_json(Path(__file__).with_name("published.json"))


def aliases() -> dict[str, str]:
    """Return alias -> name, for example ``DARTS`` -> ``DARTS_V2``."""
    return dict(_stored()["aliases"])


def names() -> tuple[str, ...]:
    """Return every name without the aliases, sorted."""
    return tuple(sorted(_stored()["cells"]))


def load(name: str) -> PublishedCells:
    """Return published cells.

    Args:
        name: One of `names` or `aliases`.

    Raises:
        UnknownNameError: No such cells; the message lists the known names and the nearest.
    """
    known = {**aliases(), **{own: own for own in names()}}
    if name not in known:
        raise UnknownNameError(
            f"there are no published cells {name!r}. Known: {', '.join(sorted(known))}.{nearest(name, known)}"
        )
    entry = _stored()["cells"][known[name]]
    cells = {
        kind: parse_cell(entry[kind], tuple(entry.get(f"{kind}_concat", ())) or None) for kind in ("normal", "reduce")
    }
    return PublishedCells(name=known[name], cells=cells, source=entry["source"])


def published_cells(name: str) -> dict[str, Cell]:
    """Return the normal and the reduction cell of `load`.

    Raises:
        UnknownNameError: No such cells.
    """
    return dict(load(name).cells)
