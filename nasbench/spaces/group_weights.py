"""The weights of a group of edges, as cells take them, and weighted sums of outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasbench.core.errors import ConfigError


class Weighted(NamedTuple):
    """One term of a node's sum.

    Attributes:
        weight: A scalar, or None where the output is weighted already.
        output: [N, C, H, W].
    """

    weight: Tensor | None
    output: Tensor


class GroupWeights:
    """The weights of one group, as the cells take them.

    Args:
        matrix: Weight of each operation on each edge [E, O], already times the edge normalisation.
        norm: For each edge the scalar that scales what bypasses the operations, or None for 1.
        active: bool [E, O], what is computed; None is all.
        drop_path: Probability of dropping a mixed edge while training.
        bias: [E], the scalar that is added to all of an edge's output, or None for 0.
    """

    def __init__(
        self,
        matrix: Tensor,
        *,
        norm: Sequence[Tensor] | None = None,
        active: npt.NDArray[np.bool_] | None = None,
        drop_path: float = 0.0,
        bias: Tensor | None = None,
    ) -> None:
        self.matrix, self.norm, self.active, self.drop_path, self.bias = matrix, norm, active, drop_path, bias
        self._rows: dict[tuple[int, ...], Tensor] = {}
        self._picked: dict[tuple[tuple[int, int] | None, ...], Tensor] = {}

    @cached_property
    def weights(self) -> list[Sequence[Tensor]]:
        """For each edge the weight (a scalar) of each operation."""
        return [row.unbind() for row in self.matrix.unbind()]

    def rows(self, edges: tuple[int, ...]) -> Tensor:
        """Return the weights of some edges [m, O]; they are taken out once for all cells of the group."""
        if edges not in self._rows:
            self._rows[edges] = self.matrix[list(edges)]
        return self._rows[edges]

    def picked(self, places: tuple[tuple[int, int] | None, ...]) -> Tensor:
        """Return the weights at some (edge, operation) [m], 0 for None; they are put together once for all cells."""
        if places not in self._picked:
            weights, zero = self.weights, self.matrix.new_zeros(())
            self._picked[places] = torch.stack([zero if pair is None else weights[pair[0]][pair[1]] for pair in places])
        return self._picked[places]


def take_apart(
    shapes: Mapping[str, tuple[int, int]],
    edge_weights: Mapping[str, Tensor],
    edge_norm: Mapping[str, Tensor] | None,
    active: Mapping[str, npt.NDArray[np.bool_]] | None,
    drop_path: float,
    edge_bias: Mapping[str, Tensor] | None = None,
) -> dict[str, GroupWeights]:
    """Check a mixture against the groups' (E, O) and take it apart.

    Raises:
        ConfigError: A group is missing or has another shape.
    """
    for what, given, dims in (
        ("edge_weights", edge_weights, 2),
        ("edge_norm", edge_norm, 1),
        ("active", active, 2),
        ("edge_bias", edge_bias, 1),
    ):
        if given is None:
            continue
        seen = {group: tuple(value.shape) for group, value in given.items()}
        needed = {group: full[:dims] for group, full in shapes.items()}
        if seen != needed:
            raise ConfigError(f"{what} has shapes {seen}; {needed} are needed.")
    parts = {}
    for group, values in edge_weights.items():
        norm = None if edge_norm is None else edge_norm[group]
        parts[group] = GroupWeights(
            values if norm is None else values * norm[:, None],
            norm=None if norm is None else norm.unbind(),
            active=None if active is None else active[group],
            drop_path=drop_path,
            bias=None if edge_bias is None else edge_bias[group],
        )
    return parts


def weighted_sum(terms: Iterable[Weighted]) -> Tensor | None:
    """Return the sum of weight times output, or None where there is no term.

    Each term is added before the next one is computed, so that no more than two are held.
    """
    total: Tensor | None = None
    for weight, output in terms:
        if total is None:
            total = output if weight is None else weight * output
        else:
            total = total + output if weight is None else torch.addcmul(total, weight, output)
    return total
