"""MIT67: indoor scenes of 67 kinds."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.errors import DatasetError
from nasbench.datasets import DATASETS
from nasbench.datasets.file_images import FileImages
from nasbench.datasets.index import FileIndex
from nasbench.datasets.splits import check_split, report_count, share_rows
from nasbench.datasets.tree import class_names, list_tree, name_some

NUM_CLASSES, NUM_IMAGES, NUM_TRAIN, NUM_TEST = 67, 15_620, 5360, 1340
LISTS = {"train": "TrainImages.txt", "test": "TestImages.txt"}


@DATASETS.register
@component
class Mit67(FileImages):
    """15,620 photographs of 67 indoor scenes, of which the official lists name 6,700.

    ``ROOT/Images/CLASS/*.jpg``, ``ROOT/TrainImages.txt`` and ``ROOT/TestImages.txt`` (lines ``CLASS/NAME.jpg``).
    Another number of images than the published one is logged as a warning, not refused.

    Reference: Quattoni and Torralba, "Recognizing indoor scenes", CVPR 2009; used in Panda et al., "NASTransfer",
    AAAI 2021.
    Differs from the paper: NASTransfer names no image size; mean and std are computed from the training images.

    Attributes:
        split_rule: ``official``: the two lists, 80 and 20 images of each class; these are the 5K and 1.4K of
            NASTransfer's Table 1, and the halves of the 80 are its 40/40 of 40/40/20. ``40-40-20``: all images,
            divided in these shares (`splits.share_rows`), near the 12,466 and 3,153 of the search benchmark of
            Yang et al. (2020).

    Shape: images uint8 [n, image_size, image_size, 3].
    Raises: DatasetError for another split, absent folders or lists, lists that name a file twice, in both splits, or
        that is not there; broken files.

    Example:
        >>> Mit67().split_rule
        'official'
    """

    name: ClassVar[str] = "mit67"
    split_rule: Literal["official", "40-40-20"] = "official"

    def index(self, split: str, root: Path) -> FileIndex:
        """Return the files of a split, by class and path."""
        check_split(self.name, split)
        folder = root / "Images"
        whole = list_tree(folder, root, class_names(folder, root))
        if self.split_rule == "40-40-20":
            report_count(self.name, "the whole set", len(whole), NUM_IMAGES)
            return whole.take(share_rows(whole.labels, "40-40-20", split))
        rows = _official_rows(root, whole)[split]
        report_count(self.name, split, len(rows), NUM_TRAIN if split == "train" else NUM_TEST)
        return whole.take(rows)

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the images and both lists."""
        return (root / "Images", *(root / name for name in LISTS.values()))


def _official_rows(root: Path, whole: FileIndex) -> dict[str, npt.NDArray[np.int64]]:
    """Return the rows of the files that each list names."""
    place = {name: row for row, name in enumerate(whole.paths)}
    named: dict[str, list[str]] = {}
    for split, file in LISTS.items():
        try:
            text = (root / file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                f"mit67: {root / file} cannot be read ({error}). Put the official list there."
            ) from error
        named[split] = [line.strip() for line in text.splitlines() if line.strip()]
        absent = [name for name in named[split] if name not in place]
        if absent or not named[split]:
            raise DatasetError(
                f"{root / file} names {len(named[split])} images, of which {len(absent)} are not in {whole.root}: "
                f"{name_some(absent) or 'none'}. Unpack the images again, or correct the list."
            )
        if len(set(named[split])) != len(named[split]):
            again = sorted({name for name in named[split] if named[split].count(name) > 1})
            raise DatasetError(f"{root / file} names images more than once: {name_some(again)}.")
    both = sorted(set(named["train"]) & set(named["test"]))
    if both:
        raise DatasetError(f"{root}: both official lists name {name_some(both)}. An image belongs to one split.")
    return {split: np.sort(np.array([place[name] for name in names])) for split, names in named.items()}
