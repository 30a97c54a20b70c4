"""Augment a cell: build the network around it and train it from scratch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nasbench.config.component import fields_of
from nasbench.core.errors import ConfigError
from nasbench.core.genotype import Genotype
from nasbench.core.seeding import derive_seed
from nasbench.datasets.base import ImageSet
from nasbench.spaces.base import NetworkShape, SearchSpace
from nasbench.tracking.tracker import NullTracker, Tracker
from nasbench.training.determinism import seeded
from nasbench.training.recipe import Recipe
from nasbench.training.result import TrainResult
from nasbench.training.trainer import fit


def check_shape(shape: NetworkShape, images: ImageSet) -> None:
    """Refuse a network that cannot take these images.

    Raises:
        ConfigError: Classes, channels or side differ, or the images are not square.
    """
    channels, height, width = images.image_shape
    if height != width:
        raise ConfigError(f"images of {height}x{width} are not square; prepare them with one image_size.")
    wanted = {"num_classes": images.num_classes, "in_channels": channels, "image_size": height}
    for name, value in wanted.items():
        if getattr(shape, name) != value:
            raise ConfigError(f"{name}: {getattr(shape, name)} does not fit the images; they need {value}.")


def augment_cell(
    space: SearchSpace,
    genotype: Genotype,
    shape: NetworkShape,
    train: ImageSet,
    test: ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    amp: bool = False,
    checkpoint: Path | None = None,
    tracker: Tracker = NullTracker(),  # noqa: B008 - frozen and without state
    description: str = "",
) -> TrainResult:
    """Train the discrete network of a genotype from scratch.

    The recipe decides on the auxiliary head: one is attached where ``auxiliary_weight`` is above 0.

    Args:
        space: The genotype's space.
        genotype: The cell.
        shape: Size of the network; classes, channels and side must be those of the images.
        train: Training split of the target.
        test: Test split of the target.
        recipe: How to train; compare cells only within one recipe.
        seed: Initial weights, data order, augmentation and drop path derive from it.
        device: See `nasbench.training.trainer.fit`, as for all that follows.
        amp: bfloat16 on CUDA.
        checkpoint: File to resume from.
        tracker: Gets the curves.
        description: In front of the progress bar.

    Raises:
        GenotypeError: The genotype is not of the space.
        ConfigError: The shape does not fit the images, or an auxiliary head is built that no loss trains.
        CheckpointError: See `nasbench.training.trainer.fit`.
        TrainingError: Likewise.
    """
    space.check(genotype)
    check_shape(shape, train)
    check_shape(shape, test)
    if shape.auxiliary and not recipe.auxiliary_weight:
        raise ConfigError("auxiliary: true has no effect while auxiliary_weight is 0. Set auxiliary_weight, as 0.4.")
    shape = dataclasses.replace(shape, auxiliary=recipe.auxiliary_weight > 0)
    with seeded(derive_seed(seed, "weights")):
        model = space.network(genotype, shape)
    identity = {"genotype": genotype.fingerprint, "space": fields_of(space), "shape": fields_of(shape)}
    return fit(
        model,
        train,
        test,
        recipe,
        seed=seed,
        device=device,
        amp=amp,
        checkpoint=checkpoint,
        tracker=tracker,
        description=description,
        identity=identity,
    )
