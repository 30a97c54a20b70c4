"""Selectors: from scores to row numbers. NumPy only; a selector never trains."""

from __future__ import annotations

from nasbench.core.registry import Registry
from nasbench.selectors.base import ProxySelector

SELECTORS: Registry[ProxySelector] = Registry("selector", "nasbench.selectors")

__all__ = ["SELECTORS", "ProxySelector"]
