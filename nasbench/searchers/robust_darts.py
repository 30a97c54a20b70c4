"""RobustDARTS: regularised weights, the dominant eigenvalue, and an early stop."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher, SearchResult, SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.spaces.base import SearchSpace
from nasbench.tracking.tracker import Tracker

_STOP_DEFAULTS = {"stop_window": 5, "stop_first_epoch": 10, "stop_look_back": 4, "stop_factor": 1.3}


@SEARCHERS.register
@component
class RobustDarts(BilevelSettings, Searcher):
    """Regularise the inner problem, so that the architecture does not slide into a sharp minimum of skip connections.

    Formula: DARTS with a larger L2 factor or drop path on L_train. lambda_max, the largest eigenvalue of
    grad^2_alpha L_val(w, alpha), is tracked; early stop: with bar-lambda its running mean, stop if bar-lambda(i) >
    f * bar-lambda(i - k), and take the cell of i - k.
    Reference: Zela et al., Understanding and Robustifying Differentiable Architecture Search, ICLR 2020,
    arXiv:1909.09656, sections 3 to 5. Its L2 factors are {3, 9, 27, 81, 243}e-4, its drop path {0, 0.2, 0.4, 0.6},
    and its searches are of second order; R-DARTS(L2) takes the best of several L2 factors by validation. 0.0243 alone
    is the R-DARTS(L2) of Na et al., arXiv:2106.04784.
    Differs from the paper: the constants of the stop rule are those of the published code (values tracked every
    second epoch, means of five, four tracked values back, f = 1.3); the text states the same rule with 0.75 as the
    quotient bar-lambda(i - k) / bar-lambda(i) and k = 5 epochs (from memory, not read again). DARTS-ADA, which goes
    back and raises the L2 factor, is not built.
    Differs from the published code: cutout is the task's augmentation and neither switched off without drop path
    nor raised with it; the eigenvalue is that of one fixed batch of the alpha half without augmentation and with
    nothing dropped, by Lanczos where there are many alphas, without the L2 term of the alphas (which adds a constant),
    and the last epoch has one only if its turn has come; the cell is that after the epoch, as always here.

    Attributes:
        name: ``"robust-darts"``.
        order: ``second`` (the paper's runs), or ``first`` at about a quarter of the cost of an alpha step.
        weight_decay: L2 factor of the weights, lambda; default of Na et al.
        drop_path: Probability of dropping a mixed edge for an image in the last epoch, 0 to 1; grows linearly from
            0. Above 0 the space must have the trait ``drop-path``.
        eigenvalue_interval: Epochs from one eigenvalue to the next; 0 computes none. The code's 2.
        early_stop: ``none``, or ``eigenvalue`` (DARTS-ES).
        stop_window: Tracked values in a running mean, odd. The code's 5.
        stop_first_epoch: Epochs before this one are not gone back to. The code's 10.
        stop_look_back: k, in tracked values. The code's 4, which are 8 epochs.
        stop_factor: f, at least 1. The code's 1.3.

    The other fields are documented in `nasbench.searchers.settings.BilevelSettings`; their defaults are the paper's.
    Records hold ``dominant_eigenvalue`` in the epochs that have one, and ``drop_path`` where it is on.

    Shape: supernet ``forward(images [N, C, H, W], group -> [E, O]) -> [N, K]``; alphas as ``space.alpha_shapes``.
    Raises: ConfigError also for options that would have no effect; else ConfigError, CheckpointError and
    TrainingError as `nasbench.searchers.bilevel.bilevel_search`.

    Example:
        >>> RobustDarts(drop_path=0.2, weight_decay=27e-4).order
        'second'
    """

    name: ClassVar[str] = "robust-darts"
    defaults_from: ClassVar[str] = (
        "the paper and its code; weight_decay: Na et al., arXiv:2106.04784 (CIFAR-10, DARTS space)"
    )

    order: Literal["first", "second"] = "second"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0243
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    eigenvalue_interval: Annotated[int, Field(ge=0)] = 2
    early_stop: Literal["none", "eigenvalue"] = "none"
    stop_window: Annotated[int, Field(ge=1)] = 5
    stop_first_epoch: Annotated[int, Field(ge=0)] = 10
    stop_look_back: Annotated[int, Field(ge=1)] = 4
    stop_factor: Annotated[float, Field(ge=1)] = 1.3

    def __post_init__(self) -> None:
        BilevelSettings.__post_init__(self)  # super() does not know the class that @component makes
        if self.drop_path and self.epochs == 1 and not self.least_steps:
            raise ConfigError(f"drop_path: {self.drop_path} has no effect in 1 epoch, as it grows from 0. Take more.")
        if self.early_stop == "none":
            self._refuse_idle_options()
        else:
            self._check_stop()

    def _refuse_idle_options(self) -> None:
        for name, default in _STOP_DEFAULTS.items():
            if getattr(self, name) != default:
                raise ConfigError(
                    f"{name}: {getattr(self, name)} has no effect while early_stop is 'none'. Leave it out, or set "
                    f"early_stop to 'eigenvalue'."
                )

    def _check_stop(self) -> None:
        if not self.eigenvalue_interval:
            raise ConfigError(
                "early_stop: 'eigenvalue' has no effect while eigenvalue_interval is 0. Set the latter, as 2, or "
                "early_stop to 'none'."
            )
        if self.stop_window % 2 == 0:
            raise ConfigError(f"stop_window: {self.stop_window} has no middle; give an odd number, as 5.")
        first = -(-self.stop_first_epoch // self.eigenvalue_interval)  # of the tracked values
        needed = self.eigenvalue_interval * (first + self.stop_look_back + self.stop_window // 2) + 1
        if self.epochs <= needed and not self.least_steps:
            raise ConfigError(
                f"early_stop: 'eigenvalue' decides after {needed} epochs at the soonest (stop_first_epoch, "
                f"stop_look_back and stop_window, every {self.eigenvalue_interval} epochs), which leaves nothing to "
                f"stop of {self.epochs}. Take more epochs, lower these, or set early_stop to 'none'."
            )

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space whose supernet cannot drop paths, if that is wanted.

        Raises:
            ConfigError: Says what the space lacks.
        """
        super().check_space(space)
        if self.drop_path and "drop-path" not in space.traits:
            raise ConfigError(
                f"drop_path: {self.drop_path} cannot be used in the space {space.name!r}, which has no drop path. "
                f"Set it to 0."
            )

    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the bilevel loop with `nasbench.searchers.robust_darts_strategy.RobustStrategy`."""
        from nasbench.searchers.bilevel import bilevel_search
        from nasbench.searchers.hypergradient import first_order, second_order
        from nasbench.searchers.robust_darts_strategy import RobustStrategy, StopRule

        self.check_space(task.space)
        stop = StopRule(
            window=self.stop_window, look_back=self.stop_look_back, factor=self.stop_factor,
            first_epoch=self.stop_first_epoch,
        )  # fmt: skip
        strategy = RobustStrategy(
            second_order if self.order == "second" else first_order,
            drop_path=self.drop_path,
            interval=self.eigenvalue_interval,
            stop=stop if self.early_stop == "eigenvalue" else None,
        )
        return bilevel_search(self.name, self, task, tracker, strategy)
