"""The gate: every rule, at its limit and on both sides of it, and what it says."""

from __future__ import annotations

import dataclasses

import pytest

from nasbench.config.component import parse
from nasbench.core.errors import ConfigError, RegistryError
from nasbench.tracking.gate import Evidence, Gate

EVIDENCE = Evidence(
    space="darts",
    genotype="0" * 32,
    selector="entropy-tails-p1",
    searcher="darts",
    source="digits",
    protocol="p",
    seeds=(0, 1),
    num_random_cells=5,
    top1=0.95,
    relative_improvement=1.0,
    relative_improvement_low=0.25,
    relative_improvement_high=1.75,
    confidence=0.95,
)


def but(**changes):
    return dataclasses.replace(EVIDENCE, **changes)


def test_good_evidence_passes_and_every_rule_is_told():
    decision = Gate().decide(EVIDENCE)
    assert decision.passed
    assert decision.reasons == ()
    assert len(decision.checks) == 5
    assert decision.checks[0] == (
        "The lower end of the 95% interval of relative improvement, +0.25 %, reaches the least asked for, +0 %."
    )


def test_the_bound_says_which_figure_counts():
    assert not Gate(least_relative_improvement=0.5).decide(EVIDENCE).passed
    assert Gate(least_relative_improvement=0.5, bound="estimate").decide(EVIDENCE).passed


@pytest.mark.parametrize(("least", "passed"), [(0.25, True), (0.2501, False), (-5.0, True)])
def test_least_relative_improvement_is_itself_enough(least, passed):
    decision = Gate(least_relative_improvement=least).decide(EVIDENCE)
    assert decision.passed is passed
    if not passed:
        assert decision.reasons[0].endswith("improvement, +0.25 %, is below the least asked for, +0.2501 %.")


@pytest.mark.parametrize(("confidence", "passed"), [(0.9, True), (0.95, True), (0.99, False)])
def test_confidence(confidence, passed):
    decision = Gate(confidence=confidence).decide(EVIDENCE)
    assert decision.passed is passed
    assert passed or decision.reasons == ("The interval's confidence, 0.95, is below 0.99.",)


@pytest.mark.parametrize(("seeds", "least", "passed"), [((0, 1), 2, True), ((0, 1), 3, False), ((4, 4, 4), 2, False)])
def test_seeds_are_counted_once_each(seeds, least, passed):
    decision = Gate(least_seeds=least).decide(but(seeds=seeds))
    assert decision.passed is passed
    if len(seeds) == 3:
        assert decision.reasons == ("The number of seeds, 1, is below the least asked for, 2.",)


@pytest.mark.parametrize(("least", "passed"), [(5, True), (6, False)])
def test_random_cells(least, passed):
    decision = Gate(least_cells=least).decide(EVIDENCE)
    assert decision.passed is passed
    assert passed or decision.reasons == ("The number of random cells, 5, is below the least asked for, 6.",)


@pytest.mark.parametrize(
    ("champion", "margin", "passed"),
    [(0.95, 0.0, True), (0.9501, 0.0, False), (0.94, 1.0, True), (0.941, 1.0, False), (0.90, 1.0, True)],
)
def test_the_margin_over_the_champion_is_in_points(champion, margin, passed):
    decision = Gate(margin=margin).decide(EVIDENCE, but(top1=champion))
    assert decision.passed is passed
    if champion == 0.941:
        assert decision.reasons == (
            "Top-1 95.000 % is +0.900 points from the champion's 94.100 %, which is below the margin of 1 points.",
        )


def test_a_champion_under_another_protocol_is_not_compared():
    decision = Gate(margin=1.0).decide(EVIDENCE, but(top1=1.0, protocol="longer training"))
    assert decision.passed
    assert "under another protocol and is not compared" in decision.checks[-1]


def test_all_reasons_are_given_at_once():
    decision = Gate(least_relative_improvement=2.0, confidence=0.99, least_seeds=3, least_cells=9).decide(
        EVIDENCE, but(top1=1.0)
    )
    assert len(decision.reasons) == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"confidence": 1.0}, r"gate\.confidence: 1\.0 is not allowed"),
        ({"least_seeds": 0}, r"gate\.least_seeds: 0 is not allowed"),
        ({"least_cells": 1.5}, r"gate\.least_cells: 1\.5 is not allowed"),
        ({"margin": -1}, r"gate\.margin: -1 is not allowed"),
        ({"bound": "lower"}, r"gate\.bound: 'lower' is not allowed.*Did you mean 'low'\?"),
        ({"least_seed": 2}, r"gate\.least_seed: unknown key.*Did you mean 'least_seeds'\?"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_path(fields, message):
    with pytest.raises(ConfigError, match=message):
        parse(Gate, fields, "gate")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top1": 95.0}, "must lie in 0 to 1"),
        ({"relative_improvement": float("nan")}, "not a finite number"),
        ({"relative_improvement_low": 2.0}, "ordered bounds"),
        ({"confidence": 95.0}, "between 0 and 1"),
    ],
)
def test_evidence_that_cannot_be_is_refused(changes, message):
    with pytest.raises(RegistryError, match=message):
        but(**changes)


def test_evidence_survives_plain_values():
    assert Evidence.from_plain(EVIDENCE.to_plain()) == EVIDENCE
    with pytest.raises(RegistryError, match="not the evidence for a cell"):
        Evidence.from_plain({"space": "darts"})


def test_the_fingerprint_is_of_the_figures_and_not_of_the_commit():
    assert but(commit="abc").fingerprint == EVIDENCE.fingerprint
    changes = [
        {name: "other"}
        for name in ("space", "genotype", "selector", "searcher", "source", "protocol", "dvc_md5")
    ] + [{"seeds": (0, 2)}, {"num_random_cells": 6}, {"top1": 0.9}, {"relative_improvement_high": 1.8}]  # fmt: skip
    assert len({but(**change).fingerprint for change in changes} | {EVIDENCE.fingerprint}) == len(changes) + 1
