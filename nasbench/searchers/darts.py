"""DARTS, first and second order."""

from __future__ import annotations

from typing import ClassVar, Literal

from nasbench.config.component import component
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher, SearchResult, SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.tracking.tracker import Tracker


@SEARCHERS.register
@component
class Darts(BilevelSettings, Searcher):
    """Relax the choice of operations to a softmax and descend on it together with the weights.

    Formula: min_alpha L_val(w*(alpha), alpha) with w*(alpha) = argmin_w L_train(w, alpha), Eq. 3 and 4; the gradient
    is taken at w' = w - xi grad_w L_train(w, alpha), Eq. 6. Second order: xi is the learning rate, and the mixed
    second derivative is a finite difference, Eq. 7 and 8. First order: xi = 0.
    Reference: Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, arXiv:1806.09055, Algorithm 1.
    Differs from the paper: alphas start at 1e-3 times a standard normal (its code; zero in the paper); the alpha
    half is read by one iterator that restarts when exhausted (code of Na et al., arXiv:2106.04784); the genotype is
    that after the last update, where its code prints the one before the last epoch; the paper keeps the best of four
    searches after short trainings, here each search counts.

    Attributes:
        name: ``"darts"``.
        order: ``first``, or ``second`` at about four times the cost of an alpha step. The paper reports both.
        weights_first: Within a step train the weights, then the alphas (the code of NAS-Bench-201, Dong and Yang,
            ICLR 2020, arXiv:2001.00326, for first order) instead of the other way round (the paper).

    The other fields are documented in `nasbench.searchers.settings.BilevelSettings`; all defaults are the paper's.

    Shape: supernet ``forward(images [N, C, H, W], group -> [E, O]) -> [N, K]``; alphas as ``space.alpha_shapes``.
    Raises: ConfigError, CheckpointError and TrainingError as `nasbench.searchers.bilevel.bilevel_search`.

    Example:
        >>> Darts(order="second", epochs=10).learning_rate
        0.025
    """

    name: ClassVar[str] = "darts"
    defaults_from: ClassVar[str] = "the paper (CIFAR-10, DARTS space)"

    order: Literal["first", "second"] = "first"
    weights_first: bool = False

    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the bilevel loop with softmax edge weights."""
        from nasbench.searchers.bilevel import bilevel_search
        from nasbench.searchers.hypergradient import first_order, second_order
        from nasbench.searchers.strategy import Strategy

        self.check_space(task.space)
        strategy = Strategy(second_order if self.order == "second" else first_order)
        strategy.alphas_first = not self.weights_first
        return bilevel_search(self.name, self, task, tracker, strategy)
