"""Randomness comes in as an argument: named streams derived from one seed."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose, independent of every other purpose of the same seed.

    Args:
        seed: The run's seed, at least 0.
        purpose: Names that say what the stream is for, for example ``("augment", "data-order", 3)``.

    Example:
        >>> derive_seed(0, "weights") == derive_seed(0, "weights")
        True
        >>> derive_seed(0, "weights") == derive_seed(0, "data-order")
        False
    """
    text = "\x1f".join([str(seed), *(str(part) for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a NumPy generator (PCG64) for one purpose; see `derive_seed`."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *purpose)))
