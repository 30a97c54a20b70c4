"""How hard each example is for a classifier that learned to see on ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError
from nasbench.core.table import ExampleTable
from nasbench.datasets.base import ImageSet
from nasbench.models.zoo import TIMM_PREFIX, check_name
from nasbench.scorers import SCORERS
from nasbench.scorers.base import ComputeOptions, ExampleScorer
from nasbench.scorers.trained import check_recipe
from nasbench.tracking.tracker import Tracker
from nasbench.training.recipe import Augmentation, Recipe

TRANSFER = Recipe(
    epochs=75,
    batch_size=128,
    learning_rate=1e-3,
    weight_decay=3e-4,
    schedule="step",
    gradient_clip=0.0,
    augmentation=Augmentation(crop_padding=0, flip=False),
)
"""The head's training in the paper's code: momentum 0.9, a constant rate, no augmentation."""


@SCORERS.register
@component
class TransferLoss(ExampleScorer):
    """Loss of an ImageNet-pretrained backbone with a new head trained on the data, for every training example.

    Formula: L(phi(x), y) = -log P(y | x), with phi a frozen backbone trained on ImageNet under a head trained here.
    Reference: Moser, Raue, Hees and Dengel, "Less is more: proxy datasets in NAS approaches", CVPR workshops 2022,
    arXiv:2203.06905, section 3.3.3, equation 7.
    Differs from the paper: its text names neither backbone nor training; ResNet-18, head and recipe are those of its
    code. The code has three slips, which ``variant="code"`` repeats: it scores with the weights after epoch 50 of 75,
    does not normalise its inputs as ImageNet's were, and lets the batch normalisations of the frozen backbone
    follow the data. timm's weights are not torchvision's of 2022.

    Attributes:
        backbone: ``timm:NAME``.
        weights: A file of the backbone's ImageNet weights (a state dict of PyTorch, or safetensors; a classifier
            in it is left out), or None to take timm's, which are fetched over the network where they are not cached.
        variant: ``paper``: the last weights, ImageNet's normalisation, a wholly frozen backbone; ``code``: the weights
            after two thirds of the epochs (which needs a constant rate), pixels in [0, 1], statistics that follow.
        recipe: How the head is trained.
        batch_size: Images a step while scoring.

    Shape: images [n, H, W, C] -> column ``transfer_loss`` float64 [n], nats, at least 0.
    Raises: ConfigError for options that cannot go together; CheckpointError for weights that cannot be had or do not
        fit; TrainingError and ScoreError for a loss that is not finite.

    Example:
        >>> TransferLoss(variant="code").trained_epochs
        50
    """

    name: ClassVar[str] = "transfer-loss"
    columns: ClassVar[tuple[str, ...]] = ("transfer_loss",)

    backbone: str = "timm:resnet18"
    weights: Annotated[str, Field(min_length=1)] | None = None
    variant: Literal["paper", "code"] = "paper"
    recipe: Recipe = TRANSFER
    batch_size: Annotated[int, Field(ge=1)] = 64

    def __post_init__(self) -> None:
        check_name(self.backbone)
        if not self.backbone.startswith(TIMM_PREFIX):
            raise ConfigError(
                f"backbone: {self.backbone!r} has no ImageNet weights here; name one of timm's, for example "
                f"'timm:resnet18'."
            )
        check_recipe(self.backbone, self.recipe)
        constant = self.recipe.schedule == "step" and self.recipe.decay == 1.0 and not self.recipe.warmup_epochs
        if self.variant == "code" and not constant:
            raise ConfigError(
                f"variant: 'code' stops after two thirds of the epochs, which needs a constant learning rate (schedule "
                f"'step', decay 1, warmup_epochs 0), not schedule {self.recipe.schedule!r}."
            )

    @property
    def trained_epochs(self) -> int:
        """Epochs after which the weights are taken."""
        return self.recipe.epochs if self.variant == "paper" else max(1, self.recipe.epochs * 2 // 3)

    def train(
        self, train: ImageSet, test: ImageSet, folder: Path, *, seed: int, compute: ComputeOptions, tracker: Tracker
    ) -> Mapping[str, Any]:
        """Train the head; write ``weights.pt`` (backbone and head) and ``model.json``.

        Returns:
            ``top1`` and ``best_top1`` on the test split, ``parameters`` (of the head), ``macs``, ``seconds`` and
            ``peak_memory_bytes``.
        """
        from nasbench.scorers.stored import DESCRIPTION
        from nasbench.scorers.transfer import train_transfer

        metrics = train_transfer(self, train, test, folder, seed=seed, compute=compute, tracker=tracker)
        tracker.log_artifact(folder / DESCRIPTION, "scorer")
        return metrics

    def score(self, images: ImageSet, folder: Path, *, compute: ComputeOptions, tracker: Tracker) -> ExampleTable:
        """Classify every image with the model that lies in the folder, without augmentation."""
        from nasbench.scorers.classifier import normalised
        from nasbench.scorers.logits import losses
        from nasbench.scorers.transfer import load_transfer
        from nasbench.training.determinism import device_of

        model, description = load_transfer(folder, images)
        values = losses(
            model,
            normalised(images, description.input_mean, description.input_std),
            batch_size=self.batch_size,
            device=device_of(compute.device),
            checkpoint=compute.checkpoint,
            identity={"scorer": self.name, "model": description.model},
        )
        tracker.tag("scorer.model", description.model)
        return ExampleTable(
            dataset=images.fingerprint,
            labels=np.array(images.labels, dtype=np.int64),
            columns={"transfer_loss": values},
            ids=images.ids,
        )
