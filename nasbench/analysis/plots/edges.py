"""The Cell Edge Distribution: what many searches chose on each edge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from nasbench.analysis.edge_distribution import Chosen, edge_shares
from nasbench.analysis.layout import edge_panels
from nasbench.analysis.palette import FAINT, MUTED, operation_colours
from nasbench.analysis.plots.by_hand import CHARACTER, MARGIN, page, text
from nasbench.core.errors import ComparisonError

_WIDTH = 1040  # pixels for triangles beside each other, if there are several
_TOP = 34
_STEP = 62  # from pie to pie
_RADIUS = 21
_HEADING = 26  # name of a triangle
_BETWEEN = 28  # two triangles beside each other
_ENTRY = 18  # height of a line of the legend
_ABSENT = "edge not kept"


def cell_edge_distribution(
    candidates: Sequence[Sequence[str]],
    genotypes: Mapping[str, Sequence[Chosen]],
    title: str = "operations on each edge",
    names: Sequence[str] = (),
) -> str:
    """Draw one pie an edge: the share of each operation over many genotypes.

    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, section 4.4.4 and figure 5.
    Differs from the paper: the pies stand in a triangle, a row a node that the edges enter and a column a state that
    they leave, instead of on the drawn cell. Edges are numbered from 1, as there.

    Args:
        candidates: ``SearchSpace.candidates[group]``: for each of the E edges its operations.
        genotypes: Name of a searcher or proxy -> ``SearchSpace.one_hot(genotype)[group]`` of each of its genotypes;
            one triangle a name.
        title: Put on top.
        names: What the rows of alphas are called where they are not the edges of a cell.

    Returns:
        SVG text; each triangle says how many genotypes it counts.

    Raises:
        ComparisonError: There is no genotype, or one has another form than the candidates.
    """
    shares = {name: edge_shares(candidates, chosen) for name, chosen in genotypes.items()}
    if not shares:
        raise ComparisonError("there is no genotype to count. Search first.")
    places = edge_panels(len(candidates), names)
    headings = {name: f"{name} (n = {len(genotypes[name])})" for name in shares}
    longest = max(map(len, headings.values()))
    wide = max(_STEP * (1 + max(column for _, column, _ in places)), round(1.2 * CHARACTER * longest)) + _BETWEEN
    high = _HEADING + _STEP * (1 + max(row for row, _, _ in places)) + 12
    beside = max(1, min(len(shares), (_WIDTH + _BETWEEN) // wide))
    colours = operation_colours([name for edge in candidates for name in edge])
    parts = []
    for number, (name, found) in enumerate(shares.items()):
        left, top = MARGIN + wide * (number % beside), _TOP + high * (number // beside)
        parts.append(text(left, top + 14, headings[name], size=11.5, weight="bold"))
        for edge, ((row, column, label), pie) in enumerate(zip(places, found, strict=True), 1):
            centre = (left + _STEP * column + _RADIUS + 8, top + _HEADING + _STEP * row + _RADIUS)
            parts += _pie(centre, pie, colours)
            caption = label if names else f"{edge}: {label}"
            parts.append(text(centre[0], centre[1] + _RADIUS + 12, caption, colour=MUTED, anchor="middle"))
    kept = all(sum(pie.values()) > 1 - 1e-9 for found in shares.values() for pie in found)
    width = max(wide * beside, 520)
    entries, height = _legend(
        {**colours, **({} if kept else {_ABSENT: FAINT})}, _TOP + high * -(-len(shares) // beside), width
    )
    return page(width, height, title, [*parts, *entries])


def _pie(centre: tuple[float, float], shares: Mapping[str, float], colours: Mapping[str, str]) -> Iterator[str]:
    """Yield shares clockwise from the top; what is missing to 1 is faint."""
    parts = [(share, colours[operation]) for operation, share in shares.items()]
    turned = 0.0
    for share, colour in [*parts, (1 - sum(shares.values()), FAINT)]:
        if share > 1 - 1e-9:
            yield f'<circle cx="{centre[0]:g}" cy="{centre[1]:g}" r="{_RADIUS}" style="fill:{colour}"/>'
        elif share > 1e-9:
            start, end = _rim(centre, turned), _rim(centre, turned + share)
            arc = f"A{_RADIUS} {_RADIUS} 0 {int(share > 0.5)} 1 {end}"
            yield f'<path d="M{centre[0]:g} {centre[1]:g}L{start}{arc}z" style="fill:{colour}"/>'
            turned += share


def _rim(centre: tuple[float, float], turn: float) -> str:
    """Return the point of a pie's rim after a share of a turn from the top."""
    angle = 2 * math.pi * turn
    x, y = centre[0] + _RADIUS * math.sin(angle), centre[1] - _RADIUS * math.cos(angle)
    return f"{round(x, 1):g} {round(y, 1):g}"


def _legend(colours: Mapping[str, str], top: float, width: float) -> tuple[list[str], float]:
    """Return the entries of the legend, in lines of this width, and the height at which they end."""
    parts, left = list[str](), float(MARGIN)
    for name, colour in colours.items():
        needed = 34 + CHARACTER * len(name)
        if left + needed > width and left > MARGIN:
            left, top = float(MARGIN), top + _ENTRY
        parts.append(f'<rect x="{left:g}" y="{top:g}" width="14" height="9" style="fill:{colour}"/>')
        parts.append(text(left + 19, top + 8.5, name))
        left += needed
    return parts, top + _ENTRY
