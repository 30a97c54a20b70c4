"""Rows of small images in one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import ComparisonError

_GAP = 2
_SHORT_SIDE = 32
_LONG_SIDE = 64
_PAPER = 255


def montage(rows: Sequence[npt.NDArray[np.uint8]]) -> bytes:
    """Return a PNG of rows of images, each row from the left; equal input gives equal bytes with one Pillow.

    Images are enlarged by whole factors until their shorter side has at least 32 pixels, or averaged down by
    whole factors until it has less than 128. A row that is shorter than the longest ends in paper.

    Args:
        rows: Each uint8 [m, H, W, C] with m >= 1; H, W and C (1 or 3) are the same in all.

    Raises:
        ComparisonError: There is no image, or their sizes differ.
    """
    from PIL import Image

    shapes = {row.shape[1:] for row in rows}
    if len(shapes) != 1 or any(row.ndim != 4 or not len(row) for row in rows):
        raise ComparisonError(f"a montage needs rows of images of one size; seen {[row.shape for row in rows]}.")
    rows = [_shrunk(row) for row in rows]
    height, width, channels = rows[0].shape[1:]
    scale = max(1, -(-_SHORT_SIDE // min(height, width)))
    down, right = scale * height + _GAP, scale * width + _GAP
    longest = max(len(row) for row in rows)
    canvas = np.full((len(rows) * down - _GAP, longest * right - _GAP, channels), _PAPER, dtype=np.uint8)
    for number, row in enumerate(rows):
        for place, image in enumerate(row):
            large = image.repeat(scale, axis=0).repeat(scale, axis=1)
            top, left = number * down, place * right
            canvas[top : top + scale * height, left : left + scale * width] = large
    stream = io.BytesIO()
    Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _shrunk(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Average squares of pixels; what is left over at the lower and right border is cut off."""
    count, height, width, channels = images.shape
    factor = min(height, width) // _LONG_SIDE
    if factor < 2:
        return images
    down, right = height // factor, width // factor
    cut = images[:, : down * factor, : right * factor]
    means = cut.reshape(count, down, factor, right, factor, channels).mean(axis=(2, 4))
    return np.asarray(np.round(means), dtype=np.uint8)
