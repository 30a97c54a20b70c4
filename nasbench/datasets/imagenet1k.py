"""ImageNet-1K: the ILSVRC 2012 photographs of 1,000 classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from nasbench.config.component import component
from nasbench.core.errors import DatasetError, nearest
from nasbench.datasets import DATASETS
from nasbench.datasets.file_images import IMAGENET_MEAN, IMAGENET_STD, FileImages, Statistics
from nasbench.datasets.index import FileIndex
from nasbench.datasets.listed import index_of_names, strings
from nasbench.datasets.splits import check_split, report_count, share_rows
from nasbench.datasets.tree import class_names, hidden, list_tree, name_some

NUM_CLASSES, NUM_TRAIN, NUM_TEST = 1000, 1_281_167, 50_000
LABEL_LIST = "val_labels.txt"


@DATASETS.register
@component
class ImageNet1k(FileImages):
    """1,281,167 training and 50,000 validation photographs of 1,000 classes.

    ``ROOT/train/CLASS/*.JPEG`` and the validation images, which are our test split, either as
    ``ROOT/val/CLASS/*.JPEG`` or flat as ``ROOT/val/*.JPEG`` with ``ROOT/val_labels.txt``. That list has a line for
    each image: its name (with or without ending) and its class's folder name, parted by a blank, tab or comma; what
    follows is ignored, and so is a first line ``ImageId,...``, so that the ``LOC_val_solution.csv`` of the
    challenge's site serves as it is. Classes are the sorted folder names of ``train``. Files stay on disk unless
    told otherwise. Another number of images than the published one is logged as a warning, not refused.

    Reference: Russakovsky, Deng, Su, Krause et al., "ImageNet large scale visual recognition challenge", IJCV
    115(3), 2015, arXiv:1409.0575; splits as in Table 1 of Panda et al., "NASTransfer", AAAI 2021.
    Differs from the paper: one middle square scaled to ``image_size`` (evaluation there: shorter side to 256, middle
    224), so that training crops are padded shifts of that square rather than random resized crops.

    Attributes:
        split_rule: ``official``: train and val, as in NASTransfer's Table 1. ``40-40-20``: what that paper's text
            says instead; the folder ``train`` alone is divided, 80 % and 20 % of each class
            (`splits.share_rows`), and ``val`` is left for a last judgement.
        in_memory: See `FileImages`; False unless it is said.

    Shape: images uint8 [n, image_size, image_size, 3].
    Raises: DatasetError for another split, absent folders, an empty class, classes that ``train`` lacks, images
        without a label, files that cannot be read or have changed.

    Example:
        >>> ImageNet1k().image_size
        224
    """

    name: ClassVar[str] = "imagenet1k"
    split_rule: Literal["official", "40-40-20"] = "official"
    in_memory: bool | None = False

    def index(self, split: str, root: Path) -> FileIndex:
        """Return the files of ``train``, or of ``val`` as ``test``."""
        check_split(self.name, split)
        classes = class_names(root / "train", root)
        if self.split_rule == "official" and split == "test":
            found = self._validation(root, classes)
        else:
            found = list_tree(root / "train", root, classes)
            if self.split_rule == "40-40-20":
                return found.take(share_rows(found.labels, "40-40-20", split))
        report_count(self.name, split, len(found), NUM_TRAIN if split == "train" else NUM_TEST)
        return found

    def published_statistics(self) -> Statistics:
        """Return those that published models take."""
        return IMAGENET_MEAN, IMAGENET_STD

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return both folders and the list of labels."""
        return (root / "train", root / "val", root / LABEL_LIST)

    def _validation(self, root: Path, classes: tuple[str, ...]) -> FileIndex:
        folder = root / "val"
        if not folder.is_dir() or any(entry.is_dir() for entry in folder.iterdir() if not hidden(entry.name)):
            unknown = sorted(set(class_names(folder, root)) - set(classes))
            if unknown:
                raise DatasetError(f"{folder} has classes that train lacks: {name_some(unknown)}. Remove them.")
            return list_tree(folder, root, classes)
        given = _labels(root / LABEL_LIST)
        names = sorted(entry.name for entry in folder.iterdir() if not hidden(entry.name))
        bare = [given.get(name, given.get(name.rpartition(".")[0], "")) for name in names]
        without = [name for name, cls in zip(names, bare, strict=True) if not cls]
        if without or len(names) != len(given):
            raise DatasetError(
                f"{folder} holds {len(names)} images, {root / LABEL_LIST} labels {len(given)}; without a label: "
                f"{name_some(without) or 'none'}. Each image needs one line."
            )
        place = {name: label for label, name in enumerate(classes)}
        unknown = sorted(set(bare) - set(classes))
        if unknown:
            hint = nearest(unknown[0], classes)
            raise DatasetError(
                f"{root / LABEL_LIST} names classes that train lacks: {name_some(unknown)}.{hint} Needed are the "
                f"names of the folders in {root / 'train'}."
            )
        labels = np.array([place[cls] for cls in bare], dtype=np.int64)
        return index_of_names(folder, strings(names), labels, classes, origin=root / LABEL_LIST)


def _labels(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}). The images of val lie flat, so a list of their labels is needed: lines "
            f"of image name and class name. Or sort the images into val/CLASS/."
        ) from error
    parts = [re.split(r"[\s,]+", line.strip()) for line in lines if line.strip() and not line.startswith("ImageId")]
    short = [words[0] for words in parts if len(words) < 2]
    given = {words[0]: words[1] for words in parts if len(words) > 1}
    if short or len(given) != len(parts):
        raise DatasetError(
            f"{path}: {len(short)} lines have no label ({name_some(short) or 'none'}) and "
            f"{len(parts) - len(short) - len(given)} images are listed more than once. Each image needs one line."
        )
    return given
