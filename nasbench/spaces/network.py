"""The discrete network around normal and reduction cells, and the frame that the supernet shares with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.core.errors import ConfigError, GenotypeError
from nasbench.core.genotype import Cell
from nasbench.spaces.base import MIN_CELLS, NetworkShape, Prediction
from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.ops import ConvUnit, build, factorized_reduce, relu_conv_bn
from nasbench.spaces.ops import drop_path as drop_edge


class CellPlan(NamedTuple):
    """Place of one cell in the network.

    Attributes:
        kind: ``"normal"`` or ``"reduce"``.
        c_prev_prev: Channels of input 0, the output of cell k-2.
        c_prev: Channels of input 1, the output of cell k-1.
        channels: C of this cell's states.
        after_reduction: Whether input 0 has twice the resolution of input 1.
    """

    kind: str
    c_prev_prev: int
    c_prev: int
    channels: int
    after_reduction: bool

    @property
    def stride(self) -> int:
        """Stride of the edges that leave the two input states; all others have stride 1."""
        return 2 if self.kind == "reduce" else 1


def plan_cells(shape: NetworkShape, stem_channels: int, outputs: Mapping[str, int]) -> tuple[CellPlan, ...]:
    """Lay out the cells: reduction at L//3 and 2L//3, where the channels double.

    Args:
        shape: Size of the network.
        stem_channels: Channels of both stem outputs.
        outputs: Kind -> number of states that are concatenated into the cell's output.

    Raises:
        ConfigError: Fewer than three cells.
    """
    if shape.num_cells < MIN_CELLS:
        raise ConfigError(
            f"num_cells {shape.num_cells} leaves no place for two reduction cells; at least {MIN_CELLS} are needed."
        )
    reductions = {shape.num_cells // 3, 2 * shape.num_cells // 3}
    plans = []
    c_prev_prev = c_prev = stem_channels
    channels, after_reduction = shape.channels, shape.stem == "imagenet"
    for index in range(shape.num_cells):
        kind = "reduce" if index in reductions else "normal"
        channels *= 2 if kind == "reduce" else 1
        plans.append(CellPlan(kind, c_prev_prev, c_prev, channels, after_reduction))
        after_reduction = kind == "reduce"
        c_prev_prev, c_prev = c_prev, outputs[kind] * channels
    return tuple(plans)


class CifarStem(nn.Module):
    """Convolution 3x3 and BN at full resolution; both inputs of the first cell are its output."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), BatchNorm(channels))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map [N, c, H, W] to twice [N, channels, H, W]."""
        output = self.body(images)
        return output, output


def _halve(c_in: int, c_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False), BatchNorm(c_out)


class ImageNetStem(nn.Module):
    """Three convolutions 3x3 of stride 2; the first cell's inputs are the second's and the third's output."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.stem0 = nn.Sequential(*_halve(in_channels, half), nn.ReLU(), *_halve(half, channels))
        self.stem1 = nn.Sequential(nn.ReLU(), *_halve(channels, channels))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map [N, c, H, W] to [N, channels, H/4, W/4] and [N, channels, H/8, W/8]."""
        quarter = self.stem0(images)
        return quarter, self.stem1(quarter)


def build_stem(shape: NetworkShape, channels: int) -> nn.Module:
    """Build the stem that ``shape.stem`` names; its BN is always affine."""
    return (CifarStem if shape.stem == "cifar" else ImageNetStem)(shape.in_channels, channels)


def preprocessors(plan: CellPlan, affine: bool) -> tuple[ConvUnit, ConvUnit]:
    """Build what brings both inputs of a cell to its channels and to one resolution."""
    bring = factorized_reduce if plan.after_reduction else relu_conv_bn
    return bring(plan.c_prev_prev, plan.channels, affine), relu_conv_bn(plan.c_prev, plan.channels, affine)


class Classifier(nn.Module):
    """Average over all pixels, then a linear layer with bias."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to logits [N, K]."""
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier that is attached after cell 2L//3.

    ReLU, pooling to 2x2, 1x1 convolution to 128, BN, ReLU, 2x2 convolution to 768, BN, ReLU, linear.

    Differs from the paper: nothing for 32-pixel images with the CIFAR stem (8x8 features: average pooling 5x5 of
    stride 3) and 224-pixel images with the ImageNet stem (7x7: 5x5 of stride 2; as in the DARTS authors' code, the
    second BN is left out there). Features of another size are pooled adaptively to 2x2.

    Args:
        channels: Of the features.
        shape: Size of the network; ``image_size`` and ``stem`` decide the pooling.
    """

    def __init__(self, channels: int, shape: NetworkShape) -> None:
        super().__init__()
        published = {("cifar", 32): 3, ("imagenet", 224): 2}.get((shape.stem, shape.image_size))
        self.pool = nn.AdaptiveAvgPool2d(2) if published is None else nn.AvgPool2d(5, stride=published)
        squeeze = (nn.Conv2d(channels, 128, 1, bias=False), BatchNorm(128), nn.ReLU())
        widen: tuple[nn.Module, ...] = (nn.Conv2d(128, 768, 2, bias=False),)
        if shape.stem == "cifar":
            widen = (*widen, BatchNorm(768))
        self.body = nn.Sequential(*squeeze, *widen, nn.ReLU(), nn.Flatten(), nn.Linear(768, shape.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to logits [N, K]."""
        logits: Tensor = self.body(self.pool(F.relu(x)))
        return logits


class DiscreteCell(nn.Module):
    """A cell with its chosen operations only.

    Args:
        cell: Any number of nodes, any number of edges a node, any concatenated states.
        plan: Its place in the network.
    """

    def __init__(self, cell: Cell, plan: CellPlan) -> None:
        super().__init__()
        self.nodes = cell.nodes
        self.concat = cell.concat
        self.preprocess0, self.preprocess1 = preprocessors(plan, affine=True)
        self.edges = nn.ModuleList(
            build(name, plan.channels, plan.stride if source < 2 else 1, affine=True)
            for edges in cell.nodes
            for name, source in edges
        )

    def forward(self, s0: Tensor, s1: Tensor, drop_path: float) -> Tensor:
        """Map the outputs of cells k-2 and k-1 to this cell's.

        Args:
            s0: Output of cell k-2.
            s1: Output of cell k-1.
            drop_path: Probability with which an edge that is no identity is dropped, each image by itself.
        """
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        operations = iter(self.edges)
        for edges in self.nodes:
            arriving = []
            for (_, source), operation in zip(edges, operations, strict=False):
                value = operation(states[source])
                if drop_path > 0 and self.training and not isinstance(operation, nn.Identity):
                    value = drop_edge(value, drop_path)
                arriving.append(value)
            states.append(sum(arriving[1:], start=arriving[0]))
        return torch.cat([states[index] for index in self.concat], dim=1)


class Network(nn.Module):
    """The discrete network: stem, L cells, average pooling, linear layer, auxiliary head on demand.

    Reference: Liu et al., ICLR 2019, arXiv:1806.09055, section 3.2 (CIFAR-10) and 3.3 (ImageNet), with the
    dimensions of the published code.
    Differs from the paper: any image size and number of channels; see `AuxiliaryHead`. With the CIFAR stem the
    first width is 3C, with the ImageNet stem C.

    Args:
        cells: ``"normal"`` and ``"reduce"``.
        shape: Size of the network.

    Raises:
        GenotypeError: A cell is missing or names an unknown operation.
        ConfigError: Fewer than three cells.
    """

    def __init__(self, cells: Mapping[str, Cell], shape: NetworkShape) -> None:
        super().__init__()
        if set(cells) != {"normal", "reduce"}:
            raise GenotypeError(f"the cells are {sorted(cells)}; 'normal' and 'reduce' are needed.")
        self.image_size = shape.image_size
        stem_channels = 3 * shape.channels if shape.stem == "cifar" else shape.channels
        outputs = {kind: len(cell.concat) for kind, cell in cells.items()}
        plans = plan_cells(shape, stem_channels, outputs)
        self.stem = build_stem(shape, stem_channels)
        self.cells = nn.ModuleList(DiscreteCell(cells[plan.kind], plan) for plan in plans)
        widths = [outputs[plan.kind] * plan.channels for plan in plans]
        self.classifier = Classifier(widths[-1], shape.num_classes)
        self.auxiliary_cell = 2 * shape.num_cells // 3
        self.auxiliary_head = AuxiliaryHead(widths[self.auxiliary_cell], shape) if shape.auxiliary else None

    def forward(self, images: Tensor, drop_path: float = 0.0) -> Prediction:
        """Classify images.

        Args:
            images: [N, c, H, W].
            drop_path: Probability p of dropping an edge for an image; the kept ones are divided by 1 - p. Without
                effect in evaluation mode.

        Returns:
            Logits [N, K], and those of the auxiliary head in training mode if there is one.

        Raises:
            ConfigError: There is an auxiliary head and the images are not of the size that it was built for.
        """
        auxiliary = None
        s0, s1 = self.stem(images)
        for index, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, drop_path)
            if index == self.auxiliary_cell and self.auxiliary_head is not None and self.training:
                self._check_size(images)
                auxiliary = self.auxiliary_head(s1)
        return Prediction(self.classifier(s1), auxiliary)

    def _check_size(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ConfigError(
                f"the auxiliary head was built for {self.image_size}x{self.image_size} images and got "
                f"{height}x{width}. Set image_size to the images' size."
            )


def build_network(cells: Mapping[str, Cell], shape: NetworkShape) -> Network:
    """Build the discrete network of any two cells, published ones included; they need not be of a search space.

    Weights are drawn from PyTorch's current default generator.

    Raises:
        GenotypeError: A cell is missing or names an unknown operation.
        ConfigError: Fewer than three cells.
    """
    return Network(cells, shape)
