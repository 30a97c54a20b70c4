"""Figures as SVG text; the only importer of matplotlib. Equal input gives equal bytes."""

from __future__ import annotations

from nasbench.analysis.plots.edges import cell_edge_distribution
from nasbench.analysis.plots.heat_map import alpha_heat_map
from nasbench.analysis.plots.proxies import class_counts, entropy_histogram, score_histogram
from nasbench.analysis.plots.search import alpha_trajectory, local_optimum_alarm, search_health
from nasbench.analysis.plots.study import comparison, cost_bars, training_curves
from nasbench.analysis.plots.tuning import fraction_outcome, importances, optimisation_history

__all__ = [
    "alpha_heat_map",
    "alpha_trajectory",
    "cell_edge_distribution",
    "class_counts",
    "comparison",
    "cost_bars",
    "entropy_histogram",
    "fraction_outcome",
    "importances",
    "local_optimum_alarm",
    "optimisation_history",
    "score_histogram",
    "search_health",
    "training_curves",
]
