"""Drawn cells, figures and the report page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench.analysis import plots
from nasbench.analysis.draw import draw_cells, write_drawing
from nasbench.analysis.layout import edge_panels, place, vertex_height
from nasbench.analysis.palette import INK, OPERATIONS, operation_colour, themed
from nasbench.analysis.report import write_report
from nasbench.analysis.report_data import ReportData
from nasbench.analysis.search_trajectory import SearchTrajectory
from nasbench.config.component import parse
from nasbench.core.errors import ComparisonError, ConfigError, FileWriteError, GenotypeError
from nasbench.core.genotype import Cell

OPS = tuple(OPERATIONS)[:8]  # those of the DARTS space, in its order
SVG = "{http://www.w3.org/2000/svg}"


def _cell(*nodes: str) -> Cell:
    edges = [[(pair.split("<")[0], int(pair.split("<")[1])) for pair in node.split()] for node in nodes]
    return Cell.from_plain({"nodes": edges, "concat": range(2, 2 + len(nodes))})


DARTS_V2 = {
    "normal": _cell(
        "sep_conv_3x3<0 sep_conv_3x3<1", "sep_conv_3x3<0 sep_conv_3x3<1", "sep_conv_3x3<1 skip_connect<0",
        "skip_connect<0 dil_conv_3x3<2",
    ),
    "reduce": _cell(
        "max_pool_3x3<0 max_pool_3x3<1", "skip_connect<2 max_pool_3x3<1", "max_pool_3x3<0 skip_connect<2",
        "skip_connect<2 max_pool_3x3<1",
    ),
}  # fmt: skip


def _random_cell(seed: int, num_nodes: int = 4) -> Cell:
    rng = np.random.default_rng(seed)
    nodes = [
        [[OPS[rng.integers(len(OPS))], int(state)] for state in rng.choice(index + 2, 2, replace=False)]
        for index in range(num_nodes)
    ]
    return Cell.from_plain({"nodes": nodes, "concat": range(2, num_nodes + 2)})


def _trajectory(epochs: int = 3, edges: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    records = [
        {
            "epoch": epoch, "alpha_entropy": 2.0 - 0.1 * epoch, "skip_share": 0.25, "parameter_free_share": 0.5,
            "one_shot_top1": 0.4, "alphas": {"normal": rng.normal(size=(edges, 8)).tolist()},
        }
        for epoch in range(epochs)
    ]  # fmt: skip
    return {
        "title": "p1/darts seed 0", "arm": "p1/darts", "operations": {"normal": list(OPS)}, "records": records,
        "chosen": {"normal": [4, None, 3, 3, None][:edges]},
    }  # fmt: skip


def _data(**changes: Any) -> ReportData:
    interval = {"estimate": -0.5, "low": -1.25, "high": 0.25, "confidence": 0.95, "statement": "only 2 cells"}
    row = {
        "proxy": "p1", "selector": "entropy-tails-p1", "searcher": "darts", "num_selected": 143, "num_examples": 1437,
        "top1": [[0.9, 0.92], [0.94, 0.96]], "relative_improvement": interval, "verdict": "refused",
        "reasons": ["RI -0.50 % is below 0 %"],
    }  # fmt: skip
    baseline = {
        "proxy": "", "selector": "", "searcher": "random-sampling", "num_selected": 0, "num_examples": 1437,
        "top1": [[0.93], [0.94]], "verdict": "baseline",
    }  # fmt: skip
    fields: dict[str, Any] = {
        "study": "digits <b>& co", "source": "digits", "target": "mnist5k", "rows": [row, baseline],
        "target_rows": [row, baseline],
        "gate": {
            "decision": "refused", "candidate": "p1/darts", "conditions": {"least_relative_improvement": 0.0},
            "reasons": ["RI -0.50 % is below 0 %"], "model": "darts-cells", "version": "3", "champion": "c" * 32,
        },
        "cells": [
            {
                "title": "p1/darts seed 0", "fingerprint": "ab" * 16, "parameters": 123456, "macs": 7890123,
                "cells": {kind: cell.to_plain() for kind, cell in DARTS_V2.items()},
            }
        ],
        "histograms": [
            {
                "proxy": "p1", "selector": "entropy-tails-p1", "bin_width": 0.5, "edges": [-1.0, -0.5, 0.0],
                "before": [7, 3], "after": [1, 3], "zeros_before": 2, "zeros_after": 1,
            }
        ],
        "trajectories": [_trajectory()],
        "curves": [
            {"group": group, "dataset": "digits", "records": [{"test_top1": 0.5}, {"test_top1": 0.9}]}
            for group in ("p1/darts", "random-sampling")
        ],
        "costs": [{"stage": "search_cell", "item": "p1-darts-0", "seconds": 12.5, "peak_memory_bytes": 250_000_000}],
        "lineage": [
            {"item": "p1-darts-0", "dataset": "1" * 32, "proxy": "2" * 32, "genotype": "3" * 32, "run": "4" * 32}
        ],
        "warnings": ["p1/darts seed 0: collapse <script>alert(1)</script>"],
        "parameters": "study: digits\n", "environment": {"processor": "2 cores"},
    }  # fmt: skip
    return parse(ReportData, {**fields, **changes}, "report")


class _Page(HTMLParser):
    """Collects tags, addresses and text; complains about tags that do not match."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src", "xlink:href", "srcset"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.words.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The written report of `_data()`."""
    return write_report(tmp_path_factory.mktemp("analysis") / "report", _data())


def _read(page: Path) -> tuple[_Page, str]:
    parser = _Page()
    parser.feed(page.read_text(encoding="utf-8"))
    assert parser.open == []
    return parser, " ".join(" ".join(parser.words).split())


@pytest.mark.parametrize("cell", [*DARTS_V2.values(), *(_random_cell(seed) for seed in range(20)), _random_cell(0, 7)])
def test_layout_has_no_overlap_and_edges_run_right(cell: Cell) -> None:
    layout = place(cell)
    column = {vertex: number for number, layer in enumerate(layout.layers) for vertex in layer}
    for layer in layout.layers:
        ends = [
            (layout.centres[v] - vertex_height(v, cell) / 2, layout.centres[v] + vertex_height(v, cell) / 2)
            for v in layer
        ]
        assert all(above[1] < below[0] for above, below in pairwise(ends))
        assert ends[0][0] >= -1e-9
        assert ends[-1][1] <= layout.height + 1e-9
    for edge in layout.edges:
        assert [column[vertex] for vertex in edge.path] == list(
            range(column[edge.path[0]], column[edge.path[0]] + len(edge.path))
        )
    drawn = sorted((edge.operation, edge.source, edge.target) for edge in layout.edges if edge.target >= 0)
    assert drawn == sorted((op, source, index + 2) for index, node in enumerate(cell.nodes) for op, source in node)
    assert sorted(edge.source for edge in layout.edges if edge.target < 0) == sorted(cell.concat)


def test_drawing_names_every_node_and_operation() -> None:
    root = ET.fromstring(draw_cells(DARTS_V2, "DARTS_V2 <2019>"))  # noqa: S314
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert words[:2] == ["DARTS_V2 <2019>", "normal cell"]
    assert "reduction cell" in words
    assert words.count("sep_conv_3x3") == 5
    assert words.count("skip_connect") == 2 + 3
    for name in ("c(k-2)", "c(k-1)", "c(k)", "node 2", "node 5"):
        assert words.count(name) == 2
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        assert float(box.attrib["x"]) + float(box.attrib["width"]) <= width
        assert float(box.attrib["y"]) + float(box.attrib["height"]) <= height


def test_text_fits_into_its_box() -> None:
    cell = _cell("a_very_long_operation_name_7x7<0 sep_conv_3x3<1")
    root = ET.fromstring(draw_cells({"normal": cell}))  # noqa: S314
    boxes = [float(box.attrib["x"]) + float(box.attrib["width"]) for box in root.iter(f"{SVG}rect")]
    label = next(text for text in root.iter(f"{SVG}text") if text.text and text.text.startswith("a_very"))
    assert float(label.attrib["x"]) + 7.2 * len(label.text or "") <= max(boxes)


def test_drawing_is_the_same_every_time_and_differs_by_cell(tmp_path: Path) -> None:
    assert draw_cells(DARTS_V2) == draw_cells(DARTS_V2)
    assert draw_cells({"normal": _random_cell(1)}) != draw_cells({"normal": _random_cell(2)})
    write_drawing(tmp_path / "new" / "cell.svg", DARTS_V2, "DARTS_V2")
    assert (tmp_path / "new" / "cell.svg").read_text(encoding="utf-8") == draw_cells(DARTS_V2, "DARTS_V2")


def test_operations_have_colours_of_their_own() -> None:
    assert len({operation_colour(name) for name in OPS}) == len(OPS)
    assert operation_colour("conv_7x1_1x7") == operation_colour("conv_7x1_1x7")
    assert themed(f'<path style="fill:{INK}"/>') == f'<path style="fill:var(--ink, {INK})"/>'


def test_edge_panels_are_rows_of_nodes() -> None:
    assert edge_panels(5) == [(0, 0, "0 to 2"), (0, 1, "1 to 2"), (1, 0, "0 to 3"), (1, 1, "1 to 3"), (1, 2, "2 to 3")]
    assert len(edge_panels(14)) == 14
    assert edge_panels(6)[3:] == [(2, 0, "0 to 3"), (2, 1, "1 to 3"), (2, 2, "2 to 3")]  # one input, NAS-Bench-201
    assert edge_panels(10)[9] == (3, 3, "3 to 4")
    assert edge_panels(7)[5] == (1, 0, "edge 5")
    assert edge_panels(1) == [(0, 0, "edge 0")]
    assert edge_panels(6, [f"layer {number}" for number in range(6)])[5] == (1, 0, "layer 5")
    with pytest.raises(ComparisonError, match="2 names for 5 rows"):
        edge_panels(5, ("a", "b"))


@pytest.fixture(scope="module")
def figures(page: Path) -> dict[str, str]:
    """Those of the page that Matplotlib has drawn, by the beginning of the file's name."""
    files = {file.stem: file.read_text(encoding="utf-8") for file in (page.parent / "figures").iterdir()}
    kinds = ("comparison-source", "entropy", "search-health", "alphas", "training", "cost")
    return {kind: next(svg for name, svg in files.items() if name.startswith(kind)) for kind in kinds}


def test_figures_are_svg_without_dates_or_addresses(figures: dict[str, str]) -> None:
    """That they are the same every time is shown with the page's bytes."""
    for svg in figures.values():
        assert ET.fromstring(svg).tag == f"{SVG}svg"  # noqa: S314
        assert set(re.findall(r"https?://[^\"]*", svg)) == {"http://www.w3.org/2000/svg"}
        assert "metadata" not in svg
        assert "<text" in svg
        referred = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", svg))
        assert referred == set(re.findall(r' id="([^"]+)"', svg))


def test_figures_say_what_they_show(figures: dict[str, str]) -> None:
    assert "relative improvement over random sampling, %" in figures["comparison-source"]
    assert "p1/darts" in figures["comparison-source"]
    assert "leftmost: exactly 0" in figures["entropy"]
    assert "whole set (12)" in figures["entropy"]
    assert "p1 (5)" in figures["entropy"]
    assert "one-shot Top-1, % (not retrained)" in figures["search-health"]
    assert all(name in figures["alphas"] for name in (*OPS, "0 to 2", "2 to 3"))
    assert "random-sampling" in figures["training"]
    assert "12.5 s" in figures["cost"]


def test_names_with_dollar_signs_are_no_formulas() -> None:
    rows = _data().rows
    assert "a$b$" in plots.comparison(rows, "a$b$")


def test_figures_without_data_are_refused() -> None:
    for call in (
        lambda: plots.comparison(()),
        lambda: plots.cost_bars(()),
        lambda: plots.search_health(()),
        lambda: plots.training_curves(_data().curves, "svhn"),
    ):
        with pytest.raises(ComparisonError, match="there is no"):
            call()


def test_alpha_weights_are_softmax() -> None:
    trajectory = parse(SearchTrajectory, _trajectory(epochs=2))
    weights = trajectory.weights("normal")
    assert weights.shape == (2, 5, 8)
    assert weights.sum(axis=2) == pytest.approx(np.ones((2, 5)))
    raw = np.asarray(trajectory.records[1]["alphas"]["normal"])
    assert np.log(weights[1] / weights[1, :, :1]) == pytest.approx(raw - raw[:, :1])


def test_alphas_of_another_form_are_refused() -> None:
    broken = _trajectory()
    broken["operations"] = {"normal": ["none", "skip_connect"]}
    with pytest.raises(ComparisonError, match=r"finite numbers \[epochs, edges, 2\]"):
        parse(SearchTrajectory, broken).weights("normal")
    with pytest.raises(ComparisonError, match="of group 'reduce'"):
        parse(SearchTrajectory, _trajectory()).weights("reduce")
    with pytest.raises(ComparisonError, match="shape"):
        parse(SearchTrajectory, _trajectory(epochs=0)).weights("normal")


def test_page_is_one_offline_file_and_says_it_all(page: Path) -> None:
    parser, words = _read(page)
    assert (page.parent.name, page.name) == ("report", "index.html")
    assert not {"script", "link", "img", "iframe"} & set(parser.tags)
    assert all(address.startswith("#") for address in parser.addresses)
    assert "http" not in page.read_text(encoding="utf-8")
    assert "digits <b>& co" in words
    assert "The gate refused p1/darts." in words
    assert "RI -0.50 % is below 0 %" in words
    assert "least_relative_improvement = 0.0" in words
    assert "stays with genotype cccccccccccc" in words
    assert "One-shot accuracy is not the accuracy of a trained cell." in words
    assert "93.00 ± 2.83 (2 cells, 4 runs)" in words
    assert "-0.50 [-1.25, +0.25]" in words
    assert "collapse <script>alert(1)</script>" in words
    assert "Transfer to mnist5k" in words
    assert words.count("RI % [95 % interval] gate") == 2
    assert "4" * 32 in words
    assert "only 2 cells" in words


def test_figures_stand_beside_the_page(page: Path) -> None:
    files = sorted(file.name for file in (page.parent / "figures").iterdir())
    assert files == [
        "alarm.svg", "alphas-normal-00-p1-darts-seed-0.svg", "cell-00-p1-darts-seed-0.svg", "comparison-source.svg",
        "comparison-target.svg", "cost.svg", "entropy-00-p1.svg",
        "heat-normal-00-p1-darts-seed-0.svg", "search-health.svg", "training-00-digits.svg",
    ]  # fmt: skip
    assert page.read_text(encoding="utf-8").count("<svg") == len(files)


def test_report_and_figures_have_equal_bytes_for_equal_data(page: Path, tmp_path: Path) -> None:
    again = write_report(tmp_path / "report", _data())
    one, two = (
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        for root in (page.parent, again.parent)
    )
    assert one == two
    assert len(one) == 11


SECTIONS = ("target_rows", "cells", "histograms", "trajectories", "curves", "costs", "lineage", "warnings")
EMPTY: dict[str, list[Any]] = {name: [] for name in SECTIONS}


def test_sections_without_data_are_left_out(tmp_path: Path) -> None:
    page = write_report(tmp_path, _data(**EMPTY, gate=None, parameters="", environment={}, target=""))
    parser, words = _read(page)
    assert "The gate was not asked." in words
    assert parser.tags.count("h2") == 1
    assert "Warnings" not in words
    assert all(f'id="{address[1:]}"' in page.read_text(encoding="utf-8") for address in parser.addresses)


def test_promotion_is_said(tmp_path: Path) -> None:
    gate = {"decision": "promoted", "candidate": "p1/darts", "model": "darts-cells", "version": "4"}
    _, words = _read(write_report(tmp_path, _data(**EMPTY, gate=gate)))
    assert "The gate promoted p1/darts." in words
    assert "stands at version 4 of darts-cells" in words
    assert "The gate refused" not in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gate": {"decision": "refused", "candidate": "p1"}}, "must give reasons"),
        ({"studdy": "x"}, "report.studdy: unknown key.*'study'"),
        ({"rows": [{"proxy": "p1"}]}, "report.rows.0.selector"),
        (
            {"histograms": [{"proxy": "p", "selector": "s", "bin_width": 0.5, "edges": [0.0, 1.0], "before": [1],
                             "after": []}]},
            "counts",
        ),
    ],
)  # fmt: skip
def test_data_are_checked(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _data(**changes)


def test_pictures_of_searches_stand_with_their_captions_where_there_are_data(tmp_path: Path) -> None:
    drawn = {"normal": '<svg xmlns="http://www.w3.org/2000/svg" width="10"></svg>'}
    seeds = [{**_trajectory(), "title": f"p1-darts-{seed}", "drawn": drawn} for seed in (0, 1)]
    page = write_report(tmp_path / "two", _data(**EMPTY | {"trajectories": seeds}, parameters=""))
    _, words = _read(page)
    names = {file.stem for file in (page.parent / "figures").iterdir()}
    assert {"alarm", "edges-normal", "heat-normal-00-p1-darts-0", "heat-normal-01-p1-darts-1"} <= names
    for caption in ("section 4.4.2", "section 4.4.4 and figure 5", "arXiv:1806.09055, equation 2", "p1/darts (n = 2)"):
        assert words.count(caption) == 1, caption
    assert page.read_text(encoding="utf-8").count("<details") == 4
    assert page.read_text(encoding="utf-8").count("<details open") == 1
    bare = [{**search, "chosen": {}, "records": [{"alphas": record["alphas"]} for record in search["records"]]}
            for search in seeds]  # fmt: skip
    page = write_report(tmp_path / "bare", _data(**EMPTY | {"trajectories": bare}))
    _, words = _read(page)
    names = {file.stem for file in (page.parent / "figures").iterdir()}
    assert not {"alarm", "edges-normal"} & names
    assert "section 4.4" not in words
    assert "equation 2" in words


def test_impossible_cell_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    cells = [{"title": "x", "fingerprint": "", "cells": {"normal": {"nodes": [[["skip_connect", 5]]], "concat": [2]}}}]
    with pytest.raises(GenotypeError, match="from state 5"):
        write_report(tmp_path / "report", _data(**EMPTY | {"cells": cells}))
    assert not (tmp_path / "report").exists()


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(FileWriteError, match="cannot write"):
        write_report(tmp_path / "file", _data(**EMPTY))


def test_a_drawing_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    given = '<svg xmlns="http://www.w3.org/2000/svg" width="10"><g id="given"/></svg>'
    write_report(tmp_path, _data(**EMPTY | {"trajectories": [{**_trajectory(), "drawn": {"normal": given}}]}))
    (figure,) = (tmp_path / "figures").glob("alphas-normal-*.svg")
    assert figure.read_text() == given
    others = [path for path in (tmp_path / "figures").iterdir() if path != figure]
    assert len(others) == 4  # comparison, health, alarm, heat map
    assert all('id="given"' not in path.read_text() for path in others)
