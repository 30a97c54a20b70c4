"""Loading through torchvision, with errors that say what is absent and how to get it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nasbench.core.errors import DatasetError

T = TypeVar("T")


def open_dataset(dataset: str, factory: Callable[[], T], *, files: Path, root: Path, download: bool) -> T:
    """Call a torchvision dataset's constructor.

    Args:
        dataset: Our name of the dataset, for the message.
        factory: Makes the torchvision dataset; it fetches files only if ``download`` was handed to it.
        files: The folder or file below the root that holds the data.
        root: The root that was given.
        download: Whether the files may be fetched.

    Raises:
        DatasetError: The files are absent, broken or cannot be fetched.
    """
    try:
        return factory()
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, AssertionError) as error:
        if download:
            raise DatasetError(
                f"{dataset}: cannot be fetched into {root} ({error}). Check the connection, the free space and "
                f"the right to write there, or bring {files} from another machine."
            ) from error
        state = "is there but incomplete or altered" if files.exists() else "is absent"
        raise DatasetError(
            f"{dataset}: {files} {state}, and nothing is downloaded unasked. Ask for it with download=True "
            f"(params.yaml: download: true), or put the files there, or give another root."
        ) from error
