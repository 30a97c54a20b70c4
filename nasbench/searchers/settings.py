"""The parameters that every gradient searcher has; their defaults are those of DARTS."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError

Beta = Annotated[float, Field(ge=0, lt=1)]


@component
class BilevelSettings:
    """Parameters of the bilevel loop; a searcher inherits them, changes defaults and adds its own.

    Attributes:
        epochs: E, passes over the weight half.
        batch_size: Images a step, of either half.
        learning_rate: Of the weights (SGD), at the start of the cosine.
        final_learning_rate: At the end of the cosine.
        warmup_epochs: W; in epoch e < W, from 0, the rate that the cosine gives is multiplied by (e + 1) / W. 0 keeps
            the cosine alone.
        schedule: The cosine falls after every ``epoch``, or after every ``step``.
        momentum: Of SGD.
        nesterov: Nesterov's momentum instead of the ordinary one.
        weight_decay: L2 factor of the weights.
        gradient_clip: Largest 2-norm of the weights' gradient; 0 turns it off.
        alpha_learning_rate: Of the alphas (Adam), constant.
        alpha_weight_decay: L2 factor of the alphas, added to their gradient (not decoupled).
        alpha_betas: Adam's two decay rates.
        alpha_gradient_clip: Largest 2-norm of the alphas' gradient; 0 turns it off.
        alpha_warmup_epochs: The first epochs train the weights only; the alphas are frozen.
        batch_statistics: Evaluate the supernet with the statistics of each batch (as the DARTS paper says) instead
            of the running ones (as its code does). Touches ``valid_loss`` and ``one_shot_top1`` only.
        adapt_batch_size: Take a smaller batch where a half has fewer images; else that is an error.
        least_steps: Raise ``epochs`` until the weights are trained for this many steps, as a small proxy has few
            steps an epoch; 0 keeps ``epochs``. What was raised stands in the result's notes.
    """

    epochs: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 0.025
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.001
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["epoch", "step"] = "epoch"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4
    gradient_clip: Annotated[float, Field(ge=0)] = 5.0
    alpha_learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    alpha_weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    alpha_betas: tuple[Beta, Beta] = (0.5, 0.999)
    alpha_gradient_clip: Annotated[float, Field(ge=0)] = 0.0
    alpha_warmup_epochs: Annotated[int, Field(ge=0)] = 0
    batch_statistics: bool = True
    adapt_batch_size: bool = False
    least_steps: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ConfigError("nesterov: true has no effect while momentum is 0. Set momentum, as 0.9.")
        if self.alpha_warmup_epochs >= self.epochs:
            raise ConfigError(
                f"alpha_warmup_epochs: {self.alpha_warmup_epochs} leaves none of {self.epochs} epochs to train the "
                f"alphas. Give at most {self.epochs - 1}."
            )
        if self.warmup_epochs > self.epochs:
            raise ConfigError(
                f"warmup_epochs: {self.warmup_epochs} is more than the {self.epochs} epochs of the search, so that the "
                f"learning rate would never be reached. Give at most {self.epochs}."
            )
