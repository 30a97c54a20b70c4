"""Search spaces: choices, alphas, supernet, discrete network."""

from __future__ import annotations

from nasbench.core.registry import Registry
from nasbench.spaces.base import SearchSpace

SPACES: Registry[SearchSpace] = Registry("search space", "nasbench.spaces")

__all__ = ["SPACES", "SearchSpace"]
