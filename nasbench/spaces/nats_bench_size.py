"""The size search space of NATS-Bench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.errors import GenotypeError
from nasbench.core.genotype import Cell, Choice, Genotype
from nasbench.spaces import SPACES
from nasbench.spaces.base import Alphas, EdgeNorm, NetworkShape, SearchSpace
from nasbench.spaces.sizes import STAGES, check_stages

if TYPE_CHECKING:
    from nasbench.spaces.size_network import SizeNetwork, SizeSupernet

GROUP = "widths"
SMALLEST = 8
WIDTHS = tuple(SMALLEST * times for times in range(1, 9))
"""Channels of the benchmark's candidates, 8 to 64."""

CELL = Cell(
    nodes=(
        (("nor_conv_3x3", 0),),
        (("nor_conv_3x3", 0), ("nor_conv_3x3", 1)),
        (("skip_connect", 0), ("nor_conv_3x3", 1), ("nor_conv_3x3", 2)),
    ),
    concat=(3,),
    num_inputs=1,
)
"""The topology of every cell, number 9930 of NAS-Bench-201 and the best there on CIFAR-100 (validation)."""

BLOCK = Cell(nodes=((("residual_block", 0),),), concat=(1,), num_inputs=1)
LAYERS = {f"layer{index}": layer for index, layer in enumerate((CELL, BLOCK, CELL, BLOCK, CELL))}


@SPACES.register
@component
class NatsBenchSize(SearchSpace):
    """One of eight widths for each of five layers: cell, residual block, cell, residual block, cell.

    Formula: |space| = 8^5 = 32,768. For gradients a layer of width distribution w_l in R^8 is masked by
    m_l = sum_i w_li M_i, where M_i is 1 on the first (i + 1) C channels and 0 on the others.
    Reference: Dong, Liu, Musial and Gabrys, NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and Size,
    IEEE TPAMI 2021, arXiv:2009.00437, the size search space; channel masking: Wan et al., FBNetV2, CVPR 2020,
    arXiv:2004.05565.
    Differs from the paper: its code's README calls the five fields convolution, stage, block, stage, block. As in the
    code they are cell, block, cell, block, cell, and the stem has the width of the first. How the mask is applied:
    see `nasbench.spaces.size_network.SizeSupernet`.

    Attributes:
        name: ``"nats-bench-size"``.

    Shape: alphas ``{"widths": [5, 8]}``. ``NetworkShape.channels`` is the smallest width C, 8 in the benchmark; the
    candidates are C, 2C, ..., 8C. Choices, strings and readable cells name the benchmark's widths, whatever C.
    Raises: GenotypeError where a genotype, a string, cells or alphas are not of this space.

    Example:
        >>> space = NatsBenchSize()
        >>> space.index_of(space.from_string("8:8:40:32:40"))
        284
        >>> space.to_string(space.genotype_at(32767))
        '64:64:64:64:64'
    """

    name: ClassVar[str] = "nats-bench-size"

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The width of each layer."""
        return tuple(Choice(name=f"{layer}/width", candidates=tuple(map(str, WIDTHS))) for layer in LAYERS)

    @property
    def alpha_shapes(self) -> Mapping[str, tuple[int, int]]:
        """A row for each layer."""
        return {GROUP: (len(LAYERS), len(WIDTHS))}

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """The widths."""
        return {GROUP: tuple(map(str, WIDTHS))}

    def discretize(self, alphas: Alphas, edge_norm: EdgeNorm | None = None) -> Genotype:
        """Derive the genotype: each layer takes its width with the largest alpha; ties go to the smaller one.

        Layers do not compete, so that ``edge_norm`` changes nothing.

        Raises:
            GenotypeError: The group is missing, has another shape, or is not finite.
        """
        return Genotype(space=self.name, genes=tuple(self.checked(alphas, GROUP).argmax(axis=1).tolist()))

    def one_hot(self, genotype: Genotype) -> dict[str, npt.NDArray[np.float64]]:
        """Return edge weights [5, 8] that are 1 for the chosen widths and 0 elsewhere."""
        self.check(genotype)
        return {GROUP: np.eye(len(WIDTHS))[list(genotype.genes)]}

    def cells(self, genotype: Genotype) -> dict[str, Cell]:
        """Return the five layers with their width, ``layer0`` to ``layer4``.

        A residual block is one node with the operation ``residual_block``.
        """
        return self._layers(genotype, SMALLEST)

    def genotype(self, cells: Mapping[str, Cell]) -> Genotype:
        """Return the genotype of the five layers, whatever the order of the edges of a node.

        Raises:
            GenotypeError: Another layer is there or one is missing, a layer has not the fixed topology, or a width is
                no candidate.
        """
        if set(cells) != set(LAYERS):
            raise GenotypeError(f"the cells are {sorted(cells)}; space {self.name!r} has {', '.join(LAYERS)}.")
        genes = []
        for layer, fixed in LAYERS.items():
            cell = cells[layer]
            ordered = tuple(tuple(sorted(edges, key=lambda edge: edge[1])) for edges in cell.nodes)
            if replace(cell, nodes=ordered, width=None) != fixed:
                raise GenotypeError(
                    f"{layer} has the nodes {cell.nodes} and the output {cell.concat}; the topology is fixed in space "
                    f"{self.name!r}: nodes {fixed.nodes} of {fixed.num_inputs} input and the output {fixed.concat}."
                )
            if cell.width not in WIDTHS:
                raise GenotypeError(f"{layer} has the width {cell.width}; allowed are {', '.join(map(str, WIDTHS))}.")
            genes.append(WIDTHS.index(cell.width))
        return Genotype(space=self.name, genes=tuple(genes))

    def to_string(self, genotype: Genotype) -> str:
        """Return the published architecture string, for example ``8:8:40:32:40``.

        Raises:
            GenotypeError: The genotype is not of this space.
        """
        self.check(genotype)
        return ":".join(str(WIDTHS[gene]) for gene in genotype.genes)

    def from_string(self, text: str) -> Genotype:
        """Return the genotype of an architecture string, the inverse of `to_string`.

        Raises:
            GenotypeError: Another number of widths, or one that is no candidate.
        """
        parts = text.split(":")
        if len(parts) != len(LAYERS):
            raise GenotypeError(
                f"{text!r} has {len(parts)} widths (apart by ':'); space {self.name!r} has {len(LAYERS)} layers. "
                f"Write for example 8:8:40:32:40."
            )
        widths = self.operations[GROUP]
        for layer, part in zip(LAYERS, parts, strict=True):
            if part not in widths:
                raise GenotypeError(f"{layer} has the width {part!r}; allowed are {', '.join(widths)}.")
        return Genotype(space=self.name, genes=tuple(map(widths.index, parts)))

    def index_of(self, genotype: Genotype) -> int:
        """Return the number of an architecture in the benchmark's files: lexicographic, the first layer slowest.

        Raises:
            GenotypeError: The genotype is not of this space.
        """
        self.check(genotype)
        index = 0
        for gene in genotype.genes:
            index = index * len(WIDTHS) + gene
        return index

    def genotype_at(self, index: int) -> Genotype:
        """Return the architecture of this number, the inverse of `index_of`.

        Raises:
            GenotypeError: There is no such number.
        """
        if not 0 <= index < self.cardinality:
            raise GenotypeError(f"there is no architecture {index}; the numbers are 0 to {self.cardinality - 1}.")
        genes = tuple(index // len(WIDTHS) ** place % len(WIDTHS) for place in reversed(range(len(LAYERS))))
        return Genotype(space=self.name, genes=genes)

    def check_network(self, shape: NetworkShape) -> None:
        """Refuse what has no three equally long stages, or another stem or an auxiliary head."""
        check_stages(shape, only=STAGES)

    def supernet(self, shape: NetworkShape, *, batch_statistics: bool = False) -> SizeSupernet:
        """Build the supernet, all layers at the largest width.

        Args:
            shape: Size of the network; ``channels`` is the smallest width.
            batch_statistics: Whether evaluation mode normalises by the batch instead of the running statistics.

        Raises:
            ConfigError: See `nasbench.spaces.size_network.SizeSupernet`.
        """
        from nasbench.spaces.size_network import SizeSupernet

        return SizeSupernet(shape, tuple(LAYERS.values()), len(WIDTHS), GROUP, batch_statistics=batch_statistics)

    def network(self, genotype: Genotype, shape: NetworkShape) -> SizeNetwork:
        """Build the discrete network.

        Raises:
            GenotypeError: The genotype is not of this space.
            ConfigError: See `nasbench.spaces.size_network.SizeNetwork`.
        """
        from nasbench.spaces.size_network import SizeNetwork

        return SizeNetwork(tuple(self._layers(genotype, shape.channels).values()), shape)

    def _layers(self, genotype: Genotype, smallest: int) -> dict[str, Cell]:
        self.check(genotype)
        pairs = zip(LAYERS.items(), genotype.genes, strict=True)
        return {layer: replace(fixed, width=smallest * (gene + 1)) for (layer, fixed), gene in pairs}
