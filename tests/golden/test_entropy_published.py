"""The published ResNet-20 (test accuracy 91.73 %, README of the real data) on real CIFAR-10 test images."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasbench.datasets.base import ImageSet
from nasbench.datasets.image_folder import ImageFolder
from nasbench.models import zoo
from nasbench.models.state_dict import fit_state_dict, read_model_file
from nasbench.scorers.base import ComputeOptions
from nasbench.scorers.entropy import Entropy
from nasbench.scorers.logits import entropies, entropy_from_logits
from nasbench.scorers.trained import IMAGENET_MEAN, IMAGENET_STD
from nasbench.tracking.tracker import NullTracker

EVERY = 10
MEASURED = 0.9320
"""Accuracy on every tenth of the subset's 5,000 test images, measured with this code; on all 5,000 it is 0.9178."""


@pytest.fixture(scope="module")
def root(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar10")
    with tarfile.open(shared_data / "cifar10-subset.tar.gz") as archive:
        members = sorted((m for m in archive if m.isfile() and "/test/" in m.name), key=lambda m: m.name)
        archive.extractall(folder, members[::EVERY], filter="data")
    return folder / "cifar10-subset"


@pytest.mark.shared
@pytest.mark.slow
def test_published_resnet20_has_its_accuracy_and_unsure_images_are_the_wrong_ones(root, shared_data, tmp_path):
    images = ImageFolder(mean=(0.5,) * 3, std=(0.25,) * 3).load("test", root=root)
    assert len(images) == 500
    scorer = Entropy(weights=str(shared_data / "cifar10-resnet20-12fca82f.th"))
    metrics = scorer.train(images, images, tmp_path, seed=0, compute=ComputeOptions(), tracker=NullTracker())
    assert metrics["top1"] == pytest.approx(MEASURED, abs=0.0015)
    assert abs(metrics["top1"] - 0.9173) < 2 * np.sqrt(0.9173 * (1 - 0.9173) / len(images))
    assert (metrics["parameters"], metrics["macs"]) == (269_722, 40_551_040)

    entropy = scorer.score(images, tmp_path, compute=ComputeOptions(), tracker=NullTracker()).columns["entropy"]
    # Test images; of the published list of training images the median is 2.777e-05 and the largest value 1.6128
    # (facts/differentiable_search.md, section 2).
    assert 1e-5 < np.median(entropy) < 1e-3
    assert 0 <= entropy.min() < 1e-9
    assert 1.0 < entropy.max() < np.log(10)


# Proxy-data paper's list of all 50,000 training images, bins of half a decade from 1e-21 to 10^0.5
# (facts/differentiable_search.md, section 2).
PUBLISHED_COUNTS = [
    1, 0, 0, 0, 0, 0, 1, 3, 3, 4, 6, 15, 11, 27, 40, 62, 131, 168, 288, 373, 495, 602, 874, 1057, 1332, 1674, 1940,
    2260, 2468, 2655, 2831, 3088, 2989, 3276, 3408, 3439, 3442, 3239, 2892, 2329, 1600, 949, 28,
]  # fmt: skip
PUBLISHED_MEAN, PUBLISHED_MEDIAN, PUBLISHED_MAX = 0.02108, 2.777e-05, 1.6128


@pytest.fixture(scope="module")
def official(shared_data: Path) -> ImageSet:
    """Every other of the 4,000 training images of the subset whose official index is known."""
    pixels = []
    with tarfile.open(shared_data / "cifar10-subset.tar.gz") as archive:
        members = [member for member in archive if member.isfile() and "/official_" in member.name]
        assert len(members) == 4000
        for member in members[::2]:
            file = archive.extractfile(member)
            pixels.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
    count = len(pixels)
    ids, labels = tuple(map(str, range(count))), np.zeros(count, dtype=np.int64)
    return ImageSet(
        images=np.stack(pixels), labels=labels, ids=ids, num_classes=10, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )


@pytest.fixture(scope="module")
def found(official: ImageSet, shared_data: Path) -> np.ndarray:
    return entropies(given_model(shared_data), official, batch_size=64, device=torch.device("cpu"))


def given_model(shared_data: Path) -> torch.nn.Module:
    with torch.random.fork_rng():
        model = zoo.create("resnet20", 10, 3).eval()
    fit_state_dict(model, read_model_file(shared_data / "cifar10-resnet20-12fca82f.th").state)
    return model


@pytest.mark.shared
@pytest.mark.slow
def test_entropies_of_training_images_are_distributed_as_the_published_ones(found):
    """The list was made with another ResNet-20 of the same accuracy; 2,000 of its 50,000 images are a sample of it."""
    assert len(found) == 2000
    assert abs(found.mean() - PUBLISHED_MEAN) < 3 * found.std() / np.sqrt(len(found))
    logs = np.log10(found)
    assert abs(np.median(logs) - np.log10(PUBLISHED_MEDIAN)) < 3 * 1.2533 * logs.std() / np.sqrt(len(found))
    assert found.max() <= PUBLISHED_MAX
    counts, _ = np.histogram(logs, bins=np.linspace(-21, 0.5, len(PUBLISHED_COUNTS) + 1))
    assert counts.sum() == len(found)
    expected = np.array(PUBLISHED_COUNTS) * len(found) / 50_000
    filled = expected >= 5
    chi_square = float(((counts - expected)[filled] ** 2 / expected[filled]).sum())
    freedom = int(filled.sum()) - 1
    assert (freedom, chi_square < freedom + 3 * np.sqrt(2 * freedom)) == (25, True)


@pytest.mark.shared
def test_the_fast_pass_is_within_one_hundred_thousandth_of_a_decade_of_a_plain_loop(official, found, shared_data):
    rows = np.arange(0, 2000, 10)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (official.mean, official.std))
    pixels = torch.tensor(official.images[rows]).permute(0, 3, 1, 2).contiguous().float().div(255)
    with torch.no_grad():
        wanted = entropy_from_logits(given_model(shared_data)((pixels - mean) / std)).numpy()
    assert np.abs(np.log10(found[rows]) - np.log10(wanted)).max() <= 1e-5
