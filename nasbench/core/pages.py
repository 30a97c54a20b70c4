"""Pages of arrays that are mapped from files."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def release_pages(array: npt.NDArray[Any]) -> None:
    """Give back the memory of those pages of a file that were read through an array.

    Reading a mapped file row block by row block makes the process as large as the file, unless each block is given
    back; the next access reads it again, mostly from the system's own cache. Arrays that are not mapped, and maps
    that can be written to, are left as they are.

    Args:
        array: Any array, or a view of one.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap) and owner.flags.writeable:
            return
        owner = owner.base
    if isinstance(owner, mmap.mmap):
        owner.madvise(mmap.MADV_DONTNEED)
