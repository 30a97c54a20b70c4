"""Datasets: labelled images held as unsigned bytes, with a fingerprint."""

from __future__ import annotations

from nasbench.core.registry import Registry
from nasbench.datasets.base import DatasetSpec

DATASETS: Registry[DatasetSpec] = Registry("dataset", "nasbench.datasets")

__all__ = ["DATASETS", "DatasetSpec"]
