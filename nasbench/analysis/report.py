"""One self-contained HTML page about a study, and its figures as files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from nasbench.analysis import plots
from nasbench.analysis.draw import draw_cells
from nasbench.analysis.edge_distribution import chosen_of_arms, distribution_title
from nasbench.analysis.local_optimum import local_optima
from nasbench.analysis.page import environment, inline
from nasbench.analysis.report_data import (
    CostRow,
    DrawnGenotype,
    EntropyHistogram,
    GateOutcome,
    LineageRow,
    ReportData,
    TrainingCurve,
)
from nasbench.analysis.search_trajectory import SearchTrajectory
from nasbench.analysis.tables import ComparisonRow, headers, improvement_text, notes, top1_text
from nasbench.core.files import write_text
from nasbench.core.genotype import Cell

__all__ = [
    "ComparisonRow",
    "CostRow",
    "DrawnGenotype",
    "EntropyHistogram",
    "GateOutcome",
    "LineageRow",
    "ReportData",
    "SearchTrajectory",
    "TrainingCurve",
    "write_report",
]

PAGE = "index.html"
FIGURES = "figures"


def write_report(folder: Path | str, data: ReportData) -> Path:
    """Write the report of a study.

    The page shows its figures inline, asks nothing of the network and runs no script; the same figures stand in
    ``figures/`` as SVG files. Equal data give equal bytes.

    Args:
        folder: Where ``index.html`` and ``figures/`` are to stand; made if absent.
        data: What to show. A section without data is left out.

    Returns:
        Path of the page.

    Raises:
        FileWriteError: A file cannot be written.
        ComparisonError: A trajectory has no alphas of the form of its operations.
        GenotypeError: A drawn cell is not a cell.
    """
    target = Path(folder)
    figures = dict(_figures(data))
    for name, svg in figures.items():
        write_text(target / FIGURES / f"{name}.svg", svg)
    page = target / PAGE
    write_text(page, _render(data, figures))
    return page


def _figures(data: ReportData) -> Iterator[tuple[str, str]]:
    """Yield file name (without ending) and SVG text of every figure."""
    yield "comparison-source", plots.comparison(data.rows, data.source)
    if data.target_rows:
        yield "comparison-target", plots.comparison(data.target_rows, data.target)
    for number, genotype in enumerate(data.cells):
        yield _name("cell", number, genotype.title), draw_genotype(genotype)
    for number, histogram in enumerate(data.histograms):
        yield _name("entropy", number, histogram.proxy), plots.entropy_histogram(histogram)
    yield from _of_searches(_searches(data))
    for number, dataset in enumerate(sorted({curve.dataset for curve in data.curves})):
        yield _name("training", number, dataset), plots.training_curves(data.curves, dataset)
    if data.costs:
        yield "cost", plots.cost_bars(data.costs)


def _searches(data: ReportData) -> list[SearchTrajectory]:
    return [trajectory for trajectory in data.trajectories if trajectory.records]


def _of_searches(searches: Sequence[SearchTrajectory]) -> Iterator[tuple[str, str]]:
    """Yield the figures of all searches together, then the maps and lines of each."""
    if searches:
        yield "search-health", plots.search_health(searches)
    if local_optima(searches):
        yield "alarm", plots.local_optimum_alarm(searches)
    for group in dict.fromkeys(group for search in searches for group in search.operations):
        genotypes = chosen_of_arms(searches, group)
        if genotypes:
            first = next(search for search in searches if group in search.chosen)
            names = first.edges.get(group, ())
            title = distribution_title(group, names)
            yield f"edges-{group}", plots.cell_edge_distribution(first.candidates(group), genotypes, title, names)
    for number, search in enumerate(searches):
        for group in search.operations:
            yield _name(f"heat-{group}", number, search.title), plots.alpha_heat_map(search, group)
            drawing = search.drawn.get(group) or plots.alpha_trajectory(search, group)
            yield _name(f"alphas-{group}", number, search.title), drawing


def draw_genotype(genotype: DrawnGenotype) -> str:
    """Return the drawn cells of a genotype as SVG text.

    Raises:
        GenotypeError: A cell is not a cell.
    """
    cells = {kind: Cell.from_plain(cell) for kind, cell in genotype.cells.items()}
    return draw_cells(cells, genotype.title)


def _name(kind: str, number: int, title: str) -> str:
    return "-".join([kind, f"{number:02d}", re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")]).rstrip("-")


def _alphas(searches: Sequence[SearchTrajectory], figures: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return for each search its title, and the maps and lines of its groups as they stand in the page."""
    return [
        {
            "title": search.title,
            **{
                kind: [inline(figures[_name(f"{kind}-{group}", number, search.title)]) for group in search.operations]
                for kind in ("heat", "alphas")
            },
        }
        for number, search in enumerate(searches)
    ]


def _render(data: ReportData, figures: dict[str, str]) -> str:
    pages = environment()
    filters: dict[str, Callable[..., Any]] = {
        "top1": lambda row: top1_text(row, "±"),
        "improvement": improvement_text,
        "short": lambda value: value[:12] or "-",
        "megabytes": lambda value: "-" if value is None else f"{value / 1e6:,.0f}",
        "grouped": lambda value: "-" if value is None else f"{value:,}",
    }
    pages.filters.update(filters)
    groups: dict[str, list[Markup]] = {}
    for name, svg in figures.items():
        groups.setdefault(name.split("-")[0], []).append(inline(svg))
    groups["source"], groups["target"] = groups["comparison"][:1], groups["comparison"][1:]
    template = pages.get_template("report.html.j2")
    return template.render(
        data=data,
        figures=groups,
        headers=headers(data.rows),
        searches=_alphas(_searches(data), figures),
        notes=notes(data.rows),
        target_notes=notes(data.target_rows),
        total_seconds=sum(cost.seconds for cost in data.costs),
    )
