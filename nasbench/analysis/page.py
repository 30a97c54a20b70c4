"""What every offline page shares: its templates, its style, and figures that turn light or dark with it."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nasbench.analysis.palette import themed


def environment() -> Environment:
    """Return Jinja's environment of ``templates/``: everything is escaped, an absent value is an error."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inline(svg: str) -> Markup:
    """Return a figure as it may stand inside a page: coloured by the page, and without a fixed size.

    Args:
        svg: Text made by this package, which escapes what it writes.
    """
    svg = svg.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)
    head, rest = svg.split(">", 1)
    width = re.search(r' width="([\d.]+)(pt)?"', head)
    pixels = float(width[1]) * (4 / 3 if width[2] else 1) if width else 600.0
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return Markup(themed(f'{head} style="width:{pixels:.0f}px">{rest}'))  # noqa: S704 - the package's own text
