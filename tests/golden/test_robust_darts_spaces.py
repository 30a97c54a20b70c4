"""S1 to S4 against section 8.2 of the fact sheet on differentiable search (Zela et al., ICLR 2020, and its code)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_space
import torch
from counted import num_weights, without_values

from nasbench.core.genotype import Cell
from nasbench.searchers.base import SearchTask
from nasbench.searchers.darts import Darts as DartsSearcher
from nasbench.spaces import SPACES
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.robust_darts import RobustDartsS1, RobustDartsS2, RobustDartsS3, RobustDartsS4
from nasbench.tracking.tracker import NullTracker
from nasbench.training.augment import augment_cell
from nasbench.training.recipe import Augmentation, Recipe

S1_TABLE = """
 0  n2<-0  skip_connect dil_conv_3x3   max_pool_3x3 avg_pool_3x3
 1  n2<-1  skip_connect dil_conv_5x5   max_pool_3x3 dil_conv_3x3
 2  n3<-0  skip_connect dil_conv_5x5   max_pool_3x3 avg_pool_3x3
 3  n3<-1  skip_connect sep_conv_3x3   max_pool_3x3 avg_pool_3x3
 4  n3<-2  skip_connect dil_conv_3x3   skip_connect dil_conv_5x5
 5  n4<-0  max_pool_3x3 skip_connect   max_pool_3x3 avg_pool_3x3
 6  n4<-1  skip_connect sep_conv_3x3   max_pool_3x3 sep_conv_3x3
 7  n4<-2  skip_connect sep_conv_3x3   skip_connect dil_conv_3x3
 8  n4<-3  skip_connect dil_conv_3x3   skip_connect dil_conv_5x5
 9  n5<-0  skip_connect sep_conv_3x3   max_pool_3x3 avg_pool_3x3
10  n5<-1  max_pool_3x3 skip_connect   max_pool_3x3 avg_pool_3x3
11  n5<-2  skip_connect dil_conv_3x3   skip_connect dil_conv_5x5
12  n5<-3  dil_conv_3x3 dil_conv_5x5   skip_connect dil_conv_5x5
13  n5<-4  dil_conv_3x3 dil_conv_5x5   skip_connect dil_conv_5x5
"""
"""Section 8.2: edge, node and input, two operations of the normal cell, two of the reduction cell."""

SEARCH = {"num_cells": 8, "channels": 16}  # section 8.1
NAMES = ("robust-darts-s1", "robust-darts-s2", "robust-darts-s3", "robust-darts-s4")


def test_the_table_of_s1() -> None:
    space = RobustDartsS1()
    edges_of = {node: space.edges_of_nodes["normal"][node - 2] for node in (2, 3, 4, 5)}
    rows = [line.split() for line in S1_TABLE.strip().splitlines()]
    assert len(rows) == 14
    for edge, place, *operations in rows:
        node, source = int(place[1]), int(place[4])
        assert edges_of[node][source] == int(edge)
        assert space.candidates["normal"][int(edge)] == tuple(operations[:2])
        assert space.candidates["reduce"][int(edge)] == tuple(operations[2:])


def test_the_operations_of_s2_to_s4() -> None:
    expected = {
        RobustDartsS2: ("skip_connect", "sep_conv_3x3"),
        RobustDartsS3: ("none", "skip_connect", "sep_conv_3x3"),
        RobustDartsS4: ("noise", "sep_conv_3x3"),
    }
    for space, operations in expected.items():
        assert space().operations == {"normal": operations, "reduce": operations}
        assert set(space().candidates["normal"] + space().candidates["reduce"]) == {operations}


@pytest.mark.parametrize(
    ("name", "weights", "alphas"),
    list(zip(NAMES, (405_146, 665_466, 665_466, 624_506), (56, 56, 84, 56), strict=True)),
)
def test_supernet_weights_and_alphas(name: str, weights: int, alphas: int) -> None:
    space = SPACES.get(name)()
    for classes, more in ((10, 0), (100, 23_130)):
        with without_values():
            supernet = space.supernet(NetworkShape(num_classes=classes, **SEARCH))
        assert num_weights(supernet) == weights + more
    assert sum(edges * operations for edges, operations in space.alpha_shapes.values()) == alphas


@pytest.mark.parametrize("name", NAMES)
def test_cells_of_each_kind(name: str) -> None:
    assert SPACES.get(name)().cardinality == 46_080**2


def zeros(space) -> dict[str, np.ndarray]:
    return {kind: np.zeros(shape) for kind, shape in space.alpha_shapes.items()}


def test_derivation_in_s3_has_none_in_the_softmax_and_not_in_the_genotype() -> None:
    space, alphas = RobustDartsS3(), zeros(RobustDartsS3())
    # Node 3; without none in the denominator edge 2 would be the strongest (e^3/(1 + e^3) = 0.95).
    alphas["normal"][2] = [5.0, 0.0, 3.0]  # 0.118
    alphas["normal"][3] = [0.0, 0.0, 2.0]  # 0.787
    alphas["normal"][4] = [0.0, 1.0, 0.0]  # 0.576
    alphas["reduce"][:, 0] = 9.0  # none is the strongest everywhere
    alphas["reduce"][[6, 7], 2] = 1.0
    cells = space.cells(space.discretize(alphas))
    assert cells["normal"].nodes[1] == (("sep_conv_3x3", 1), ("skip_connect", 2))
    assert cells["reduce"].nodes == (
        (("skip_connect", 0), ("skip_connect", 1)),
        (("skip_connect", 0), ("skip_connect", 1)),
        (("sep_conv_3x3", 1), ("sep_conv_3x3", 2)),
        (("skip_connect", 0), ("skip_connect", 1)),
    )


def test_derivation_in_s1_names_the_operations_of_the_edge() -> None:
    space, alphas = RobustDartsS1(), zeros(RobustDartsS1())
    alphas["normal"][[0, 3, 5, 8, 10, 13]] = [
        [0.0, 1.0],  # n2<-0
        [0.0, 1.0],  # n3<-1
        [2.0, 0.0],  # n4<-0
        [0.0, 2.0],  # n4<-3
        [0.0, 3.0],  # n5<-1
        [1.0, 0.0],  # n5<-4
    ]
    alphas["reduce"][[1, 4, 6, 7, 9, 12]] = [[0.0, 1.0]] * 6
    cells = space.cells(space.discretize(alphas))
    assert cells["normal"].nodes == (
        (("dil_conv_3x3", 0), ("skip_connect", 1)),
        (("skip_connect", 0), ("sep_conv_3x3", 1)),
        (("max_pool_3x3", 0), ("dil_conv_3x3", 3)),
        (("skip_connect", 1), ("dil_conv_3x3", 4)),
    )
    assert cells["reduce"].nodes == (
        (("max_pool_3x3", 0), ("dil_conv_3x3", 1)),
        (("max_pool_3x3", 0), ("dil_conv_5x5", 2)),
        (("sep_conv_3x3", 1), ("dil_conv_3x3", 2)),
        (("avg_pool_3x3", 0), ("dil_conv_5x5", 3)),
    )


def test_derivation_in_s4_can_choose_noise() -> None:
    space, alphas = RobustDartsS4(), zeros(RobustDartsS4())
    alphas["normal"][:, 0] = 1.0
    alphas["reduce"][:, 1] = 1.0
    cells = space.cells(space.discretize(alphas))
    assert set(cells["normal"].operations) == {"noise"}
    assert set(cells["reduce"].operations) == {"sep_conv_3x3"}


class KillAfter(NullTracker):
    """Fails like a killed process after so many epochs, in a process whose generator stands elsewhere."""

    def __init__(self, epochs: int) -> None:
        object.__setattr__(self, "left", [None] * epochs)

    def log_metrics(self, metrics, step=None) -> None:
        self.left.pop()
        if not self.left:
            raise KeyboardInterrupt


def test_a_network_with_noise_is_trained_and_tested_alike_after_a_kill(tmp_path) -> None:
    space = RobustDartsS4()
    mixed = ((("noise", 0), ("sep_conv_3x3", 1)),) * 4
    cell = Cell(nodes=mixed, concat=(2, 3, 4, 5))
    genotype = space.genotype({"normal": cell, "reduce": cell})
    shape = dataclasses.replace(tiny_space.SHAPE, num_cells=3, channels=2)
    recipe = Recipe(
        epochs=2, batch_size=20, learning_rate=0.05, augmentation=Augmentation(crop_padding=1, flip=False, cutout=0)
    )

    def train(ambient: int, **options):
        torch.manual_seed(ambient)
        images = tiny_space.image_set(20), tiny_space.image_set(10, seed=1)
        return augment_cell(space, genotype, shape, *images, recipe, seed=0, **options)

    whole = train(1)
    with pytest.raises(KeyboardInterrupt):
        train(2, checkpoint=tmp_path / "c.pt", tracker=KillAfter(1))
    assert train(3, checkpoint=tmp_path / "c.pt").history == whole.history
    assert len({record["test_loss"] for record in whole.history}) == 2


def test_a_search_among_noise_goes_on_alike_after_a_kill(tmp_path) -> None:
    rows = np.arange(60, dtype=np.int64)
    task = SearchTask(
        space=RobustDartsS4(),
        shape=dataclasses.replace(tiny_space.SHAPE, num_cells=3, channels=2),
        images=tiny_space.image_set(60),
        weight_indices=rows[:30],
        alpha_indices=rows[30:],
        augmentation=Augmentation(crop_padding=1, flip=False),
        seed=0,
    )
    searcher = DartsSearcher(epochs=2, batch_size=30, order="first", alpha_warmup_epochs=0)
    torch.manual_seed(1)
    whole = searcher.search(task, NullTracker())
    kept = dataclasses.replace(task, checkpoint=tmp_path / "c.pt")
    torch.manual_seed(2)
    with pytest.raises(KeyboardInterrupt):
        searcher.search(kept, KillAfter(1))
    torch.manual_seed(3)
    resumed = searcher.search(kept, NullTracker())
    assert resumed.trajectory == whole.trajectory
    assert resumed.genotype == whole.genotype
