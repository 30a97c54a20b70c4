"""A run in MLflow: parameters and inputs at its start, curves in batches, files and an end in any event."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasbench.core.errors import FileReadError, TrackingError
from nasbench.core.files import canonical_json, fingerprint
from nasbench.tracking.keeper import kept_runs
from nasbench.tracking.runs import COMMIT, MetricPoint, MlflowRuns, OpenedRun, RunRequest, Runs
from nasbench.tracking.store import exclusive, lock_folder

LOG = logging.getLogger("nasbench.tracking")

DIGEST_CHARS = 36
"""MLflow's limit for a dataset's digest; DVC's md5 of a folder, 32 digits and ``.dir``, fits exactly."""

_PARAM_CHARS = 500
_TAG_CHARS = 5000
_BUFFERED = 500
_FLUSH_SECONDS = 20.0
_KEY = re.compile(r"[A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class DatasetInput:
    """What a run read, as MLflow's data panel shows it.

    Attributes:
        name: For example ``source`` or ``proxies/p1``.
        digest: DVC's md5 of the file or folder, at most 36 characters.
        context: What it was for, for example ``search``.
        tags: Further text.
    """

    name: str
    digest: str
    context: str
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or not 1 <= len(self.digest) <= DIGEST_CHARS:
            raise TrackingError(
                f"dataset input {self.name!r} has a digest of {len(self.digest)} characters ({self.digest!r}); "
                f"a name and 1 to {DIGEST_CHARS} characters are needed. Give DVC's md5."
            )


class MlflowTracker:
    """Sends what a run has to say to a place that takes runs; made by `open_run`.

    Metrics and tags wait in a buffer until 500 values or 20 seconds have gathered, or the run ends. A store
    that fails once the work has begun costs no result: the failure is reported in the log, what is buffered is
    sent again with the next batch, and `complete` turns False if something was lost for good.

    Attributes:
        run_id: MLflow's.
        resumed: Whether an interrupted attempt goes on; steps which that had logged are left out.
        complete: Whether the store has taken everything so far.
    """

    def __init__(self, runs: Runs, opened: OpenedRun) -> None:
        self.run_id = opened.run_id
        self.resumed = opened.resumed
        self.complete = True
        self._runs = runs
        self._logged = opened.logged
        self._metrics: list[MetricPoint] = []
        self._tags: dict[str, str] = {}
        self._sent = time.monotonic()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take metrics of one step (an epoch, from 0), or of the whole run where step is None."""
        now = int(time.time() * 1000)
        for key, value in metrics.items():
            if self._logged.get(key, -1) < (step or 0):
                self._metrics.append(MetricPoint(key, float(value), now, step or 0))
        if len(self._metrics) >= _BUFFERED or time.monotonic() - self._sent >= _FLUSH_SECONDS:
            self.flush()

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Take a copy of a file (or of a folder's content), under a folder of the run's artifacts.

        Raises:
            FileReadError: There is no such file.
        """
        if not path.exists():
            raise FileReadError(f"there is no file {path} to keep with the run. Write it first.")
        try:
            self._runs.log_artifact(self.run_id, path.resolve(), folder)
        except TrackingError as error:
            self.complete = False
            LOG.warning("run %s keeps no copy of %s: %s", self.run_id, path, error)

    def tag(self, key: str, value: str) -> None:
        """Set a tag of the run; sent with the next metrics."""
        self._tags[key] = value if len(value) <= _TAG_CHARS else value[: _TAG_CHARS - 1] + "\u2026"

    def flush(self) -> None:
        """Send what is buffered; on failure keep it for the next time."""
        self._sent = time.monotonic()
        if not self._metrics and not self._tags:
            return
        try:
            self._runs.log(self.run_id, self._metrics, self._tags)
        except TrackingError as error:
            LOG.warning("run %s: %d metrics wait to be sent again: %s", self.run_id, len(self._metrics), error)
        else:
            self._metrics.clear()
            self._tags.clear()

    def close(self, status: str) -> None:
        """Send the rest and end the run; see `Runs.close`. Never raises."""
        self.flush()
        try:
            self._runs.close(self.run_id, status)
        except TrackingError as error:
            self.complete = False
            LOG.warning("run %s could not be set %s: %s", self.run_id, status, error)
        if self._metrics or self._tags:
            self.complete = False
            LOG.warning("run %s lacks %d metrics; metrics.json has them", self.run_id, len(self._metrics))


@contextmanager
def open_run(
    root: Path,
    experiment: str,
    run_name: str,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    datasets: Sequence[DatasetInput],
    resume_key: str,
) -> Iterator[MlflowTracker]:
    """Open a run, yield its tracker, and end the run as FINISHED, FAILED (error) or KILLED (interrupt).

    An attempt at the same work that was interrupted or killed goes on in its own run, if its parameters and
    commit are the same. A killed process leaves its run RUNNING in MLflow for ever; such runs of the same
    work are set KILLED.

    Args:
        root: The checkout's root (``DVC_ROOT``).
        experiment: One per study.
        run_name: For example ``search_cell@p1-darts-0``.
        params: Any nesting; logged flat with dots. Values above 500 characters are cut, and stand whole in the
            artifact params.json.
        tags: Added to the commit, its cleanliness, and ``DVC_STAGE`` and ``DVC_EXP_NAME`` where they are set.
        datasets: What the run reads.
        resume_key: Fingerprint of all that determines the work (stage, parameters, inputs); empty: never resumed.

    Raises:
        TrackingError: Before any work: the store cannot be reached or written, or another process of this host
            does the same work at this moment. Later failures of the store are only logged; see `MlflowTracker`.
    """
    if not _KEY.fullmatch(resume_key):
        raise TrackingError(f"resume_key {resume_key!r}: allowed are letters, digits, '.', '_' and '-'.")
    key = fingerprint({"experiment": experiment, "resume_key": resume_key})
    lock = exclusive(lock_folder(root) / "runs" / f"{key}.lock", seconds=0.0) if resume_key else nullcontext()
    text = {name: as_text(value) for name, value in flatten(params).items()}
    cut = any(len(value) > _PARAM_CHARS for value in text.values())
    request = RunRequest(
        experiment=experiment,
        run_name=run_name,
        params={name: shorten(value) for name, value in text.items()},
        full_params=text if cut else {},
        tags={name: value[:_TAG_CHARS] for name, value in {**provenance(root), **tags}.items()},
        datasets=[(data.name, data.digest, data.context, dict(data.tags)) for data in datasets],
        resume_key=resume_key,
    )
    with lock:
        runs = kept_runs(root) or MlflowRuns(root)
        tracker = MlflowTracker(runs, runs.open(request))
        try:
            yield tracker
        except Exception as error:
            tracker.tag("nasbench.error", f"{type(error).__name__}: {error}")
            tracker.close("FAILED")
            raise
        except BaseException:
            tracker.close("KILLED")
            raise
        tracker.close("FINISHED")


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters as one level with dotted names; an empty mapping stays a value.

    Example:
        >>> flatten({"recipe": {"epochs": 2, "options": {}}})
        {'recipe.epochs': 2, 'recipe.options': {}}
    """
    flat: dict[str, Any] = {}
    for name, value in params.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, path)
        else:
            flat[path] = value
    return flat


def as_text(value: Any) -> str:
    """Return a parameter's text: strings as they are, all else as JSON (``true``, ``null``, ``[0,1]``)."""
    if isinstance(value, str):
        return value
    try:
        return canonical_json(value)
    except (TypeError, ValueError):
        return str(value)


def shorten(value: str) -> str:
    """Cut a text above 500 characters; its length and SHA-256 keep different texts different."""
    if len(value) <= _PARAM_CHARS:
        return value
    stamp = hashlib.sha256(value.encode("utf-8")).hexdigest()[:16]
    return f"{value[:400]}\u2026 ({len(value)} characters, sha256 {stamp}, whole in params.json)"


def provenance(root: Path) -> dict[str, str]:
    """Return the tags that say where a run comes from: commit, whether files differ from it, DVC's names.

    Outputs that DVC itself rewrites (dvc.lock and the folder artifacts) do not make a checkout dirty. Outside of a
    Git repository, or without Git, the tags of the commit are absent.
    """
    tags = {
        tag: os.environ[name]
        for tag, name in (("dvc.stage", "DVC_STAGE"), ("dvc.exp_name", "DVC_EXP_NAME"))
        if os.environ.get(name)
    }
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return tags
    ignored = (":(exclude,glob)**/dvc.lock", ":(exclude,glob)**/artifacts/**")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *ignored)
    return {**tags, COMMIT: commit, "mlflow.source.git.dirty": "false" if changes == "" else "true"}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            check=False,
            timeout=30,
            text=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
