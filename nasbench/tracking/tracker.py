"""What the library tells of a run: a protocol with two plain members; MLflow's is in `mlflow_tracker`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """Receives what a run has to say. Nothing flows back from it into the results."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take metrics of one step (an epoch), or of the whole run where step is None."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Take a copy of a file, under a folder of the run's artifacts."""

    def tag(self, key: str, value: str) -> None:
        """Set a tag of the run."""


@dataclass(frozen=True)
class NullTracker:
    """Forgets everything."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Forget the metrics."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Forget the file."""

    def tag(self, key: str, value: str) -> None:
        """Forget the tag."""


@dataclass(frozen=True)
class RecordingTracker:
    """Keeps everything in memory, for tests.

    Attributes:
        metrics: (step, metrics) in the order of the calls.
        artifacts: (folder, path) in the order of the calls.
        tags: The last value of each tag.
    """

    metrics: list[tuple[int | None, dict[str, float]]] = field(default_factory=list)
    artifacts: list[tuple[str, Path]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep the metrics."""
        self.metrics.append((step, dict(metrics)))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep the path."""
        self.artifacts.append((folder, path))

    def tag(self, key: str, value: str) -> None:
        """Keep the tag."""
        self.tags[key] = value


@dataclass(frozen=True)
class PrefixTracker:
    """Passes metrics on under a prefix, for several trainings within one run; tags and artifacts unchanged.

    Attributes:
        tracker: Where everything goes.
        prefix: Put before each metric's name, for example ``"seed_0."``.
    """

    tracker: Tracker
    prefix: str

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Pass the metrics on under the prefix."""
        self.tracker.log_metrics({f"{self.prefix}{name}": value for name, value in metrics.items()}, step)

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Pass the file on."""
        self.tracker.log_artifact(path, folder)

    def tag(self, key: str, value: str) -> None:
        """Pass the tag on."""
        self.tracker.tag(key, value)
