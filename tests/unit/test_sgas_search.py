"""SGAS in the bilevel loop: what is decided stays, and nothing else of that edge is computed."""

from __future__ import annotations

import dataclasses
import functools
from itertools import pairwise

import numpy as np
import pytest
import torch
from small_cells import SmallCells
from tiny_space import TinySpace, image_set

from nasbench.core.errors import ConfigError
from nasbench.searchers.base import SearchTask
from nasbench.searchers.sgas import Sgas
from nasbench.searchers.sgas_scores import Decided, Decision
from nasbench.searchers.sgas_strategy import SgasStrategy
from nasbench.searchers.strategy import Moment
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.darts import Darts
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.tracking.tracker import NullTracker
from nasbench.training.recipe import Augmentation
from tests import mixed_edges

SHAPE = NetworkShape(num_cells=3, channels=2, num_classes=3, in_channels=1, image_size=6)
SETTINGS = Sgas(
    epochs=8, batch_size=10, batch_growth=5, first_decision_epoch=1, decision_interval=1, alpha_learning_rate=0.1
)


def task(space, **changes):
    fields = {
        "space": space,
        "shape": SHAPE,
        "images": image_set(),
        "weight_indices": np.arange(20, dtype=np.int64),
        "alpha_indices": np.arange(20, 40, dtype=np.int64),
        "augmentation": Augmentation(crop_padding=1, flip=False),
        "seed": 0,
    }
    return SearchTask(**(fields | changes))


def search(space, settings=SETTINGS, tracker=None, **changes):
    return settings.search(task(space, **changes), tracker or NullTracker())


@functools.cache
def whole():
    """Every edge of NAS-Bench-201 decided at the end of epochs 1 to 6, batches of 10, 15 and then 20, all of a half."""
    return search(NasBench201(), dataclasses.replace(SETTINGS, adapt_batch_size=True))


def test_alphas_stay_where_they_are_once_their_edge_is_decided():
    records = whole().trajectory
    assert [len(record["decisions"]) for record in records] == [0, 1, 2, 3, 4, 5, 6, 6]
    moved = [
        (np.array(now["alphas"]["cell"]) != np.array(before["alphas"]["cell"])).any(axis=1)
        for before, now in pairwise(records)
    ]
    for record, rows in zip(records, moved, strict=False):
        decided = {edge for _, edge, _ in record["decisions"]}
        assert {int(edge) for edge in np.flatnonzero(~rows)} == decided


def test_the_result_is_what_was_decided():
    result = whole()
    genes = [None] * 6
    for _, edge, operation in result.trajectory[-1]["decisions"]:
        genes[edge] = operation
    assert list(result.genotype.genes) == genes
    assert 0 not in genes
    assert [record["decided_share"] for record in result.trajectory][-3:] == [pytest.approx(5 / 6), 1.0, 1.0]
    for record in result.trajectory:
        assert all(record["genes"][edge] == operation for _, edge, operation in record["decisions"])


class StopAfter(NullTracker):
    def __init__(self, epochs):
        self.left = epochs

    def log_metrics(self, metrics, step=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_killed_search_resumes_with_its_decisions_and_batches(tmp_path):
    settings = dataclasses.replace(SETTINGS, adapt_batch_size=True)
    checkpoint = tmp_path / "c.pt"
    with pytest.raises(KeyboardInterrupt):
        search(NasBench201(), settings, StopAfter(3), checkpoint=checkpoint)
    resumed = search(NasBench201(), settings, checkpoint=checkpoint)
    assert resumed.trajectory == whole().trajectory


def test_a_batch_that_grows_beyond_a_half_is_an_error_at_once():
    with pytest.raises(ConfigError, match=r"batch_size: 25 is larger than the weight half of 20 images"):
        search(NasBench201())


def test_both_kinds_of_cell_are_decided_and_pruned_in_step():
    settings = dataclasses.replace(SETTINGS, epochs=9, batch_growth=0, batch_size=20)
    result = search(SmallCells(), settings)
    decisions = result.trajectory[-1]["decisions"]
    assert [group for group, _, _ in decisions] == ["normal", "reduce"] * 8
    one_hot = SmallCells().one_hot(result.genotype)
    for group, values in one_hot.items():
        assert sorted((edge, operation) for name, edge, operation in decisions if name == group) == [
            (int(edge), int(operation)) for edge, operation in zip(*np.nonzero(values), strict=True)
        ]


def computed(supernet, mixture):
    """Which operations with weights of their own are computed, (edge, name) of any cell."""
    return {*mixed_edges.computed(supernet, lambda: mixture.apply(supernet, torch.randn(2, 1, 6, 6)))}


def test_only_the_chosen_operation_of_a_decided_edge_is_computed_with_weight_one():
    space = NasBench201()
    strategy = SgasStrategy(space, first_epoch=0, interval=1, batch_growth=0, history=None)
    supernet = space.supernet(SHAPE)
    architecture = {"cell": torch.randn(6, 5, requires_grad=True)}
    everything = {(edge, name) for edge in range(6) for name in ("nor_conv_1x1", "nor_conv_3x3")}
    assert computed(supernet, strategy.alpha_mixture(architecture, Moment(0, 1))) == everything
    strategy.decided = Decided(space, (Decision("cell", 2, 3), Decision("cell", 4, 1)))
    mixture = strategy.alpha_mixture(architecture, Moment(0, 1))
    assert computed(supernet, mixture) == {(e, n) for e, n in everything if e not in (2, 4)} | {(2, "nor_conv_3x3")}
    weights = mixture.edge_weights["cell"].detach()
    assert weights[[2, 4]].tolist() == [[0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert torch.equal(weights[[0, 1, 3, 5]], torch.softmax(architecture["cell"], dim=1).detach()[[0, 1, 3, 5]])


def test_pruned_edges_are_not_computed_and_get_no_gradient():
    space = Darts()
    strategy = SgasStrategy(space, first_epoch=0, interval=1, batch_growth=0, history=None)
    pairs = [(13, 4), (12, 5), (8, 6), (7, 7), (4, 4), (3, 5), (1, 6), (0, 7)]
    strategy.decided = Decided(space, tuple(Decision(group, *pair) for group in space.operations for pair in pairs))
    supernet = space.supernet(SHAPE)
    architecture = {group: torch.randn(14, 8, requires_grad=True) for group in space.alpha_shapes}
    mixture = strategy.alpha_mixture(architecture, Moment(0, 1))
    names = space.operations["normal"]
    assert computed(supernet, mixture) == {(edge, names[operation]) for edge, operation in pairs}
    arrays = {group: values.detach().double().numpy() for group, values in architecture.items()}
    one_hot = space.one_hot(strategy.genotype(space, arrays))
    for group, values in one_hot.items():
        assert torch.equal(mixture.edge_weights[group].detach(), torch.from_numpy(values).float())
    mixture.apply(supernet, torch.randn(2, 1, 6, 6)).square().sum().backward()
    for (_, edge, name), gradients in mixed_edges.gradients_of_operations(supernet).items():
        used = (edge, names.index(name)) in pairs
        assert all(bool(gradient.any()) == used for gradient in gradients)


def test_too_few_epochs_are_refused_with_those_that_are_needed():
    with pytest.raises(ConfigError, match=r"epochs: 44 do not suffice for sgas.*'darts'\. Give at least 45"):
        search(Darts(), Sgas(epochs=44))
    with pytest.raises(ConfigError, match=r"'nas-bench-201'\. Give at least 7"):
        search(NasBench201(), dataclasses.replace(SETTINGS, epochs=6))


def test_a_space_without_edges_is_refused():
    with pytest.raises(ConfigError, match=r"sgas cannot search the space 'tiny', which has no edges.*darts"):
        search(TinySpace())
