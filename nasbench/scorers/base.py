"""What every scorer is: train (or load) a model, then score every training example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nasbench.core.errors import ConfigError
from nasbench.core.table import ExampleTable
from nasbench.datasets.base import ImageSet
from nasbench.tracking.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Where and how fast to compute.

    Attributes:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        amp: Use automatic mixed precision (bfloat16) in training; CUDA only.
        checkpoint: File to resume from and to keep up to date, or None. Scores of a long set lie in a folder beside
            it until the caller, who has stored the table, deletes them (see `nasbench.scorers.partial.discard`).
    """

    device: str = "cpu"
    amp: bool = False
    checkpoint: Path | None = None


class ExampleScorer(ABC):
    """Scores examples. Subclasses are components: their fields are their parameters.

    Attributes:
        name: Registered name.
        columns: Names of the columns it makes; ``"features"`` stands for the table's features.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    @property
    def takes_given_weights(self) -> bool:
        """Whether `adopt` can stand for `train`, because the whole model is given."""
        return False

    def adopt(self, images: ImageSet, folder: Path) -> None:
        """Write the given model into a folder for `score`, without training or measuring anything.

        Args:
            images: What will be scored.
            folder: An existing folder.

        Raises:
            ConfigError: There is no given model, or this scorer always trains.
            CheckpointError: It cannot be read or does not fit.
        """
        del images, folder
        raise ConfigError(
            f"scorer {self.name!r} cannot score with given weights: it trains on the images that it scores. Train it "
            f"first, for which a train and a test split are needed."
        )

    @abstractmethod
    def train(
        self, train: ImageSet, test: ImageSet, folder: Path, *, seed: int, compute: ComputeOptions, tracker: Tracker
    ) -> Mapping[str, Any]:
        """Fit (or fetch) the model and write it into an existing folder.

        Returns:
            Metrics, among them ``top1`` on the test split in [0, 1], or ``test_loss`` where nothing is classified.
        """

    @abstractmethod
    def score(self, images: ImageSet, folder: Path, *, compute: ComputeOptions, tracker: Tracker) -> ExampleTable:
        """Score every image with the model that `train` wrote into the folder.

        Raises:
            CheckpointError: The folder's model is absent, truncated, or does not fit the images.
            ScoreError: A score is not finite.
        """

    def summary(self, table: ExampleTable) -> dict[str, Any]:
        """Return what is worth saying of the scores in a line: the mean of each column."""
        return {f"{name}_mean": float(column.mean()) for name, column in table.columns.items()}
