"""Scorers: from examples to numbers. A scorer may train a model."""

from __future__ import annotations

from nasbench.core.registry import Registry
from nasbench.scorers.base import ExampleScorer

SCORERS: Registry[ExampleScorer] = Registry("scorer", "nasbench.scorers")

__all__ = ["SCORERS", "ExampleScorer"]
