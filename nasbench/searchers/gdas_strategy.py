"""How the bilevel loop is changed by GDAS: each forward pass computes one sampled operation an edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasbench.core.errors import TrainingError
from nasbench.searchers.strategy import Architecture, EpochEnd, Moment, Strategy
from nasbench.spaces.base import Mixture, SearchSpace


class GdasStrategy(Strategy):
    """Hard Gumbel samples, a temperature that falls linearly, weights before alphas.

    Args:
        space: Where to search.
        first_temperature: tau of the first epoch.
        final_temperature: tau of the last epoch.
        add_unchosen: Add the weights (zeros) of an edge's other operations to its output, for their gradient.
    """

    alphas_first = False

    def __init__(
        self, space: SearchSpace, first_temperature: float, final_temperature: float, add_unchosen: bool = False
    ) -> None:
        super().__init__()
        self.add_unchosen = add_unchosen
        self.space = space
        self.first_temperature, self.final_temperature = first_temperature, final_temperature
        self._temperature = first_temperature  # of the present epoch, for its record

    def temperature(self, moment: Moment) -> float:
        """Return tau of an epoch; that of the first one where there is no other."""
        share = moment.epoch / max(moment.epochs - 1, 1)
        return self.first_temperature * (1.0 - share) + self.final_temperature * share

    def alpha_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Draw one operation an edge; the inputs of nodes stay a soft sample, and all of them are computed."""
        self._temperature = self.temperature(moment)
        weights: dict[str, Tensor] = {}
        active: dict[str, npt.NDArray[np.bool_]] = {}
        unchosen: dict[str, Tensor] = {}
        for group in self.space.alpha_shapes:
            p = gumbel_softmax(architecture[group], self._temperature)
            if group in self.space.connection_groups:
                weights[group], active[group] = p, np.ones(p.shape, dtype=np.bool_)
            else:
                weights[group] = straight_through(p)
                active[group] = (weights[group].detach() > 0).cpu().numpy()
                unchosen[group] = (weights[group] * (weights[group].detach() == 0)).sum(dim=1)  # 0 with a gradient
        return Mixture(weights, active=active, edge_bias=unchosen if self.add_unchosen else None)

    def evaluation_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Return the one-hot weights of the derived genotype, without any noise."""
        del moment
        alphas = {group: architecture[group].detach().cpu().double().numpy() for group in self.space.alpha_shapes}
        one_hot = self.space.one_hot(self.space.discretize(alphas))
        weights = {group: torch.from_numpy(values).to(architecture[group]) for group, values in one_hot.items()}
        return Mixture(weights, active={group: values > 0 for group, values in one_hot.items()})

    def end_epoch(self, end: EpochEnd) -> dict[str, Any]:
        """Record the temperature."""
        del end
        return {"temperature": self._temperature}


def gumbel_softmax(alphas: Tensor, temperature: float) -> Tensor:
    """Return p = softmax((log softmax(alpha) + g) / tau) with fresh Gumbel noise g for every entry.

    The noise is -log of a standard exponential draw, from PyTorch's current default generator, and is drawn again
    where it is not finite. argmax p is distributed as softmax(alpha), whatever tau.

    Args:
        alphas: [E, O].
        temperature: tau > 0.

    Raises:
        TrainingError: The alphas are not finite.
    """
    noise = gumbel(alphas)
    while not bool(torch.isfinite(noise).all()):
        noise = gumbel(alphas)
    p = torch.softmax((torch.log_softmax(alphas, dim=1) + noise) / temperature, dim=1)
    if not bool(torch.isfinite(p).all()):
        raise TrainingError("alphas are not finite, so that nothing can be sampled. Lower alpha_learning_rate.")
    return p


def gumbel(like: Tensor) -> Tensor:
    """Draw Gumbel noise of the shape of a tensor; infinite where the exponential draw is 0."""
    return -torch.empty_like(like, requires_grad=False).exponential_().log()


def straight_through(p: Tensor) -> Tensor:
    """Return the one-hot vector of each row's largest entry, exactly, with the gradient of p [E, O]."""
    hard = torch.zeros_like(p).scatter_(1, p.argmax(dim=1, keepdim=True), 1.0)
    return hard + (p - p.detach())
