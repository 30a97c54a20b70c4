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
from nasbench.core.errors import ConfigError, GenotypeError
from nasbench.core.genotype import Cell, Choice, Genotype

if TYPE_CHECKING:
    from torch import Tensor, nn

Alphas = Mapping[str, npt.NDArray[np.float64]]
"""Architecture parameters by group, for example ``{"normal": [14, 8], "reduce": [14, 8]}``."""

MIN_CELLS = 3
"""Cells of a network with two reduction cells."""

EdgeNorm = Mapping[str, npt.NDArray[np.float64]]
"""Edge normalisation by group, for example ``{"normal": [14], "reduce": [14]}``."""


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


class Mixture(NamedTuple):
    """How a supernet weighs its candidate operations in one forward pass.

    Attributes:
        edge_weights: Group -> [E, O], for example a softmax of the alphas.
        edge_norm: Group -> [E], the edge normalisation of PC-DARTS; None is 1 everywhere.
        active: Group -> bool [E, O]; operations that are not active are not computed and count as zero, whatever
            their weight. None computes all. Kept on the host, so that no device has to be waited for.
        drop_path: Probability with which a mixed edge is dropped for an image while training; the kept ones are
            divided by 1 - p.
        edge_bias: Group -> [E], a scalar that is added to every element of an edge's output; None is 0 everywhere.
    """

    edge_weights: Mapping[str, Tensor]
    edge_norm: Mapping[str, Tensor] | None = None
    active: Mapping[str, npt.NDArray[np.bool_]] | None = None
    drop_path: float = 0.0
    edge_bias: Mapping[str, Tensor] | None = None

    def apply(self, supernet: nn.Module, images: Tensor) -> Tensor:
        """Return a supernet's logits [N, K] of images [N, C, H, W] with these weights."""
        given = {
            "edge_norm": self.edge_norm,
            "active": self.active,
            "drop_path": self.drop_path or None,
            "edge_bias": self.edge_bias,
        }
        logits: Tensor = supernet(
            images, self.edge_weights, **{name: value for name, value in given.items() if value is not None}
        )
        return logits


Trait = Literal["edges", "partial-channels", "drop-path"]


class SearchSpace(ABC):
    """A set of architectures. Subclasses are components; `choices` is the one description all else follows from.

    Attributes:
        name: Registered name; genotypes carry it.
        traits: What a searcher may ask for beyond alphas. ``edges``: every row of alphas is an edge into a node, so
            that ``edges_of_nodes`` says which compete, and the supernet takes an ``edge_norm`` and an ``edge_bias``;
            ``partial-channels``: ``supernet(shape, partial_channels=K)``; ``drop-path``: the supernet takes
            ``drop_path``.
        num_kept: Edges that each node keeps in a genotype; None keeps all (only with the trait ``edges``).
        connection_groups: Groups of alphas whose rows choose a node's inputs, and not an operation.
    """

    name: ClassVar[str]
    traits: ClassVar[frozenset[Trait]] = frozenset()
    num_kept: ClassVar[int | None] = None
    connection_groups: ClassVar[frozenset[str]] = frozenset()

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
        """Group name -> names of the O candidates, in alpha order; a label where they differ between edges."""

    @property
    def candidates(self) -> Mapping[str, tuple[tuple[str, ...], ...]]:
        """Group name -> for each of the E edges the names of its O candidates."""
        return {group: (self.operations[group],) * shape[0] for group, shape in self.alpha_shapes.items()}

    @property
    def row_names(self) -> Mapping[str, tuple[str, ...]]:
        """Group name -> what each row of alphas is called, as ``node1`` or ``layer0``.

        Only for spaces without the trait ``edges``, and without `connection_groups`: the rows of a cell's edges have
        their places in a picture by number. The name is that of the choice that a row decides, up to its slash.
        """
        if "edges" in self.traits:
            return {}
        return {
            group: tuple(choice.name.split("/")[0] for choice in self.choices if choice.candidates == candidates)
            for group, candidates in self.operations.items()
            if group not in self.connection_groups
        }

    @property
    def edges_of_nodes(self) -> Mapping[str, tuple[tuple[int, ...], ...]]:
        """Group name -> for each node the edges (rows of alphas) that enter it.

        Raises:
            ConfigError: This space has no edges of nodes (it lacks the trait ``edges``).
        """
        raise ConfigError(f"the alphas of space {self.name!r} are not those of edges into nodes.")

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

    def check_network(self, shape: NetworkShape) -> None:
        """Refuse a size that the networks of this space do not have, before any is built.

        Raises:
            ConfigError: Says which sizes there are.
        """
        if shape.num_cells < MIN_CELLS:
            raise ConfigError(
                f"num_cells {shape.num_cells} leaves no place for two reduction cells; at least {MIN_CELLS} are needed."
            )

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Draw a genotype uniformly: every choice independent and uniform."""
        genes = tuple(int(rng.integers(len(choice.candidates))) for choice in self.choices)
        return Genotype(space=self.name, genes=genes)

    @abstractmethod
    def discretize(self, alphas: Alphas, edge_norm: EdgeNorm | None = None) -> Genotype:
        """Derive the genotype from architecture parameters.

        Args:
            alphas: Before any softmax.
            edge_norm: Group -> [E], what an edge's strength is multiplied with where edges compete; only for spaces
                with the trait ``edges``.

        Raises:
            GenotypeError: A group is missing, has another shape, or is not finite.
        """

    @abstractmethod
    def one_hot(self, genotype: Genotype) -> dict[str, npt.NDArray[np.float64]]:
        """Return edge weights, group -> [E, O], 1 for what the genotype chose and 0 elsewhere.

        With them the supernet computes what the discrete network of the same weights computes.
        """

    def checked(self, alphas: Alphas, group: str) -> npt.NDArray[np.float64]:
        """Return a group of alphas as float64 [E, O].

        Raises:
            GenotypeError: The group is missing, has another shape, or is not finite.
        """
        shape = self.alpha_shapes[group]
        if group not in alphas:
            raise GenotypeError(f"alphas have the groups {sorted(alphas)}; {group!r} is missing.")
        values = np.asarray(alphas[group], dtype=np.float64)
        if values.shape != shape:
            raise GenotypeError(f"alphas of {group!r} have shape {values.shape}; {shape} is needed.")
        if not np.isfinite(values).all():
            raise GenotypeError(f"alphas of {group!r} are not all finite. Lower the learning rate of the search.")
        return values

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

        It also takes what of a `Mixture` the space's traits say, and ``active``. It holds weights only. Weights are
        drawn from PyTorch's current default generator.
        """

    @abstractmethod
    def network(self, genotype: Genotype, shape: NetworkShape) -> nn.Module:
        """Build the discrete network: ``forward(images, drop_path=0.0) -> Prediction``.

        Weights are drawn from PyTorch's current default generator.

        Raises:
            GenotypeError: The genotype is not of this space.
        """


def softmax(alphas: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return exp(a_o) / sum_o' exp(a_o') along the last axis."""
    raised = np.exp(alphas - alphas.max(axis=-1, keepdims=True))
    weights: npt.NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return weights
