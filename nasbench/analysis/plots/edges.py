"""The Cell Edge Distribution: what many searches chose on each edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Wedge

from nasbench.analysis.edge_distribution import Chosen, edge_shares
from nasbench.analysis.layout import edge_panels
from nasbench.analysis.palette import FAINT, INK, MUTED, operation_colours
from nasbench.analysis.plots.frame import new_figure, svg_of
from nasbench.core.errors import ComparisonError

_COLUMNS = 4  # pictures of cells beside each other
_RADIUS = 0.38
_ABSENT = "edge not kept"


def cell_edge_distribution(
    candidates: Sequence[Sequence[str]],
    genotypes: Mapping[str, Sequence[Chosen]],
    title: str = "",
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
    wide, high = 1 + max(column for _, column, _ in places), 1 + max(row for row, _, _ in places)
    columns = min(_COLUMNS, len(shares))
    rows = -(-len(shares) // columns)
    size = (max(5.2, 0.3 + columns * (0.62 * wide + 0.3)), 0.85 + rows * (0.62 * high + 0.5))
    colours = operation_colours([name for edge in candidates for name in edge])
    with new_figure(rows, columns, size) as (figure, axes):
        for axis, (name, found) in zip(axes.flat, shares.items(), strict=False):
            for number, ((row, column, label), edge) in enumerate(zip(places, found, strict=True), 1):
                _draw_pie(axis, (column, row), edge, colours)
                caption = label if names else f"{number}: {label}"
                axis.text(column, row + _RADIUS + 0.08, caption, ha="center", va="top", fontsize=6.5, color=MUTED)
            axis.set_xlim(-0.5, wide - 0.5)
            axis.set_ylim(high - 0.3, -0.5)
            axis.set_aspect("equal")
            axis.set_title(f"{name} (n = {len(genotypes[name])})", fontsize=8.5)
        for axis in axes.flat:
            axis.set_axis_off()
        handles = [Patch(color=colour, label=operation) for operation, colour in colours.items()]
        if any(sum(edge.values()) < 1 - 1e-9 for found in shares.values() for edge in found):
            handles.append(Patch(color=FAINT, label=_ABSENT))
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
        count = sum(map(len, genotypes.values()))
        figure.suptitle(
            f"{title or 'operations on each edge'}: {count} genotype{'s' * (count > 1)}", x=0.02, ha="left",
            fontsize=9.5, fontweight="bold", color=INK,
        )  # fmt: skip
        return svg_of(figure)


def _draw_pie(axis: Axes, centre: tuple[int, int], shares: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Draw shares clockwise from the top; what is missing to 1 is faint."""
    parts = [(share, colours[operation]) for operation, share in shares.items()]
    angle = 0.0
    for share, colour in [*parts, (1 - sum(shares.values()), FAINT)]:
        if share < 1e-9:
            continue
        # The vertical axis points down, so that growing angles run clockwise.
        axis.add_patch(Wedge(centre, _RADIUS, angle - 90, angle + 360 * share - 90, facecolor=colour, linewidth=0))
        angle += 360 * share
