"""What a derived cell and its alphas say about a search. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from nasbench.core.genotype import Cell
from nasbench.spaces.base import Alphas

PARAMETER_FREE = frozenset({"none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "maxpool3x3", "noise"})
"""Operations without weights. A skip connection of stride 2 has some; it is counted by its name all the same."""


def alpha_entropy(alphas: Alphas) -> float:
    """Return the entropy of the edges' softmax in nats, averaged over all edges of all groups.

    It starts near log(O) of O operations and falls as the search makes up its mind.
    """
    entropies = []
    for values in alphas.values():  # [E, O]
        shifted = values - values.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        entropies.append(-(np.exp(log_p) * log_p).sum(axis=1))
    return float(np.concatenate(entropies).mean())


def skip_share(cells: Mapping[str, Cell]) -> float:
    """Return the share of skip connections among the operations of all cells, 0 to 1."""
    return _share(cells.values(), frozenset({"skip_connect"}))


def parameter_free_share(cells: Mapping[str, Cell]) -> float:
    """Return the share of operations without parameters in all cells, 0 to 1."""
    return _share(cells.values(), PARAMETER_FREE)


def collapsed(cells: Mapping[str, Cell]) -> tuple[str, ...]:
    """Return the kinds of cell that have operations without parameters only."""
    return tuple(kind for kind, cell in cells.items() if _share([cell], PARAMETER_FREE) == 1.0)


def collapse_warning(kind: str, cell: Cell) -> str:
    """Return what to say of a collapsed cell."""
    operations = cell.operations
    skips = operations.count("skip_connect")
    name = kind if kind == "cell" else f"{kind} cell"
    return (
        f"the {name} collapsed: all its {len(operations)} operations are without parameters "
        f"({skips} skip connections). Compare it with random cells before any use."
    )


def _share(cells: Iterable[Cell], names: frozenset[str]) -> float:
    operations = [operation for cell in cells for operation in cell.operations]
    return sum(operation in names for operation in operations) / len(operations) if operations else 0.0
