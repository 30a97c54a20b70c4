"""What every searcher takes and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.core.genotype import Genotype
from nasbench.datasets.base import ImageSet
from nasbench.spaces.base import NetworkShape, SearchSpace
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


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search gives.

    Attributes:
        genotype: After the last epoch's updates.
        trajectory: One record an epoch: ``epoch``, losses, ``one_shot_top1`` (accuracy of the supernet on the
            alpha half, not of the trained cell), ``alpha_entropy`` (mean over edges, nats), ``skip_share``,
            ``parameter_free_share`` (both of the derived genotype's operations, 0 to 1), ``genes``, ``alphas``.
        seconds: Wall time of this process.
        warnings: For example a collapse to parameter-free operations.
    """

    genotype: Genotype
    trajectory: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    warnings: tuple[str, ...] = field(default=())


class Searcher(ABC):
    """Searches a space. Subclasses are components: their fields are their parameters.

    Attributes:
        name: Registered name.
    """

    name: ClassVar[str]

    @abstractmethod
    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the search; same task and seed give the same genotype, also after a kill and resume.

        Raises:
            ConfigError: The searcher cannot search this space or proxy.
            CheckpointError: The checkpoint is foreign or truncated.
            TrainingError: The loss is not finite.
        """
