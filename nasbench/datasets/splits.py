"""Plain parts that several datasets share: split names, a fixed stratified split, channel statistics."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError, nearest

LOG = logging.getLogger(__name__)

SPLITS = ("train", "test")
"""The two splits that every dataset has."""


def check_split(dataset: str, split: str) -> None:
    """Refuse a split that is neither ``train`` nor ``test``.

    Raises:
        DatasetError: Another name.
    """
    if split not in SPLITS:
        raise DatasetError(f"{dataset}: there is no split {split!r}; known are train and test.{nearest(split, SPLITS)}")


def report_count(dataset: str, part: str, found: int, published: int) -> None:
    """Log a warning where a copy of a dataset has another number of images than the published one.

    A part of a set is a set too; but it should not be taken for the whole without notice.
    """
    if found != published:
        LOG.warning("%s: %s has %d images; published are %d", dataset, part, found, published)


def stratified_test_rows(labels: npt.NDArray[np.int64], test_size: int) -> npt.NDArray[np.int64]:
    """Choose the rows of a test split that keeps the shares of the classes; nothing is drawn at random.

    Class c with n_c of n examples gives floor(test_size n_c / n) of them, and the classes with the largest
    remainders one more (ties: the lower class) until ``test_size`` is reached. Of its n_c rows in file order
    it gives those at the places floor((j + 0.5) n_c / m_c), j = 0 to m_c - 1: evenly spread over the file, as
    neighbours in these files often come from one writer.

    Args:
        labels: int64 [n].
        test_size: Rows of the test split, at least the number of classes and below n.

    Returns:
        int64 [test_size], sorted and unique.

    Raises:
        DatasetError: A class would be left without a test or without a training example.

    Example:
        >>> stratified_test_rows(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 2)
        array([2, 6])
    """
    classes, counts = np.unique(labels, return_counts=True)
    exact = test_size * counts / len(labels)
    quotas = np.floor(exact).astype(np.int64)
    order = np.lexsort((classes, -(exact - quotas)))
    quotas[order[: test_size - int(quotas.sum())]] += 1
    if int(quotas.min()) < 1 or bool(np.any(quotas >= counts)) or int(quotas.sum()) != test_size:
        raise DatasetError(
            f"test_size {test_size} of {len(labels)} examples leaves a class without test or training "
            f"examples. Choose one nearer to the middle."
        )
    rows = [
        np.flatnonzero(labels == cls)[((np.arange(quota) + 0.5) * count / quota).astype(np.int64)]
        for cls, count, quota in zip(classes, counts, quotas, strict=True)
    ]
    return np.sort(np.concatenate(rows)).astype(np.int64)


def split_rows(labels: npt.NDArray[np.int64], test_size: int, split: str) -> npt.NDArray[np.int64]:
    """Return the rows of one split of `stratified_test_rows`, sorted; the rest of the rows is ``train``."""
    test = stratified_test_rows(labels, test_size)
    return test if split == "test" else np.setdiff1d(np.arange(len(labels), dtype=np.int64), test)


def share_rows(labels: npt.NDArray[np.int64], rule: Literal["40-40-20", "50-50"], split: str) -> npt.NDArray[np.int64]:
    """Return the rows of one split of a rule that divides every class alike; nothing is drawn at random.

    ``"40-40-20"`` is NASTransfer's (section "Datasets and Proxy Sets"): of the n_c images of class c the test split
    gets ceil(n_c / 5). The other 80 % are ``train``, whose two halves, 40 % each, are the weight half and the alpha
    half of a proxy. ``"50-50"``: the test split gets floor(n_c / 2). A class of one image trains.

    The paper says neither how it rounds nor how it draws. Rounded up, the test share lies a little above 20 %, as do
    the 1,682 of 8,189 images in the Flowers102 lists that its Table 1 agrees with. The test images are spread evenly
    over each class in row order, at the places floor((j + 0.5) n_c / m_c).

    Args:
        labels: int64 [n], from 0.
        rule: See above.
        split: ``train`` or ``test``.

    Returns:
        int64, sorted.

    Raises:
        DatasetError: There are fewer images than two, or every class has one image only.

    Example:
        >>> share_rows(np.array([0, 0, 0, 0, 0, 1, 1]), "40-40-20", "test")
        array([2, 6])
    """
    counts = np.bincount(labels)
    parts = (counts + 4) // 5 if rule == "40-40-20" else counts // 2
    parts = np.minimum(parts, np.maximum(counts - 1, 0))  # [K]
    if not parts.sum():
        raise DatasetError(
            f"split_rule: {len(labels)} images in {np.count_nonzero(counts)} classes leave none for the test split; "
            f"some class needs at least 2."
        )
    order = np.argsort(labels, kind="stable")
    cls = np.repeat(np.arange(len(counts)), parts)  # [M], class of each test image
    number = np.arange(len(cls)) - np.repeat(np.cumsum(parts) - parts, parts)  # j
    place = (2 * number + 1) * counts[cls] // (2 * parts[cls])
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[order[(np.cumsum(counts) - counts)[cls] + place]] = True
    return np.flatnonzero(chosen if split == "test" else ~chosen).astype(np.int64)


def channel_statistics(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and (population) standard deviation of each channel, of images scaled to [0, 1].

    Both come from the exact counts of the 256 values, in float64; no copy of the images is made in float.

    Args:
        images: uint8 [n, H, W, C], n at least 1.

    Raises:
        DatasetError: A channel has the same value everywhere, so that it cannot be normalised.
    """
    levels = np.arange(256, dtype=np.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
        mean = float(levels @ counts)
        deviation = float(np.sqrt((levels - mean) ** 2 @ counts))
        if np.count_nonzero(counts) < 2:
            raise DatasetError(
                f"channel {channel} has one value in all {len(images)} images, so it cannot be normalised. "
                f"Check the images, or give mean and std."
            )
        means.append(mean)
        deviations.append(deviation)
    return tuple(means), tuple(deviations)
