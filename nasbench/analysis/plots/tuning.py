"""Figures of a search for the smallest proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from nasbench.analysis.palette import BAD, INK, MUTED, SERIES
from nasbench.analysis.plots.frame import new_figure, svg_of
from nasbench.analysis.tuning_data import TunedTrial
from nasbench.core.errors import ComparisonError

_MARKERS = {"within": "o", "below": "x", "pruned": "v"}
_WORDS = {"within": "within the margin", "below": "below the margin", "pruned": "stopped early"}


def _colours(trials: Sequence[TunedTrial]) -> dict[str, str]:
    if not trials:
        raise ComparisonError("there is no trial to draw. Run at least one.")
    names = sorted({trial.selector for trial in trials})
    return {name: SERIES[number % len(SERIES)] for number, name in enumerate(names)}


def optimisation_history(trials: Sequence[TunedTrial]) -> str:
    """Draw the fraction of each trial in their order, and the smallest one so far that keeps the margin.

    Args:
        trials: Finished trials, at least one.

    Raises:
        ComparisonError: There is none.
    """
    _colours(trials)
    ordered = sorted(trials, key=lambda trial: trial.number)
    with new_figure(1, 1, (7.2, 3.0)) as (figure, axes):
        axis = axes[0, 0]
        for outcome, marker in _MARKERS.items():
            shown = [trial for trial in ordered if trial.outcome == outcome]
            axis.plot(
                [trial.number for trial in shown], [100 * trial.fraction for trial in shown], marker, linestyle="none",
                color=SERIES[0] if outcome == "within" else MUTED, label=_WORDS[outcome] if shown else None,
            )  # fmt: skip
        kept = [trial.fraction if trial.outcome == "within" else np.inf for trial in ordered]
        best = np.minimum.accumulate(kept)
        seen = np.isfinite(best)
        if seen.any():
            numbers = np.array([trial.number for trial in ordered])
            axis.step(numbers[seen], 100 * best[seen], where="post", color=INK, label="smallest so far")
        axis.set_title("smallest proxy within the margin")
        axis.set_xlabel("trial")
        axis.set_ylabel("fraction of the set, %")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
        return svg_of(figure)


def fraction_outcome(trials: Sequence[TunedTrial], whole_top1: float, margin: float) -> str:
    """Draw the Top-1 of the found cell over the fraction, with the whole set's Top-1 and the margin below it.

    Args:
        trials: Finished trials, at least one; the mean over the seeds that each has run.
        whole_top1: Mean Top-1 with the whole set, in [0, 1].
        margin: Top-1 that may be lost, in [0, 1].

    Raises:
        ComparisonError: There is no trial.
    """
    colours = _colours(trials)
    with new_figure(1, 1, (7.2, 3.4)) as (figure, axes):
        axis = axes[0, 0]
        for name, colour in colours.items():
            for outcome, marker in _MARKERS.items():
                shown = [trial for trial in trials if trial.selector == name and trial.outcome == outcome]
                points = [(100 * trial.fraction, 100 * trial.top1) for trial in shown if trial.top1 is not None]
                if points:
                    axis.plot(*zip(*points, strict=True), marker, linestyle="none", color=colour)
            axis.plot([], [], "o", linestyle="none", color=colour, label=name)
        axis.axhline(100 * whole_top1, color=MUTED, linewidth=1.2, label="whole set")
        axis.axhline(
            100 * (whole_top1 - margin), color=BAD, linewidth=1.2, linestyle=(0, (4, 3)),
            label=f"margin, {100 * margin:g} points",
        )  # fmt: skip
        axis.set_title("Top-1 of the cell found (x: below the margin, triangle: stopped early)")
        axis.set_xlabel("fraction of the set, %")
        axis.set_ylabel("Top-1 after training from scratch, %")
        axis.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
        return svg_of(figure)


def importances(shares: Mapping[str, float]) -> str:
    """Draw how much of the spread of Top-1 each parameter explains.

    Args:
        shares: Parameter -> importance, at least 0; drawn from the largest down.

    Raises:
        ComparisonError: There is none.
    """
    if not shares:
        raise ComparisonError("there is no importance to draw; trials with different outcomes are needed.")
    ordered = sorted(shares.items(), key=lambda entry: (-entry[1], entry[0]))
    heights = np.arange(len(ordered))[::-1]
    with new_figure(1, 1, (7.2, 0.9 + 0.32 * len(ordered))) as (figure, axes):
        axis = axes[0, 0]
        axis.barh(heights, [share for _, share in ordered], height=0.62, color=SERIES[0], linewidth=0)
        axis.set_yticks(heights, [name for name, _ in ordered])
        axis.set_xlim(0, 1.05 * max(1e-9, *(share for _, share in ordered), 0.0))
        axis.set_xlabel("importance for Top-1")
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x")
        return svg_of(figure)
