"""How a discrete network is trained, with the papers' protocols as presets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError


@component
class Augmentation:
    """Random transforms of training images (DARTS, sections 1 and 11 of its protocol).

    Attributes:
        crop_padding: Zero pixels added on each side before a random crop back to size; 0 turns it off.
        flip: Mirror each image left-right with probability 0.5 (wrong for digits).
        cutout: Side in pixels of the square set to zero after normalisation, clipped at borders; 0 turns it off.
    """

    crop_padding: Annotated[int, Field(ge=0)] = 4
    flip: bool = True
    cutout: Annotated[int, Field(ge=0)] = 0


@component
class Recipe:
    """Stochastic gradient descent as in the papers.

    Attributes:
        epochs: E.
        batch_size: Images a step; the last, smaller batch is used too.
        learning_rate: At the start (after warm-up).
        final_learning_rate: Reached by the cosine at the end of the last epoch.
        momentum: Of SGD.
        nesterov: Nesterov's form of momentum.
        weight_decay: L2 factor.
        schedule: Per epoch: ``cosine`` to ``final_learning_rate``; ``step`` multiplies by ``decay`` each epoch;
            ``linear`` is PC-DARTS's: lr (E-5-e)/(E-5), and for the last five epochs lr (E-e)/((E-5) 5).
        decay: Factor of ``step``; without effect otherwise, so any other value is then refused.
        warmup_epochs: The first epochs use lr (e+1)/warmup_epochs of the scheduled rate's start.
        gradient_clip: Largest 2-norm of the gradient; 0 turns it off.
        label_smoothing: As in Szegedy et al. 2016.
        drop_path: Largest drop probability p; epoch e uses p e/E.
        auxiliary_weight: Weight of the auxiliary head's loss; 0 builds none.
        augmentation: Transforms of training images.
    """

    epochs: Annotated[int, Field(ge=1)] = 600
    batch_size: Annotated[int, Field(ge=2)] = 96
    learning_rate: Annotated[float, Field(gt=0)] = 0.025
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4
    schedule: Literal["cosine", "step", "linear"] = "cosine"
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    gradient_clip: Annotated[float, Field(ge=0)] = 5.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.0
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        if self.schedule != "step" and self.decay != 1.0:
            raise ConfigError(f"decay {self.decay} has no effect with schedule {self.schedule!r}; leave it out.")
        if self.schedule != "cosine" and self.final_learning_rate:
            raise ConfigError(f"final_learning_rate has no effect with schedule {self.schedule!r}; leave it out.")
        if self.warmup_epochs >= self.epochs:
            raise ConfigError(f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}.")
        if self.schedule == "linear" and self.epochs <= 5:
            raise ConfigError(f"schedule 'linear' needs more than 5 epochs; {self.epochs} were asked for.")
