"""RobustDARTS: defaults, drop path, the tracked eigenvalue and the early stop.

Published figures: Zela et al., ICLR 2020, arXiv:1909.09656, and its code (facts/differentiable_search.md, 8.1).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import small_cells
import tiny_space
import torch

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import ConfigError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import SearchTask
from nasbench.searchers.hypergradient import first_order, hessian_vector_product
from nasbench.searchers.robust_darts_strategy import RobustStrategy, StopRule
from nasbench.searchers.strategy import EpochEnd, Moment, softmax_of
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.determinism import seeded
from nasbench.training.recipe import Augmentation

RobustDarts = SEARCHERS.get("robust-darts")
PAPER_STOP = {"window": 5, "look_back": 4, "factor": 1.3, "first_epoch": 10}


def robust(**fields):
    return parse(RobustDarts, {"batch_size": 15, "order": "first", **fields})


def task_of(space=None, shape=tiny_space.SHAPE, **changes):
    images = tiny_space.image_set(60)
    if shape.image_size == 8:
        images = dataclasses.replace(images, images=np.pad(images.images, ((0, 0), (1, 1), (1, 1), (0, 0))))
    fields = {
        "space": space or tiny_space.TinySpace(),
        "shape": shape,
        "images": images,
        "weight_indices": np.arange(30, dtype=np.int64),
        "alpha_indices": np.arange(30, 60, dtype=np.int64),
        "augmentation": Augmentation(crop_padding=1, flip=False),
        "seed": 0,
    }
    return SearchTask(**(fields | changes))


def with_drop_path(**changes):
    return task_of(small_cells.TwoNodes(), small_cells.SHAPE, **changes)


def records_of(values, interval=2, start=0):
    """Records of all epochs, with an eigenvalue in every ``interval``-th."""
    records = []
    for index, value in enumerate(values):
        records.append({"epoch": start + interval * index, "dominant_eigenvalue": value})
        records += [{"epoch": start + interval * index + more} for more in range(1, interval)]
    return records


def test_the_defaults_are_the_published_ones():
    fields = fields_of(parse(RobustDarts, {}))
    published = {  # the paper's searches (section 8.1 of the sheet); weight decay: arXiv:2106.04784, R-DARTS(L2)
        "order": "second", "weight_decay": 0.0243, "epochs": 50, "batch_size": 64, "learning_rate": 0.025,
        "final_learning_rate": 0.001, "gradient_clip": 5.0, "alpha_learning_rate": 3e-4,
        "alpha_betas": [0.5, 0.999], "alpha_weight_decay": 1e-3,
        "eigenvalue_interval": 2, "stop_window": 5, "stop_first_epoch": 10, "stop_look_back": 4, "stop_factor": 1.3,
    }  # fmt: skip
    assert {name: fields[name] for name in published} == published
    assert (fields["drop_path"], fields["early_stop"]) == (0.0, "none")


@pytest.mark.parametrize(
    ("values", "stopped"),
    [
        ([1.0] * 20, None),
        ([0.2 + 0.05 * index for index in range(9)], None),  # too early: back is epoch 4
        # Index 11 is epoch 22; its window's middle is index 9, and 4 before that is index 5, epoch 10.
        ([1.0] * 9 + [2.0] * 3, 10),  # means: (1+1+2+2+2)/5 = 1.6 against 1
        ([1.0] * 9 + [1.45] * 3, None),  # 1.27 times
        ([1.0] * 9 + [1.55] * 3, 10),  # 1.33 times
        ([1.0] * 3 + [9.0] * 5 + [1.0] * 2 + [2.0] * 2, None),  # it had grown before, and fell
        ([-1.0] * 9 + [2.0] * 3, None),  # no factor of growth from a negative mean
        ([-1.0] * 9 + [-2.0] * 3, None),
    ],
)
def test_the_stop_rule_on_scripted_eigenvalues(values, stopped):
    assert StopRule(**PAPER_STOP)(records_of(values)) == stopped


def test_the_first_epoch_that_can_be_gone_back_to_is_respected():
    late = [1.0] * 9 + [2.0] * 3
    assert StopRule(**(PAPER_STOP | {"first_epoch": 11}))(records_of(late)) is None
    assert StopRule(**(PAPER_STOP | {"first_epoch": 11}))(records_of([1.0, *late])) == 12
    growing = [2.0**index for index in range(12)]
    rule = StopRule(**(PAPER_STOP | {"first_epoch": 0}))
    first = next(count for count in range(1, 13) if rule(records_of(growing[:count])) is not None)
    assert (first, rule(records_of(growing[:first]))) == (7, 0)  # the middle of 5 values of 7, and 4 back


@pytest.mark.parametrize("change", [{"window": 1}, {"look_back": 1}, {"factor": 2.0}, {"first_epoch": 30}])
def test_every_number_of_the_rule_matters(change):
    values = [1.0] * 9 + [2.0] * 3
    assert StopRule(**(PAPER_STOP | change))(records_of(values)) != StopRule(**PAPER_STOP)(records_of(values))


def test_an_epoch_without_an_eigenvalue_does_not_change_the_answer():
    records = records_of([1.0] * 9 + [2.0] * 3)
    assert records[-1]["epoch"] == 23
    assert StopRule(**PAPER_STOP)(records[:-1]) == StopRule(**PAPER_STOP)(records) == 10


STOPPING = {
    "epochs": 12, "eigenvalue_interval": 1, "early_stop": "eigenvalue", "stop_window": 1, "stop_look_back": 2,
    "stop_first_epoch": 1, "stop_factor": 1.0, "learning_rate": 0.3,
}  # fmt: skip


def test_a_search_stops_and_gives_the_cell_of_the_epoch_gone_back_to(tmp_path):
    member, task = robust(**STOPPING), task_of(checkpoint=tmp_path / "c.pt")
    result = member.search(task, NullTracker())
    values = [record["dominant_eigenvalue"] for record in result.trajectory]
    last = len(values) - 1
    assert 3 <= last < 11
    assert values[last] > values[last - 2] > 0
    assert all(values[index] <= values[index - 2] for index in range(3, last))
    assert list(result.genotype.genes) == result.trajectory[last - 2]["genes"]
    assert result.notes == (f"stopped after {last + 1} of 12 epochs; the genotype is that of epoch {last - 2}.",)
    again = member.search(task, NullTracker())  # out of the checkpoint: nothing is searched on
    assert (again.genotype, again.trajectory) == (result.genotype, result.trajectory)
    full = robust(**(STOPPING | {"stop_factor": 1e9})).search(task_of(), NullTracker())
    assert len(full.trajectory) == 12
    assert full.trajectory[: last + 1] == result.trajectory
    assert full.notes == ()


def test_drop_path_grows_linearly_and_eigenvalues_have_their_turn():
    tracker = RecordingTracker()
    result = robust(epochs=5, drop_path=0.6, eigenvalue_interval=3).search(with_drop_path(), tracker)
    assert [record["drop_path"] for record in result.trajectory] == pytest.approx([0.0, 0.15, 0.3, 0.45, 0.6])
    assert [record["epoch"] for record in result.trajectory if "dominant_eigenvalue" in record] == [0, 3]
    logged = dict(tracker.metrics)
    assert logged[3]["dominant_eigenvalue"] == result.trajectory[3]["dominant_eigenvalue"]
    assert "dominant_eigenvalue" not in logged[2]


def test_tracking_changes_no_other_number_of_a_search():
    tracked = robust(epochs=3, eigenvalue_interval=1).search(task_of(), NullTracker())
    plain = robust(epochs=3, eigenvalue_interval=0).search(task_of(), NullTracker())
    assert all("dominant_eigenvalue" not in record and "drop_path" not in record for record in plain.trajectory)
    without = [{k: v for k, v in record.items() if k != "dominant_eigenvalue"} for record in tracked.trajectory]
    assert without == [dict(record) for record in plain.trajectory]


def test_with_the_l2_factor_of_darts_and_without_tracking_it_is_darts():
    fields = {"epochs": 2, "batch_size": 15, "order": "second"}
    regularised = parse(RobustDarts, {**fields, "weight_decay": 3e-4, "eigenvalue_interval": 0})
    darts = parse(SEARCHERS.get("darts"), fields)
    result, plain = (member.search(task_of(), NullTracker()) for member in (regularised, darts))
    assert result.trajectory == plain.trajectory


def test_nothing_is_dropped_in_evaluation_and_everything_in_training():
    strategy = RobustStrategy(first_order, drop_path=0.4, interval=0, stop=None)
    alphas = {"normal": torch.zeros(2, 3)}
    moment = Moment(epoch=3, epochs=5)
    for mixture in (strategy.alpha_mixture(alphas, moment), strategy.weight_mixture(alphas, moment)):
        assert mixture.drop_path == pytest.approx(0.4 * 3 / 4)
    assert strategy.evaluation_mixture(alphas, moment).drop_path == 0.0


def test_the_eigenvalue_is_that_of_all_alphas_together():
    alphas = {group: torch.tensor([[start, 2.0]], requires_grad=True) for group, start in (("a", 1.0), ("b", 3.0))}
    end = EpochEnd(
        epoch=4, records=(), alphas={}, architecture=alphas, seed=0,
        valid_loss=lambda: (alphas["a"] * alphas["b"]).sum() + alphas["a"].pow(2).sum(),
    )  # fmt: skip
    found = RobustStrategy(first_order, drop_path=0.0, interval=2, stop=None).end_epoch(end)
    assert found == {"dominant_eigenvalue": pytest.approx(1 + 2**0.5)}  # of [[2, 1], [1, 0]], twice
    assert RobustStrategy(first_order, drop_path=0.0, interval=3, stop=None).end_epoch(end) == {}


def test_the_second_order_drops_the_same_edges_on_both_sides_of_the_difference():
    """Otherwise the difference of two random losses, divided by a small step, is noise."""
    space = small_cells.SmallCells()
    with seeded(0):
        model = space.supernet(small_cells.SHAPE).double()
        images, labels = torch.randn(6, 1, 8, 8).double(), torch.randint(3, (6,))
        alphas = {
            group: torch.zeros(shape, dtype=torch.float64, requires_grad=True)
            for group, shape in space.alpha_shapes.items()
        }
    weights = list(model.parameters())
    with seeded(1):
        vector = [torch.randn_like(weight) for weight in weights]

    def loss():
        logits = model(images, softmax_of(alphas), drop_path=0.5)
        return torch.nn.functional.cross_entropy(logits, labels)

    def product(radius):
        with seeded(2):
            return torch.cat(
                [
                    part.reshape(-1)
                    for part in hessian_vector_product(loss, weights, list(alphas.values()), vector, radius)
                ]
            )

    fine, finer = product(1e-4), product(1e-5)
    assert float((fine - finer).norm() / finer.norm()) < 1e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"early_stop": "eigenvalue", "eigenvalue_interval": 0}, "no effect while eigenvalue_interval is 0"),
        ({"early_stop": "eigenvalue", "epochs": 23}, "decides after 23 epochs at the soonest"),
        ({"early_stop": "eigenvalue", "stop_window": 4}, "stop_window: 4 has no middle"),
        ({"stop_window": 7}, "stop_window: 7 has no effect while early_stop is 'none'"),
        ({"stop_look_back": 2}, "stop_look_back: 2 has no effect"),
        ({"stop_first_epoch": 0}, "stop_first_epoch: 0 has no effect"),
        ({"stop_factor": 2.0}, r"stop_factor: 2\.0 has no effect"),
        ({"drop_path": 0.2, "epochs": 1}, r"drop_path: 0\.2 has no effect in 1 epoch"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov"),
    ],
)
def test_options_without_effect_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        parse(RobustDarts, fields)


def test_the_soonest_stop_is_the_one_that_the_message_names():
    member = parse(RobustDarts, {"early_stop": "eigenvalue", "epochs": 24})
    growing = records_of([2.0**index for index in range(12)])
    assert member.epochs == 24
    assert StopRule(**PAPER_STOP)([record for record in growing if record["epoch"] < 22]) is None
    assert StopRule(**PAPER_STOP)([record for record in growing if record["epoch"] < 23]) == 10


def test_drop_path_needs_a_space_that_has_it():
    with pytest.raises(ConfigError, match=r"drop_path: 0\.2 cannot be used in the space 'tiny'.*Set it to 0"):
        robust(epochs=2, drop_path=0.2).search(task_of(), NullTracker())
