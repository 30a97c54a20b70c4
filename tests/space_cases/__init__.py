"""What the contract tests must know of each search space; one module a space, each with a `CASE`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape, SearchSpace


@dataclass(frozen=True, kw_only=True)
class SpaceCase:
    """How the spaces of one family are tested.

    Attributes:
        names: Registered names.
        representatives: Those of them on which everything is tested, what takes time too: together they have each
            operation, each wiring and each trait of the family.
        shape: Of a network that is built in a moment (two input channels, five classes).
        copy: Make a discrete network compute what the supernet does with the one-hot weights of these cells, in
            evaluation mode (running statistics): copy its weights, under no_grad.
        plain: Build the independent textbook supernet, one module for each operation of each edge, without any
            sharing, with the weights of the given supernet: ``forward(images, edge_weights) -> logits``. Its weights
            are paired with the supernet's by shape and value, so each must be there whole and unaltered. It draws
            random numbers, if it does, in the order of the edges.
    """

    names: tuple[str, ...]
    representatives: tuple[str, ...]
    shape: NetworkShape
    copy: Callable[[nn.Module, nn.Module, Mapping[str, Cell]], None]
    plain: Callable[[SearchSpace, NetworkShape, nn.Module], nn.Module]


def cases() -> dict[str, SpaceCase]:
    """Return the case of every space by its registered name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        case = importlib.import_module(f"{__name__}.{module.name}").CASE
        found |= dict.fromkeys(case.names, case)
    return found
