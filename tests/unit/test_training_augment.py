"""From a genotype to a trained network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from nasbench.core.errors import CheckpointError, ConfigError, GenotypeError
from nasbench.core.genotype import Genotype
from nasbench.datasets.base import ImageSet
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.darts import Darts
from nasbench.training.augment import augment_cell, check_shape
from nasbench.training.recipe import Augmentation, Recipe

SPACE = Darts()
SHAPE = NetworkShape(num_cells=3, channels=2, num_classes=3, in_channels=1, image_size=8)
RECIPE = Recipe(epochs=1, batch_size=8, augmentation=Augmentation(crop_padding=1, flip=False))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return ImageSet(
        images=rng.integers(0, 256, (24, 8, 8, 1), dtype=np.uint8),
        labels=rng.integers(0, 3, 24),
        ids=tuple(map(str, range(24))),
        num_classes=3,
        mean=(0.5,),
        std=(0.3,),
    )


def test_a_cell_is_trained_reproducibly_and_its_cost_is_that_of_the_network(images):
    genotype = SPACE.sample(np.random.default_rng(0))
    first = augment_cell(SPACE, genotype, SHAPE, images, images, RECIPE, seed=0)
    torch.rand(3)
    second = augment_cell(SPACE, genotype, SHAPE, images, images, RECIPE, seed=0)
    other = augment_cell(SPACE, genotype, SHAPE, images, images, RECIPE, seed=1)
    assert first.history == second.history != other.history
    want = sum(value.numel() for value in SPACE.network(genotype, SHAPE).parameters())
    assert first.parameters == want
    assert first.macs > 0


def test_drop_path_and_auxiliary_head_of_the_recipe_reach_the_network(images):
    genotype = SPACE.sample(np.random.default_rng(1))
    wide = NetworkShape(num_cells=3, channels=2, num_classes=3, in_channels=1, image_size=8)
    plain = augment_cell(SPACE, genotype, wide, images, images, dataclasses.replace(RECIPE, epochs=2), seed=0)
    dropped = dataclasses.replace(RECIPE, epochs=2, drop_path=0.5)
    assert augment_cell(SPACE, genotype, wide, images, images, dropped, seed=0).history != plain.history


def test_a_checkpoint_of_another_cell_is_refused(images, tmp_path):
    def run(genotype):
        return augment_cell(SPACE, genotype, SHAPE, images, images, RECIPE, seed=0, checkpoint=tmp_path / "c.pt")

    pools = [0] * 24
    run(Genotype(space="darts", genes=tuple(pools)))
    pools[1] = 1  # average instead of max pooling: the weights have the same shapes
    with pytest.raises(CheckpointError, match="genotype is"):
        run(Genotype(space="darts", genes=tuple(pools)))


@pytest.mark.parametrize("field", ["num_classes", "in_channels", "image_size"])
def test_a_network_that_does_not_fit_the_images_is_refused(images, field):
    with pytest.raises(ConfigError, match=f"{field}: 5 does not fit"):
        check_shape(dataclasses.replace(SHAPE, **{field: 5}), images)


def test_images_that_are_not_square_are_refused(images):
    flat = ImageSet(
        images=images.images[:, :6], labels=images.labels, ids=images.ids, num_classes=3, mean=(0.5,), std=(0.3,)
    )
    with pytest.raises(ConfigError, match="6x8 are not square"):
        check_shape(SHAPE, flat)


def test_wrong_genotypes_and_ineffective_auxiliary_heads_are_refused(images):
    with pytest.raises(GenotypeError, match="space 'other'"):
        augment_cell(SPACE, Genotype(space="other", genes=()), SHAPE, images, images, RECIPE, seed=0)
    genotype = SPACE.sample(np.random.default_rng(0))
    headed = dataclasses.replace(SHAPE, auxiliary=True)
    with pytest.raises(ConfigError, match="auxiliary: true has no effect"):
        augment_cell(SPACE, genotype, headed, images, images, RECIPE, seed=0)
