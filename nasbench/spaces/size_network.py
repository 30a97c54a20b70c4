"""Networks whose layers differ in width: the discrete one, and the supernet that masks channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import ConfigError, GenotypeError
from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape, Prediction
from nasbench.spaces.batch_norm import BatchNorm, use_batch_statistics
from nasbench.spaces.group_weights import take_apart
from nasbench.spaces.masked_layers import Entry, MaskedBlock, MaskedCell, SlicedLinear, SlicedNorm, SlicedUnit
from nasbench.spaces.network import Classifier
from nasbench.spaces.ops import ConvUnit, drop_path
from nasbench.spaces.residual import ResidualBlock
from nasbench.spaces.sizes import STAGES, check_stages

RESIDUAL = "residual_block"
SKIP = "skip_connect"
CONVOLUTION = "nor_conv_3x3"


def check_images(images: Tensor, in_channels: int) -> None:
    """Refuse images that are not [N, in_channels, H, W].

    Raises:
        ConfigError: They are not.
    """
    if images.dim() != 4 or images.shape[1] != in_channels:
        raise ConfigError(
            f"the images have shape {tuple(images.shape)}; [N, {in_channels}, H, W] is needed. Build the network with "
            f"in_channels of the images."
        )


def build_edge(name: str, c_in: int, c_out: int) -> nn.Module:
    """Build an operation of stride 1 that may change the width; a skip connection of two widths projects.

    Raises:
        GenotypeError: The size space has no such operation.
    """
    if name == CONVOLUTION:
        return ConvUnit(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), c_out, affine=True)
    if name == SKIP:  # no ReLU goes before the projection, in the published code too
        same = c_in == c_out
        return nn.Identity() if same else nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), BatchNorm(c_out))
    raise GenotypeError(f"the size space has no operation {name!r}; allowed are {SKIP}, {CONVOLUTION}, {RESIDUAL}.")


class SizedCell(nn.Module):
    """A cell whose edges from node 0 may change the width.

    Args:
        cell: One input; the output is its last node.
        c_in: Channels of node 0.
        channels: Of every other node.
    """

    def __init__(self, cell: Cell, c_in: int, channels: int) -> None:
        super().__init__()
        self.nodes = cell.nodes
        self.edges = nn.ModuleList(
            build_edge(name, channels if source else c_in, channels) for edges in cell.nodes for name, source in edges
        )

    def forward(self, state: Tensor, probability: float) -> Tensor:
        """Map [N, c_in, H, W] to [N, channels, H, W].

        Args:
            state: Output of the layer before.
            probability: With which an edge that is no identity is dropped, each image by itself.
        """
        states = [state]
        operations = iter(self.edges)
        for edges in self.nodes:
            arriving = []
            for (_, source), operation in zip(edges, operations, strict=False):
                value = operation(states[source])
                if probability > 0 and self.training and not isinstance(operation, nn.Identity):
                    value = drop_path(value, probability)
                arriving.append(value)
            states.append(sum(arriving[1:], start=arriving[0]))
        return states[-1]


class SizeNetwork(nn.Module):
    """The discrete network: stem, cell, residual block, cell, residual block, cell, BN, ReLU, average, linear.

    Reference: Dong, Liu, Musial and Gabrys, NATS-Bench, IEEE TPAMI 2021, arXiv:2009.00437, with the layers and the
    stem's width of the published code.
    Differs from the paper: any image size and number of channels (see `ResidualBlock` for odd sizes); drop path, which
    the benchmark never uses, is there on demand.

    Args:
        layers: Each with its width; a residual block is a single node with the operation ``residual_block``.
        shape: Size of the network; its ``channels`` is in the layers' widths already.

    Raises:
        GenotypeError: A layer names an operation that these networks do not have.
        ConfigError: See `nasbench.spaces.sizes.check_stages`.
    """

    def __init__(self, layers: Sequence[Cell], shape: NetworkShape) -> None:
        super().__init__()
        check_stages(shape, only=STAGES)
        widths = [int(layer.width or 0) for layer in layers]
        self.in_channels = shape.in_channels
        self.stem = nn.Sequential(
            nn.Conv2d(shape.in_channels, widths[0], 3, padding=1, bias=False), BatchNorm(widths[0])
        )
        pairs = zip(layers, [widths[0], *widths], widths, strict=False)
        self.layers = nn.ModuleList(
            ResidualBlock(c_in, c_out) if RESIDUAL in layer.operations else SizedCell(layer, c_in, c_out)
            for layer, c_in, c_out in pairs
        )
        self.norm = BatchNorm(widths[-1])
        self.classifier = Classifier(widths[-1], shape.num_classes)

    def forward(self, images: Tensor, drop_path: float = 0.0) -> Prediction:
        """Classify images.

        Args:
            images: [N, c, H, W].
            drop_path: Probability p of dropping a cell's edge for an image; the kept ones are divided by 1 - p.
                Without effect in evaluation mode.

        Returns:
            Logits [N, K]; there is no auxiliary head.

        Raises:
            ConfigError: The images have another number of channels than the network was built for.
        """
        check_images(images, self.in_channels)
        state = self.stem(images)
        for layer in self.layers:
            state = layer(state, drop_path) if isinstance(layer, SizedCell) else layer(state)
        return Prediction(self.classifier(F.relu(self.norm(state))), None)


class SizeSupernet(nn.Module):
    """The supernet of the size space: every layer at its largest width, masked; weights w only.

    Formula: m_l = sum_i w_li M_i with M_i in {0, 1}^{8C}, 1 on the first (i + 1) C channels. Every state of layer l is
    multiplied with m_l: the stem's output (m_0), each node of a cell, the hidden state and the output of a residual
    block, and what the classifier averages (m_4). The skip connection into a cell after a residual block is
    P(=) x + P(!=) BN(W x), with P(=) = sum_i w_{l-1,i} w_li and P(!=) = sum_{i != j} w_{l-1,i} w_lj.

    Reference: Dong, Liu, Musial and Gabrys, NATS-Bench, IEEE TPAMI 2021, arXiv:2009.00437, the searches of the size
    space by masking; Wan et al., FBNetV2, CVPR 2020, arXiv:2004.05565, for channel masking.
    Differs from the paper: its code is believed to mask the output of each layer only (it was not read again for
    this). Then channels that the genotype does not have still take part within a layer and, through their BN's
    shift, in the classifier, and a skip connection has always the projection. Here every state is masked and the
    identity is mixed in, so that one-hot weights give the discrete network exactly. BN in the cells has no scale and
    shift and its convolutions have a bias; stem, residual blocks and last BN are those of the discrete network.

    Args:
        shape: Size of the network; ``channels`` is the smallest width C.
        layers: Topology of each; a residual block is a single node with the operation ``residual_block``.
        num_widths: Candidates of each layer: C, 2C, ...
        group: Name of the weights' group.
        batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

    Raises:
        ConfigError: See `nasbench.spaces.sizes.check_stages`.
    """

    def __init__(
        self, shape: NetworkShape, layers: Sequence[Cell], num_widths: int, group: str, *, batch_statistics: bool
    ) -> None:
        super().__init__()
        check_stages(shape, only=STAGES)
        largest = num_widths * shape.channels
        self.group, self.step = group, shape.channels
        self.shapes = {group: (len(layers), num_widths)}
        self.in_channels = shape.in_channels
        self.stem = SlicedUnit(shape.in_channels, largest, 3, affine=True)
        self.layers = nn.ModuleList(
            MaskedBlock(largest) if RESIDUAL in layer.operations else MaskedCell(layer, largest, first=index == 0)
            for index, layer in enumerate(layers)
        )
        self.norm = SlicedNorm(largest)
        self.classifier = SlicedLinear(largest, shape.num_classes)
        use_batch_statistics(self, batch_statistics)

    def forward(
        self,
        images: Tensor,
        edge_weights: Mapping[str, Tensor],
        active: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    ) -> Tensor:
        """Classify images.

        Args:
            images: [N, c, H, W].
            edge_weights: ``"widths"`` -> [5, 8].
            active: ``"widths"`` -> bool [5, 8], or None for all; each layer is computed up to its largest active
                width, and weights that are not active count as zero.

        Returns:
            Logits [N, K].

        Raises:
            ConfigError: A group is missing or has another shape, or the images have other channels.
        """
        check_images(images, self.in_channels)
        take_apart(self.shapes, edge_weights, None, active, 0.0)  # for its checks
        entries = self._entries(edge_weights[self.group], None if active is None else active[self.group])
        mask = entries[0].mask
        state = mask * self.stem(images, mask.shape[0])
        for layer, entry in zip(self.layers, entries, strict=True):
            state = layer(state, entry)
        state = entries[-1].mask * F.relu(self.norm(state))
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(state, 1).flatten(1))
        return logits

    def _entries(self, weights: Tensor, active: npt.NDArray[np.bool_] | None) -> list[Entry]:
        """Return how each layer is entered, from its width's weights [5, 8]."""
        if active is None:
            active = np.ones(self.shapes[self.group], dtype=np.bool_)
        elif not active.all():  # non_blocking: no device has to be waited for
            weights = weights * torch.from_numpy(active).to(weights.device, weights.dtype, non_blocking=True)
        reaching = weights.flip(1).cumsum(1).flip(1)  # of the channels of step i all candidates from i on make use
        masks = reaching.repeat_interleave(self.step, dim=1)  # [5, 8C]
        entries = []
        for index, row in enumerate(active):
            width = self.step * (1 + int(np.flatnonzero(row).max(initial=0)))
            mask = masks[index, :width].view(-1, 1, 1)
            before = slice(index - 1, index + 1)
            entries.append(Entry(mask, *(_equality(weights[before], active[before]) if index else (None, None))))
        return entries


def _equality(weights: Tensor, active: npt.NDArray[np.bool_]) -> tuple[Tensor | None, Tensor | None]:
    """Return the weights of "equally wide" and "of another width"; None is what no active pair of widths has.

    They are sum_i a_i b_i and sum_{i != j} a_i b_j.

    Args:
        weights: a and b, those of a layer's width and of the next one's, [2, 8].
        active: bool [2, 8].
    """
    before, now = weights.unbind()
    pairs = int(active.sum(axis=1).prod())
    equal_pairs = int(active.all(axis=0).sum())
    same = (before * now).sum()
    if equal_pairs == pairs:  # one pair, or none where a layer has no active width at all: then the weight is zero
        return same, None
    return (same if equal_pairs else None), before.sum() * now.sum() - same
