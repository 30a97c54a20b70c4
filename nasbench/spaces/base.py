"""What every search space is: one formalism for gradients, token sequences and integer genomes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import GenotypeError
from nasbench.core.genotype import Cell, Choice, Genotype

if TYPE_CHECKING:
    from torch import Tensor, nn

Alphas = Mapping[str, npt.NDArray[np.float64]]
"""Architecture parameters by group, for example ``{"normal": [14, 8], "reduce": [14, 8]}``."""


@component
class NetworkShape:
    """How large a network is built around a cell.

    Attributes:
        num_cells: L, at least 3 where the space has reduction cells (they stand at L//3 and 2L//3).
        channels: C of the first cells.
        num_classes: K.
        in_channels: Channels of the images.
        image_size: Side of the (square) images in pixels; only the auxiliary head depends on it.
        stem: ``cifar`` keeps the resolution; ``imagenet`` divides it by 8 before the first cell.
        auxiliary: Attach an auxiliary classifier after cell 2L//3 (discrete networks only).
    """

    num_cells: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]
    num_classes: Annotated[int, Field(ge=2)]
    in_channels: Annotated[int, Field(ge=1)] = 3
    image_size: Annotated[int, Field(ge=1)] = 32
    stem: Literal["cifar", "imagenet"] = "cifar"
    auxiliary: bool = False


class Prediction(NamedTuple):
    """What a discrete network returns.

    Attributes:
        logits: [N, K].
        auxiliary: [N, K] of the auxiliary head while training, else None.
    """

    logits: Tensor
    auxiliary: Tensor | None


class SearchSpace(ABC):
    """A set of architectures. Subclasses are components; `choices` is the one description all else follows from.

    Attributes:
        name: Registered name; genotypes carry it.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def choices(self) -> tuple[Choice, ...]:
        """Every decision, in gene order."""

    @property
    @abstractmethod
    def alpha_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Group name -> (edges E, candidate operations O)."""

    @property
    @abstractmethod
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """Group name -> names of the O candidate operations, in alpha order."""

    @property
    def cardinality(self) -> int:
        """Number of genotypes (product of the choices)."""
        return math.prod(len(choice.candidates) for choice in self.choices)

    def check(self, genotype: Genotype) -> None:
        """Refuse a genotype that is not of this space.

        Raises:
            GenotypeError: Another space, another length, or a gene out of range.
        """
        if genotype.space != self.name:
            raise GenotypeError(f"this genotype is of space {genotype.space!r}, not {self.name!r}.")
        if len(genotype.genes) != len(self.choices):
            raise GenotypeError(f"{len(genotype.genes)} genes; space {self.name!r} has {len(self.choices)} choices.")
        for gene, choice in zip(genotype.genes, self.choices, strict=True):
            if not 0 <= gene < len(choice.candidates):
                raise GenotypeError(f"gene {gene} of {choice.name!r} must lie in 0 to {len(choice.candidates) - 1}.")

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Draw a genotype uniformly: every choice independent and uniform."""
        genes = tuple(int(rng.integers(len(choice.candidates))) for choice in self.choices)
        return Genotype(space=self.name, genes=genes)

    @abstractmethod
    def discretize(self, alphas: Alphas) -> Genotype:
        """Derive the genotype from architecture parameters (before any softmax)."""

    @abstractmethod
    def cells(self, genotype: Genotype) -> dict[str, Cell]:
        """Return the readable cells by kind."""

    @abstractmethod
    def genotype(self, cells: Mapping[str, Cell]) -> Genotype:
        """Return the genotype of readable cells, the inverse of `cells`.

        Raises:
            GenotypeError: The cells hold an operation or edge that this space does not have.
        """

    def check_cells(self, genotype: Genotype, cells: Mapping[str, Cell]) -> None:
        """Refuse readable cells, for example out of a file, that are not those of the genotype.

        Raises:
            GenotypeError: The cells are of another space or genotype, or hold an impossible operation or edge.
        """
        if self.genotype(cells) != genotype:
            raise GenotypeError(
                f"the readable cells are not those of the genes {list(genotype.genes)}; they would be "
                f"{list(self.genotype(cells).genes)}. Make the file again with its search."
            )

    @abstractmethod
    def supernet(self, shape: NetworkShape) -> nn.Module:
        """Build the supernet: ``forward(images [N,C,H,W], edge_weights: group -> [E,O]) -> logits [N,K]``.

        It holds weights only. Weights are drawn from PyTorch's current default generator.
        """

    @abstractmethod
    def network(self, genotype: Genotype, shape: NetworkShape) -> nn.Module:
        """Build the discrete network: ``forward(images, drop_path=0.0) -> Prediction``.

        Weights are drawn from PyTorch's current default generator.

        Raises:
            GenotypeError: The genotype is not of this space.
        """
