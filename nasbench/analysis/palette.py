"""Colours of every figure, chosen to be told apart by colour-blind readers and on white as on black."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        "noise": "#8d6e63",
        "nor_conv_1x1": "#6cb6f0",
        "nor_conv_3x3": "#4a4fb8",
        "maxpool3x3": "#eb9a5b",
        "conv1x1-bn-relu": "#5bb5a6",
        "conv3x3-bn-relu": "#3a5fa8",
        "projection": "#8b6a1d",
        "residual_block": "#7a8f2e",
    }
)
"""Colour of a candidate operation, the same in drawn cells and alpha plots.

Those that meet in one search space can be told apart without red or green, too.
"""

_VARIABLES = {INK: "ink", MUTED: "muted", FAINT: "faint", CARD: "card"}


def operation_colour(operation: str) -> str:
    """Return the colour of an operation; those without one of their own get one by their name's bytes."""
    return OPERATIONS.get(operation, SERIES[sum(operation.encode()) % len(SERIES)])


def operation_colours(operations: Sequence[str]) -> dict[str, str]:
    """Return the colours of operations that are shown together.

    Those without a colour of their own (for example the widths of a size space) get those of `SERIES` in turn, so that
    up to eight of them differ.
    """
    unknown = [operation for operation in dict.fromkeys(operations) if operation not in OPERATIONS]
    turns = {operation: SERIES[number % len(SERIES)] for number, operation in enumerate(unknown)}
    return {operation: OPERATIONS.get(operation) or turns[operation] for operation in operations}


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
