"""Relative improvement, its interval, and the table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasbench.analysis.relative_improvement import Interval, bootstrap_interval, relative_improvement
from nasbench.analysis.statistics import summarise
from nasbench.analysis.tables import ComparisonRow, comparison_markdown, comparison_table
from nasbench.config.component import parse
from nasbench.core.errors import ComparisonError, ConfigError

METHOD = [[0.90, 0.92], [0.94, 0.96], [0.91, 0.93]]
RANDOM = [[0.88, 0.90], [0.92, 0.90], [0.89, 0.87], [0.91, 0.93], [0.90, 0.90]]


def _row(**changes: object) -> ComparisonRow:
    fields = {
        "proxy": "p1", "selector": "entropy-tails-p1", "searcher": "darts", "num_selected": 143, "num_examples": 1437,
        "top1": [[0.9, 0.92], [0.94, 0.96]], "verdict": "refused", "reasons": ["RI is below 0 %"],
        "relative_improvement": {
            "estimate": -0.5, "low": -1.25, "high": 0.25, "confidence": 0.95, "statement": "short",
        },
    }  # fmt: skip
    return parse(ComparisonRow, {**fields, **changes})


def test_scale_does_not_matter() -> None:
    assert relative_improvement(0.9, 0.8) == pytest.approx(relative_improvement(90.0, 80.0)) == pytest.approx(12.5)


@pytest.mark.parametrize(("method", "random"), [(0.9, 0.0), (0.9, -0.1), (math.nan, 0.5), (0.9, math.inf), (-0.1, 0.5)])
def test_undefined_improvement_is_refused(method: float, random: float) -> None:
    with pytest.raises(ComparisonError, match="no relative improvement"):
        relative_improvement(method, random)


def test_estimate_counts_each_cell_once() -> None:
    interval = bootstrap_interval([[0.9, 0.9, 0.9, 0.9], [0.7]], [[0.5], [0.5, 0.5]])
    assert interval.estimate == pytest.approx(60.0)
    assert interval.low == pytest.approx(40.0)
    assert interval.high == pytest.approx(80.0)


def test_interval_is_deterministic_and_every_option_matters() -> None:
    base = bootstrap_interval(METHOD, RANDOM)
    assert base == bootstrap_interval(METHOD, RANDOM)
    assert base.low < base.estimate < base.high
    others = [
        bootstrap_interval(METHOD, RANDOM, seed=1),
        bootstrap_interval(METHOD, RANDOM, resamples=500),
        bootstrap_interval(METHOD, RANDOM, confidence=0.5),
    ]
    assert all((other.low, other.high) != (base.low, base.high) for other in others)
    assert others[2].high - others[2].low < base.high - base.low
    assert {other.estimate for other in others} == {base.estimate}


def test_interval_agrees_with_a_plain_loop() -> None:
    """The vectorised bootstrap against the definition, written as loops."""
    rng = np.random.default_rng(5)

    def resampled(cells: list[list[float]]) -> float:
        drawn = [cells[rng.integers(len(cells))] for _ in cells]
        return float(np.mean([np.mean(rng.choice(cell, len(cell))) for cell in drawn]))

    values = [relative_improvement(resampled(METHOD), resampled(RANDOM)) for _ in range(4_000)]
    interval = bootstrap_interval(METHOD, RANDOM)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.15)


def test_ragged_cells_draw_only_their_own_seeds() -> None:
    interval = bootstrap_interval([[0.8], [0.8, 0.8, 0.8]], [[0.8, 0.8], [0.8]])
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_coverage_is_near_nominal_with_many_cells_and_half_with_two() -> None:
    rng = np.random.default_rng(0)
    hits = {2: 0, 30: 0}
    for cells in hits:
        for seed in range(150):
            method, random = (rng.normal(0.8, 0.02, (cells, 1)).tolist() for _ in range(2))
            if cells == 2:
                random = [[0.8]]
            found = bootstrap_interval(method, random, resamples=400, seed=seed)
            hits[cells] += found.low <= 0.0 <= found.high
    assert hits[30] / 150 > 0.87
    assert 0.35 < hits[2] / 150 < 0.65


@pytest.mark.parametrize(
    ("method", "random", "words"),
    [
        ([[0.9]], RANDOM, ["one searched cell with one seed"]),
        ([[0.9, 0.8]], RANDOM, ["one searched cell: the interval covers its training seeds"]),
        (METHOD, RANDOM, ["only 3 searched cells"]),
        (RANDOM, METHOD, ["only 3 randomly sampled cells"]),
        (RANDOM, RANDOM, []),
    ],
)
def test_statement_says_what_is_not_covered(
    method: list[list[float]], random: list[list[float]], words: list[str]
) -> None:
    statement = bootstrap_interval(method, random, resamples=100).statement
    assert all(word in statement for word in words)
    assert bool(statement) == bool(words)


def test_single_values_give_a_point() -> None:
    interval = bootstrap_interval([[0.9]], [[0.8]])
    assert interval.low == pytest.approx(12.5) == interval.high
    assert interval.statement.count("nothing is known") == 2


@pytest.mark.parametrize(
    ("method", "random", "words"),
    [
        ([], RANDOM, "method"),
        ([[]], RANDOM, "method"),
        (METHOD, [[0.9], []], "random"),
        ([[math.nan]], RANDOM, "cell 0 has accuracy nan"),
        ([[0.9], [-0.1]], RANDOM, "cell 1 has accuracy -0.1"),
        (METHOD, [[0.9, 0.0]], "Top-1 0"),
    ],
)
def test_bad_accuracies_are_refused(method: list[list[float]], random: list[list[float]], words: str) -> None:
    with pytest.raises(ComparisonError, match=words):
        bootstrap_interval(method, random)


@pytest.mark.parametrize("options", [{"confidence": 0.0}, {"confidence": 1.0}, {"resamples": 99}])
def test_bad_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ComparisonError):
        bootstrap_interval(METHOD, RANDOM, **options)  # type: ignore[arg-type]


def test_summary_spreads_over_cells_else_over_seeds() -> None:
    summary = summarise([[0.80, 0.82], [0.84, 0.86], [0.90]])
    assert (summary.mean, summary.num_cells, summary.num_runs) == (pytest.approx(2.56 / 3), 3, 5)
    assert summary.sd == pytest.approx(np.std([0.81, 0.85, 0.90], ddof=1))
    assert summarise([[0.8, 0.9]]).sd == pytest.approx(np.std([0.8, 0.9], ddof=1))
    assert summarise([[0.8]]).sd is None


def test_table_shows_figures_and_reasons() -> None:
    baseline = _row(
        proxy="", selector="", searcher="random-sampling", num_selected=0, top1=[[0.9]], verdict="baseline", reasons=[],
        relative_improvement=None,
    )  # fmt: skip
    text = comparison_table([baseline, _row()])
    lines = text.splitlines()
    assert text.isascii()
    assert lines[0].split()[:3] == ["proxy", "selector", "searcher"]
    assert "RI % [95 % interval]" in lines[0]
    assert lines[2].split() == [
        "-",
        "-",
        "random-sampling",
        "none",
        "90.00",
        "(1",
        "cell,",
        "1",
        "run)",
        "-",
        "baseline",
    ]
    assert "p1     entropy-tails-p1" in lines[3]
    assert "143 of 1,437" in lines[3]
    assert "93.00 +- 2.83 (2 cells, 4 runs)" in lines[3]
    assert "-0.50 [-1.25, +0.25]" in lines[3]
    assert lines[4:] == ["p1/darts refused: RI is below 0 %", "intervals: short"]
    assert max(len(line) for line in lines) < 140


def test_markdown_is_a_table_with_escaped_bars() -> None:
    text = comparison_markdown([_row(proxy="a|b")])
    lines = text.splitlines()
    assert lines[1] == "| " + " | ".join(["---"] * 7) + " |"
    assert lines[2].startswith("| a\\|b | entropy-tails-p1 | darts |")
    assert "93.00 ± 2.83" in lines[2]
    assert lines[3:] == ["", "- a|b/darts refused: RI is below 0 %", "- intervals: short"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"verdict": "maybe"}, "verdict"), ({"top1": [[91.0]]}, "top1"), ({"num_examples": 0}, "num_examples")],
)
def test_row_is_checked(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _row(**changes)


def test_row_without_accuracy_is_refused() -> None:
    with pytest.raises(ComparisonError, match="p1/darts: no accuracy"):
        _row(top1=[])


def test_interval_travels_as_json() -> None:
    fields = {"estimate": 1, "low": 0.5, "high": 2.0, "confidence": 0.9}
    assert parse(Interval, fields) == Interval(estimate=1.0, low=0.5, high=2.0, confidence=0.9)
