"""Plain parts that several datasets share: split names, a fixed stratified split, channel statistics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import DatasetError, nearest

SPLITS = ("train", "test")
"""The two splits that every dataset has."""


def check_split(dataset: str, split: str) -> None:
    """Refuse a split that is neither ``train`` nor ``test``.

    Raises:
        DatasetError: Another name.
    """
    if split not in SPLITS:
        raise DatasetError(f"{dataset}: there is no split {split!r}; known are train and test.{nearest(split, SPLITS)}")


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
