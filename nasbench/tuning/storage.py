"""Where a study lies, who works on it, and what becomes of a trial whose worker was killed."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nasbench.core.errors import ConfigError

WORKER = "worker"
"""User attribute of a trial: which process runs it."""

_SETTINGS = "settings"
_UNSIGNED = timedelta(seconds=60)  # a trial is signed within a second of its making
_ATTEMPTS = 3


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from logging each trial; warnings are still shown."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def open_storage(place: str) -> BaseStorage:
    """Open, or make, a storage that several processes may share.

    Args:
        place: ``sqlite:///FILE`` or another database's address, or the path of a journal file (which also suits
            folders shared over a network).

    Raises:
        ConfigError: It cannot be opened, or is damaged.
    """
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    attempt = 0
    while True:
        attempt += 1
        try:
            if "://" in place:
                wait = {"connect_args": {"timeout": 60}} if place.startswith("sqlite:") else {}
                return RDBStorage(place, engine_kwargs=wait)
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(place))
        except OperationalError as error:  # perhaps two processes make the same database at once
            if attempt == _ATTEMPTS:
                raise _unusable(place, error) from error
            time.sleep(0.2)
        except (SQLAlchemyError, ImportError, OSError, ValueError, RuntimeError) as error:
            raise _unusable(place, error) from error


def _unusable(place: str, error: Exception) -> ConfigError:
    reason = str(error).partition("\n")[0]
    return ConfigError(
        f"cannot open the storage {place} ({reason}). Give sqlite:///FILE, another database's address, or the path of "
        f"a journal file."
    )


def join_study(storage: BaseStorage, name: str, identity: Mapping[str, Any], **parts: Any) -> Study:
    """Make a study, or join the one of that name if it was made with the same settings and data.

    Args:
        storage: From `open_storage`.
        name: Of the study.
        identity: All that its outcomes depend on, as plain values.
        parts: Sampler and pruner of this process.

    Raises:
        ConfigError: It was made with other settings or data.
    """
    study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True, **parts)
    mine = json.loads(json.dumps(dict(identity)))
    found = study.user_attrs.get(_SETTINGS)
    if found is None:
        study.set_user_attr(_SETTINGS, mine)
    elif found != mine:
        key = next(key for key in sorted({*found, *mine}) if found.get(key) != mine.get(key))
        raise ConfigError(
            f"study {name!r} was made with other settings: {key} is {found.get(key)} there and {mine.get(key)} here. "
            f"Give another --study or --storage, or the same settings."
        )
    return study


def worker_name() -> str:
    """Return a name of this process that no later one on this host has."""
    return f"{socket.gethostname()}:{os.getpid()}:{int(psutil.Process().create_time())}"


def release(study: Study, *, everywhere: bool = False) -> int:
    """Fail the trials whose workers are gone, so that they are run again; return how many.

    Args:
        study: The study.
        everywhere: Also those of other hosts, of which nothing is known here. Only where none works any more.
    """
    gone = [trial for trial in study.get_trials(states=(TrialState.RUNNING,)) if _is_gone(trial, everywhere)]
    for trial in gone:
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return len(gone)


def _is_gone(trial: FrozenTrial, everywhere: bool) -> bool:
    signature = trial.user_attrs.get(WORKER)
    if signature is None:
        return trial.datetime_start is None or datetime.now() - trial.datetime_start > _UNSIGNED
    host, pid, started = str(signature).rsplit(":", 2)
    if host != socket.gethostname():
        return everywhere
    try:
        return int(psutil.Process(int(pid)).create_time()) != int(started)
    except psutil.NoSuchProcess:
        return True
