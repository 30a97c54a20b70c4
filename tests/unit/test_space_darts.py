"""Choices, derivation and readable cells of the DARTS space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench.core.errors import GenotypeError
from nasbench.core.genotype import Cell
from nasbench.core.seeding import generator
from nasbench.spaces import published
from nasbench.spaces.darts import PRIMITIVES, Darts
from nasbench.spaces.two_input_cells import KINDS, NUM_EDGES, TwoInputCells

SPACE = Darts()
SKIP, SEP3 = PRIMITIVES.index("skip_connect"), PRIMITIVES.index("sep_conv_3x3")


def zeros() -> dict[str, np.ndarray]:
    return {kind: np.zeros((NUM_EDGES, len(PRIMITIVES))) for kind in ("normal", "reduce")}


def test_choices_in_gene_order() -> None:
    choices = SPACE.choices
    assert [choice.name for choice in choices[:4]] == [
        "normal/node2/inputs",
        "normal/node2/lower_operation",
        "normal/node2/higher_operation",
        "normal/node3/inputs",
    ]
    assert choices[3].candidates == ("0,1", "0,2", "1,2")
    assert choices[1].candidates == PRIMITIVES[1:]
    assert [len(choice.candidates) for choice in choices] == [1, 7, 7, 3, 7, 7, 6, 7, 7, 10, 7, 7] * 2


def test_equal_alphas_keep_the_lower_inputs_and_the_first_operation() -> None:
    for cell in SPACE.cells(SPACE.discretize(zeros())).values():
        assert cell.nodes == ((("max_pool_3x3", 0), ("max_pool_3x3", 1)),) * 4
        assert cell.concat == (2, 3, 4, 5)


def test_none_weakens_an_edge_through_the_softmax() -> None:
    """Raw alphas would keep edges 0 and 1 of node 3; a large ``none`` makes edge 0 the weakest."""
    alphas = zeros()
    alphas["normal"][2, [0, SEP3]] = [5.0, 3.0]
    alphas["normal"][3, SEP3] = 2.0
    alphas["normal"][4, SKIP] = 1.0
    node3 = SPACE.cells(SPACE.discretize(alphas))["normal"].nodes[1]
    assert node3 == (("sep_conv_3x3", 1), ("skip_connect", 2))


def test_none_is_never_chosen() -> None:
    alphas = zeros()
    for values in alphas.values():
        values[:, 0] = 50.0
        values[:, SKIP] = 1.0
    cells = SPACE.cells(SPACE.discretize(alphas))
    assert {operation for cell in cells.values() for node in cell.nodes for operation, _ in node} == {"skip_connect"}


class NoneAnywhere(TwoInputCells):
    """``none`` stands at another place on each edge."""

    name = "none-anywhere"
    operations = dict.fromkeys(KINDS, ("none", "first", "second"))
    candidates = dict.fromkeys(
        KINDS, (("none", "skip_connect", "sep_conv_3x3"), ("max_pool_3x3", "skip_connect", "none")) * 7
    )


def test_every_edge_excludes_its_own_none() -> None:
    """The authors of RobustDARTS look for ``none`` among another edge's operations (section 8.3 of the fact sheet)."""
    space = NoneAnywhere()
    for seed in range(20):
        genotype = space.sample(generator(seed, "none"))
        assert space.discretize(space.one_hot(genotype)) == genotype
    alphas = {kind: np.zeros((NUM_EDGES, 3)) for kind in KINDS}
    alphas["normal"][:] = [4.0, 2.0, 3.0]
    assert space.cells(space.discretize(alphas))["normal"].nodes[:3] == (
        (("sep_conv_3x3", 0), ("max_pool_3x3", 1)),
        (("sep_conv_3x3", 0), ("max_pool_3x3", 1)),
        (("max_pool_3x3", 0), ("max_pool_3x3", 2)),
    )


def test_strength_decides_not_order() -> None:
    alphas = zeros()
    alphas["reduce"][9 + 4, SEP3] = 2.0  # node 5 from state 4
    alphas["reduce"][9 + 2, SKIP] = 3.0  # node 5 from state 2
    cells = SPACE.cells(SPACE.discretize(alphas))
    assert cells["reduce"].nodes[3] == (("skip_connect", 2), ("sep_conv_3x3", 4))
    assert cells["normal"].nodes[3] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))


@given(st.integers(0, 2**32), st.floats(-300, 300))
def test_a_shift_of_an_edges_alphas_changes_nothing(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    alphas = {kind: rng.normal(size=shape) for kind, shape in SPACE.alpha_shapes.items()}
    shifted = {kind: values + shift for kind, values in alphas.items()}
    assert SPACE.discretize(alphas) == SPACE.discretize(shifted)


def test_normal_alphas_give_every_topology_alike() -> None:
    """Section 1: genotypes of standard-normal alphas are uniform over the input pairs."""
    rng = generator(0, "topologies")
    draws = 600
    pairs = [
        SPACE.discretize({kind: rng.normal(size=shape) for kind, shape in SPACE.alpha_shapes.items()}).genes[3]
        for _ in range(draws)
    ]
    counts = np.bincount(pairs, minlength=3)
    assert np.all(np.abs(counts - draws / 3) < 5 * np.sqrt(draws * 2 / 9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda alphas: alphas.pop("reduce"), "'reduce' is missing"),
        (lambda alphas: alphas.update(normal=np.zeros((14, 7))), r"\(14, 7\)"),
        (lambda alphas: alphas["normal"].__setitem__((0, 0), np.nan), "not all finite"),
    ],
)
def test_wrong_alphas(change, message: str) -> None:
    alphas = zeros()
    change(alphas)
    with pytest.raises(GenotypeError, match=message):
        SPACE.discretize(alphas)


def test_one_hot_has_eight_ones_a_cell() -> None:
    one_hot = SPACE.one_hot(SPACE.sample(generator(0, "ones")))
    for values in one_hot.values():
        assert values.sum() == 8
        assert sorted(np.unique(values)) == [0, 1]
        assert not values[:, 0].any()


def test_the_order_of_a_nodes_edges_does_not_matter() -> None:
    genotype = SPACE.sample(generator(0, "order"))
    turned = {
        kind: Cell(nodes=tuple(node[::-1] for node in cell.nodes), concat=cell.concat[::-1])
        for kind, cell in SPACE.cells(genotype).items()
    }
    assert SPACE.genotype(turned) == genotype


def test_published_darts_cells_are_genotypes_and_nasnet_is_not() -> None:
    foreign = set()
    for name in published.names():
        cells = published.published_cells(name)
        try:
            genotype = SPACE.genotype(cells)
        except GenotypeError:
            foreign.add(name)
        else:
            stored = SPACE.cells(genotype)
            assert {kind: [set(node) for node in cell.nodes] for kind, cell in stored.items()} == {
                kind: [set(node) for node in cell.nodes] for kind, cell in cells.items()
            }
    assert foreign == {"NASNet", "AmoebaNet"}


GOOD = (("skip_connect", 0), ("sep_conv_3x3", 1))


@pytest.mark.parametrize(
    ("nodes", "concat", "message"),
    [
        ((GOOD,) * 3, (2, 3, 4), "3 nodes"),
        ((GOOD,) * 4, (3, 4, 5), "concatenates"),
        ((GOOD, GOOD, GOOD, (("skip_connect", 1), ("sep_conv_3x3", 1))), (2, 3, 4, 5), "two from different states"),
        ((GOOD, GOOD, GOOD, (*GOOD, ("skip_connect", 2))), (2, 3, 4, 5), "two from different states"),
        ((GOOD, GOOD, GOOD, (("none", 0), ("sep_conv_3x3", 1))), (2, 3, 4, 5), "operation 'none'"),
        ((GOOD, GOOD, GOOD, (("sep_conv_7x7", 0), ("skip_connect", 1))), (2, 3, 4, 5), "allowed are max_pool_3x3"),
    ],
)
def test_impossible_cells(nodes, concat, message: str) -> None:
    good = Cell(nodes=(GOOD,) * 4, concat=(2, 3, 4, 5))
    SPACE.genotype({"normal": good, "reduce": good})
    with pytest.raises(GenotypeError, match=message):
        SPACE.genotype({"normal": good, "reduce": Cell(nodes=nodes, concat=concat)})


def test_a_missing_cell() -> None:
    with pytest.raises(GenotypeError, match=r"\['normal'\]"):
        SPACE.genotype({"normal": Cell(nodes=(GOOD,) * 4, concat=(2, 3, 4, 5))})
