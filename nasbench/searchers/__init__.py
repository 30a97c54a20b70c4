"""Searchers: from a proxy to a genotype. A searcher holds the alphas; the supernet holds the weights."""

from __future__ import annotations

from nasbench.core.registry import Registry
from nasbench.searchers.base import Searcher

SEARCHERS: Registry[Searcher] = Registry("searcher", "nasbench.searchers")

__all__ = ["SEARCHERS", "Searcher"]
