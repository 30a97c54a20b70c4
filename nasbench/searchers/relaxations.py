"""From architecture parameters to the edge weights of a supernet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Relaxation(Protocol):
    """Makes edge weights of alphas; may draw from PyTorch's default generator."""

    def __call__(self, alphas: Mapping[str, Tensor], epoch: int) -> dict[str, Tensor]:
        """Return group -> [E, O] of group -> [E, O], differentiable in the alphas.

        Args:
            alphas: Architecture parameters.
            epoch: From 0, for schedules such as a temperature's.
        """


def softmax(alphas: Mapping[str, Tensor], epoch: int) -> dict[str, Tensor]:
    """Return p_o = exp(alpha_o) / sum_o' exp(alpha_o') for each edge (DARTS, arXiv:1806.09055, Eq. 2).

    Args:
        alphas: Group -> [E, O].
        epoch: Not used: this relaxation does not change over the search.
    """
    del epoch
    return {group: torch.softmax(values, dim=1) for group, values in alphas.items()}
