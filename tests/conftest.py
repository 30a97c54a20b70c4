"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = "tests/end_to_end/"
"""Its files take longest, and both begin with a run of the pipeline: two workers make these at the same time."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out the files in our order, and not those with the most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; what is short then fills up what is left of the time."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data that lies beside the project, or skip."""
    folder = Path(os.environ.get("PROXY_NASBENCH_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("the real data (../shared/data or $PROXY_NASBENCH_SHARED/data) is not on this machine")
    return folder
