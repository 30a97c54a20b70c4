"""What an explanation of a selection counts, chooses and draws."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasbench.analysis import plots
from nasbench.analysis.explain_page import write_explanation
from nasbench.analysis.explanation import Score, explain, shown_score
from nasbench.analysis.montage import montage
from nasbench.analysis.selector_page import fixed_part, index_text, page_text, run_text, sections
from nasbench.analysis.tuning_data import TunedTrial, TuningData
from nasbench.analysis.tuning_page import write_tuning
from nasbench.core.errors import ComparisonError, ProxyMismatchError
from nasbench.core.proxy import ProxySet
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.entropy_tails import EntropyTailsP1
from nasbench.selectors.selection import describe, select_proxy

ROWS = 100
LABELS = np.arange(ROWS) % 4
ENTROPY = np.exp(np.random.default_rng(0).normal(-4, 3, ROWS))
LOSS = np.arange(ROWS, dtype=np.float64)[::-1]


def table(**columns: Any) -> ExampleTable:
    return ExampleTable(
        dataset="d" * 32,
        labels=LABELS,
        columns=columns or {"entropy": ENTROPY},
        ids=tuple(f"id{row}" for row in range(ROWS)),
    )


def told(data: ExampleTable, rows: list[int], **options: Any) -> Any:
    proxy = ProxySet(
        indices=np.array(rows),
        num_examples=ROWS,
        dataset=data.dataset,
        selector={"name": "s"},
        seed=3,
        table=data.fingerprint,
    )
    return explain(data, proxy, describe(data, proxy), **options)


def pixels(rows: Any) -> Any:
    """Each image is of the grey that is its row number."""
    return np.broadcast_to(np.asarray(rows, dtype=np.uint8)[:, None, None, None], (len(rows), 8, 8, 1))


def test_groups_hold_the_lowest_middle_and_highest_scores_and_some_left_out():
    data = table(loss=LOSS)  # row r has loss 99 - r
    explanation = told(data, list(range(0, 90, 2)), needs=("loss",), pixels=pixels)
    low, middle, high, out = explanation.groups
    assert [group.title for group in explanation.groups] == ["lowest", "middle", "highest", "left out"]
    taken = sorted(range(0, 90, 2), key=lambda row: LOSS[row])
    assert low.rows.tolist() == taken[:14]
    assert middle.rows.tolist() == taken[15:29]
    assert high.rows.tolist() == taken[-14:]
    assert low.examples[0] == ("id88", 0, 11.0)
    assert (low.span, high.span) == ((11.0, 37.0), (73.0, 99.0))
    assert not set(out.rows.tolist()) & set(range(0, 90, 2))
    assert out.span == (0.0, 98.0)
    assert explanation.score == "loss"
    drawn = np.asarray(Image.open(io.BytesIO(explanation.montage)))
    assert [int(drawn[16, 34 * place + 16]) for place in range(14)] == low.rows.tolist()
    assert [int(drawn[3 * 34 + 16, 34 * place + 16]) for place in range(14)] == out.rows.tolist()


def test_without_scores_taken_and_left_out_are_spread_over_the_rows():
    data = ExampleTable(dataset="d" * 32, labels=LABELS)
    explanation = told(data, list(range(10, 60)))
    taken, out = explanation.groups
    assert (taken.title, taken.rows[0], taken.rows[-1], len(taken.rows)) == ("taken", 10, 59, 14)
    assert (out.rows[0], out.rows[-1], out.span, out.examples[0]) == (0, 99, None, ("0", 0, None))
    assert (explanation.score, set(explanation.figures), explanation.montage) == (None, {"classes"}, None)
    whole = told(data, list(range(ROWS)))
    assert [group.title for group in whole.groups] == ["taken"]


def test_what_orders_the_examples():
    both = table(entropy=ENTROPY, loss=LOSS)
    assert shown_score(both, ("loss",)).name == "loss"
    assert shown_score(both, ()).name == "entropy"
    assert shown_score(table(loss=LOSS), ()).name == "loss"
    assert told(both, [1, 2], score=Score(name="mine", values=-LOSS)).score == "mine"
    features = np.random.default_rng(1).normal(size=(ROWS, 3)).astype(np.float32)
    data = ExampleTable(dataset="d", labels=LABELS, features=features)
    found = shown_score(data, ("features",))
    means = np.stack([features[label == LABELS].mean(axis=0) for label in range(4)])
    assert found.values == pytest.approx(np.linalg.norm(features - means[LABELS], axis=1), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "label", "bins"),
    [
        (np.arange(ROWS) % 7, "loss", 7),  # few whole numbers: a bin each
        (np.arange(ROWS, dtype=np.float64), "loss", 40),
        (np.logspace(-6, 0, ROWS), "log10 of loss", 40),
        (np.full(ROWS, 0.5), "loss", 40),
    ],
)
def test_histograms_of_other_scores(values, label, bins, monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "score_histogram", lambda histogram: seen.append(histogram) or "<svg></svg>")
    rows = list(range(0, ROWS, 3))
    told(table(loss=np.asarray(values, dtype=np.float64)), rows, needs=("loss",))
    (histogram,) = seen
    assert (histogram.score, len(histogram.before)) == (label, bins)
    assert (sum(histogram.before), sum(histogram.after)) == (ROWS, len(rows))
    if bins == 7:
        assert histogram.before == tuple(np.bincount(values))
        assert histogram.after == tuple(np.bincount(values[rows]))


def test_a_proxy_of_other_data_is_refused():
    proxy = ProxySet(indices=np.array([1]), num_examples=ROWS, dataset="e" * 32, selector={"name": "s"}, seed=0)
    with pytest.raises(ProxyMismatchError):
        explain(table(), proxy, {})


def test_the_page_is_whole_in_itself_and_escapes_names(tmp_path):
    data = ExampleTable(
        dataset="d" * 32, labels=LABELS, columns={"entropy": ENTROPY}, ids=("<b>x</b>", *map(str, range(1, ROWS)))
    )
    proxy = select_proxy(EntropyTailsP1(bin_width=0.25), data, 40, 7)
    explanation = explain(data, proxy, describe(data, proxy), needs=("entropy",), pixels=pixels)
    pages = [write_explanation(tmp_path / name, explanation, {"summary": "So & so."}) for name in "ab"]
    text = pages[0].read_text()
    assert text == pages[1].read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in text
    assert "<b>x</b>" not in text
    for part in (
        "So &amp; so.",
        "40 of 100",
        "bin_width",
        "0.25",
        proxy.fingerprint,
        data.fingerprint,
        "d" * 32,
        "left out",
    ):
        assert part in text, part
    figures = {path.name for path in (tmp_path / "a/figures").iterdir()}
    groups = {f"examples-{name}.png" for name in ("lowest", "middle", "highest", "left-out")}
    assert figures == {"scores.svg", "classes.svg", "montage.png"} | groups


def test_a_montage_enlarges_small_images_and_shrinks_large_ones():
    large = np.zeros((2, 256, 200, 3), dtype=np.uint8)
    large[:, :, 100:] = 200
    drawn = np.asarray(Image.open(io.BytesIO(montage([large]))))
    assert drawn.shape == (256 // 3, 2 * (200 // 3) + 2, 3)
    assert (drawn[40, 5].tolist(), drawn[40, 60].tolist()) == ([0] * 3, [200] * 3)
    small = np.asarray(Image.open(io.BytesIO(montage([pixels([5, 6]), pixels([7])]))))
    assert small.shape == (66, 66)
    assert (small[0, 0], small[0, 65], small[65, 0], small[65, 65]) == (5, 6, 7, 255)


@pytest.mark.parametrize(
    "rows", [[], [np.zeros((0, 8, 8, 1), np.uint8)], [pixels([1]), np.zeros((1, 9, 8, 1), np.uint8)]]
)
def test_a_montage_of_nothing_or_of_mixed_sizes_is_refused(rows):
    with pytest.raises(ComparisonError, match="a montage needs"):
        montage(rows)


@pytest.mark.parametrize("counts", [([], []), ([1], [1, 2])])
def test_class_counts_that_do_not_fit_are_refused(counts):
    with pytest.raises(ComparisonError):
        plots.class_counts("p", *counts)


@pytest.mark.parametrize("name", SELECTORS.names())
def test_a_page_says_what_the_docstring_says(name):
    cls = SELECTORS.get(name)
    parts, text = sections(cls), page_text(cls)
    assert text.startswith(f"# {name}\n\n{parts['summary'].replace('``', '`')}\n")
    for heading in ("Formula", "Reference"):
        for word in re.findall(r"[\w.:]{4,}", parts.get(heading, "")):
            assert word in text, word
    for fields in re.findall(r"^\| `(\w+)` \| `.*` \| (.*) \|$", text, re.MULTILINE):
        assert fields[1], f"{fields[0]} has no meaning"
    assert "``" not in text.replace("```", "")


def test_the_run_s_part_is_marked_and_the_index_links_every_page():
    cls = SELECTORS.get("entropy-tails-p1")
    data = table()
    texts = []
    for seed in (0, 1):
        proxy = select_proxy(EntropyTailsP1(), data, 30, seed)
        explanation = explain(data, proxy, describe(data, proxy), needs=("entropy",), pixels=pixels)
        texts.append(page_text(cls) + run_text(explanation, "the digits", ["Made up."], "nasbench document"))
    assert texts[0] != texts[1]
    assert fixed_part(texts[0]) == fixed_part(texts[1])
    assert "30 of 100 examples (30 %), seed 0, `class_balance` = false, `bin_width` = 0.5.\nMade up." in texts[0]
    assert "![examples](figures/entropy-tails-p1-montage.png)" in texts[0]
    assert "[entropy-tails-p1](entropy-tails-p1.md)" in index_text([cls])


def trial(number: int, size: int, outcome: str, top1: float | None) -> TunedTrial:
    return TunedTrial(
        number=number, selector="random", fields={"x": 0.5}, fraction=size / 100, size=size, top1=top1,
        top1_per_seed=() if top1 is None else (top1,), outcome=outcome, reason="<why>" if outcome == "pruned" else "",
    )  # fmt: skip


def test_the_tuning_s_page_names_the_smallest_proxy_that_keeps_the_margin(tmp_path):
    trials = (
        trial(0, 50, "within", 0.91),
        trial(1, 20, "below", 0.7),
        trial(2, 30, "within", 0.9),
        trial(3, 9, "pruned", None),
    )
    data = TuningData(
        study="s", whole_top1_per_seed=(0.9, 0.92), margin=0.02, num_examples=100, trials=trials, running=2,
        importances={"fraction": 0.8, "selector": 0.2},
    )  # fmt: skip
    assert (data.best, data.whole_top1) == (trials[2], pytest.approx(0.91))
    text = write_tuning(tmp_path, data, "margin: 0.02").read_text()
    assert "random with 30 examples (30 %) keeps the margin." in text
    assert "2 more under way" in text
    assert "&lt;why&gt;" in text
    assert "Chance" not in text  # the two seeds lie no further apart than the margin
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"history", "outcome", "importances"}
    none = TuningData(study="s", whole_top1_per_seed=(0.9,), margin=0.0, num_examples=100, trials=trials[1:2])
    assert none.best is None
    page = write_tuning(tmp_path, none, "").read_text()
    assert "No proxy that was tried keeps the margin" in page
    assert "One seed says nothing of chance." in page
    apart = TuningData(study="s", whole_top1_per_seed=(0.9, 0.95), margin=0.02, num_examples=100, trials=trials)
    assert "lie 5 points apart, more than the margin of 2." in write_tuning(tmp_path, apart, "").read_text()
    empty = TuningData(study="s", whole_top1_per_seed=(0.9,), margin=0.0, num_examples=100, trials=())
    assert "<svg" not in write_tuning(tmp_path / "empty", empty, "").read_text()


def test_the_tuning_s_figures_show_every_trial_and_the_margin():
    trials = [trial(0, 50, "within", 0.91), trial(1, 20, "below", 0.7)]
    figures = (
        plots.optimisation_history(trials),
        plots.fraction_outcome(trials, 0.92, 0.02),
        plots.importances({"a$b": 1.0}),
    )
    for words, svg in zip(("smallest so far", "margin, 2 points", "a$b"), figures, strict=True):
        assert words in svg
    assert plots.fraction_outcome(trials, 0.92, 0.05) != figures[1]
    for draw in (plots.optimisation_history, lambda none: plots.fraction_outcome(none, 0.9, 0.1), plots.importances):
        with pytest.raises(ComparisonError):
            draw([])


def test_writing_where_nothing_can_be_written_is_an_error(tmp_path: Path):
    from nasbench.core.errors import FileWriteError

    (tmp_path / "file").write_text("x")
    with pytest.raises(FileWriteError):
        write_explanation(tmp_path / "file", told(table(), [1, 2]), {})
