"""Opening, filling and closing a run in the store; everything that goes in or out is plain data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from nasbench.core.files import canonical_json
from nasbench.tracking.store import connect, experiment_id, storing, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

T = TypeVar("T")

RESUME_KEY = "nasbench.resume_key"
SUPERSEDED = "nasbench.superseded_by"
COMMIT = "mlflow.source.git.commit"
_PARAMS_A_BATCH = 100
_METRICS_A_BATCH = 800
_TAGS_A_BATCH = 100


class MetricPoint(NamedTuple):
    """One value of a curve.

    Attributes:
        key: Name of the metric.
        value: May be NaN.
        timestamp: Milliseconds since 1970.
        step: Epoch; 0 for a metric of the whole run.
    """

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run is opened with.

    Attributes:
        experiment: One per study.
        run_name: For example ``search_cell@p1-darts-0``.
        params: Flat, text; values short enough for MLflow.
        full_params: All of them, unabridged, for the artifact params.json; empty where nothing was cut.
        tags: Text.
        datasets: (name, digest, context, tags) of each input.
        resume_key: Equal for attempts at the same work; empty for a run that is never resumed.
    """

    experiment: str
    run_name: str
    params: Mapping[str, str]
    full_params: Mapping[str, str]
    tags: Mapping[str, str]
    datasets: Sequence[tuple[str, str, str, Mapping[str, str]]]
    resume_key: str


@dataclass(frozen=True, kw_only=True)
class OpenedRun:
    """What opening gives back.

    Attributes:
        run_id: MLflow's.
        resumed: Whether an interrupted attempt goes on.
        logged: Metric -> highest step that the interrupted attempt had logged.
    """

    run_id: str
    resumed: bool = False
    logged: Mapping[str, int] = field(default_factory=dict)


class Runs(Protocol):
    """A place that takes runs."""

    def open(self, request: RunRequest) -> OpenedRun:
        """Open a run, or an interrupted attempt at the same work."""

    def log(self, run_id: str, metrics: Sequence[MetricPoint], tags: Mapping[str, str]) -> None:
        """Take metrics and tags in as few transactions as possible."""

    def log_artifact(self, run_id: str, path: Path, folder: str) -> None:
        """Take a copy of a file or of a folder's content."""

    def close(self, run_id: str, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED."""


class MlflowRuns:
    """Runs in the MLflow store of a checkout, by a client in this process.

    Args:
        root: The checkout's root.

    Raises:
        TrackingError: The store cannot be reached or written; also from every method.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._uri = tracking_uri(root)
        self._client: MlflowClient = connect(root)

    def open(self, request: RunRequest) -> OpenedRun:
        """See `Runs.open`.

        Attempts with the same resume key that are still RUNNING have lost their process (the caller holds
        the lock of the key). The newest with the same parameters and commit goes on; the others are set KILLED.
        """
        with storing(self._uri):
            experiment = experiment_id(self._client, self._root, request.experiment)
            found = self._interrupted(experiment, request)
            run = self._chosen(found, request)
            opened = self._resume(run, request) if run else self._create(experiment, request)
            self._supersede([other for other in found if other.info.run_id != opened.run_id], opened.run_id)
        return opened

    def log(self, run_id: str, metrics: Sequence[MetricPoint], tags: Mapping[str, str]) -> None:
        """See `Runs.log`."""
        from mlflow.entities import Metric, RunTag

        with storing(self._uri):
            for part in _parts(tags.items(), _TAGS_A_BATCH):
                self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in part], synchronous=True)
            for points in _parts(metrics, _METRICS_A_BATCH):
                self._client.log_batch(run_id, metrics=[Metric(*point) for point in points], synchronous=True)

    def log_artifact(self, run_id: str, path: Path, folder: str) -> None:
        """See `Runs.log_artifact`."""
        with storing(self._uri):
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), folder or None)
            else:
                self._client.log_artifact(run_id, str(path), folder or None)

    def close(self, run_id: str, status: str) -> None:
        """See `Runs.close`."""
        with storing(self._uri):
            self._client.set_terminated(run_id, status)

    def _interrupted(self, experiment: str, request: RunRequest) -> list[Run]:
        """Return earlier attempts, newest first, that ended neither well nor with an error."""
        if not request.resume_key:
            return []
        runs = self._client.search_runs(
            [experiment],
            filter_string=f"tags.`{RESUME_KEY}` = '{request.resume_key}'",
            order_by=["attributes.start_time DESC"],
            max_results=100,
        )
        return [run for run in runs if run.info.status in {"RUNNING", "KILLED"} and SUPERSEDED not in run.data.tags]

    def _chosen(self, found: Sequence[Run], request: RunRequest) -> Run | None:
        for run in found:
            same_commit = run.data.tags.get(COMMIT) == request.tags.get(COMMIT)
            if run.data.params == dict(request.params) and same_commit:
                return run
        return None

    def _resume(self, run: Run, request: RunRequest) -> OpenedRun:
        run_id = run.info.run_id
        self._client.update_run(run_id, status="RUNNING")
        self.log(run_id, [], request.tags)
        logged = {
            key: max(int(point.step) for point in self._client.get_metric_history(run_id, key))
            for key in run.data.metrics
        }
        return OpenedRun(run_id=run_id, resumed=True, logged=logged)

    def _create(self, experiment: str, request: RunRequest) -> OpenedRun:
        tags = {**request.tags, RESUME_KEY: request.resume_key} if request.resume_key else dict(request.tags)
        run = self._client.create_run(
            experiment, start_time=int(time.time() * 1000), tags=tags, run_name=request.run_name
        )
        try:
            self._describe(run.info.run_id, request)
        except BaseException:
            self._client.set_terminated(run.info.run_id, "FAILED")
            raise
        return OpenedRun(run_id=run.info.run_id)

    def _describe(self, run_id: str, request: RunRequest) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        for part in _parts(request.params.items(), _PARAMS_A_BATCH):
            self._client.log_batch(run_id, params=[Param(key, value) for key, value in part], synchronous=True)
        inputs = [
            DatasetInput(
                # MLflow knows no source type of DVC's; "code" is the one that takes any tags.
                Dataset(name, digest, "code", canonical_json({"tags": {"dvc.md5": digest, **tags}})),
                [InputTag(key, value) for key, value in {**tags, "mlflow.data.context": context}.items()],
            )
            for name, digest, context, tags in request.datasets
        ]
        if inputs:
            self._client.log_inputs(run_id, inputs)
        if request.full_params:
            self._client.log_dict(run_id, dict(request.full_params), "params.json")

    def _supersede(self, others: Sequence[Run], run_id: str) -> None:
        for run in others:
            self._client.set_tag(run.info.run_id, SUPERSEDED, run_id, synchronous=True)
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")


def _parts(items: Iterable[T], size: int) -> Iterable[list[T]]:
    whole = list(items)
    return (whole[start : start + size] for start in range(0, len(whole), size))
