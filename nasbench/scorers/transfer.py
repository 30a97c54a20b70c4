"""Training a new head on a pretrained backbone, and the model's place in a folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from nasbench.core.errors import CheckpointError, ConfigError
from nasbench.core.seeding import derive_seed
from nasbench.datasets.base import ImageSet
from nasbench.models import timm_zoo
from nasbench.models.state_dict import fit_state_dict, read_model_file
from nasbench.models.transfer import TransferNet
from nasbench.models.zoo import TIMM_PREFIX
from nasbench.scorers.base import ComputeOptions
from nasbench.scorers.classifier import normalised
from nasbench.scorers.inference import num_outputs
from nasbench.scorers.stored import CURE, load_description, load_weights, save_model
from nasbench.tracking.tracker import Tracker
from nasbench.training.determinism import seeded
from nasbench.training.trainer import fit

if TYPE_CHECKING:
    from nasbench.scorers.transfer_loss import TransferLoss


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """What is written beside the weights.

    Attributes:
        model: Name of the backbone.
        num_classes: K.
        image_shape: (C, H, W).
        input_mean: What inputs are normalised by, per channel.
        input_std: Likewise.
        dataset: Fingerprint of the training split.
        top1: Accuracy on the test split in [0, 1].
        epochs: How long the head was trained.
    """

    model: str
    num_classes: int
    image_shape: tuple[int, int, int]
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    dataset: str
    top1: float
    epochs: int


def train_transfer(
    scorer: TransferLoss,
    train: ImageSet,
    test: ImageSet,
    folder: Path,
    *,
    seed: int,
    compute: ComputeOptions,
    tracker: Tracker,
) -> dict[str, Any]:
    """Train the head and write the whole model into the folder; see `TransferLoss.train`."""
    state = None if scorer.weights is None else read_model_file(scorer.weights).state
    frozen = scorer.variant == "paper"
    with seeded(derive_seed(seed, scorer.name, "weights")):
        backbone = timm_zoo.backbone(scorer.backbone.removeprefix(TIMM_PREFIX), train.image_shape[0], state)
        mean, std = _statistics(backbone, train, scorer.variant)
        model = _network(scorer.backbone, backbone, train.image_shape, train.num_classes, frozen_statistics=frozen)
    result = fit(
        model,
        normalised(train, mean, std),
        normalised(test, mean, std),
        replace(scorer.recipe, epochs=scorer.trained_epochs),
        seed=derive_seed(seed, scorer.name, "training"),
        device=compute.device,
        amp=compute.amp,
        checkpoint=compute.checkpoint,
        tracker=tracker,
        description=f"training a head on {scorer.backbone}",
        identity={
            "backbone": scorer.backbone,
            "variant": scorer.variant,
            "input_mean": list(mean),
            "input_std": list(std),
        },
    )
    description = Transferred(
        model=scorer.backbone,
        num_classes=train.num_classes,
        image_shape=train.image_shape,
        input_mean=mean,
        input_std=std,
        dataset=train.fingerprint,
        top1=result.top1,
        epochs=scorer.trained_epochs,
    )
    save_model(folder, model, asdict(description))
    names = ("top1", "best_top1", "parameters", "macs", "seconds", "peak_memory_bytes")
    return {name: getattr(result, name) for name in names}


def load_transfer(folder: Path, images: ImageSet) -> tuple[TransferNet, Transferred]:
    """Read the model of a folder.

    Raises:
        CheckpointError: It is absent, truncated, altered, or made for images of another shape or other classes.
    """
    value, stamp = load_description(folder, "transferred classifier")
    try:
        description = Transferred(**value)
    except TypeError as error:
        raise CheckpointError(f"{folder} holds no transferred classifier ({error}). {CURE}") from error
    if description.image_shape != images.image_shape or description.num_classes != images.num_classes:
        raise CheckpointError(
            f"the classifier in {folder} is for images {description.image_shape} of {description.num_classes} "
            f"classes, not for {images.image_shape} of {images.num_classes}. Train one on this dataset."
        )
    name = description.model.removeprefix(TIMM_PREFIX)
    with seeded(0):  # the weights that it begins with are drawn, and then replaced
        backbone = timm_zoo.create(name, 0, images.image_shape[0], pretrained=False)
        model = _network(description.model, backbone, images.image_shape, images.num_classes, frozen_statistics=True)
    fit_state_dict(model, load_weights(folder, stamp).state)
    return model, description


def _statistics(backbone: nn.Module, images: ImageSet, variant: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = images.image_shape[0]
    if variant == "code":
        return (0.0,) * channels, (1.0,) * channels
    mean, std = timm_zoo.statistics(backbone)
    return (mean, std) if channels == len(mean) else (images.mean, images.std)


def _network(
    name: str, backbone: nn.Module, image_shape: tuple[int, int, int], num_classes: int, *, frozen_statistics: bool
) -> TransferNet:
    try:
        width = num_outputs(backbone, image_shape)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"backbone: {name!r} does not take images of (C, H, W) = {image_shape} ({reason}). Choose another "
            f"backbone or image size."
        ) from error
    return TransferNet(backbone, width, num_classes, frozen_statistics=frozen_statistics)
