"""Any folder of class folders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError, DatasetError, nearest
from nasbench.datasets import DATASETS
from nasbench.datasets.file_images import FileImages, Statistics
from nasbench.datasets.index import FileIndex
from nasbench.datasets.tree import class_names, list_tree, name_some


@DATASETS.register
@component
class ImageFolder(FileImages):
    """Images in ``ROOT/SPLIT/CLASS/``.

    Classes are the sorted folder names of ``train``, rows are sorted by path. Splits are ``train`` and
    ``test``; another folder below the root may be named instead, for scoring. What is not right stops the
    load with one error that names the files: nothing is skipped in silence. Mean and std of every split are
    those of the training images (so that ``train`` is read for another split too, unless they are given).

    Reference: the layout is the one of torchvision's ImageFolder; the reading is our own.
    Differs from the paper: there is no paper.

    Attributes:
        image_size: Side in pixels of the middle square every image is scaled to; None takes images as they
            are, which then must be of one size.
        channels: 3 for RGB, 1 for grey.
        mean: Per channel, of images scaled to [0, 1]; None computes it (float64) from the training images: from
            all of them in memory, else from 2,000 evenly spaced ones.
        std: Likewise; given together with mean.

    Shape: images uint8 [n, H, W, channels].
    Raises: DatasetError for absent folders, one class, an empty class, a class that ``train`` lacks, broken
        files, differing sizes, links out of the root; ConfigError for mean and std that do not fit the
        channels.

    Example:
        >>> ImageFolder(image_size=32).channels
        3
    """

    name: ClassVar[str] = "image-folder"
    image_size: Annotated[int, Field(ge=1)] | None = None
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        FileImages.__post_init__(self)
        if (self.mean is None) != (self.std is None):
            raise ConfigError("mean and std belong together; give both or neither.")
        if self.mean is None or self.std is None:
            return
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ConfigError(
                f"mean {self.mean} and std {self.std} need {self.channels} number(s) each, one a channel."
            )
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise ConfigError(f"std {self.std} must be above 0 in every channel, mean {self.mean} finite.")

    def index(self, split: str, root: Path) -> FileIndex:
        """Return the files of ``train``, ``test``, or another folder directly below the root."""
        if not split or split in {".", ".."} or "/" in split or "\\" in split:
            raise DatasetError(f"image-folder: {split!r} is not the name of a folder directly below {root}.")
        return list_tree(root / split, root, self._classes(split, root))

    def published_statistics(self) -> Statistics | None:
        """Return the given ones."""
        return None if self.mean is None or self.std is None else (self.mean, self.std)

    def num_channels(self) -> int:
        """Return the field."""
        return self.channels

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the folders of both splits."""
        return (root / "train", root / "test")

    def _classes(self, split: str, root: Path) -> tuple[str, ...]:
        """Return the classes of ``train``, or of the split where no ``train`` is there or needed."""
        if split != "train" and not (root / split).is_dir():
            class_names(root / split, root)  # says what is there instead
        if split != "train" and not (root / "train").exists() and self.mean is not None:
            return class_names(root / split, root)
        classes = class_names(root / "train", root)
        if split != "train":
            unknown = sorted(set(class_names(root / split, root)) - set(classes))
            if unknown:
                hint = nearest(unknown[0], classes)
                raise DatasetError(
                    f"{root / split} has classes that train lacks: {name_some(unknown)}. "
                    f"Classes of train: {name_some(classes)}.{hint} Rename or remove them."
                )
        return classes
