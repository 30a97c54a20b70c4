"""NAS-Bench-201's networks: a chain of equal cells with residual blocks between, as supernet and discrete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import ConfigError
from nasbench.core.genotype import Cell
from nasbench.spaces import compiled
from nasbench.spaces.banks import ConvBank
from nasbench.spaces.base import NetworkShape, Prediction
from nasbench.spaces.batch_norm import BatchNorm, use_batch_statistics
from nasbench.spaces.chain_builder import ChainBuilder, ChainPart, by_kernels, kind_of
from nasbench.spaces.group_weights import GroupWeights, take_apart
from nasbench.spaces.mixed import Candidates, MixedGraph
from nasbench.spaces.network import Classifier
from nasbench.spaces.ops import KernelUnit, Zero, build, drop_path
from nasbench.spaces.residual import ResidualBlock
from nasbench.spaces.sizes import STAGES, check_stages

LINKED = {"none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3"}
"""Operations that cells of a chain can have."""

NARROW = 8
"""Channels below which chosen operations with gradients stay with PyTorch: kernels would hold more than textbooks."""


def cell_widths(shape: NetworkShape) -> tuple[int, ...]:
    """Return the channels of each searchable cell: N times C, N times 2C, N times 4C.

    Raises:
        ConfigError: The number of cells is not 3N, or a stem or auxiliary head is asked for that there is not.
    """
    check_stages(shape)
    return tuple(shape.channels << stage for stage in range(STAGES) for _ in range(shape.num_cells // STAGES))


class Chain(nn.Module):
    """The frame around the cells: stem, three stages of N cells, a residual block between stages, classifier.

    Formula: conv_3x3-BN, N cells of C, residual block, N cells of 2C, residual block, N cells of 4C, BN-ReLU, average
    over all pixels, linear. No ReLU follows the stem.

    Reference: Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326, figure 1, with the published code's BN and
    ReLU before the average.
    Differs from the paper: any image size and number of channels; see `ResidualBlock` for odd sizes.

    Args:
        shape: Size of the network.
        cells: One for each of `cell_widths`, in order.
    """

    def __init__(self, shape: NetworkShape, cells: list[nn.Module]) -> None:
        super().__init__()
        widths = cell_widths(shape)
        self.in_channels = shape.in_channels
        self.stem = nn.Sequential(
            nn.Conv2d(shape.in_channels, widths[0], 3, padding=1, bias=False), BatchNorm(widths[0])
        )
        self.cells = nn.ModuleList(cells)
        self.blocks = nn.ModuleDict(
            {
                str(index): ResidualBlock(widths[index - 1], widths[index])
                for index in range(1, len(widths))
                if widths[index] != widths[index - 1]
            }
        )
        self.norm = BatchNorm(widths[-1])
        self.classifier = Classifier(widths[-1], shape.num_classes)

    def forward(self, images: Tensor, *given: Any) -> Tensor:
        """Classify images.

        Args:
            images: [N, c, H, W].
            given: What each cell takes after its input.

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
        state = self.stem(images)
        known = by_kernels(self._stages, state, given)
        if known is None:
            for index, cell in enumerate(self.cells):
                if str(index) in self.blocks:
                    state = self.blocks[str(index)](state)
                state = cell(state, *given)
        logits: Tensor = self.classifier(F.relu(self.norm(state if known is None else known)))
        return logits

    @property
    def _stages(self) -> list[list[nn.Module]]:
        """The cells of each stage, with the block before them."""
        stages: list[list[nn.Module]] = [[]]
        for index, cell in enumerate(self.cells):
            if str(index) in self.blocks:
                stages.append([self.blocks[str(index)]])
            stages[-1].append(cell)
        return stages


class MixedEdgeCell(ChainPart):
    """A cell whose nodes sum their mixed edges from all earlier nodes; output: the last node.

    Args:
        channels: C of all nodes.
        candidates: For each edge its operations.
        num_nodes: Nodes beside the input.
        partial_channels: K of PC-DARTS; 1 mixes all channels.
    """

    def __init__(
        self, channels: int, candidates: tuple[tuple[str, ...], ...], num_nodes: int, partial_channels: int
    ) -> None:
        super().__init__()
        self.graph = MixedGraph(
            channels, 1, candidates, num_inputs=1, num_nodes=num_nodes, partial_channels=partial_channels,
            pool_norm=False,
        )  # fmt: skip

    def forward(self, state: Tensor, group: GroupWeights) -> Tensor:
        """Map the output of the layer before [N, C, H, W] to this cell's, of the same shape."""
        output: Tensor = self.graph([state], group)[-1]
        return output

    def is_known(self, group: GroupWeights) -> bool:
        """Return whether the compiled kernels serve: all is summed as it is, and all channels are seen."""
        dropped = group.drop_path > 0 and self.training
        known = {name for names in self.graph.candidates for name in names} <= LINKED
        return known and self.graph.partial_channels == 1 and not dropped

    def factors(self, group: GroupWeights) -> list[Tensor]:
        """Return the weights of all operations [E, O], and behind them what is added to the edges, if anything is."""
        return [group.matrix] if group.bias is None else [group.matrix, group.bias]

    def link(self, chain: ChainBuilder, source: int, group: GroupWeights) -> int:
        """See the base class."""
        states, edges = [source], enumerate(self.graph.candidates)
        banks = {name: bank for name, bank in self.graph.banks.items() if isinstance(bank, ConvBank)}
        for node in range(self.graph.num_nodes):
            target = chain.state(chain.states[source])
            for state, (edge, names) in zip(states[: node + 1], edges, strict=False):
                if group.bias is not None:
                    chain.add(state, target, "one", group.matrix.numel() + edge)
                for column, name in enumerate(names):
                    if name == "none" or not (group.active is None or group.active[edge, column]):
                        continue
                    place = edge * len(names) + column
                    if name not in banks:
                        chain.add(state, target, name, place)
                        continue
                    bank = banks[name]
                    chain.convolution(
                        state, target, bank.weight, kernel=bank.form[-1], bias=bank.bias, norm=bank.norm,
                        row=self.graph.rows[edge, name], factor=place,
                    )  # fmt: skip
            states.append(target)
        return states[-1]


class ChainSupernet(nn.Module):
    """The supernet of NAS-Bench-201; weights w only, alphas live in the searcher.

    Formula: node_j = sum_{i<j} beta_ij sum_o p_ij^o o(x_i), with p the edge weights (for example a softmax of the
    alphas) and beta the edge normalisation (1 where none is given). With K > 1 only the first C/K channels of x_i
    go through the operations; the others bypass them, and the channels are shuffled in K groups.

    Reference: Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326, section 4 (the searches), with the published
    code's networks: BN in the cells without scale and shift, their convolutions with bias, no BN after pools, stem and
    residual blocks as in the discrete network; Xu et al., PC-DARTS, ICLR 2020, arXiv:1907.05737, Eq. 2 and 3.
    Differs from the paper: partial channels, which it does not have, are the first ones with a shuffle, as in the
    PC-DARTS code. Running statistics (or by option the batch's) serve in evaluation mode; the code has a flag too.

    Args:
        shape: Size of the network.
        candidates: ``"cell"`` -> for each edge its candidate operations.
        num_nodes: Nodes of a cell beside the input.
        partial_channels: K; must divide ``shape.channels``.
        batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

    Raises:
        ConfigError: K does not divide C, or the shape is none of this space (see `cell_widths`).
    """

    def __init__(
        self,
        shape: NetworkShape,
        candidates: Candidates,
        *,
        num_nodes: int,
        partial_channels: int = 1,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        if partial_channels < 1 or shape.channels % partial_channels:
            raise ConfigError(
                f"partial_channels {partial_channels} must divide channels {shape.channels}. Change either of them."
            )
        ((self.group, edges),) = candidates.items()
        self.shapes = {self.group: (len(edges), len(edges[0]))}
        self.narrow = shape.channels < NARROW
        self.chain = Chain(
            shape, [MixedEdgeCell(width, edges, num_nodes, partial_channels) for width in cell_widths(shape)]
        )
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
            edge_weights: ``"cell"`` -> [E, O], shared by all cells.
            edge_norm: ``"cell"`` -> [E], or None for 1 everywhere.
            active: ``"cell"`` -> bool [E, O], or None; see `nasbench.spaces.base.Mixture`.
            drop_path: Probability of dropping a mixed edge for an image while training.
            edge_bias: Group -> [E], added to every element of an edge's output, or None for 0 everywhere.

        Returns:
            Logits [N, K].

        Raises:
            ConfigError: A group is missing or has another shape, or the images have other channels.
        """
        groups = take_apart(self.shapes, edge_weights, edge_norm, active, drop_path, edge_bias)
        with compiled.paused(self.narrow and active is not None and torch.is_grad_enabled()):
            logits: Tensor = self.chain(images, groups[self.group])
        return logits


class DiscreteEdgeCell(ChainPart):
    """A cell with its chosen operations only; every edge is computed that is not ``none``.

    Args:
        cell: One input, any number of nodes, one of which is the output.
        channels: C of all nodes.
    """

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.nodes = cell.nodes
        (self.output,) = cell.concat
        self.edges = nn.ModuleList(build(name, channels, 1, affine=True) for edges in cell.nodes for name, _ in edges)

    def forward(self, state: Tensor, probability: float) -> Tensor:
        """Map the output of the layer before [N, C, H, W] to this cell's.

        Args:
            state: [N, C, H, W].
            probability: With which an edge that is no identity is dropped, each image by itself.
        """
        states = [state]
        operations = iter(self.edges)
        for edges in self.nodes:
            arriving = []
            for (_, source), operation in zip(edges, operations, strict=False):
                if isinstance(operation, Zero):
                    continue
                value = operation(states[source])
                if probability > 0 and self.training and not isinstance(operation, nn.Identity):
                    value = drop_path(value, probability)
                arriving.append(value)
            states.append(sum(arriving[1:], start=arriving[0]) if arriving else torch.zeros_like(state))
        return states[self.output]

    def is_known(self, probability: float) -> bool:
        """Return whether the compiled kernels serve: no edge is dropped, and they know all operations."""
        dropped = probability > 0 and self.training
        return not dropped and self.output == len(self.nodes) and all(map(_is_known, self.edges))

    def link(self, chain: ChainBuilder, source: int, probability: float) -> int:
        """See the base class."""
        states, operations = [source], iter(self.edges)
        for edges in self.nodes:
            states.append(chain.state(chain.states[source]))
            for (_, state), operation in zip(edges, operations, strict=False):
                if isinstance(operation, KernelUnit):
                    operation.link(chain, states[state], states[-1])
                elif (kind := kind_of(operation)) is not None:
                    chain.add(states[state], states[-1], kind)
        return states[self.output]


def _is_known(operation: nn.Module) -> bool:
    """Return whether the compiled kernels know an operation of a discrete cell."""
    if isinstance(operation, KernelUnit):
        return operation.is_known()
    return type(operation) is Zero or kind_of(operation) is not None


class ChainNetwork(nn.Module):
    """The discrete network of one cell; its BN have scale and shift, its convolutions no bias.

    Reference: Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326, figure 1 and section 2.1.
    Differs from the paper: drop path, which the benchmark never uses, is there on demand; any image size.

    Args:
        cell: Of one input; its output is one node.
        shape: Size of the network.

    Raises:
        GenotypeError: The cell names an unknown operation.
        ConfigError: The shape is none of this space (see `cell_widths`).
    """

    def __init__(self, cell: Cell, shape: NetworkShape) -> None:
        super().__init__()
        self.chain = Chain(shape, [DiscreteEdgeCell(cell, width) for width in cell_widths(shape)])

    def forward(self, images: Tensor, drop_path: float = 0.0) -> Prediction:
        """Classify images.

        Args:
            images: [N, c, H, W].
            drop_path: Probability p of dropping an edge for an image; the kept ones are divided by 1 - p. Without
                effect in evaluation mode.

        Returns:
            Logits [N, K]; there is no auxiliary head.

        Raises:
            ConfigError: The images have another number of channels than the network was built for.
        """
        return Prediction(self.chain(images, drop_path), None)
