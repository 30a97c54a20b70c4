"""The comparison as a short table, for a terminal and for a README."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from nasbench.analysis.relative_improvement import Interval
from nasbench.analysis.statistics import check_cells, summarise
from nasbench.config.component import component

Verdict = Literal["promoted", "refused", "baseline", "not judged"]


@component
class ComparisonRow:
    """One way of finding cells, and what its cells reach after training from scratch.

    Attributes:
        proxy: Name of the proxy in the study, for example ``p1``; empty where none was used.
        selector: Registered name, likewise.
        searcher: Registered name.
        num_selected: k; 0 where no example was used for searching.
        num_examples: n.
        top1: Test accuracy after the last epoch, in [0, 1], [cells][seeds].
        relative_improvement: Over random sampling; None for random sampling itself.
        verdict: What the gate said; ``baseline`` for random sampling.
        reasons: Why it was refused (or promoted), in sentences.
    """

    proxy: str
    selector: str
    searcher: str
    num_selected: Annotated[int, Field(ge=0)]
    num_examples: Annotated[int, Field(ge=1)]
    top1: tuple[tuple[Annotated[float, Field(ge=0, le=1)], ...], ...]
    relative_improvement: Interval | None = None
    verdict: Verdict = "not judged"
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_cells(self.top1, self.label)

    @property
    def label(self) -> str:
        """Proxy and searcher, as in DVC's item names."""
        return "/".join(part for part in (self.proxy, self.searcher) if part)


def headers(rows: Sequence[ComparisonRow]) -> tuple[str, ...]:
    """Return the columns' names; the interval's confidence is that of the first row that has one."""
    level = next((f"{100 * row.relative_improvement.confidence:g} % " for row in rows if row.relative_improvement), "")
    return ("proxy", "selector", "searcher", "examples", "Top-1 %", f"RI % [{level}interval]", "gate")


def top1_text(row: ComparisonRow, plus_minus: str = "+-") -> str:
    """Return for example ``91.20 +- 0.35 (2 cells, 4 runs)``, in percent."""
    summary = summarise(row.top1)
    spread = f" {plus_minus} {100 * summary.sd:.2f}" if summary.sd is not None else ""
    cells = f"{summary.num_cells} cell{'s' if summary.num_cells > 1 else ''}"
    runs = f"{summary.num_runs} run{'s' if summary.num_runs > 1 else ''}"
    return f"{100 * summary.mean:.2f}{spread} ({cells}, {runs})"


def improvement_text(row: ComparisonRow) -> str:
    """Return for example ``+0.32 [-0.10, +0.75]``, in percent, or ``-`` for the baseline."""
    interval = row.relative_improvement
    if interval is None:
        return "-"
    return f"{interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def _values(row: ComparisonRow, plus_minus: str) -> tuple[str, ...]:
    examples = f"{row.num_selected:,} of {row.num_examples:,}" if row.num_selected else "none"
    return (
        row.proxy or "-",
        row.selector or "-",
        row.searcher,
        examples,
        top1_text(row, plus_minus),
        improvement_text(row),
        row.verdict,
    )


def notes(rows: Sequence[ComparisonRow]) -> list[str]:
    """Return why rows were promoted or refused, and what their intervals do not cover."""
    found = [f"{row.label} {row.verdict}: {' '.join(row.reasons)}" for row in rows if row.reasons]
    said: list[str] = []
    for row in rows:
        interval = row.relative_improvement
        if interval is not None and interval.statement and interval.statement not in said:
            said.append(interval.statement)
    return found + [f"intervals: {statement}" for statement in said]


def comparison_table(rows: Sequence[ComparisonRow]) -> str:
    """Return the comparison as aligned text, with the gate's reasons below.

    Args:
        rows: In the order in which they are shown.

    Returns:
        Lines of plain ASCII, without a final newline.
    """
    lines = [headers(rows), *(_values(row, "+-") for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, tuple("-" * width for width in widths))
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*text, *notes(rows)])


def comparison_markdown(rows: Sequence[ComparisonRow]) -> str:
    """Return the comparison as a Markdown table, with the gate's reasons as a list below.

    Args:
        rows: In the order in which they are shown.

    Returns:
        Markdown without a final newline; ``|`` inside a value is escaped.
    """
    names = headers(rows)
    lines = [names, ("---",) * len(names), *(_values(row, "±") for row in rows)]
    text = ["| " + " | ".join(value.replace("|", "\\|") for value in line) + " |" for line in lines]
    listed = [f"- {note}" for note in notes(rows)]
    return "\n".join([*text, *([""] if listed else []), *listed])
