"""Classifiers: building, normalising what they are given, and keeping them in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from nasbench.core.errors import CheckpointError, ConfigError
from nasbench.datasets.base import ImageSet
from nasbench.models import zoo
from nasbench.models.state_dict import fit_state_dict
from nasbench.scorers.stored import CURE, load_description, load_weights, save_model
from nasbench.training.cost import Cost, measure
from nasbench.training.determinism import seeded


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """What is written beside the weights.

    Attributes:
        model: Name, see ``models.zoo``.
        num_classes: K of the model, at least the dataset's.
        image_shape: (C, H, W) of the images it was made for.
        input_mean: What inputs are normalised by, per channel, of images scaled to [0, 1].
        input_std: Likewise.
        dataset: Fingerprint of the training split.
        top1: Accuracy on the test split in [0, 1], or None where it was not measured.
    """

    model: str
    num_classes: int
    image_shape: tuple[int, int, int]
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    dataset: str
    top1: float | None


def build(
    name: str, image_shape: tuple[int, int, int], num_classes: int, *, seed: int = 0, pretrained: bool = False
) -> tuple[nn.Module, Cost]:
    """Build a classifier and try it on one blank image.

    Args:
        name: See ``models.zoo``.
        image_shape: (C, H, W).
        num_classes: K.
        seed: Of the weights; PyTorch's default generator is left as it was.
        pretrained: Begin with timm's published weights.

    Returns:
        The model, and what it costs.

    Raises:
        ConfigError: No such model, or it does not take images of this shape.
        CheckpointError: Pretrained weights cannot be fetched.
    """
    with seeded(seed):
        model = zoo.create(name, num_classes, image_shape[0], pretrained=pretrained)
    try:
        return model, measure(model, image_shape)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model: {name!r} does not take images of (C, H, W) = {image_shape} ({reason}). "
            f"Choose another model or image size."
        ) from error


def normalised(images: ImageSet, mean: Sequence[float], std: Sequence[float]) -> ImageSet:
    """Return the same images with another mean and std.

    Raises:
        ConfigError: They are not one number a channel.
    """
    channels = images.image_shape[0]
    if len(mean) != channels or len(std) != channels:
        raise ConfigError(
            f"input_mean {tuple(mean)} and input_std {tuple(std)} must have one number for each of the images' "
            f"{channels} channel(s)."
        )
    return dataclasses.replace(images, mean=tuple(mean), std=tuple(std))


def save_classifier(folder: Path, model: nn.Module, description: Classifier) -> None:
    """Write the weights and then the description; equal models give equal bytes.

    Raises:
        FileWriteError: The folder cannot be written.
    """
    save_model(folder, model, dataclasses.asdict(description))


def load_classifier(folder: Path, images: ImageSet) -> tuple[nn.Module, Classifier]:
    """Read the classifier of a folder.

    Args:
        folder: Written by `save_classifier`.
        images: What is to be classified.

    Raises:
        CheckpointError: It is absent, truncated, altered, or made for images of another shape or fewer classes.
    """
    value, stamp = load_description(folder, "trained classifier")
    try:
        description = Classifier(**value)
    except TypeError as error:
        raise CheckpointError(f"{folder} holds no trained classifier ({error}). {CURE}") from error
    if description.image_shape != images.image_shape or description.num_classes < images.num_classes:
        raise CheckpointError(
            f"the classifier in {folder} is for images {description.image_shape} of {description.num_classes} "
            f"classes, not for {images.image_shape} of {images.num_classes}. Train one on this dataset."
        )
    file = load_weights(folder, stamp)
    model, _ = build(description.model, description.image_shape, description.num_classes)
    fit_state_dict(model, file.state)
    return model, description
