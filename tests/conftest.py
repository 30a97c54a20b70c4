"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data that lies beside the project, or skip."""
    folder = Path(os.environ.get("PROXY_NASBENCH_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("the real data (../shared/data or $PROXY_NASBENCH_SHARED/data) is not on this machine")
    return folder
