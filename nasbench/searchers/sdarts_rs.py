"""SDARTS-RS: random smoothing of the architecture while the weights are trained."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher, SearchResult, SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.tracking.tracker import Tracker


@SEARCHERS.register
@component
class SdartsRs(BilevelSettings, Searcher):
    """Train the weights under perturbed edge weights, so that the validation loss is smooth around the alphas.

    Formula: min_A L_val(w*(A), A) with w*(A) = argmin_w E_{delta ~ U[-eps, eps]} L_train(w, A + delta),
    A = softmax(alpha); eps(e) = eps_first + (eps_max - eps_first) e / E in epoch e of E.
    Reference: Chen and Hsieh, Stabilizing Differentiable Architecture Search via Perturbation-based Regularization,
    ICML 2020, arXiv:2002.05283, Algorithm 1 with random smoothing.
    Differs from the paper: what the paper leaves open is done as in its published code: one perturbation a step,
    shared by all cells of a kind; rows are clamped to [0, 1] and divided by their sum, and a row that is all zero gets
    its former largest entry as 1; e runs from 0, so that eps_max itself is not reached (0.2946 in the last of 50
    epochs). Its code's DARTS space has no ``none``; here the space is what the task says.

    Attributes:
        name: ``"sdarts-rs"``.
        first_perturbation: eps_first, in [0, 1]; its code's 0.03.
        largest_perturbation: eps_max, at least eps_first, above 0, at most 1; its code's 0.3.

    The other fields are documented in `nasbench.searchers.settings.BilevelSettings`; their defaults are those of
    DARTS, which the paper takes over. Records hold ``perturbation``, the eps of the epoch.

    Shape: supernet ``forward(images [N, C, H, W], group -> [E, O]) -> [N, K]``; alphas as ``space.alpha_shapes``.
    Raises: ConfigError also where eps falls or is 0 throughout; else ConfigError, CheckpointError and TrainingError as
    `nasbench.searchers.bilevel.bilevel_search`.

    Example:
        >>> SdartsRs(largest_perturbation=0.5).first_perturbation
        0.03
    """

    name: ClassVar[str] = "sdarts-rs"
    defaults_from: ClassVar[str] = "the paper's code; else DARTS (CIFAR-10, DARTS space)"

    first_perturbation: Annotated[float, Field(ge=0, le=1)] = 0.03
    largest_perturbation: Annotated[float, Field(gt=0, le=1)] = 0.3

    def __post_init__(self) -> None:
        BilevelSettings.__post_init__(self)  # super() does not know the class that @component makes
        if self.largest_perturbation < self.first_perturbation:
            raise ConfigError(
                f"largest_perturbation: {self.largest_perturbation} is less than first_perturbation, "
                f"{self.first_perturbation}. Raise the former, or lower the latter."
            )
        if self.first_perturbation == 0 and self.epochs == 1 and not self.least_steps:
            raise ConfigError(
                "first_perturbation: 0.0 leaves the only epoch without perturbation. Raise it, as 0.03, or take more "
                "epochs."
            )

    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the bilevel loop with perturbed weight steps."""
        from nasbench.searchers.bilevel import bilevel_search
        from nasbench.searchers.sdarts_rs_strategy import RandomSmoothing

        self.check_space(task.space)
        strategy = RandomSmoothing(self.first_perturbation, self.largest_perturbation)
        return bilevel_search(self.name, self, task, tracker, strategy)
