"""Colours of every figure, chosen to be told apart by colour-blind readers and on white as on black."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

INK = "#1f2733"
"""Text and axes."""

MUTED = "#6b7481"
"""Secondary text, the whole dataset, random sampling."""

FAINT = "#d5dae2"
"""Grid lines and borders."""

CARD = "#f2f4f8"
"""Background of boxes."""

FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
"""Fonts of figures, the first that the reader has."""

SERIES = ("#3b7dd8", "#e07b39", "#2a9d6f", "#b65fcf", "#d4a017", "#d1495b", "#4fb3c8", "#8d6e63")
"""Colours of series, in the order in which they are taken."""

GOOD = "#2a9d6f"
BAD = "#d1495b"

OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "none": "#9aa3ae",
        "max_pool_3x3": "#e07b39",
        "avg_pool_3x3": "#d4a017",
        "skip_connect": "#d1495b",
        "sep_conv_3x3": "#3b7dd8",
        "sep_conv_5x5": "#4fb3c8",
        "dil_conv_3x3": "#b65fcf",
        "dil_conv_5x5": "#2a9d6f",
    }
)
"""Colour of a candidate operation, the same in drawn cells and alpha plots."""

_VARIABLES = {INK: "ink", MUTED: "muted", FAINT: "faint", CARD: "card"}


def operation_colour(operation: str) -> str:
    """Return the colour of an operation; those without one of their own get one by their name's bytes."""
    return OPERATIONS.get(operation, SERIES[sum(operation.encode()) % len(SERIES)])


def themed(svg: str) -> str:
    """Replace the neutral colours of a figure by CSS variables, so that a page can turn it light or dark.

    The page defines ``--ink``, ``--muted``, ``--faint`` and ``--card``; where it does not, the figure keeps its
    own colours.
    """
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable}, {colour})")
    return svg


def on_paper(svg: str) -> str:
    """Put white behind a figure, for places that show it as a picture on a page that may be dark."""
    head, mark, rest = svg.partition(">")
    return f'{head}{mark}\n<rect width="100%" height="100%" fill="#ffffff"/>{rest}'
