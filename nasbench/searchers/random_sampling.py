"""Random sampling: the baseline that every search has to beat."""

from __future__ import annotations

import time
from typing import ClassVar

from nasbench.config.component import component
from nasbench.core.seeding import generator
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher, SearchResult, SearchTask
from nasbench.searchers.diagnostics import collapse_warning, collapsed, parameter_free_share, skip_share
from nasbench.tracking.tracker import Tracker


@SEARCHERS.register
@component
class RandomSampling(Searcher):
    """Draw one genotype uniformly from the space; nothing is trained and no image is looked at.

    Formula: each choice of the space is independent and uniform over its candidates.
    Reference: Yang, Esperanca and Carlucci, NAS evaluation is frustratingly hard, ICLR 2020, arXiv:1912.12522; it is
    the Acc_r of the relative improvement in NASTransfer (Panda et al., AAAI 2021), a mean over several such cells.
    Differs from the paper: nothing known. It is not random search: no best of several is taken. One call is one
    cell; take as many seeds as cells.

    Attributes:
        name: ``"random-sampling"``.

    Shape: one gene for each choice of the space.
    Raises: nothing of its own.

    Example:
        >>> RandomSampling()
        RandomSampling()
    """

    name: ClassVar[str] = "random-sampling"
    defaults_from: ClassVar[str] = "nothing to choose"

    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Draw the genotype with a generator of its own, derived from the task's seed."""
        started = time.perf_counter()
        genotype = task.space.sample(generator(task.seed, self.name))
        cells = task.space.cells(genotype)
        shares = {"skip_share": skip_share(cells), "parameter_free_share": parameter_free_share(cells)}
        tracker.log_metrics(shares, step=0)
        warnings = tuple(collapse_warning(kind, cells[kind]) for kind in collapsed(cells))
        if warnings:
            tracker.tag("warning", " ".join(warnings))
        return SearchResult(
            genotype=genotype,
            trajectory=({"epoch": 0, **shares, "genes": list(genotype.genes)},),
            seconds=time.perf_counter() - started,
            warnings=warnings,
        )
