"""A genotype: the name of its space and one gene for every choice of that space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasbench.core.errors import GenotypeError
from nasbench.core.files import fingerprint, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One decision of a search space.

    Attributes:
        name: For example ``"normal/node2/inputs"``; unique within a space.
        candidates: What may be chosen, in index order.
    """

    name: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Genotype:
    """An architecture as numbers; it never holds a module.

    Attributes:
        space: Registered name of the search space.
        genes: One index into ``Choice.candidates`` for each choice, in the order of the space's choices.
    """

    space: str
    genes: tuple[int, ...]

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits, equal for equal genotypes."""
        return fingerprint({"space": self.space, "genes": list(self.genes)})


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell in readable form.

    Attributes:
        nodes: For each intermediate node its incoming edges as (operation, input state). With two inputs, state 0 is
            the output of cell k-2, state 1 that of cell k-1, and state 2 the first intermediate node; with one
            input, state 0 is the output of cell k-1 and state 1 the first intermediate node; and so on.
        concat: States whose channels are concatenated into the cell's output; a single one is the output itself.
        num_inputs: 1 or 2 input states.
        node_operations: For each intermediate node the operation on the sum of its edges, where operations sit on
            nodes (NAS-Bench-101 and -1Shot1); empty where they sit on edges.
        width: Channels C of the cell, where the genotype decides on it.
    """

    nodes: tuple[tuple[tuple[str, int], ...], ...]
    concat: tuple[int, ...]
    num_inputs: int = 2
    node_operations: tuple[str, ...] = ()
    width: int | None = None

    def __post_init__(self) -> None:
        first = self.num_inputs
        if first not in {1, 2}:
            raise GenotypeError(f"a cell has 1 or 2 inputs, not {first}. Correct num_inputs.")
        if self.node_operations and len(self.node_operations) != len(self.nodes):
            raise GenotypeError(f"{len(self.node_operations)} node operations for {len(self.nodes)} nodes. Name each.")
        if self.width is not None and self.width < 1:
            raise GenotypeError(f"width {self.width} must be at least 1. Correct the cell.")
        for index, edges in enumerate(self.nodes):
            for operation, source in edges:
                if not 0 <= source < index + first:
                    raise GenotypeError(
                        f"node {index + first} has an edge {operation!r} from state {source}; "
                        f"allowed are states 0 to {index + first - 1}. Correct the cell."
                    )
        states = len(self.nodes) + first
        lowest = 0 if self.node_operations else first  # there the input may be part of the output
        if not self.concat or any(not lowest <= state < states for state in self.concat):
            raise GenotypeError(
                f"concat {self.concat} must name intermediate states from {lowest} to {states - 1}. Correct the cell."
            )

    @property
    def operations(self) -> tuple[str, ...]:
        """Every chosen operation, be it on an edge or on a node."""
        return self.node_operations or tuple(operation for edges in self.nodes for operation, _ in edges)

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Cell:
        """Build a cell from JSON values: ``nodes`` a list of lists of [operation, input], ``concat``, and the others.

        Raises:
            GenotypeError: The value has another form.
        """
        try:
            nodes = tuple(tuple((_text(op), _whole(source)) for op, source in edges) for edges in value["nodes"])
            concat = tuple(_whole(state) for state in value["concat"])
            num_inputs = _whole(value.get("num_inputs", 2))
            node_operations = tuple(_text(operation) for operation in value.get("node_operations", ()))
            width = None if value.get("width") is None else _whole(value["width"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GenotypeError(
                f"not a cell: {value!r} ({type(error).__name__}: {error}). Give 'nodes', a list of [operation, input] "
                f"for each node, and 'concat'."
            ) from error
        return cls(nodes=nodes, concat=concat, num_inputs=num_inputs, node_operations=node_operations, width=width)

    def to_plain(self) -> dict[str, Any]:
        """Return the cell as JSON values, the inverse of `from_plain`; defaults are left out."""
        plain: dict[str, Any] = {
            "nodes": [[[op, source] for op, source in edges] for edges in self.nodes], "concat": list(self.concat)
        }  # fmt: skip
        if self.num_inputs != 2:
            plain["num_inputs"] = self.num_inputs
        if self.node_operations:
            plain["node_operations"] = list(self.node_operations)
        if self.width is not None:
            plain["width"] = self.width
        return plain


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a name")
    return value


def save_genotype(path: Path | str, genotype: Genotype, cells: Mapping[str, Cell]) -> None:
    """Write a genotype with its readable cells as JSON.

    Args:
        path: The file.
        genotype: What is written.
        cells: ``SearchSpace.cells(genotype)``; checked against the genes when the file is loaded.
    """
    write_json(
        path,
        {
            "space": genotype.space,
            "genes": list(genotype.genes),
            "fingerprint": genotype.fingerprint,
            "cells": {kind: cell.to_plain() for kind, cell in cells.items()},
        },
    )


def load_genotype(path: Path | str) -> tuple[Genotype, dict[str, Cell]]:
    """Read a genotype file; the caller's space must still check it (``SearchSpace.check``).

    Returns:
        The genotype and the readable cells that stand in the file.

    Raises:
        FileReadError: The file cannot be read.
        GenotypeError: It is not a genotype, or was altered after it was written.
    """
    value = read_json(path)
    try:
        space, genes, stamp, cells = (value[key] for key in ("space", "genes", "fingerprint", "cells"))
    except KeyError as error:
        raise GenotypeError(f"{path} is not a genotype file: {error} is missing. Make it with a search.") from error
    try:
        genotype = Genotype(space=_text(space), genes=tuple(_whole(gene) for gene in genes))
        kinds = dict(cells)
    except (TypeError, ValueError) as error:
        raise GenotypeError(
            f"{path}: 'space' must be a name, 'genes' a list of whole numbers and 'cells' a mapping ({error}). "
            f"Make it again with its search."
        ) from error
    if genotype.fingerprint != stamp:
        raise GenotypeError(
            f"{path} was altered: its genes have fingerprint {genotype.fingerprint}, the file says {stamp}. "
            f"Make it again with its search."
        )
    return genotype, {kind: Cell.from_plain(cell) for kind, cell in kinds.items()}
