"""A real SQLite store for each test: made once, copied, so that no test pays for the schema's migrations."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nasbench.tracking import keeper, store

_ENVIRONMENT = ("MLFLOW_TRACKING_URI", "DVC_STAGE", "DVC_EXP_NAME", keeper.SOCKET)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def _made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # all workers copy from the one that came first
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with store.exclusive(folder / "store.lock"):
            store.connect(folder / "store")
    return folder / "store"


@pytest.fixture
def root(tmp_path: Path, _made_store: Path) -> Path:
    """Root of a checkout with an empty, initialised store; its name holds a blank and a per cent sign."""
    folder = tmp_path / "a 100% checkout"
    shutil.copytree(_made_store, folder)
    return folder
