"""Images that stand in a dataset more than once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from nasbench.datasets.base import ImageSet


def repeated(first: ImageSet, second: ImageSet | None = None) -> list[tuple[str, str]]:
    """Return pairs of ids of images that have the same pixels: within a set, or of one set and another.

    An image that is stored twice weighs twice in training; one that stands in training and test split makes the test
    easier. Only sets in memory are looked at: of images that stay in their files nothing is read for this.

    Args:
        first: Any set.
        second: Another one, for example the test split.

    Returns:
        (earlier id, later id), or (id in the first, id in the second), in the order of the later ones.

    Example:
        >>> pixels = np.zeros((2, 1, 1, 1), dtype=np.uint8)
        >>> labels = np.array([0, 1])
        >>> twins = ImageSet(images=pixels, labels=labels, ids=("a", "b"), num_classes=2, mean=(0.0,), std=(1.0,))
        >>> repeated(twins)
        [('a', 'b')]
    """
    if not all(isinstance(images.images, np.ndarray) for images in (first, second or first)):
        return []
    seen: dict[bytes, int] = {}
    pairs = []
    for row, key in enumerate(_keys(first)):
        earlier = seen.setdefault(key, row)
        if second is None and earlier != row:
            pairs.append((first.ids[earlier], first.ids[row]))
    if second is None:
        return pairs
    return [(first.ids[seen[key]], second.ids[row]) for row, key in enumerate(_keys(second)) if key in seen]


def _keys(images: ImageSet) -> Sequence[bytes]:
    return [hashlib.sha256(np.ascontiguousarray(pixels).data).digest() for pixels in images.images]  # type: ignore[attr-defined]
