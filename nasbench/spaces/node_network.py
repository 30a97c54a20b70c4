"""The networks of NAS-Bench-1Shot1: a chain of equal cells with operations on nodes, as supernet and discrete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import ConfigError
from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape, Prediction
from nasbench.spaces.batch_norm import BatchNorm, use_batch_statistics
from nasbench.spaces.group_weights import GroupWeights, take_apart
from nasbench.spaces.network import Classifier
from nasbench.spaces.node_cell import (
    INPUT,
    ConvBnRelu,
    NodeCell,
    SlicedConv,
    Slices,
    Term,
    Wiring,
    plan_node_cells,
    reaching,
)


class NodeChain(nn.Module):
    """The frame around the cells: stem, cells, pointwise convolution, average over all pixels, linear layer.

    Formula: conv3x3-bn-relu, L/3 cells of C, max pool, L/3 cells of 2C, max pool, L/3 cells of 4C, then ReLU,
    pointwise convolution to 4C and BN without scale and shift, average, linear. The pools are 2x2 of stride 2 with a
    border of 1 pixel, so that a side of s pixels becomes floor(s/2) + 1: 32, 17, 9.

    Args:
        shape: Size of the network.
        cells: In order.
        num_slices: Slices of C channels that a cell's output has.
    """

    def __init__(self, shape: NetworkShape, cells: list[NodeCell], num_slices: int) -> None:
        super().__init__()
        width = cells[-1].channels
        self.in_channels = shape.in_channels
        self.stem = ConvBnRelu(shape.in_channels, shape.channels, 3)
        self.cells = nn.ModuleList(cells)
        self.last = SlicedConv(num_slices * width, width)
        self.norm = BatchNorm(width, affine=False)
        self.classifier = Classifier(width, shape.num_classes)

    def forward(self, images: Tensor, wiring: Wiring) -> Tensor:
        """Classify images.

        Args:
            images: [N, c, H, W].
            wiring: What every cell computes.

        Returns:
            Logits [N, K].

        Raises:
            ConfigError: The images are not [N, c, H, W] with the c that the network was built for.
        """
        if images.dim() != 4 or images.shape[1] != self.in_channels:
            raise ConfigError(
                f"the images have shape {tuple(images.shape)}; [N, {self.in_channels}, H, W] is needed. Build the "
                f"network with in_channels of the images."
            )
        state = Slices(self.stem(images), ())
        for cell in self.cells:
            state = cell(state, wiring)
        logits: Tensor = self.classifier(self.norm(self.last(F.relu(state.output), state.kept)))
        return logits


class NodeGroups(NamedTuple):
    """Which groups of alphas choose what.

    Attributes:
        operations: Its row j - 1 are the operations of node j.
        parents: For each node the group that chooses its parents; None where all earlier states are.
        output: Chooses the states that make the cell's output.
    """

    operations: str
    parents: tuple[str | None, ...]
    output: str


class NodeSupernet(nn.Module):
    """The supernet of NAS-Bench-1Shot1; weights w only, alphas live in the searcher.

    Formula: see `NodeCell`, with p, q and r the weights of operations, parents and output (for example softmaxes of
    the alphas); q = 1 where a node's parents are not chosen. With K > 1 only the first C/K channels of a node's sum
    go through the operations; the others bypass them, and the channels are shuffled in K groups.

    Reference: Zela et al., NAS-Bench-1Shot1, ICLR 2020, arXiv:2001.10422, section 3 and appendix (not re-read), with
    the dimensions of the published code; Ying et al., NAS-Bench-101, ICML 2019, arXiv:1902.09635 (the module); Xu
    et al., PC-DARTS, ICLR 2020, arXiv:1907.05737, Eq. 2 (partial channels).
    Differs from the paper: the published code's BN momentum of 0.997 is TensorFlow's and means the opposite in
    PyTorch (running statistics of hardly more than the last batch); here it is PyTorch's 0.1. Drop path, which it
    does not have, drops what a node's operations give.

    Args:
        shape: Size of the network.
        groups: Which groups choose what.
        shapes: Group -> (rows, candidates).
        operations: Candidates of every node, in alpha order.
        partial_channels: K; must divide ``shape.channels``.
        batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

    Raises:
        ConfigError: K does not divide C, or the shape is none of this space (see `plan_node_cells`).
    """

    def __init__(
        self,
        shape: NetworkShape,
        groups: NodeGroups,
        shapes: Mapping[str, tuple[int, int]],
        operations: tuple[str, ...],
        *,
        partial_channels: int = 1,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        if partial_channels < 1 or shape.channels % partial_channels:
            raise ConfigError(
                f"partial_channels {partial_channels} must divide channels {shape.channels}. Change either of them."
            )
        self.groups, self.shapes = groups, dict(shapes)
        num_nodes = len(groups.parents)
        candidates, projected = [operations] * num_nodes, range(1, num_nodes + 2)
        plans = plan_node_cells(shape, num_nodes)
        cells = [NodeCell(plan, candidates, projected, partial_channels) for plan in plans]
        self.chain = NodeChain(shape, cells, num_nodes)
        use_batch_statistics(self, batch_statistics)

    def forward(
        self,
        images: Tensor,
        edge_weights: Mapping[str, Tensor],
        active: Mapping[str, npt.NDArray[np.bool_]] | None = None,
        drop_path: float = 0.0,
    ) -> Tensor:
        """Classify images.

        Args:
            images: [N, c, H, W].
            edge_weights: Group -> [rows, candidates], shared by all cells.
            active: Group -> bool [rows, candidates], or None; see `nasbench.spaces.base.Mixture`. A parent that is
                not active is not added; a node that the output does not see then is not computed either.
            drop_path: Probability of dropping a node's operations for an image while training.

        Returns:
            Logits [N, K].

        Raises:
            ConfigError: A group is missing or has another shape, or the images have other channels.
        """
        parts = take_apart(self.shapes, edge_weights, None, active, drop_path)
        logits: Tensor = self.chain(images, self._wiring(parts, drop_path))
        return logits

    def _wiring(self, parts: Mapping[str, GroupWeights], drop_path: float) -> Wiring:
        parents = tuple(
            tuple(Term(state) for state in range(node)) if group is None else _terms(parts[group], 0)
            for node, group in enumerate(self.groups.parents, start=1)
        )
        operations = parts[self.groups.operations]
        return Wiring(
            parents=parents,
            operations=tuple(_terms(operations, row) for row in range(len(parents))),
            output=_terms(parts[self.groups.output], 0),
            drop_path=drop_path,
        )


def _terms(group: GroupWeights, row: int) -> tuple[Term, ...]:
    """Return what is active in a row of a group."""
    active = None if group.active is None else group.active[row]
    return tuple(
        Term(index, weight) for index, weight in enumerate(group.weights[row]) if active is None or active[index]
    )


class NodeNetwork(nn.Module):
    """The discrete network of one cell with operations on nodes; nodes that the output does not see are left out.

    Formula: see `NodeCell`, with every weight 1. The output has one slice of C channels for each of its nodes; n
    slices where the input is part of it, as the projected input is added to all of them.

    Reference: Ying et al., NAS-Bench-101, ICML 2019, arXiv:1902.09635, section 2 (loose ends are pruned; projected
    inputs; sums at nodes).
    Differs from the paper: it is cut out of NAS-Bench-1Shot1's supernet, and not NAS-Bench-101's network. There the
    channels of a cell's output are split among the nodes that make it (and truncated where a node feeds another),
    the stem has 128 channels, and no convolution follows the last cell; here every node has C channels, so that it
    computes what the supernet computes. Accuracies are not those of NAS-Bench-101's tables.

    Args:
        cell: Of one input; its edges from the input are projections, all others the identity.
        shape: Size of the network.

    Raises:
        GenotypeError: The cell names an unknown operation.
        ConfigError: The shape is none of this space (see `plan_node_cells`).
    """

    def __init__(self, cell: Cell, shape: NetworkShape) -> None:
        super().__init__()
        parents = [[source for _, source in edges] for edges in cell.nodes]
        needed, num_nodes = reaching(parents, cell.concat), len(parents)
        operations = [(name,) if node in needed else () for node, name in enumerate(cell.node_operations, start=1)]
        projected = {node for node in needed if INPUT in parents[node - 1]}
        if INPUT in cell.concat:
            projected.add(num_nodes + 1)
        num_slices = num_nodes if INPUT in cell.concat else len(cell.concat)
        plans = plan_node_cells(shape, num_slices)
        self.chain = NodeChain(shape, [NodeCell(plan, operations, projected) for plan in plans], num_slices)
        self._parents = tuple(tuple(map(Term, sources)) for sources in parents)
        self._output = tuple(map(Term, sorted(cell.concat)))

    def forward(self, images: Tensor, drop_path: float = 0.0) -> Prediction:
        """Classify images.

        Args:
            images: [N, c, H, W].
            drop_path: Probability p of dropping a node's operation for an image; the kept ones are divided by 1 - p.
                Without effect in evaluation mode.

        Returns:
            Logits [N, K]; there is no auxiliary head.

        Raises:
            ConfigError: The images have another number of channels than the network was built for.
        """
        operations = ((Term(0),),) * len(self._parents)
        return Prediction(self.chain(images, Wiring(self._parents, operations, self._output, drop_path)), None)
