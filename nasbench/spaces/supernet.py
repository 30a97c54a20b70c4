"""The supernet: all candidate operations on all edges, mixed by edge weights that come in as an argument."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasbench.core.errors import ConfigError
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import use_batch_statistics
from nasbench.spaces.group_weights import GroupWeights, take_apart
from nasbench.spaces.mixed import Candidates, MixedGraph
from nasbench.spaces.network import CellPlan, Classifier, build_stem, plan_cells, preprocessors


class MixedCell(nn.Module):
    """A cell in which each node sums its mixed edges from all earlier states; output: all nodes concatenated.

    Args:
        plan: Its place in the network.
        candidates: For each edge its operations.
        num_nodes: Intermediate nodes.
        partial_channels: K of PC-DARTS; 1 is DARTS.
    """

    def __init__(
        self, plan: CellPlan, candidates: tuple[tuple[str, ...], ...], num_nodes: int, partial_channels: int
    ) -> None:
        super().__init__()
        self.preprocess0, self.preprocess1 = preprocessors(plan, affine=False)
        self.graph = MixedGraph(
            plan.channels, plan.stride, candidates, num_inputs=2, num_nodes=num_nodes,
            partial_channels=partial_channels, pool_norm=True,
        )  # fmt: skip

    def forward(self, s0: Tensor, s1: Tensor, group: GroupWeights) -> Tensor:
        """Map the outputs of cells k-2 and k-1 to this cell's.

        Args:
            s0: Output of cell k-2.
            s1: Output of cell k-1.
            group: Weights of this kind of cell.
        """
        states = self.graph([self.preprocess0(s0), self.preprocess1(s1)], group)
        return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
    """The DARTS supernet and its partial-channel variant; weights w only, alphas live in the searcher.

    Formula: node_j = sum_{i<j} beta_ij sum_o p_ij^o o(x_i), with p the edge weights (for example a softmax of the
    alphas) and beta the edge normalisation (1 where none is given). With K > 1 only the first C/K channels of x_i
    go through the operations; the others bypass them, and the channels are shuffled in K groups.

    Reference: Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, Eq. 2; Xu et al., PC-DARTS, ICLR 2020,
    arXiv:1907.05737, Eq. 2 and 3.
    Differs from the paper: the DARTS paper uses batch statistics always, its code uses running ones in evaluation
    mode; ``batch_statistics`` chooses. Partial channels are the first ones with a shuffle, as in the PC-DARTS code,
    not a random sample. Odd sizes are allowed.

    Args:
        shape: Size of the network; both stems have width 3C.
        candidates: Group (``"normal"``, ``"reduce"``) -> for each edge its candidate operations.
        num_nodes: Intermediate nodes of a cell.
        partial_channels: K; must divide ``shape.channels``.
        batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

    Raises:
        ConfigError: K does not divide C, an auxiliary head is asked for, or there are fewer than three cells.
    """

    def __init__(
        self,
        shape: NetworkShape,
        candidates: Candidates,
        *,
        num_nodes: int = 4,
        partial_channels: int = 1,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        if partial_channels < 1 or shape.channels % partial_channels:
            raise ConfigError(
                f"partial_channels {partial_channels} must divide channels {shape.channels}. Change either of them."
            )
        if shape.auxiliary:
            raise ConfigError("a supernet has no auxiliary head; set auxiliary to false for the search.")
        plans = plan_cells(shape, 3 * shape.channels, dict.fromkeys(candidates, num_nodes))
        self.shapes = {group: (len(edges), len(edges[0])) for group, edges in candidates.items()}
        self.kinds = tuple(plan.kind for plan in plans)
        self.stem = build_stem(shape, 3 * shape.channels)
        self.cells = nn.ModuleList(
            MixedCell(plan, candidates[plan.kind], num_nodes, partial_channels) for plan in plans
        )
        self.classifier = Classifier(num_nodes * plans[-1].channels, shape.num_classes)
        use_batch_statistics(self, batch_statistics)

    def forward(
        self,
        images: Tensor,
        edge_weights: Mapping[str, Tensor],
        edge_norm: Mapping[str, Tensor] | None = None,
        active: Mapping[str, npt.NDArray[np.bool_]] | None = None,
        drop_path: float = 0.0,
        edge_bias: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Classify images.

        Args:
            images: [N, c, H, W].
            edge_weights: Group -> [E, O], shared by all cells of that kind.
            edge_norm: Group -> [E], or None for 1 everywhere.
            active: Group -> bool [E, O], or None; see `nasbench.spaces.base.Mixture`.
            drop_path: Probability of dropping a mixed edge for an image while training.
            edge_bias: Group -> [E], added to every element of an edge's output, or None for 0 everywhere.

        Returns:
            Logits [N, K].

        Raises:
            ConfigError: A group is missing or has another shape.
        """
        groups = take_apart(self.shapes, edge_weights, edge_norm, active, drop_path, edge_bias)
        s0, s1 = self.stem(images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            s0, s1 = s1, cell(s0, s1, groups[kind])
        logits: Tensor = self.classifier(s1)
        return logits
