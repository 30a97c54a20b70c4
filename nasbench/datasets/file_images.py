"""What the datasets of image files share: index, memory or lazy, statistics."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError, DatasetError
from nasbench.datasets.base import DatasetSpec, ImageSet, Pixels
from nasbench.datasets.image_files import ImageReader, read_images
from nasbench.datasets.index import FileIndex, with_checksums
from nasbench.datasets.lazy import LazyImages, sample_rows
from nasbench.datasets.splits import channel_statistics

IN_MEMORY_BYTES = 2**30
"""Up to how many bytes of pixels a split is held in memory where ``in_memory`` is None: 1 GiB."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's training images, as published models take them."""

_FIRST = 100

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@component
class FileImages(DatasetSpec):
    """A dataset of image files.

    Attributes:
        image_size: Side in pixels of the middle square every image is scaled to.
        in_memory: Hold the pixels in memory (True), or decode files whenever their rows are needed (False). None
            decides for each split by its size: in memory up to 1 GiB of pixels.
        checksum: Keep the SHA-256 of every file in the index and compare it whenever a file is read, so that any
            change is noticed, not only another size. Needs in_memory false: else each file is read once only.
    """

    image_size: Annotated[int, Field(ge=1)] | None = 224
    in_memory: bool | None = None
    checksum: bool = False

    def __post_init__(self) -> None:
        if self.checksum and self.in_memory is not False:
            raise ConfigError(
                f"checksum: it has an effect with in_memory: false only, not with {self.in_memory}. Set in_memory to "
                f"false, or leave checksum out."
            )

    @abstractmethod
    def index(self, split: str, root: Path) -> FileIndex:
        """Return the files of a split; no pixel is read.

        Raises:
            DatasetError: Unknown split, absent or wrong files.
        """

    def published_statistics(self) -> Statistics | None:
        """Return the mean and std that are published or given, or None to compute them from the training images."""
        return None

    def num_channels(self) -> int:
        """Return C."""
        return 3

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are the paths of the files below the folder that holds them.

        Mean and std, where none are published or given, come from all training images where those are held in
        memory, else from 2,000 evenly spaced ones.

        Args:
            split: ``train`` or ``test``.
            root: Folder of the files.
            download: Without effect, unless the member says otherwise.

        Raises:
            DatasetError: See the class.
        """
        del download
        index = self.index(split, root)
        images = self._held(with_checksums(index) if self.checksum else index)
        mean, std = self.published_statistics() or self._statistics(split, root, images)
        return ImageSet(
            images=images,
            labels=index.labels,
            ids=index.paths if isinstance(images, LazyImages) else tuple(index.paths),
            num_classes=len(index.classes),
            mean=mean,
            std=std,
        )

    def _held(self, index: FileIndex) -> Pixels:
        """Return the pixels in memory, or as files."""
        reader = ImageReader(index, channels=self.num_channels(), image_size=self.image_size)
        held = self.in_memory
        if held is None:
            held = _pixel_bytes(reader) <= IN_MEMORY_BYTES
        if held:
            return read_images(reader, np.arange(len(index)))
        return LazyImages(index, channels=self.num_channels(), image_size=self.image_size)

    def _statistics(self, split: str, root: Path, images: Pixels) -> Statistics:
        reference = images if split == "train" else self._held(self.index("train", root))
        if reference.shape[1:] != images.shape[1:]:
            raise DatasetError(
                f"{root}: images of train are {reference.shape[1]}x{reference.shape[2]}, those of {split} "
                f"are {images.shape[1]}x{images.shape[2]}. Set image_size to bring all to one size."
            )
        whole = isinstance(reference, np.ndarray)
        return channel_statistics(reference[:] if whole else reference[sample_rows(len(reference))])


def _pixel_bytes(reader: ImageReader) -> int:
    """Return what the pixels of all files would take; 0 where none of the first can be read, which tells why."""
    side, channels = reader.image_size, reader.channels
    if side is not None:
        return len(reader.index) * side * side * channels
    first = (reader.read(row) for row in range(min(len(reader.index), _FIRST)))
    size = next((image.nbytes for image in first if not isinstance(image, str)), 0)
    return len(reader.index) * size
