"""Fixtures for every test."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the core to the other worker
ROOT = Path(__file__).resolve().parent.parent
LONGEST = "tests/end_to_end/"
"""Its files take longest, and both begin with a run of the pipeline: two workers make these at the same time."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out the files in our order, and not those with the most tests first."""
    gc.disable()  # nothing that collection imports is garbage
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; what is short then fills up what is left of the time."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking again and again through all modules, which took a tenth of all time.

    It goes on with what the tests make, less often than usual.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data that lies beside the project, or skip."""
    folder = Path(os.environ.get("PROXY_NASBENCH_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("the real data (../shared/data or $PROXY_NASBENCH_SHARED/data) is not on this machine")
    return folder


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the compiled kernels that run from now on."""
    from nasbench.spaces import kernel_library

    found: list[str] = []
    run = kernel_library.run
    monkeypatch.setattr(kernel_library, "run", lambda what, *rest: (found.append(what), run(what, *rest))[1])
    return found
