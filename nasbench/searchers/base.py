"""What every searcher takes and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import ConfigError
from nasbench.core.genotype import Genotype
from nasbench.datasets.base import ImageSet
from nasbench.spaces.base import NetworkShape, SearchSpace, Trait
from nasbench.tracking.tracker import Tracker
from nasbench.training.recipe import Augmentation


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchTask:
    """What a search is given.

    Attributes:
        space: Where to search.
        shape: Size of the supernet.
        images: Training split that the proxy indexes.
        weight_indices: Rows that train the weights w.
        alpha_indices: Rows that train the architecture parameters alpha (disjoint from the former).
        augmentation: Random crop, flip, cutout of both halves.
        seed: The run's seed.
        device: ``"cpu"`` or ``"cuda"``.
        checkpoint: File to resume from and to keep up to date each epoch, or None.
        recompute: Keep less of a forward pass in memory and compute it again, with the same numbers; see
            `nasbench.spaces.mixed.use_recomputation`.
    """

    space: SearchSpace
    shape: NetworkShape
    images: ImageSet
    weight_indices: npt.NDArray[np.int64]
    alpha_indices: npt.NDArray[np.int64]
    augmentation: Augmentation
    seed: int
    device: str = "cpu"
    checkpoint: Path | None = None
    recompute: bool = False


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search gives.

    Attributes:
        genotype: After the last epoch's updates, or of the epoch that an early stop went back to.
        trajectory: One record an epoch: ``epoch``, losses, ``one_shot_top1`` (accuracy of the supernet on the
            alpha half, not of the trained cell), ``alpha_entropy`` (mean over edges, nats), ``skip_share``,
            ``parameter_free_share`` (both of the derived genotype's operations, 0 to 1), ``genes``, ``alphas``.
        seconds: Wall time of this process.
        warnings: For example a collapse to parameter-free operations.
        notes: What was adapted to a small proxy, or why the search ended before its last epoch.
    """

    genotype: Genotype
    trajectory: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Searcher(ABC):
    """Searches a space. Subclasses are components: their fields are their parameters.

    Attributes:
        name: Registered name.
        needs: Traits that a space must have to be searched.
        defaults_from: Whose the defaults of the fields are.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Trait]] = frozenset()
    defaults_from: ClassVar[str] = "this project"

    @classmethod
    def spaces(cls) -> tuple[str, ...]:
        """Return the names of the registered spaces that can be searched."""
        from nasbench.spaces import SPACES

        return tuple(name for name in SPACES.names() if cls.can_search(SPACES.get(name)))

    @classmethod
    def can_search(cls, space: type[SearchSpace]) -> bool:
        """Whether a space has what this searcher needs."""
        return cls.needs <= space.traits

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space that cannot be searched.

        Raises:
            ConfigError: Says what the space lacks and which ones can be searched.
        """
        if not self.can_search(type(space)):
            lacks = ", ".join(sorted(self.needs - space.traits)) or "alphas of that form"
            raise ConfigError(
                f"{self.name} cannot search the space {space.name!r}, which has no {lacks}. It can search: "
                f"{', '.join(self.spaces())}."
            )

    @abstractmethod
    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the search; same task and seed give the same genotype, also after a kill and resume.

        Raises:
            ConfigError: The searcher cannot search this space or proxy.
            CheckpointError: The checkpoint is foreign or truncated.
            TrainingError: The loss is not finite.
        """
