"""Mean and spread of accuracies over cells and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasbench.core.errors import ComparisonError


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of one row of a table.

    Attributes:
        mean: Over cells, of each cell's mean over its seeds.
        sd: Sample standard deviation (divisor one less than the number) of the cells' means; of the seeds
            where there is one cell; None where there is one value.
        num_cells: Number of cells.
        num_runs: Number of trainings, over all cells.
    """

    mean: float
    sd: float | None
    num_cells: int
    num_runs: int


def check_cells(cells: Sequence[Sequence[float]], name: str) -> None:
    """Refuse accuracies that cannot be compared.

    Args:
        cells: [cells][seeds].
        name: What they are called in the message.

    Raises:
        ComparisonError: No cell, a cell without a seed, or a value that is not finite or is negative.
    """
    if not cells or any(not cell for cell in cells):
        raise ComparisonError(f"{name}: no accuracy, or a cell without one. Run the trainings first.")
    for index, cell in enumerate(cells):
        for value in cell:
            if not (np.isfinite(value) and value >= 0):
                raise ComparisonError(
                    f"{name}: cell {index} has accuracy {value}; a finite number not below 0 is needed. "
                    f"Run its training again."
                )


def summarise(cells: Sequence[Sequence[float]]) -> Summary:
    """Return mean and spread of accuracies.

    Args:
        cells: [cells][seeds]; rows may differ in length.

    Raises:
        ComparisonError: As `check_cells`.

    Example:
        >>> summarise([[0.80, 0.82], [0.84, 0.86]]).mean.__round__(3)
        0.83
    """
    check_cells(cells, "accuracies")
    values = [float(np.mean(cell)) for cell in cells] if len(cells) > 1 else list(cells[0])
    return Summary(
        mean=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        num_cells=len(cells),
        num_runs=sum(len(cell) for cell in cells),
    )
