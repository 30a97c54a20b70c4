"""``nasbench draw``: cells as graphs, many cells as pies, searches as heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from nasbench.cli import options
from nasbench.cli.parts import cells_of, read_genotype, say
from nasbench.core.errors import ComparisonError


@click.command()
@click.option("--genotype", "genotypes", multiple=True, help="A published name or a genotype file; may be repeated.")
@click.option(
    "--trajectory",
    "trajectories",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="trajectory.json of a search; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="SVG file.")
@options.as_json
def draw(genotypes: Sequence[str], trajectories: Sequence[Path], out: Path, as_json: bool) -> None:
    """Draw one cell as a graph, many as pies an edge, one search as a heat map, or many with their local optima."""
    # Where there are several pictures (one for each group of edges), the group's name is added to the file's.
    if bool(genotypes) == bool(trajectories):
        raise click.UsageError("give either --genotype or --trajectory.")
    if trajectories:
        pictures = _searches(trajectories)
    else:
        pictures = _graph(genotypes[0]) if len(genotypes) == 1 else _distribution(genotypes)
    from nasbench.core.files import write_text

    written = []
    for group, svg in pictures.items():
        path = out if len(pictures) == 1 else out.with_name(f"{out.stem}-{group}{out.suffix}")
        write_text(path, svg)
        written.append(str(path))
    say({"out": written[0] if len(written) == 1 else written}, as_json)


def _graph(genotype: str) -> dict[str, str]:
    from nasbench.analysis.draw import draw_cells

    return {"": draw_cells(cells_of(genotype), title=Path(genotype).stem)}


def _distribution(genotypes: Sequence[str]) -> dict[str, str]:
    """Return one picture a group: a pie an edge."""
    from nasbench.analysis.edge_distribution import distribution_title
    from nasbench.analysis.plots import cell_edge_distribution

    read = [read_genotype(Path(file)) for file in genotypes]
    spaces = {space.name for space, _, _ in read}
    if len(spaces) > 1:
        raise ComparisonError(f"the genotypes are of the spaces {', '.join(sorted(spaces))}. Give those of one space.")
    space = read[0][0]
    chosen = [space.one_hot(genotype) for _, genotype, _ in read]
    pictures = {}
    for group, candidates in space.candidates.items():
        if group not in space.connection_groups:
            names = space.row_names.get(group, ())
            counted = {space.name: [one[group] for one in chosen]}
            pictures[group] = cell_edge_distribution(candidates, counted, distribution_title(group, names), names)
    return pictures


def _searches(files: Sequence[Path]) -> Mapping[str, str]:
    """Return the heat maps of one search, or the alarm of several."""
    from nasbench.analysis.plots import alpha_heat_map, local_optimum_alarm
    from nasbench.analysis.search_trajectory import SearchTrajectory, trajectory_fields
    from nasbench.config.component import parse
    from nasbench.core.files import read_json

    shown = []
    for file in files:
        fields = trajectory_fields(file.parent.name or file.stem, read_json(file), str(file))
        shown.append(parse(SearchTrajectory, fields, str(file)))
    if len(shown) > 1:
        return {"": local_optimum_alarm(shown)}
    return {group: alpha_heat_map(shown[0], group) for group in shown[0].operations}
