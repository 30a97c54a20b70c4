"""Cells, strings, canonical texts and networks of NAS-Bench-201 and its five-vertex variant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from nasbench.core.errors import ConfigError, GenotypeError
from nasbench.core.genotype import Cell, Genotype
from nasbench.core.seeding import generator
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.chain_network import ChainNetwork, cell_widths
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.spaces.nas_bench_201_five_vertices import NasBench201FiveVertices
from nasbench.spaces.residual import ResidualBlock
from tests.space_cases.nas_bench_201 import plain_supernet

SPACE, FIVE = NasBench201(), NasBench201FiveVertices()
SHAPE = NetworkShape(num_cells=3, channels=4, num_classes=5, in_channels=2, image_size=8)
NONE, SKIP, CONV1, CONV3, POOL = range(5)
RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"


def genotype_of(*genes: int) -> Genotype:
    return Genotype(space=SPACE.name, genes=genes)


def test_choices_are_the_edges() -> None:
    assert [choice.name for choice in SPACE.choices] == [
        "edge/1<-0", "edge/2<-0", "edge/2<-1", "edge/3<-0", "edge/3<-1", "edge/3<-2"
    ]  # fmt: skip
    assert SPACE.choices[0].candidates == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    assert SPACE.edges_of_nodes == {"cell": ((0,), (1, 2), (3, 4, 5))}
    assert FIVE.edges_of_nodes == {"cell": ((0,), (1, 2), (3, 4, 5), (6, 7, 8, 9))}
    assert [choice.name for choice in FIVE.choices[6:]] == ["edge/4<-0", "edge/4<-1", "edge/4<-2", "edge/4<-3"]


def test_readable_cell() -> None:
    cell = SPACE.cells(SPACE.from_string(RESNET))["cell"]
    assert cell == Cell(
        nodes=(
            (("nor_conv_3x3", 0),),
            (("none", 0), ("nor_conv_3x3", 1)),
            (("skip_connect", 0), ("none", 1), ("skip_connect", 2)),
        ),
        concat=(3,),
        num_inputs=1,
    )


def test_each_edge_takes_its_largest_alpha_and_none_counts() -> None:
    alphas = np.zeros((6, 5))
    alphas[1, [NONE, CONV3]] = [2.0, 1.0]
    alphas[2, CONV3] = -1.0
    alphas[4, POOL] = 0.1
    alphas[5, SKIP] = 1e-9
    assert SPACE.discretize({"cell": alphas}).genes == (NONE, NONE, NONE, NONE, POOL, SKIP)


def test_edge_norm_does_not_change_what_an_edge_takes() -> None:
    alphas = {"cell": generator(0, "alphas").normal(size=(6, 5))}
    norm = {"cell": np.array([0.0, 1.0, 0.0, 0.2, 0.8, 0.0])}
    assert SPACE.discretize(alphas, norm) == SPACE.discretize(alphas)


GOOD = ((("none", 0),), (("none", 0), ("none", 1)), (("none", 0), ("none", 1), ("none", 2)))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({}, r"\[\]"),
        ({"normal": Cell(nodes=GOOD, concat=(3,), num_inputs=1)}, "'normal'"),
        ({"cell": Cell(nodes=GOOD, concat=(3,))}, "2 inputs"),
        ({"cell": Cell(nodes=GOOD, concat=(2, 3), num_inputs=1)}, r"output \(2, 3\)"),
        ({"cell": Cell(nodes=GOOD[:2], concat=(2,), num_inputs=1)}, "2 nodes"),
        ({"cell": Cell(nodes=(*GOOD[:2], GOOD[2][:2]), concat=(3,), num_inputs=1)}, "states 0 to 2 is needed"),
        ({"cell": Cell(nodes=(*GOOD[:2], (*GOOD[2][:2], ("none", 1))), concat=(3,), num_inputs=1)}, "node 3"),
        ({"cell": Cell(nodes=((("max_pool_3x3", 0),), *GOOD[1:]), concat=(3,), num_inputs=1)}, "edge/1<-0.*max_pool"),
        ({"cell": Cell(nodes=GOOD, concat=(3,), num_inputs=1, width=8)}, "no width"),
        ({"cell": Cell(nodes=GOOD, concat=(3,), num_inputs=1, node_operations=("none",) * 3)}, "operations on nodes"),
    ],
)
def test_foreign_cells_are_refused(cells: dict[str, Cell], message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        SPACE.genotype(cells)


def test_the_order_of_a_nodes_edges_does_not_matter() -> None:
    genotype = SPACE.sample(generator(0, "order"))
    cell = SPACE.cells(genotype)["cell"]
    turned = replace(cell, nodes=tuple(edges[::-1] for edges in cell.nodes))
    assert SPACE.genotype({"cell": turned}) == genotype


@given(st.integers(0, 15_624), st.integers(0, 2**32))
def test_strings_and_indices_are_inverse(index: int, seed: int) -> None:
    genotype = SPACE.genotype_at(index)
    assert SPACE.index_of(genotype) == index
    for space, drawn in ((SPACE, genotype), (FIVE, FIVE.sample(np.random.default_rng(seed)))):
        assert space.from_string(space.to_string(drawn)) == drawn


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 nodes"),
        (RESNET + "+|none~0|none~1|none~2|none~3|", "4 nodes"),
        (RESNET.replace("|none~0|nor_conv_3x3~1|", "|nor_conv_3x3~1|none~0|"), "node 2 .*<operation>~0"),
        (RESNET.replace("|none~0|", "|"), "node 2"),
        (RESNET.replace("none~0", "none~2"), "node 2"),
        (RESNET + " ", "node 3"),
        (RESNET + "\n", "node 3"),
        (RESNET[1:], "node 1"),
        (RESNET.replace("+", " + "), "node 1"),
        (RESNET.replace("none~0", "nor_conv_3x4~0"), "'edge/2<-0' has operation 'nor_conv_3x4'.*nor_conv_3x3"),
        (RESNET.replace("none~0", "none ~0"), "operation 'none '"),
        (RESNET.replace("none~0", "none~0|none~0"), "node 2"),
    ],
)
def test_broken_strings_are_refused(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        SPACE.from_string(text)


def test_a_string_of_the_other_space_is_refused() -> None:
    with pytest.raises(GenotypeError, match="has 4 beside the input"):
        FIVE.from_string(RESNET)
    with pytest.raises(GenotypeError, match="is of space"):
        SPACE.to_string(FIVE.sample(generator(0, "five")))


@pytest.mark.parametrize("index", [-1, 15_625])
def test_no_such_index(index: int) -> None:
    with pytest.raises(GenotypeError, match=f"no architecture {index}; the numbers are 0 to 15624"):
        SPACE.genotype_at(index)


def test_an_index_of_a_foreign_genotype() -> None:
    with pytest.raises(GenotypeError, match="5 genes"):
        SPACE.index_of(genotype_of(0, 0, 0, 0, 0))


def test_canonical_takes_a_skip_as_the_identity() -> None:
    """conv(skip(x)) + x at node 3, by two ways."""
    one = genotype_of(SKIP, NONE, NONE, SKIP, CONV3, NONE)
    other = genotype_of(NONE, SKIP, NONE, SKIP, NONE, CONV3)
    assert SPACE.canonical(one, zeros="dropped") == SPACE.canonical(other, zeros="dropped") == "(0)@nor_conv_3x3+0"
    assert SPACE.canonical(one) == "#+(0)@nor_conv_3x3+0"
    assert SPACE.canonical(other) == "#+(#+0)@nor_conv_3x3+0"


def test_canonical_does_not_keep_the_order_of_terms() -> None:
    assert SPACE.canonical(genotype_of(SKIP, NONE, NONE, CONV1, POOL, NONE)) == SPACE.canonical(
        genotype_of(SKIP, NONE, NONE, POOL, CONV1, NONE)
    )


def test_canonical_rules_for_zero() -> None:
    """Node 1 is zero, and so is the convolution of it, which only ``operation`` writes down."""
    genotype = genotype_of(NONE, SKIP, NONE, NONE, CONV1, SKIP)
    assert SPACE.canonical(genotype, zeros="dropped") == "0"
    assert SPACE.canonical(genotype) == "#+#+#+0"
    assert SPACE.canonical(genotype, zeros="operation") == ("((0)@none)@none+0+((0)@none)@nor_conv_1x1+(0)@none")


def test_widths_double_after_each_third() -> None:
    assert cell_widths(replace(SHAPE, num_cells=6)) == (4, 4, 8, 8, 16, 16)
    network = SPACE.network(SPACE.sample(generator(0, "w")), replace(SHAPE, num_cells=6))
    assert list(network.chain.blocks) == ["2", "4"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_cells": 5}, "num_cells 5 is not a multiple of 3"),
        ({"num_cells": 1}, "num_cells 1 is not a multiple of 3"),
        ({"stem": "imagenet"}, "no stem 'imagenet'"),
        ({"auxiliary": True}, "no auxiliary head"),
    ],
)
@pytest.mark.parametrize("space", [SPACE, FIVE])
def test_impossible_shapes(space: NasBench201 | NasBench201FiveVertices, fields, message: str) -> None:
    shape = replace(SHAPE, **fields)
    with pytest.raises(ConfigError, match=message):
        space.supernet(shape)
    with pytest.raises(ConfigError, match=message):
        space.network(space.sample(generator(0, "shape")), shape)


@pytest.mark.parametrize("wrong", [(2, 3, 8, 8), (2, 8, 8)])
def test_wrong_images(wrong: tuple[int, ...]) -> None:
    weights = {"cell": torch.full((6, 5), 0.2)}
    for call in (lambda x: SPACE.supernet(SHAPE)(x, weights), SPACE.network(SPACE.from_string(RESNET), SHAPE)):
        with pytest.raises(ConfigError, match=r"\[N, 2, H, W\] is needed"):
            call(torch.zeros(wrong))


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 9)])
def test_small_and_odd_images(size: tuple[int, int]) -> None:
    network = SPACE.network(SPACE.from_string(RESNET), SHAPE)
    assert network(torch.randn(3, 2, *size)).logits.shape == (3, 5)


@pytest.mark.parametrize("affine", [True, False])
def test_residual_block_by_its_formula(affine: bool) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3, 8, affine).double()
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    out = x
    for unit, stride in ((block.first, 2), (block.second, 1)):
        assert (unit.body.bias is None) == affine == (unit.norm.weight is not None)
        out = F.conv2d(F.relu(out), unit.body.weight, unit.body.bias, stride, 1)
        out = (out - out.mean((0, 2, 3), keepdim=True)) / (out.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    pooled = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    expected = out + torch.einsum("oc,nchw->nohw", block.project.weight[:, :, 0, 0], pooled)
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)


def test_residual_block_averages_what_there_is_at_an_odd_border() -> None:
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    pooled = ResidualBlock(1, 2).pool(x)
    assert pooled.tolist() == [[[[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]]]


def test_bn_and_relu_stand_before_the_average() -> None:
    """Without them NASLib lost five to six points (automl/NASLib#86)."""
    network = SPACE.network(SPACE.from_string(RESNET), SHAPE).eval()
    seen = []
    network.chain.classifier.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    nn.init.constant_(network.chain.norm.bias, -0.5)
    network(torch.randn(2, 2, 8, 8))
    assert seen[0].min() == 0
    assert seen[0].shape == (2, 16, 2, 2)


def test_stem_has_no_relu() -> None:
    network = SPACE.network(genotype_of(*[SKIP] * 6), SHAPE).eval()
    seen = []
    network.chain.cells[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    network(torch.randn(2, 2, 8, 8))
    assert seen[0].min() < 0


def test_a_cell_of_zeros_can_be_trained() -> None:
    network = SPACE.network(genotype_of(*[NONE] * 6), SHAPE)
    logits = network(torch.randn(4, 2, 8, 8)).logits
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert torch.equal(logits, network.chain.classifier.linear.bias.expand(4, 5))
    assert network.chain.classifier.linear.bias.grad.abs().sum() > 0


def test_what_is_not_read_is_built_all_the_same() -> None:
    """The published sizes count every convolution, also one that does not reach the output."""
    network = SPACE.network(genotype_of(CONV3, NONE, NONE, SKIP, NONE, NONE), SHAPE)
    F.cross_entropy(network(torch.randn(4, 2, 8, 8)).logits, torch.arange(4)).backward()
    assert network.chain.cells[0].edges[0].body.weight.grad is None


def drop(network: ChainNetwork, probability: float) -> torch.Tensor:
    torch.manual_seed(5)
    with torch.no_grad():
        return network(torch.ones(6, 2, 8, 8), drop_path=probability).logits


def test_drop_path_leaves_identities_and_evaluation_alone() -> None:
    skips = SPACE.network(genotype_of(*[SKIP] * 6), SHAPE)
    assert torch.equal(drop(skips, 0.9), drop(skips, 0.0))
    pools = SPACE.network(genotype_of(*[POOL] * 6), SHAPE)
    assert not torch.equal(drop(pools, 0.9), drop(pools, 0.0))
    assert torch.equal(drop(pools.eval(), 0.9), drop(pools, 0.0))


def test_drop_path_drops_whole_images_of_an_edge() -> None:
    cell = SPACE.network(genotype_of(NONE, NONE, NONE, POOL, NONE, NONE), SHAPE).chain.cells[0]
    torch.manual_seed(0)
    output = cell(torch.ones(400, 4, 2, 2), 0.25)[:, 0, 0, 0]
    assert sorted(set(output.tolist())) == pytest.approx([0, 4 / 3])
    assert 0.15 < (output == 0).double().mean() < 0.35


@pytest.mark.parametrize("space", [SPACE, FIVE])
@pytest.mark.parametrize("k", [1, 2])
def test_edge_norm_and_partial_channels_equal_the_textbook(
    space: NasBench201 | NasBench201FiveVertices, k: int
) -> None:
    torch.manual_seed(0)
    supernet = space.supernet(SHAPE, partial_channels=k).double()
    plain = plain_supernet(space, SHAPE, supernet, k)
    edges = space.alpha_shapes["cell"][0]
    weights = {"cell": torch.rand(edges, 5, dtype=torch.float64, requires_grad=True)}
    norm = {"cell": torch.rand(edges, dtype=torch.float64, requires_grad=True)}
    images = torch.randn(4, 2, 7, 8, dtype=torch.float64)
    results = []
    for network in (supernet, plain):
        logits = network(images, weights, norm)
        loss = F.cross_entropy(logits, torch.arange(4))
        results.append((logits, *torch.autograd.grad(loss, [weights["cell"], norm["cell"]])))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
        assert expected.abs().max() > 1e-6


@pytest.mark.parametrize("k", [0, 3, 8])
def test_partial_channels_must_divide(k: int) -> None:
    with pytest.raises(ConfigError, match=f"partial_channels {k} must divide channels 4"):
        SPACE.supernet(SHAPE, partial_channels=k)


def test_batch_statistics_in_evaluation() -> None:
    images, weights = torch.randn(4, 2, 8, 8), {"cell": torch.full((6, 5), 0.2)}
    found = {}
    for choice in (False, True):
        torch.manual_seed(0)
        supernet = SPACE.supernet(SHAPE, batch_statistics=choice)
        with torch.no_grad():
            trained = supernet.train()(images, weights)
            found[choice] = torch.allclose(supernet.eval()(images, weights), trained, atol=1e-5)
    assert found == {False: False, True: True}
