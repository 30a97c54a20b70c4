"""The offline page about one selection."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from nasbench.analysis.explanation import Explanation
from nasbench.analysis.page import environment, inline
from nasbench.core.files import write_bytes, write_text

PAGE = "index.html"
FIGURES = "figures"


def write_explanation(folder: Path | str, explanation: Explanation, about: Mapping[str, str]) -> Path:
    """Write what a selection did as one page that asks nothing of the network, and its figures as files.

    Args:
        folder: Where ``index.html`` and ``figures/`` are to stand; made if absent.
        explanation: What to show.
        about: Further facts, for example ``summary`` (the selector in one line) and ``reference``.

    Returns:
        Path of the page.

    Raises:
        FileWriteError: A file cannot be written.
    """
    target = Path(folder)
    for name, svg in explanation.figures.items():
        write_text(target / FIGURES / f"{name}.svg", svg)
    for title, png in explanation.pictures.items():
        write_bytes(target / FIGURES / f"examples-{title.replace(' ', '-')}.png", png)
    if explanation.montage is not None:
        write_bytes(target / FIGURES / "montage.png", explanation.montage)
    text = environment().get_template("explain.html.j2").render(
        explanation=explanation,
        about=about,
        figures={name: inline(svg) for name, svg in explanation.figures.items()},
        pictures={title: base64.b64encode(png).decode("ascii") for title, png in explanation.pictures.items()},
        fields={name: value for name, value in explanation.proxy.selector.items() if name != "name"},
    )  # fmt: skip
    page = target / PAGE
    write_text(page, text)
    return page
