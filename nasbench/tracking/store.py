"""Where the runs are kept: one SQLite file with the artifacts beside it, or MLFLOW_TRACKING_URI."""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nasbench.core.errors import ConfigError, TrackingError

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

LOCAL_STORE = "mlruns"
"""Folder of the default store, below the checkout's root."""

_DATABASE = "mlflow.db"
_READY = "ready"
_LOCK_SECONDS = 120.0
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on runs, not on traces
_SQLITE = "sqlite:///"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


def tracking_uri(root: Path) -> str:
    """Return the URI of the store.

    Args:
        root: The checkout's root (``DVC_ROOT``, also in the temporary folders of queued experiments).

    Returns:
        ``MLFLOW_TRACKING_URI`` where it is set (a relative SQLite path is taken from the root, not from the
        current folder, which may be temporary), else ``sqlite:///ROOT/mlruns/mlflow.db``.

    Raises:
        TrackingError: The variable names a folder; MLflow no longer keeps runs in plain folders.

    Example:
        >>> tracking_uri(Path("/srv/project"))  # doctest: +SKIP
        'sqlite:////srv/project/mlruns/mlflow.db'
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not given:
        return f"{_SQLITE}{Path(root).resolve() / LOCAL_STORE / _DATABASE}"
    if given.startswith(_SQLITE):
        return f"{_SQLITE}{(Path(root).resolve() / given.removeprefix(_SQLITE)).resolve()}"
    scheme, separator, _ = given.partition("://")
    if not separator or scheme == "file":
        raise TrackingError(
            f"MLFLOW_TRACKING_URI is {given!r}, a folder. Allowed are sqlite:///FILE.db, http(s)://SERVER "
            f"and database addresses. Unset it to use {LOCAL_STORE}/{_DATABASE} of the checkout."
        )
    return given


def database_file(root: Path) -> Path | None:
    """Return the SQLite file of the store, or None where the store is a server or another database."""
    uri = tracking_uri(root)
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def artifact_location(root: Path, experiment: str) -> str | None:
    """Return the folder of an experiment's artifacts, beside the SQLite file; None: the server decides."""
    database = database_file(root)
    return None if database is None else str(database.parent / "artifacts" / experiment)


def lock_folder(root: Path) -> Path:
    """Return the folder of lock files: beside the SQLite file, or in ``ROOT/mlruns`` for a server."""
    database = database_file(root)
    return (Path(root).resolve() / LOCAL_STORE if database is None else database.parent) / "locks"


@contextmanager
def exclusive(path: Path, *, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """Hold a lock file; the system frees it when the process ends, however it ends.

    Args:
        path: The lock file; missing folders are made. It is not deleted afterwards.
        seconds: How long to wait for another holder; 0 asks once.

    Raises:
        TrackingError: Another process keeps the lock, or the file cannot be written.
    """
    import fcntl

    end = time.monotonic() + seconds
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    except OSError as error:
        raise TrackingError(
            f"cannot write {path}: {error.strerror or error}. Make the folder writable, or set "
            f"MLFLOW_TRACKING_URI to a store that is."
        ) from error
    with handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    handle.seek(0)
                    holder = handle.read(40).strip() or "unknown"
                    raise TrackingError(
                        f"{path} is held by process {holder}. Wait until it has ended, or end it, then run again."
                    ) from None
                time.sleep(0.05)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def connect(root: Path) -> MlflowClient:
    """Return a client of the store, making the SQLite tables first if there are none.

    The first call in a process imports MLflow (3 to 5 seconds; no part of it can be imported for less,
    since every submodule runs the package's own ``__init__``). Telemetry is off unless the environment
    says otherwise.

    MLflow's own creation of a fresh SQLite file is not safe against a second process, so it is done under
    a file lock; a marker file tells later calls that nothing is left to do.

    Raises:
        TrackingError: The store cannot be reached, written or understood.
    """
    uri = tracking_uri(root)
    for key, value in _DEFAULTS.items():
        os.environ.setdefault(key, value)
    database = database_file(root)
    with storing(uri):
        from mlflow.tracking import MlflowClient

        if database is not None and not _is_ready(database):
            _make_tables(database, uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_id(client: MlflowClient, root: Path, experiment: str) -> str:
    """Return the id of an experiment, creating it under a lock if it is new.

    Args:
        client: Of the store; see `connect`.
        root: The checkout's root.
        experiment: Letters, digits, ``.``, ``_`` and ``-``; one per study.

    Raises:
        ConfigError: The name cannot be used.
        TrackingError: The store cannot be reached or written, or its artifacts are recorded in another place.
    """
    if not _NAME.fullmatch(experiment):
        raise ConfigError(
            f"experiment {experiment!r}: allowed are up to 100 letters, digits, '.', '_' and '-', the first a "
            f"letter or digit. Rename it."
        )
    location = artifact_location(root, experiment)
    with storing(tracking_uri(root)):
        found = client.get_experiment_by_name(experiment)
        if found is None:
            with exclusive(lock_folder(root) / "experiments.lock"):
                found = client.get_experiment_by_name(experiment)
                if found is None:
                    return str(client.create_experiment(experiment, artifact_location=location, tags=_KIND))
    _check(found, location)
    return str(found.experiment_id)


def _check(experiment: Experiment, location: str | None) -> None:
    """Refuse an experiment that was deleted, or whose artifacts would go to a checkout's former place."""
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"experiment {experiment.name!r} was deleted. Bring it back with "
            f"'mlflow experiments restore --experiment-id {experiment.experiment_id}', or use another name."
        )
    if location is not None and experiment.artifact_location != location:
        raise TrackingError(
            f"experiment {experiment.name!r} keeps its artifacts in {experiment.artifact_location}, not in "
            f"{location}: the checkout was moved. Run 'nasbench relocate' once."
        )


def _is_ready(database: Path) -> bool:
    # The file is looked at before the marker: whoever makes a new file removes a stale marker first.
    return database.is_file() and database.stat().st_size > 0 and (database.parent / _READY).is_file()


def _make_tables(database: Path, uri: str) -> None:
    from mlflow.tracking import MlflowClient

    with exclusive(database.parent / "locks" / "tables.lock"):
        if _is_ready(database):
            return
        marker = database.parent / _READY
        marker.unlink(missing_ok=True)
        with _quiet("alembic", "mlflow"):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
        marker.touch()


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keep the progress reports of a hundred schema migrations out of the terminal."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def storing(where: str) -> Iterator[None]:
    """Turn what MLflow, its database and its network raise into a `TrackingError` that says where.

    Their warnings are left out: the deprecations of MLflow's own calls are not for us to cure.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (TrackingError, ConfigError):
        raise
    except Exception as error:
        if not _is_from_store(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
        raise TrackingError(
            f"the tracking store {_without_password(where)} failed: {reason}. Check that it can be reached "
            f"and written, or set MLFLOW_TRACKING_URI to another."
        ) from error


def _is_from_store(error: BaseException) -> bool:
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or package in {"mlflow", "sqlalchemy", "sqlite3"}


def _without_password(uri: str) -> str:
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", uri)
