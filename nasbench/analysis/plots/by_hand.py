"""What figures share that are written as SVG by hand: many small panels take Matplotlib seconds and many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nasbench.analysis.palette import FONT, INK

CHARACTER = 6.3
"""Width of a character of 10 pixels, on the safe side."""

MARGIN = 8
"""Pixels kept free around a figure."""

_TITLE_CHARACTER = 8.4


def text(
    x: float, y: float, words: str, *, size: float = 10, colour: str = INK, weight: str = "", anchor: str = ""
) -> str:
    """Return words at a place in pixels; ``y`` is that of their base line."""
    more = (f' font-weight="{weight}"' if weight else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}"{more} style="fill:{colour}">{escape(words)}</text>'


def page(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return an SVG of these parts with its title on top, at least so wide in pixels that the title fits."""
    width = max(width, 2 * MARGIN + _TITLE_CHARACTER * len(title))
    body = "\n".join([text(MARGIN, 18, title, size=13, weight="bold"), *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}" font-family="{FONT}">\n'
        f"{body}\n</svg>\n"
    )
