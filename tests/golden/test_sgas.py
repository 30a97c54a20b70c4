"""SGAS on hand-made numbers: scores, the order of decisions, their epochs, pruning, batch sizes.

Source: section 6 of the differentiable-search fact sheet (SGAS, CVPR 2020, arXiv:1912.00195, and its code).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasbench.core.errors import ConfigError
from nasbench.searchers.sgas import Sgas
from nasbench.searchers.sgas_scores import (
    Decided,
    Decision,
    choosable_distribution,
    choosable_of,
    edge_importance,
    edge_scores,
    min_max,
    num_decisions,
    selection_certainty,
    selection_stability,
)
from nasbench.searchers.sgas_strategy import SgasStrategy
from nasbench.searchers.strategy import EpochEnd
from nasbench.spaces import SPACES
from nasbench.spaces.darts import Darts
from nasbench.spaces.robust_darts import RobustDartsS2, RobustDartsS3

# none, a, b; the sums over a and b are 0.8, 0.5, 0.6, renormalised (3/4, 1/4), (1/2, 1/2), (9/10, 1/10)
P = np.array([[0.2, 0.6, 0.2], [0.5, 0.25, 0.25], [0.4, 0.54, 0.06]])
CHOOSABLE = np.array([[False, True, True]] * 3)
ALPHAS = np.log(P)
ENTROPY_OF_A_QUARTER = 2 * math.log(2) - 0.75 * math.log(3)
ENTROPY_OF_A_TENTH = math.log(10) - 0.9 * math.log(9)


def test_the_measures_by_hand():
    assert edge_importance(P, CHOOSABLE) == pytest.approx([0.8, 0.5, 0.6])
    q = choosable_distribution(ALPHAS, CHOOSABLE)
    assert q == pytest.approx(np.array([[0, 0.75, 0.25], [0, 0.5, 0.5], [0, 0.9, 0.1]]))
    certainty = [1 - ENTROPY_OF_A_QUARTER / math.log(2), 0, 1 - ENTROPY_OF_A_TENTH / math.log(2)]
    assert selection_certainty(q, CHOOSABLE) == pytest.approx(certainty, abs=1e-12)
    assert certainty == pytest.approx([0.188722, 0, 0.531004], abs=1e-6)
    earlier = [np.array([[0, 0.25, 0.75], [0, 0.5, 0.5], [0, 0.8, 0.2]]), q]
    assert selection_stability(q, earlier[:1]) == pytest.approx([0.5, 1.0, 0.9])
    assert selection_stability(q, earlier) == pytest.approx([0.75, 1.0, 0.95])
    assert selection_stability(q, []).tolist() == [1.0, 1.0, 1.0]


def test_the_scores_by_hand():
    first = edge_scores(ALPHAS, CHOOSABLE)
    assert first == pytest.approx([1.0 * 0.188722 / 0.531004, 0.0, 1.0 / 3.0], abs=1e-5)
    with np.errstate(divide="ignore"):
        earlier = np.log([[0.1, 0.225, 0.675], [0.5, 0.25, 0.25], [0.5, 0.4, 0.1]])
    second = edge_scores(ALPHAS, CHOOSABLE, [earlier, ALPHAS])
    assert second == pytest.approx([0.0, 0.0, 0.8 / 3.0], abs=1e-5)  # stabilities 0.75, 1, 0.95 scale to 0, 1, 0.8
    assert first.argmax() == 0
    assert second.argmax() == 2


def test_what_is_equal_on_all_edges_counts_as_one():
    assert min_max(np.array([0.3, 0.3, 0.3])).tolist() == [1.0, 1.0, 1.0]
    assert min_max(np.array([0.3, 0.3 + 1e-16, 0.3])).tolist() == [1.0, 1.0, 1.0]
    assert min_max(np.array([1.0, 2.0, 5.0])).tolist() == [0.0, 0.25, 1.0]
    without_none = np.ones((3, 3), dtype=bool)
    certainty = selection_certainty(P, without_none)
    assert edge_importance(P, without_none).tolist() == [1.0, 1.0, 1.0]  # exactly: rounding must not rank
    assert edge_scores(ALPHAS, without_none) == pytest.approx(min_max(certainty))
    single = np.array([[False, True]] * 2)
    assert selection_certainty(np.array([[0.0, 1.0]] * 2), single).tolist() == [1.0, 1.0]
    scores = edge_scores(np.log([[0.4, 0.6], [0.2, 0.8]]), single)
    assert scores.tolist() == [0.0, 1.0]  # by importance alone


def test_a_vanishing_choosable_weight_is_no_nan():
    alphas = np.array([[2000.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 800.0, 0.0]])
    assert np.isfinite(edge_scores(alphas, CHOOSABLE, [alphas])).all()


def scripted(strengths, shape=(14, 8)):
    """Alphas whose importance and certainty both rise with the strength; edge e prefers operation 1 + e % 7."""
    alphas = np.zeros(shape)
    for edge, strength in enumerate(strengths):
        alphas[edge, 1 + edge % (shape[1] - 1)] = strength
    return alphas


RISING = scripted(np.arange(1, 15) / 5)
FALLING = scripted(np.arange(14, 0, -1) / 5)
NORMAL = [13, 12, 8, 7, 4, 3, 1, 0]
"""Two edges close a node: 13 and 12 prune 9-11, 8 and 7 prune 5-6, 4 and 3 prune 2."""
REDUCE = [0, 1, 2, 3, 5, 6, 9, 10]


def drive(strategy, alphas_of, epochs=50, records=()):
    """What the loop does with a strategy, on given alphas."""
    records = list(records)
    space = strategy.decided.space
    for epoch in range(len(records), epochs):
        strategy.begin_epoch(epoch, records)
        alphas = alphas_of(epoch)
        end = EpochEnd(epoch=epoch, records=records, alphas=alphas, architecture={}, valid_loss=lambda: None, seed=0)
        extras = strategy.end_epoch(end)
        genes = strategy.genotype(space, alphas).genes
        plain = {group: values.tolist() for group, values in alphas.items()}
        records.append({"alphas": plain, "genes": list(genes), **extras})
    return records


def strategy_of(space=None, history=None, **changes):
    fields = {"first_epoch": 9, "interval": 5, "batch_growth": 8, "history": history}
    return SgasStrategy(space or Darts(), **(fields | changes))


def both(epoch):
    del epoch
    return {"normal": RISING, "reduce": FALLING}


@pytest.mark.parametrize("history", [None, 4])
def test_decisions_of_a_scripted_history(history):
    records = drive(strategy_of(history=history), both)
    counts = [len(record["decisions"]) for record in records]
    changed = [epoch for epoch, count in enumerate(counts) if count != (counts[epoch - 1] if epoch else 0)]
    assert changed == [9, 14, 19, 24, 29, 34, 39, 44]
    expected = [
        [group, edge, 1 + edge % 7]
        for pair in zip(NORMAL, REDUCE, strict=True)
        for group, edge in zip(("normal", "reduce"), pair, strict=True)
    ]
    assert records[-1]["decisions"] == expected
    for record in records:
        assert record["decisions"] == expected[: len(record["decisions"])]
        assert record["decided_share"] == len(record["decisions"]) / 16


def test_batches_grow_from_64_to_128():
    sizes = [strategy_of().batch_size(64, epoch) for epoch in range(60)]
    assert sizes == [64] * 10 + [size for size in range(72, 128, 8) for _ in range(5)] + [128] * 15
    assert strategy_of(batch_growth=0).batch_size(64, 49) == 64


def test_what_a_decision_freezes_and_prunes():
    decided = Decided(Darts(), (Decision("normal", 13, 7), Decision("normal", 12, 6), Decision("normal", 2, 3)))
    assert np.flatnonzero(decided.settled["normal"]).tolist() == [2, 9, 10, 11, 12, 13]
    assert not decided.settled["reduce"].any()
    active = decided.active["normal"]
    assert [np.flatnonzero(active[edge]).tolist() for edge in (2, 12, 13)] == [[3], [6], [7]]
    assert not active[9:12].any()
    assert active[[0, 1, 3, 4, 5, 6, 7, 8]].all()
    assert decided.one_hot["normal"].sum() == 3


def test_a_genotype_is_forced_from_decisions_and_importance():
    decided = Decided(Darts(), (Decision("normal", 9, 4), Decision("normal", 5, 1), Decision("normal", 6, 2)))
    cell = Darts().cells(decided.genotype({"normal": RISING, "reduce": FALLING}))["normal"]
    names = Darts().operations["normal"]
    preferred = [names[1 + edge % 7] for edge in range(14)]
    assert cell.nodes == (
        ((preferred[0], 0), (preferred[1], 1)),
        ((preferred[3], 1), (preferred[4], 2)),  # open: the two most important
        ((names[1], 0), (names[2], 1)),  # decided both
        ((names[4], 0), (preferred[13], 4)),  # one decided, completed by the most important
    )


def test_every_record_holds_the_genotype_of_its_decisions():
    space = Darts()
    records = drive(strategy_of(), both)
    for record in records:
        found = space.one_hot(space.genotype(space.cells(space.genotype(_cells(space, record)))))
        for group, edge, operation in record["decisions"]:
            assert found[group][edge, operation] == 1
    last = Decided(space, tuple(Decision(*decision) for decision in records[-1]["decisions"]))
    one_hot = space.one_hot(space.genotype(_cells(space, records[-1])))
    assert all((one_hot[group] == last.one_hot[group]).all() for group in one_hot)


def _cells(space, record):
    from nasbench.core.genotype import Genotype

    return space.cells(Genotype(space=space.name, genes=tuple(record["genes"])))


def test_criterion_2_passes_over_an_edge_that_changes_its_mind():
    def restless(epoch):
        """The strongest edge, 13, prefers another operation every epoch."""
        alphas = RISING.copy()
        alphas[13] = np.roll(alphas[13], -(epoch % 2))
        return {"normal": alphas, "reduce": FALLING}

    first = drive(strategy_of(), restless, epochs=10)[-1]["decisions"]
    second = drive(strategy_of(history=4), restless, epochs=10)[-1]["decisions"]
    assert first[0][:2] == ["normal", 13]
    assert second[0][:2] == ["normal", 12]
    assert first[1] == second[1] == ["reduce", 0, 1]


def test_criterion_2_looks_back_as_far_as_it_is_told():
    def settled_late(epoch):
        """Edge 13 has another operation up to epoch 6; the decision is at the end of epoch 9."""
        alphas = RISING.copy()
        if epoch <= 6:
            alphas[13] = np.roll(alphas[13], -1)
        return {"normal": alphas, "reduce": FALLING}

    chosen = {
        history: drive(strategy_of(history=history), settled_late, epochs=10)[-1]["decisions"][0][1]
        for history in (2, 3, 4)
    }
    assert chosen == {2: 13, 3: 12, 4: 12}


def test_a_resumed_strategy_goes_on_as_it_was():
    whole = drive(strategy_of(history=4), both)
    for cut in (5, 10, 27, 45):
        assert drive(strategy_of(history=4), both, records=whole[:cut]) == whole


@pytest.mark.parametrize(
    ("name", "counts", "needed"),
    [
        ("darts", {"normal": 8, "reduce": 8}, 45),
        ("robust-darts-s1", {"normal": 8, "reduce": 8}, 45),
        ("nas-bench-201", {"cell": 6}, 35),
        ("nas-bench-201-five-vertices", {"cell": 10}, 55),
    ],
)
def test_decisions_by_space(name, counts, needed):
    space = SPACES.get(name)()
    assert num_decisions(space) == counts
    assert Sgas().epochs_needed(space) == needed


def test_the_default_epochs_are_the_papers_sum():
    member = Sgas()
    assert member.epochs == 9 + 5 * (8 - 1) + 5 + 1 == 50
    assert (member.criterion, member.first_decision_epoch, member.decision_interval) == (1, 9, 5)
    assert (member.batch_size, member.batch_growth, member.history) == (64, 8, 4)


@pytest.mark.parametrize("name", ["nas-bench-201", "nas-bench-201-five-vertices"])
def test_where_every_edge_is_kept_all_are_decided_and_none_is_never_chosen(name):
    space = SPACES.get(name)()
    shape = space.alpha_shapes["cell"]
    alphas = np.random.default_rng(0).normal(size=shape)
    alphas[:, 0] = 9.0  # ``none`` is the strongest everywhere
    strategy = strategy_of(space, first_epoch=0, interval=1)
    records = drive(strategy, lambda epoch: {"cell": alphas}, epochs=shape[0])
    made = records[-1]["decisions"]
    assert sorted(edge for _, edge, _ in made) == list(range(shape[0]))
    assert all(operation == alphas[edge, 1:].argmax() + 1 for _, edge, operation in made)
    assert all(record["genes"] == records[0]["genes"] for record in records)
    assert records[-1]["genes"] == (alphas[:, 1:].argmax(axis=1) + 1).tolist()
    assert [record["decided_share"] for record in records[:2]] == pytest.approx([1 / shape[0], 2 / shape[0]])


def test_none_is_found_by_its_name():
    assert choosable_of(RobustDartsS3())["normal"].tolist() == [[False, True, True]] * 14
    assert choosable_of(RobustDartsS2())["reduce"].all()


def test_ties_go_to_the_lower_edge_and_the_earlier_operation():
    space = Darts()
    flat = {group: np.zeros(shape) for group, shape in space.alpha_shapes.items()}
    decided = Decided(space).decide(flat)
    assert decided.decisions == (Decision("normal", 0, 1), Decision("reduce", 0, 1))


def test_options_without_effect_are_refused():
    with pytest.raises(ConfigError, match=r"history: 3 has no effect with criterion 1.*set criterion 2"):
        Sgas(history=3)
    assert Sgas(criterion=2, history=3).history == 3
    with pytest.raises(ConfigError, match=r"first_decision_epoch: 9 comes before any alpha is trained.*10 or later"):
        Sgas(alpha_warmup_epochs=10)
    assert Sgas(alpha_warmup_epochs=9).alpha_warmup_epochs == 9
