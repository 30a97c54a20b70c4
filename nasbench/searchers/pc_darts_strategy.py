"""What PC-DARTS adds to DARTS: the partial-channel supernet and normalised edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasbench.core.errors import ConfigError
from nasbench.core.genotype import Genotype
from nasbench.searchers.strategy import Architecture, EpochEnd, Moment, Strategy, softmax_of
from nasbench.spaces.base import Alphas, Mixture, NetworkShape, SearchSpace

Nodes = Sequence[Sequence[int]]
"""For each node of a group the edges that enter it; every edge enters one node."""


def edge_norm(betas: Tensor, nodes: Nodes) -> Tensor:
    """Return exp(beta_i) / sum_i' exp(beta_i') over the edges that enter the same node.

    Reference: Xu et al., PC-DARTS, ICLR 2020, arXiv:1907.05737, Eq. 3.

    Args:
        betas: [E].
        nodes: Edges by node.

    Returns:
        [E]; the entries of each node sum to 1.
    """
    edges = [edge for node in nodes for edge in node]
    shares = torch.cat([torch.softmax(betas[list(node)], dim=0) for node in nodes])
    place = {edge: position for position, edge in enumerate(edges)}
    return shares[[place[edge] for edge in range(len(edges))]]


class PartialChannels(Strategy):
    """DARTS of first order on a supernet with partial channels; edges of a node compete by their betas.

    Args:
        partial_channels: K.
        nodes: Group -> for each node the edges that enter it; empty where the space has no edges.
    """

    def __init__(self, partial_channels: int, nodes: Mapping[str, Nodes]) -> None:
        super().__init__()
        self._partial_channels, self._nodes = partial_channels, nodes

    def supernet(self, space: SearchSpace, shape: NetworkShape) -> nn.Module:
        """Build the supernet whose operations see 1/K of the channels.

        Raises:
            ConfigError: K does not divide the channels.
        """
        if shape.channels % self._partial_channels:
            raise ConfigError(
                f"partial_channels: {self._partial_channels} does not divide the supernet's {shape.channels} channels. "
                f"Take a divisor, or change channels."
            )
        build: Any = space.supernet  # takes K where the space has the trait `partial-channels`
        model: nn.Module = build(shape, partial_channels=self._partial_channels)
        return model

    def own_parameters(self, space: SearchSpace) -> Mapping[str, tuple[int, ...]]:
        """Return one beta for each edge."""
        return {_betas(group): space.alpha_shapes[group][:1] for group in self._nodes}

    def alpha_mixture(self, architecture: Architecture, moment: Moment) -> Mixture:
        """Mix operations by softmax(alpha) and edges by softmax(beta)."""
        del moment
        return Mixture(softmax_of(architecture), edge_norm=self._norms(architecture) or None)

    def genotype(self, space: SearchSpace, architecture: Alphas) -> Genotype:
        """Rank edges by softmax(beta) times their best operation's softmax(alpha)."""
        norms = self._norms({group: torch.as_tensor(values) for group, values in architecture.items()})
        alphas = {group: architecture[group] for group in space.alpha_shapes}
        return space.discretize(alphas, {group: norm.numpy() for group, norm in norms.items()} or None)

    def end_epoch(self, end: EpochEnd) -> dict[str, Any]:
        """Record softmax(beta)."""
        with torch.no_grad():
            norms = self._norms({group: values.double() for group, values in end.architecture.items()})
        return {"edge_norm": {group: norm.tolist() for group, norm in norms.items()}} if norms else {}

    def _norms(self, architecture: Architecture) -> dict[str, Tensor]:
        return {group: edge_norm(architecture[_betas(group)], nodes) for group, nodes in self._nodes.items()}


def _betas(group: str) -> str:
    return f"{group}/edges"
