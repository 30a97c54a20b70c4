"""The offline page about a search for the smallest proxy."""

from __future__ import annotations

from pathlib import Path

from nasbench.analysis import plots
from nasbench.analysis.page import environment, inline
from nasbench.analysis.tuning_data import TuningData
from nasbench.config.component import fields_of
from nasbench.core.files import write_json, write_text

PAGE = "index.html"
FIGURES = "figures"


def write_tuning(folder: Path | str, data: TuningData, parameters: str) -> Path:
    """Write a study as ``index.html``, which asks nothing of the network, its figures, and ``study.json``.

    Args:
        folder: Where to; made if absent.
        data: What to show; the figures need at least one finished trial.
        parameters: Text of the settings.

    Returns:
        Path of the page.

    Raises:
        FileWriteError: A file cannot be written.
    """
    target = Path(folder)
    figures: dict[str, str] = {}
    if data.trials:
        figures["history"] = plots.optimisation_history(data.trials)
        figures["outcome"] = plots.fraction_outcome(data.trials, data.whole_top1, data.margin)
    if data.importances:
        figures["importances"] = plots.importances(data.importances)
    for name, svg in figures.items():
        write_text(target / FIGURES / f"{name}.svg", svg)
    best = data.best
    write_json(target / "study.json", {**fields_of(data), "best": None if best is None else fields_of(best)})
    text = environment().get_template("tuning.html.j2").render(
        data=data, parameters=parameters, figures={name: inline(svg) for name, svg in figures.items()}
    )  # fmt: skip
    page = target / PAGE
    write_text(page, text)
    return page
