"""Cells with one input, with operations on nodes, and with a width, drawn; and the bytes of those with two inputs."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import numpy as np
import pytest

from nasbench.analysis.draw import draw_cells
from nasbench.analysis.layout import place, vertex_height, vertex_rows
from nasbench.analysis.palette import INK, MUTED, OPERATIONS, SERIES, operation_colour, operation_colours
from nasbench.core.genotype import Cell
from nasbench.spaces import SPACES
from nasbench.spaces.published import published_cells

SVG = "{http://www.w3.org/2000/svg}"

EDGES = Cell(  # NAS-Bench-201
    nodes=(
        (("nor_conv_3x3", 0),),
        (("none", 0), ("nor_conv_1x1", 1)),
        (("skip_connect", 0), ("avg_pool_3x3", 1), ("nor_conv_3x3", 2)),
    ),
    concat=(3,),
    num_inputs=1,
)
NODES = Cell(  # NAS-Bench-1Shot1
    nodes=((("projection", 0),), (("projection", 0), ("skip_connect", 1)), (("skip_connect", 1), ("skip_connect", 2))),
    concat=(0, 3),
    num_inputs=1,
    node_operations=("conv3x3-bn-relu", "maxpool3x3", "conv1x1-bn-relu"),
)


def words_of(svg):
    return [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314


def curves_of(svg):
    """Style of every edge's line, in drawing order."""
    return re.findall(r'<path d="M[^"]*C[^"]*" style="([^"]*)"', svg)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("DARTS_V2", "bd9a2ecfb6c6b0b97e6a0ab799a2572337f829bf163721f646b3c612605bc528"),
        ("GDAS_V1", "0c40c9c1af68c751e46707b2f1bceee8e432f4d3b82460382342cd79a16fda56"),
        ("NASNet", "c1b40ecb13fd12f10709a3ca0c96e1e65329b77ef5e4f25d01efe9bb71b64812"),
    ],
)
def test_drawings_of_two_input_cells_keep_their_bytes(name, digest):
    # They are versioned outputs of studies; these digests are of the drawings before there were other cells.
    assert hashlib.sha256(draw_cells(published_cells(name), name).encode()).hexdigest() == digest


def test_a_cell_of_one_input_is_drawn_from_its_only_input():
    words = words_of(draw_cells({"cell": EDGES}, "nas-bench-201"))
    assert words[:2] == ["nas-bench-201", "cell"]
    assert "c(k-2)" not in words
    assert [words.count(name) for name in ("c(k-1)", "node 1", "node 2", "node 3", "node 4", "c(k)")] == [
        1,
        1,
        1,
        1,
        0,
        1,
    ]
    assert words.count("nor_conv_3x3") == 2


def test_an_edge_without_a_connection_is_dashed_and_no_other():
    styles = curves_of(draw_cells({"cell": EDGES}))
    assert len(styles) == 7
    dashed = [style for style in styles if "dasharray" in style]
    assert len(dashed) == 1
    assert operation_colour("none") in dashed[0]


def test_where_operations_sit_on_nodes_the_box_shows_the_nodes_and_the_legend_the_edges():
    svg = draw_cells({"cell": NODES})
    words = words_of(svg)
    assert [words.count(name) for name in ("conv3x3-bn-relu", "maxpool3x3", "conv1x1-bn-relu")] == [1, 1, 1]
    assert words[:2] == ["cell", "projection"]  # once, beside the heading
    assert words.count("projection") == 1
    assert "skip_connect" not in words
    styles = curves_of(svg)
    assert len(styles) == 5 + 2
    assert sum(operation_colour("projection") in style for style in styles) == 2
    assert sum(MUTED in style for style in styles) == 5


def test_an_identity_between_nodes_with_operations_needs_no_legend():
    plain = Cell(
        nodes=((("skip_connect", 0),),), concat=(1,), num_inputs=1, node_operations=("conv3x3-bn-relu",)
    )  # fmt: skip
    assert words_of(draw_cells({"cell": plain})) == ["cell", "c(k-1)", "node 1", "conv3x3-bn-relu", "c(k)"]


def test_the_width_stands_in_the_heading():
    wide = Cell(nodes=((("residual_block", 0),),), concat=(1,), num_inputs=1, width=40)
    assert words_of(draw_cells({"layer1": wide}))[0] == "layer1, 40 channels"
    assert words_of(draw_cells({"layer1": EDGES}))[0] == "layer1"


def test_the_picture_is_as_wide_as_its_legend():
    words = "a-very-long-name-of-what-an-edge-does-before-it-hands-its-state-on"
    cell = Cell(nodes=(((words, 0),),), concat=(1,), num_inputs=1, node_operations=("maxpool3x3",))
    root = ET.fromstring(draw_cells({"cell": cell}))  # noqa: S314
    label = next(text for text in root.iter(f"{SVG}text") if text.text == words)
    assert float(label.attrib["x"]) + 7.2 * len(words) <= float(root.attrib["width"])


@pytest.mark.parametrize("name", SPACES.names())
def test_random_cells_of_every_space_are_laid_out_without_overlap(name):
    space = SPACES.get(name)()
    for seed in range(3):
        for cell in space.cells(space.sample(np.random.default_rng(seed))).values():
            layout = place(cell)
            for layer in layout.layers:
                heights = [(layout.centres[vertex], vertex_height(vertex, cell) / 2) for vertex in layer]
                assert all(a + above < b - below for (a, above), (b, below) in pairwise(heights))
            drawn = sorted((edge.operation, edge.source, edge.target) for edge in layout.edges if edge.target >= 0)
            nodes = enumerate(cell.nodes, cell.num_inputs)
            assert drawn == sorted((op, source, target) for target, edges in nodes for op, source in edges)
            assert sorted(edge.source for edge in layout.edges if edge.target < 0) == sorted(cell.concat)
            rows = [row for layer in layout.layers for vertex in layer for row in vertex_rows(vertex, cell)]
            assert sorted(rows) == sorted(cell.operations)


def simulated(colour, matrix):
    """A colour as a dichromat sees it (Machado, Oliveira and Fernandes 2009, severity 1), in CIELAB."""
    rgb = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(matrix @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    scaled = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


VISION = {
    "ordinary": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
TOGETHER = {
    "nas-bench-201": ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
    "nats-bench-size": ("skip_connect", "nor_conv_3x3", "residual_block"),
    "nas-bench-1shot1": ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu", "projection"),
    "robust-darts-s4": ("noise", "sep_conv_3x3"),
}


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("space", TOGETHER)
def test_operations_that_meet_can_be_told_apart_without_red_or_green(space, vision):
    for one, two in combinations(TOGETHER[space], 2):
        a, b = (simulated(OPERATIONS[name], VISION[vision]) for name in (one, two))
        assert np.linalg.norm(a - b) > 15, (one, two)


def test_every_operation_of_every_space_has_a_colour_of_its_own():
    assert len(set(OPERATIONS.values())) == len(OPERATIONS)
    for name in SPACES.names():
        space = SPACES.get(name)()
        cells = space.cells(space.sample(np.random.default_rng(0))).values()
        assert {operation for cell in cells for operation in cell.operations} <= OPERATIONS.keys()


def test_names_without_a_colour_get_different_ones_where_they_are_shown_together():
    widths = [str(8 * times) for times in range(1, 9)]
    assert list(operation_colours(widths).values()) == list(SERIES)
    mixed = operation_colours(["none", "input", "skip_connect", "node1", "input"])
    assert mixed == {
        "none": OPERATIONS["none"], "input": SERIES[0], "skip_connect": OPERATIONS["skip_connect"], "node1": SERIES[1],
    }  # fmt: skip
    assert INK not in mixed.values()
