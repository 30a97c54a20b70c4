"""Pictures of searches: heat maps, the Cell Edge Distribution, and the local optimum alarm."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from nasbench.analysis import plots
from nasbench.analysis.edge_distribution import distribution_title, edge_shares
from nasbench.analysis.local_optimum import local_optima
from nasbench.analysis.palette import FAINT, OPERATIONS, SERIES
from nasbench.analysis.search_trajectory import SearchTrajectory
from nasbench.config.component import parse
from nasbench.core.errors import ComparisonError
from nasbench.spaces import SPACES

SVG = "{http://www.w3.org/2000/svg}"
NB201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def trajectory(operations, shape, epochs=3, group="cell", **fields):
    rng = np.random.default_rng(0)
    records = [{"epoch": epoch, "alphas": {group: rng.normal(size=shape).tolist()}} for epoch in range(epochs)]
    return parse(SearchTrajectory, {"title": "p1/x", "operations": {group: operations}, "records": records} | fields)


def by_edges():
    """Operations that differ between edges, as in S1."""
    pairs = [["skip_connect", "dil_conv_3x3"], ["max_pool_3x3", "avg_pool_3x3"]]
    return trajectory([pairs[edge % 2] for edge in range(5)], (5, 2), group="normal")


def shares_of(skips, free, title="s"):
    records = [
        {"epoch": epoch, "skip_share": a, "parameter_free_share": b}
        for epoch, (a, b) in enumerate(zip(skips, free, strict=True))
    ]
    return parse(SearchTrajectory, {"title": title, "operations": {}, "records": records})


def words_of(svg):
    return [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314


def test_operations_may_differ_between_edges():
    given = by_edges()
    assert given.weights("normal").shape == (3, 5, 2)
    assert given.candidates("normal")[:2] == (("skip_connect", "dil_conv_3x3"), ("max_pool_3x3", "avg_pool_3x3"))
    assert trajectory(list(NB201), (6, 5)).candidates("cell") == (NB201,) * 6


@pytest.mark.parametrize(
    ("operations", "shape"),
    [
        ([["a", "b"]] * 4, (5, 2)),  # a list too few
        ([["a", "b"], ["a"]], (2, 2)),
        (["a", "b", "c"], (5, 2)),
    ],
)
def test_alphas_that_do_not_fit_the_operations_are_refused(operations, shape):
    given = trajectory(operations, shape)
    for call in (given.weights, given.candidates):
        with pytest.raises(ComparisonError, match="are needed"):
            call("cell")


def test_the_lines_of_an_edge_are_those_of_its_operations():
    svg = plots.alpha_trajectory(by_edges(), "normal")
    words = words_of(svg)
    assert "p1/x: softmax(alpha) of the normal cell, epochs 1 to 3" in words
    legend = ("skip_connect", "dil_conv_3x3", "max_pool_3x3", "avg_pool_3x3")
    assert [words.count(name) for name in legend] == [1] * 4
    # Two lines an edge and one in the legend: edges 0, 2, 4 have the first pair, edges 1, 3 the second.
    assert [svg.count(f"stroke: {OPERATIONS[name]}") for name in legend] == [4, 4, 3, 3]


def test_a_single_row_of_states_and_named_rows_are_drawn():
    states = trajectory(["input", "node1", "node2"], (1, 3), group="node3")
    svg = plots.alpha_trajectory(states, "node3")
    words = words_of(svg)
    assert "p1/x: softmax(alpha) of node3, epochs 1 to 3" in words
    assert not any(word.startswith("edge") for word in words)
    assert [svg.count(f"stroke: {colour}") for colour in SERIES[:3]] == [2, 2, 2]
    layers = trajectory(["8", "16"], (5, 2), group="widths", edges={"widths": [f"layer{n}" for n in range(5)]})
    assert {"layer0", "layer4"} <= set(words_of(plots.alpha_trajectory(layers, "widths")))
    assert "0 to 2" not in words_of(plots.alpha_heat_map(layers, "widths"))


@pytest.fixture(scope="module")
def heat_map():
    return plots.alpha_heat_map(trajectory(list(NB201), (6, 5), epochs=4), "cell")


def test_the_heat_map_names_edges_operations_and_the_span_of_its_colours(heat_map):
    words = words_of(heat_map)
    assert "p1/x: softmax(alpha) of the cell, epochs 1 to 4" in words
    assert [words.count(name) for name in ("0 to 1", "2 to 3")] == [1, 1]
    assert [words.count(name) for name in NB201] == [3] * 5  # beside the first panel of each of three nodes
    weights = trajectory(list(NB201), (6, 5), epochs=4).weights("cell")
    assert {f"{weights.min():.3f}", f"{weights.max():.3f}"} <= set(words)


def test_the_heat_map_is_drawn_in_shapes_and_equal_bytes(heat_map):
    assert "<image" not in heat_map
    assert "data:" not in heat_map
    assert set(re.findall(r"https?://[^\"]*", heat_map)) == {"http://www.w3.org/2000/svg"}
    assert plots.alpha_heat_map(trajectory(list(NB201), (6, 5), epochs=4), "cell") == heat_map


def corners_of(svg):
    """First corners and widths of the rectangles of the map, by colour."""
    found = {}
    for points, colour in re.findall(r'<path d="([^"]*)" fill="(#[0-9a-f]{6})"', svg):
        found.setdefault(colour, []).extend(re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", points))
    return found


def test_neighbours_of_one_level_are_one_rectangle():
    alphas = [[[0.0, 0.0, 5.0]]] * 6
    records = [{"epoch": epoch, "alphas": {"cell": rows}} for epoch, rows in enumerate(alphas)]
    still = parse(SearchTrajectory, {"title": "x", "operations": {"cell": ["a", "b", "c"]}, "records": records})
    shapes = corners_of(plots.alpha_heat_map(still, "cell"))
    assert sorted(len(points) for points in shapes.values()) == [1, 2]  # one rectangle a row, all six epochs
    assert {float(width) for points in shapes.values() for _, _, width in points} == {150.0}
    records = [*records[:3], {"epoch": 3, "alphas": {"cell": [[5.0, 0.0, 0.0]]}}]
    turned = parse(SearchTrajectory, {"title": "x", "operations": {"cell": ["a", "b", "c"]}, "records": records})
    shapes = corners_of(plots.alpha_heat_map(turned, "cell"))
    assert sorted(len(points) for points in shapes.values()) == [2, 3]


def test_a_heat_map_of_alphas_that_never_moved_is_drawn():
    records = [{"epoch": 0, "alphas": {"cell": [[0.0, 0.0]]}}]
    flat = parse(SearchTrajectory, {"title": "x", "operations": {"cell": ["a", "b"]}, "records": records})
    words = words_of(plots.alpha_heat_map(flat, "cell"))
    assert {"0.499", "0.501", "a", "b"} <= set(words)


def test_edge_shares_count_genotypes():
    space = SPACES.get("nas-bench-201")()
    texts = ("|none~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|",) * 3 + (
        "|avg_pool_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|skip_connect~2|",
    )
    chosen = [space.one_hot(space.from_string(text))["cell"] for text in texts]
    shares = edge_shares(space.candidates["cell"], chosen)
    assert len(shares) == 6
    assert shares[0] == {"none": 0.75, "skip_connect": 0, "nor_conv_1x1": 0, "nor_conv_3x3": 0, "avg_pool_3x3": 0.25}
    assert shares[2]["nor_conv_3x3"] == 0.75
    assert shares[5]["skip_connect"] == 1.0


def test_edges_that_are_not_kept_are_missing_to_one():
    space = SPACES.get("darts")()
    rng = np.random.default_rng(0)
    chosen = [space.one_hot(space.sample(rng))["normal"] for _ in range(50)]
    sums = [sum(edge.values()) for edge in edge_shares(space.candidates["normal"], chosen)]
    assert sum(sums) == pytest.approx(8)  # two edges of each of four nodes
    assert sums[:2] == pytest.approx([1, 1])  # the first node has no other
    assert max(sums[9:]) < 0.7


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([], "there is no genotype"),
        ([np.zeros((2, 5))], r"genotype 0 has shape \(2, 5\); \(6, 5\) is needed"),
        ([np.eye(5)[[0] * 6], np.ones((6, 5))], "genotype 1 does not choose one operation"),
        ([np.full((6, 5), 0.2)], "genotype 0 does not choose"),
    ],
)
def test_what_cannot_be_counted_is_refused(chosen, message):
    with pytest.raises(ComparisonError, match=message):
        edge_shares([NB201] * 6, chosen)
    with pytest.raises(ComparisonError, match=message):
        plots.cell_edge_distribution([NB201] * 6, {"darts": chosen})


def test_the_pies_show_the_shares_and_say_how_many_were_counted():
    half = [np.eye(5)[[1] * 10], np.eye(5)[[3] * 10]]
    svg = plots.cell_edge_distribution([NB201] * 10, {"darts": half, "enas": [np.eye(5)[[1] * 10]]}, "r = 0.50")
    words = words_of(svg)
    assert words[0] == "r = 0.50"
    assert {"darts (n = 2)", "enas (n = 1)"} <= set(words)
    assert [words.count(name) for name in ("1: 0 to 1", "10: 3 to 4", "skip_connect", "edge not kept")] == [2, 2, 1, 0]
    fills = {name: svg.count(f"fill:{OPERATIONS[name]}") for name in NB201}
    assert fills == {  # a wedge an edge of each searcher that took it, and a patch in the legend
        "none": 1, "skip_connect": 10 + 10 + 1, "nor_conv_1x1": 1, "nor_conv_3x3": 10 + 1, "avg_pool_3x3": 1,
    }  # fmt: skip
    again = plots.cell_edge_distribution([NB201] * 10, {"darts": half, "enas": [np.eye(5)[[1] * 10]]}, "r = 0.50")
    assert svg == again


def test_edges_that_are_not_kept_and_named_rows_are_shown():
    some = np.eye(5)[[1] * 6]
    some[5] = 0
    svg = plots.cell_edge_distribution([NB201] * 6, {"x": [some]}, names=[f"row {n}" for n in range(6)])
    words = words_of(svg)
    assert {"operations on each edge", "x (n = 1)", "edge not kept", "row 5"} <= set(words)
    assert svg.count(f"fill:{FAINT}") == 2


def test_a_pie_turns_clockwise_from_the_top_by_its_shares():
    rows = [[np.eye(3)[[number]] for number in numbers] for numbers in ([0, 1, 1, 1], [2, 2, 2, 2])]
    svg = plots.cell_edge_distribution([("skip_connect", "none", "noise")], {"a": rows[0], "b": rows[1]}, "x", ["row"])
    start = r'<path d="M([\d.]+) ([\d.]+)L\1 ([\d.]+)A21 21 0 '
    (x, y, top), end = re.search(start, svg).groups(), re.search(start + r"0 1 ([\d.]+) ([\d.]+)z", svg).groups()[3:]
    assert float(y) - float(top) == 21
    assert [float(end[0]) - float(x), float(end[1]) - float(y)] == [21, 0]  # a quarter ends at the right
    assert re.search(r"A21 21 0 1 1 [\d.]+ [\d.]+z\" style=\"fill:" + OPERATIONS["none"], svg)  # three quarters
    assert re.findall(r'<circle [^>]*fill:([^"]+)"', svg) == [OPERATIONS["noise"]]


def test_many_triangles_stand_below_each_other_and_the_page_is_wide_enough():
    space = SPACES.get("darts")()
    rng = np.random.default_rng(0)
    chosen = {f"proxy{n}/searcher": [space.one_hot(space.sample(rng))["normal"]] for n in range(4)}
    svg = plots.cell_edge_distribution(space.candidates["normal"], chosen, distribution_title("normal"))
    root = ET.fromstring(svg)  # noqa: S314
    width, height = float(root.get("width")), float(root.get("height"))
    assert width < 1080
    places = [(float(text.get("x")), float(text.get("y"))) for text in root.iter(f"{SVG}text") if "(n =" in text.text]
    assert len({x for x, _ in places}) == 3
    assert len({y for _, y in places}) == 2
    assert all(float(text.get("y")) < height for text in root.iter(f"{SVG}text"))
    assert words_of(svg)[0] == "cell edge distribution of the normal cell"
    assert distribution_title("widths", ("layer0",)) == "distribution of widths"


def test_a_map_of_fifty_epochs_is_small_and_one_of_many_epochs_no_wider():
    space = SPACES.get("darts")()
    long = trajectory(list(space.operations["normal"]), (14, 8), epochs=50, group="normal")
    svg = plots.alpha_heat_map(long, "normal")
    assert len(svg) < 150_000  # random numbers; neighbours of a search are alike
    wider = plots.alpha_heat_map(trajectory(["a", "b"], (6, 2), epochs=400), "cell")
    assert float(ET.fromstring(wider).get("width")) < 600  # noqa: S314
    assert {"1", "400"} <= set(words_of(wider))


def test_entropies_that_hardly_moved_look_so():
    records = [{"alpha_entropy": 2.0794 - 1e-6 * epoch} for epoch in range(3)]
    svg = plots.search_health([parse(SearchTrajectory, {"title": "x", "operations": {}, "records": records})])
    assert "2.080" in words_of(svg)
    assert not any("1e" in word for word in words_of(svg))


def test_the_alarm_tells_parameter_free_cells_from_skips_and_since_when():
    given = [
        shares_of([0.0, 0.1, 0.2], [0.3, 0.3, 0.3], "good"),
        shares_of([0.0, 0.6, 0.2, 0.6, 0.7], [0.1, 0.7, 0.3, 0.7, 0.8], "skips"),
        shares_of([0.4, 0.6, 0.4], [0.5, 0.9, 1.0], "free"),
        shares_of([0.9, 0.9], [1.0, 1.0], "always"),
        shares_of([0.9, 0.1], [1.0, 0.2], "recovered"),
        parse(SearchTrajectory, {"title": "empty", "operations": {}, "records": []}),
        parse(SearchTrajectory, {"title": "other", "operations": {}, "records": [{"epoch": 0}]}),
    ]
    found = {search.title: search for search in local_optima(given)}
    assert {title: (search.alarm, search.since) for title, search in found.items()} == {
        "good": ("none", None), "skips": ("skips", 4), "free": ("parameter-free", 2), "always": ("parameter-free", 1),
        "recovered": ("none", None),
    }  # fmt: skip
    assert found["free"].states == ("none", "skips", "parameter-free")
    assert found["good"].text == "good: no alarm (20 % skip connections, 30 % without parameters)."
    assert found["skips"].text == (
        "skips: mostly skip connections at the end, an alarm since epoch 4 of 5 (70 % skip connections, 80 % without "
        "parameters)."
    )
    assert "only operations without parameters at the end, an alarm since epoch 2 of 3" in found["free"].text


def test_the_threshold_of_the_alarm_matters_and_is_checked():
    given = [shares_of([0.5], [0.5])]
    assert local_optima(given)[0].alarm == "none"  # not above it
    assert local_optima(given, 0.4)[0].alarm == "skips"
    for value in (-0.1, 1.5):
        with pytest.raises(ComparisonError, match=r"must lie in 0 to 1"):
            local_optima(given, value)


def test_the_alarm_is_drawn_with_a_line_a_search():
    given = [shares_of([0.0, 0.9], [0.2, 1.0], "p1/darts"), shares_of([0.1, 0.1], [0.2, 0.2], "p1/gdas")]
    svg = plots.local_optimum_alarm(given, 0.25)
    words = words_of(svg)
    assert "since epoch 2: 90 % skips, 100 % parameter-free" in words
    assert "no alarm: 10 % skips, 20 % parameter-free" in words
    assert {"p1/darts", "p1/gdas", "epoch", "mostly skip connections", "no operation with parameters"} <= set(words)
    assert any("above 25 % skip connections" in word for word in words)
    assert plots.local_optimum_alarm(given, 0.25) == svg
    with pytest.raises(ComparisonError, match="there is no epoch"):
        plots.local_optimum_alarm([])
