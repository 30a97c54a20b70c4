"""What one gradient searcher does differently from the next; `nasbench.searchers.bilevel` is what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasbench.core.genotype import Genotype
from nasbench.searchers.hypergradient import AlphaGradient, first_order
from nasbench.spaces.base import Alphas, Mixture, NetworkShape, SearchSpace

Architecture = Mapping[str, Tensor]
"""The parameters that the alpha optimiser trains: the space's groups [E, O] first, then a searcher's own."""

Record = Mapping[str, Any]
"""What is kept of an epoch."""


class Moment(NamedTuple):
    """A place in a search.

    Attributes:
        epoch: From 0.
        epochs: E.
        step: Within the epoch, from 0.
        steps: Of an epoch.
    """

    epoch: int
    epochs: int
    step: int = 0
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """What a strategy may look at after an epoch.

    Attributes:
        epoch: From 0.
        records: Those of the epochs before.
        alphas: The space's groups, before any softmax.
        architecture: The tensors that are trained.
        valid_loss: Computes the loss of a fixed batch of the alpha half anew, with a graph. Running statistics that
            it changes are put back after the epoch.
        seed: For random numbers of this epoch's end.
    """

    epoch: int
    records: Sequence[Record]
    alphas: Alphas
    architecture: Architecture
    valid_loss: Callable[[], Tensor]
    seed: int


class Strategy:
    """DARTS of first order; a searcher overrides its own difference.

    A strategy keeps no state that is not a function of the records, so that a resumed search is the same one:
    ``begin_epoch`` gets all records so far, and whatever the strategy wants to know later it puts into a record at
    ``end_epoch``.

    Attributes:
        alphas_first: Within a step train the alphas, then the weights (DARTS), or the other way round (GDAS).
        alpha_gradient: First or second order.
    """

    alphas_first: bool = True

    def __init__(self, alpha_gradient: AlphaGradient = first_order) -> None:
        self.alpha_gradient = alpha_gradient

    def shape(self, shape: NetworkShape) -> NetworkShape:
        """Return the size of the supernet that is built."""
        return shape

    def view(self, images: Tensor) -> Tensor:
        """Return what the supernet sees of augmented images [N, C, H, W]."""
        return images

    def supernet(self, space: SearchSpace, shape: NetworkShape) -> nn.Module:
        """Build the supernet; weights are drawn from PyTorch's current default generator."""
        return space.supernet(shape)

    def own_parameters(self, space: SearchSpace) -> Mapping[str, tuple[int, ...]]:
        """Return shapes of what is trained beside the space's alphas; it starts as they do."""
        del space
        return {}

    def batch_size(self, size: int, epoch: int) -> int:
        """Return the images a step of an epoch, from those of the settings."""
        del epoch
        return size

    def begin_epoch(self, epoch: int, records: Sequence[Record]) -> None:
        """Get ready for an epoch."""

    def weight_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Return how the supernet is mixed while its weights are trained."""
        return self.alpha_mixture(architecture, moment)

    def alpha_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Return how the supernet is mixed while the architecture is trained; differentiable."""
        del moment
        return Mixture(softmax_of(architecture))

    def evaluation_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Return how the supernet is mixed while it is evaluated."""
        return self.alpha_mixture(architecture, moment)

    def frozen(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """Return the rows of the alphas that an alpha step must not change, group -> bool [E]."""
        return {}

    def genotype(self, space: SearchSpace, architecture: Alphas) -> Genotype:
        """Derive the genotype of the present architecture (all its parameters, as arrays)."""
        return space.discretize({group: architecture[group] for group in space.alpha_shapes})

    def end_epoch(self, end: EpochEnd) -> dict[str, Any]:
        """Return what the epoch's record shall hold beside what every record holds: plain JSON values."""
        del end
        return {}

    def stopped_at(self, records: Sequence[Record]) -> int | None:
        """Return the epoch whose genotype is the result if the search must stop now, else None."""
        del records
        return None


def softmax_of(architecture: Architecture) -> dict[str, Tensor]:
    """Return p_o = exp(alpha_o) / sum_o' exp(alpha_o') for each edge (DARTS, arXiv:1806.09055, Eq. 2).

    Args:
        architecture: Group -> [E, O]; what is not a matrix is left out.
    """
    return {group: torch.softmax(values, dim=1) for group, values in architecture.items() if values.dim() == 2}
