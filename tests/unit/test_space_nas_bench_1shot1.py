"""Choices, derivation, cells and networks of NAS-Bench-1Shot1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nasbench.core.errors import ConfigError, GenotypeError
from nasbench.core.genotype import Cell, Genotype
from nasbench.core.seeding import generator
from nasbench.searchers.diagnostics import collapsed
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.nas_bench_1shot1 import (
    NasBench1Shot1Space1,
    NasBench1Shot1Space2,
    NasBench1Shot1Space3,
)
from nasbench.spaces.node_cell import plan_node_cells, reaching
from nasbench.training.cost import count_parameters
from tests.space_cases.nas_bench_1shot1 import CASE, plain_supernet

SPACE = NasBench1Shot1Space1()
SPACES = (SPACE, NasBench1Shot1Space2(), NasBench1Shot1Space3())
SHAPE = CASE.shape
POOL, CONV3, CONV1 = "maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu"


def zeros(space=SPACE) -> dict[str, np.ndarray]:
    return {group: np.zeros(shape) for group, shape in space.alpha_shapes.items()}


def random_weights(space=SPACE) -> dict[str, torch.Tensor]:
    return {group: torch.rand(shape, dtype=torch.float64) for group, shape in space.alpha_shapes.items()}


def cell_of(nodes: dict[int, tuple[int, ...]], output: tuple[int, ...], operations: tuple[str, ...]) -> Cell:
    edges = tuple(
        tuple(("projection" if state == 0 else "skip_connect", state) for state in states) for states in nodes.values()
    )
    return Cell(nodes=edges, concat=output, num_inputs=1, node_operations=operations)


def test_choices_in_gene_order() -> None:
    assert [(choice.name, len(choice.candidates)) for choice in SPACE.choices] == [
        *((f"node{node}/operation", 3) for node in (1, 2, 3, 4)),
        ("node3/parents", 3), ("node4/parents", 6), ("output/parents", 10),
    ]  # fmt: skip
    assert SPACE.choices[4].candidates == ("0,1", "0,2", "1,2")


def test_groups_of_connections_name_their_states() -> None:
    for space in SPACES:
        assert space.connection_groups == set(space.alpha_shapes) - {"operations"}
    assert SPACE.operations["node3"] == ("input", "node1", "node2")
    assert SPACE.operations["output"] == ("input", "node1", "node2", "node3", "node4")


def test_a_cell_by_its_genes() -> None:
    cell = SPACE.cells(Genotype(space=SPACE.name, genes=(1, 0, 2, 1, 2, 3, 1)))["cell"]
    nodes = {1: (0,), 2: (0, 1), 3: (1, 2), 4: (1, 2)}
    assert cell == cell_of(nodes, (0, 2), (CONV3, POOL, CONV1, CONV3))


def test_equal_alphas_take_the_first_operation_and_the_lowest_parents() -> None:
    cell = SPACE.cells(SPACE.discretize(zeros()))["cell"]
    assert cell == cell_of({1: (0,), 2: (0, 1), 3: (0, 1), 4: (0, 1)}, (0, 1), (POOL,) * 4)


def test_the_strongest_parents_are_taken() -> None:
    alphas = zeros()
    alphas["operations"][2, 1] = 0.1
    alphas["node4"][0] = [0.1, 0.4, 0.2, 0.3]
    alphas["output"][0] = [-900.0, 0.0, -2000.0, -1000.0, -1500.0]  # a softmax would make zeros of most of them
    cell = SPACE.cells(SPACE.discretize(alphas))["cell"]
    assert (cell.nodes[3], cell.concat) == ((("skip_connect", 1), ("skip_connect", 3)), (0, 1))
    assert cell.node_operations == (POOL, POOL, CONV3, POOL)


@given(st.integers(0, 2**32), st.sampled_from(SPACES))
def test_discretize_takes_the_largest_of_each_softmax(seed: int, space) -> None:
    rng = np.random.default_rng(seed)
    alphas = {group: rng.normal(size=shape) for group, shape in space.alpha_shapes.items()}
    cell = space.cells(space.discretize(alphas))["cell"]
    chosen = {f"node{node}": {state for _, state in edges} for node, edges in enumerate(cell.nodes, start=1)}
    for group, states in {**chosen, "output": set(cell.concat)}.items():
        if group in alphas:
            values = alphas[group][0]
            assert min(values[list(states)]) > max(np.delete(values, list(states)))


def test_bad_alphas_are_refused() -> None:
    for group, value in (("node3", np.zeros((1, 2))), ("output", np.full((1, 5), np.nan))):
        with pytest.raises(GenotypeError, match=group):
            SPACE.discretize({**zeros(), group: value})
    with pytest.raises(GenotypeError, match="'node4' is missing"):
        SPACE.discretize({group: values for group, values in zeros().items() if group != "node4"})
    with pytest.raises(ConfigError, match="takes no edge_norm"):
        SPACE.discretize(zeros(), {group: np.ones(1) for group in zeros()})


def test_cells_in_another_order_are_the_same_genotype() -> None:
    cell = cell_of({1: (0,), 2: (0, 1), 3: (0, 2), 4: (2, 3)}, (0, 4), (CONV3, POOL, CONV1, CONV3))
    turned = replace(cell, nodes=tuple(edges[::-1] for edges in cell.nodes), concat=(4, 0))
    genotype = SPACE.genotype({"cell": turned})
    assert genotype == SPACE.genotype({"cell": cell})
    assert SPACE.cells(genotype) == {"cell": cell}


GOOD = cell_of({1: (0,), 2: (0, 1), 3: (0, 2), 4: (2, 3)}, (0, 4), (CONV3, POOL, CONV1, CONV3))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"normal": GOOD}, "has one, 'cell'"),
        ({"cell": replace(GOOD, node_operations=(), concat=(3, 4))}, "no node_operations"),
        ({"cell": replace(GOOD, node_operations=(CONV3, "max_pool_3x3", CONV1, CONV3))}, "node 2 has .*maxpool3x3"),
        ({"cell": replace(GOOD, concat=(0, 3, 4))}, "the output has the parents"),
        ({"cell": replace(GOOD, concat=(4, 4))}, "2 different ones"),
        ({"cell": replace(GOOD, width=8)}, "no width of its own"),
        ({"cell": replace(GOOD, nodes=GOOD.nodes[:3], node_operations=GOOD.node_operations[:3], concat=(0, 3))}, "4 n"),
        ({"cell": replace(GOOD, nodes=(*GOOD.nodes[:3], GOOD.nodes[3][:1]))}, "node 4 has the parents"),
        ({"cell": replace(GOOD, nodes=((("skip_connect", 0),), *GOOD.nodes[1:]))}, "state 0 is 'projection'"),
    ],
)
def test_impossible_cells_are_refused(cells: dict[str, Cell], message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        SPACE.genotype(cells)


def test_a_cell_of_pools_has_collapsed() -> None:
    assert collapsed(SPACE.cells(SPACE.discretize(zeros()))) == ("cell",)


def test_loose_ends() -> None:
    assert reaching([(0,), (0, 1), (0, 1), (1, 3)], (0, 2)) == (1, 2)
    assert reaching([(0,), (0,), (0, 2)], (0, 3)) == (2, 3)
    assert reaching([(0,), (0,)], (0,)) == ()


def test_a_discrete_network_has_no_weights_at_loose_ends() -> None:
    """Node 3 feeds node 4 only, and nothing sees that one: their operations do not count."""
    nodes = {1: (0,), 2: (0, 1), 3: (0, 1), 4: (1, 3)}
    sizes = set()
    for loose in ((POOL, POOL), (CONV3, CONV3), (CONV1, POOL)):
        cell = cell_of(nodes, (1, 2), (CONV3, CONV1, *loose))
        network = SPACE.network(SPACE.genotype({"cell": cell}), SHAPE)
        sizes.add(count_parameters(network))
        network(torch.randn(2, 2, 8, 8)).logits.sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
    assert len(sizes) == 1


@pytest.mark.parametrize(("output", "slices"), [((2, 4), 2), ((0, 4), 4), ((3, 4), 2)])
def test_channels_of_the_discrete_network(output: tuple[int, ...], slices: int) -> None:
    """One slice of C for each node of the output; all n where the projected input is added to them."""
    cell = cell_of({1: (0,), 2: (0, 1), 3: (0, 2), 4: (2, 3)}, output, (CONV3,) * 4)
    network = SPACE.network(SPACE.genotype({"cell": cell}), SHAPE)
    assert network.chain.last.in_channels == slices * 16
    assert [cell.projections["1"].conv.in_channels for cell in network.chain.cells] == [4, slices * 4, slices * 8]


def test_parameters_of_a_small_cell_by_hand() -> None:
    """A cell of C = 4: projections to nodes 1 and 2, conv3x3 and conv1x1, each with scale and shift of 2C."""
    cell = cell_of({1: (0,), 2: (0, 1), 3: (0, 1), 4: (0, 1)}, (1, 2), (CONV3, CONV1, POOL, POOL))
    network = SPACE.network(SPACE.genotype({"cell": cell}), SHAPE)
    expected = 9 * 2 * 4 + 8
    for c_in, c in ((4, 4), (2 * 4, 8), (2 * 8, 16)):
        expected += 2 * (c_in * c + 2 * c) + (9 * c * c + 2 * c) + (c * c + 2 * c)
    expected += 2 * 16 * 16 + 16 * 5 + 5
    assert count_parameters(network) == expected


def test_plan_of_nine_cells() -> None:
    plans = plan_node_cells(NetworkShape(num_cells=9, channels=16, num_classes=10), 4)
    assert [plan.channels for plan in plans] == [16] * 3 + [32] * 3 + [64] * 3
    assert [plan.c_in for plan in plans] == [16, 64, 64, 64, 128, 128, 128, 256, 256]
    assert [index for index, plan in enumerate(plans) if plan.halves] == [3, 6]


@pytest.mark.parametrize(("size", "expected"), [(32, [32, 17, 9]), (7, [7, 4, 3]), (1, [1, 1, 1])])
def test_resolutions(size: int, expected: list[int]) -> None:
    supernet, seen = SPACE.supernet(SHAPE), []
    for cell in supernet.chain.cells:
        cell.register_forward_hook(lambda _, __, output: seen.append(output.output.shape[-1]))
    supernet(torch.randn(2, 2, size, size), {group: values.float() for group, values in random_weights().items()})
    assert seen == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_cells": 4}, "not a multiple of 3"),
        ({"stem": "imagenet"}, "no stem 'imagenet'"),
        ({"auxiliary": True}, "no auxiliary head"),
    ],
)
def test_shapes_that_this_space_lacks(changes: dict[str, object], message: str) -> None:
    shape = replace(SHAPE, **changes)
    with pytest.raises(ConfigError, match=message):
        SPACE.supernet(shape)
    with pytest.raises(ConfigError, match=message):
        SPACE.network(SPACE.sample(generator(0, "shape")), shape)


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"shape \(1, 3, 8, 8\); \[N, 2, H, W\] is needed"):
        SPACE.supernet(SHAPE)(torch.randn(1, 3, 8, 8), random_weights())


def test_batch_norm_of_the_supernet() -> None:
    """All are affine but the last one; PyTorch's momentum, not the published code's 0.997."""
    norms = {name: module for name, module in SPACE.supernet(SHAPE).named_modules() if isinstance(module, BatchNorm)}
    assert [name for name, module in norms.items() if not module.affine] == ["chain.norm"]
    assert {module.momentum for module in norms.values()} == {0.1}


def test_batch_statistics_are_a_choice() -> None:
    torch.manual_seed(0)
    supernet = SPACE.supernet(SHAPE, batch_statistics=True).double()
    images, weights = torch.randn(4, 2, 8, 8, dtype=torch.float64), random_weights()
    with torch.no_grad():
        in_training = supernet(images, weights)
        torch.testing.assert_close(supernet.eval()(images, weights), in_training)
        running = SPACE.supernet(SHAPE).double()
        running.load_state_dict(supernet.state_dict())
        assert not torch.allclose(running.eval()(images, weights), in_training)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_partial_channels_against_the_textbook(space, k: int) -> None:
    torch.manual_seed(0)
    supernet = space.supernet(SHAPE, partial_channels=k).double()
    plain = plain_supernet(space, SHAPE, supernet, k)
    images, weights = torch.randn(4, 2, 7, 11, dtype=torch.float64), random_weights(space)
    torch.testing.assert_close(supernet(images, weights), plain(images, weights), rtol=1e-10, atol=1e-10)


def test_partial_channels_that_do_not_divide() -> None:
    for k in (3, 0):
        with pytest.raises(ConfigError, match="must divide channels 4"):
            SPACE.supernet(SHAPE, partial_channels=k)


def without(space, weights: dict[str, torch.Tensor], *off: tuple[str, int, int]):
    """Masks that leave these out, and the weights with zeros there."""
    active = {group: np.ones(shape, dtype=bool) for group, shape in space.alpha_shapes.items()}
    for group, row, column in off:
        active[group][row, column] = False
    return active, {group: values * torch.from_numpy(active[group]) for group, values in weights.items()}


@pytest.mark.parametrize(
    "off",
    [
        [("node3", 0, 0)],  # the input is not projected
        [("node3", 0, state) for state in range(3)],  # a node without parents
        [("operations", 1, operation) for operation in range(3)],  # a node without operations
        [("output", 0, 0), ("output", 0, 2)],  # fewer slices
        [("output", 0, state) for state in range(1, 5)],  # the projected input alone
        [("output", 0, state) for state in range(5)],  # nothing at all
    ],
)
@pytest.mark.parametrize("k", [1, 2])
def test_what_is_not_active_counts_as_zero(off: list[tuple[str, int, int]], k: int) -> None:
    torch.manual_seed(0)
    supernet, weights = SPACE.supernet(SHAPE, partial_channels=k).double(), random_weights()
    active, zeroed = without(SPACE, weights, *off)
    images = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        less = supernet(images, weights, active)
        torch.testing.assert_close(less, supernet(images, zeroed), rtol=1e-10, atol=1e-10)
        assert not torch.allclose(less, supernet(images, weights))


def test_nodes_that_the_output_does_not_see_are_not_computed() -> None:
    supernet = SPACE.supernet(SHAPE).double()
    off = [("output", 0, 3), ("output", 0, 4)]
    active, _ = without(SPACE, random_weights(), *off)
    called = []
    for name, module in supernet.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    supernet(torch.randn(2, 2, 8, 8, dtype=torch.float64), random_weights(), active)
    assert any(".operations.1." in name for name in called)
    assert not any(f".{part}." in name for name in called for part in ("operations.2", "operations.3", "projections.3"))


def test_drop_path_drops_what_operations_give() -> None:
    torch.manual_seed(0)
    network = SPACE.network(SPACE.genotype({"cell": GOOD}), SHAPE)
    images, outputs = torch.randn(64, 2, 8, 8), []
    network.chain.cells[0].register_forward_hook(lambda _, __, output: outputs.append(output.output))
    network(images, drop_path=0.5)
    network(images)
    dropped, whole = (output.chunk(4, dim=1)[3].flatten(1) for output in outputs)
    projected = network.chain.cells[0].projections["5"](network.chain.stem(images)).chunk(4, dim=1)[3].flatten(1)
    gone = (dropped == projected).all(dim=1)
    assert 0.2 < gone.float().mean() < 0.8
    assert not (whole == projected).all(dim=1).any()
    network.eval()
    assert torch.equal(network(images, drop_path=0.5).logits, network(images).logits)
