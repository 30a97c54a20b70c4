"""ImageNet-22K: the whole of ImageNet, 14 million photographs of 21,841 classes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from nasbench.config.component import component
from nasbench.core.errors import DatasetError, FileReadError
from nasbench.core.files import inside
from nasbench.datasets import DATASETS
from nasbench.datasets.file_images import IMAGENET_MEAN, IMAGENET_STD, FileImages, Statistics
from nasbench.datasets.index import FileIndex
from nasbench.datasets.listed import read_index_file
from nasbench.datasets.splits import check_split, report_count, share_rows
from nasbench.datasets.tree import class_names, list_tree

NUM_CLASSES, NUM_IMAGES = 21_841, 14_197_122


@DATASETS.register
@component
class ImageNet22k(FileImages):
    """14,197,122 photographs of 21,841 classes, very unevenly filled, without an official split.

    ``ROOT/CLASS/*.JPEG``, or an index file that names the images below the root. Listing the tree takes minutes;
    prepare_data does it once, and everything after works on row numbers. Files stay on disk unless told otherwise.
    Another number of images than the published one is logged as a warning, not refused.

    Reference: Deng, Dong, Socher, Li, Li and Fei-Fei, "ImageNet: a large-scale hierarchical image database", CVPR
    2009; the split as in Table 1 of Panda et al., "NASTransfer", AAAI 2021.
    Differs from the paper: which images lie in which half is published nowhere; here they are spread evenly over
    each class. The paper's Table 1 (7.5M + 7M) adds up to more images than there are.

    Attributes:
        split_rule: ``50-50``: half of each class trains, half tests, as Table 1 (7.5M and 7M) and the earlier work
            on this set have it. ``40-40-20``: what the paper's text says instead; 80 % of each class are ``train``,
            whose halves are a proxy's weight and alpha half (`splits.share_rows`).
        index_file: Name below the root of a list of the images, lines ``path<TAB>class`` or Parquet (columns path,
            label, bytes) written by `index.save_index`; None lists the tree.
        in_memory: See `FileImages`; False unless it is said.

    Shape: images uint8 [n, image_size, image_size, 3].
    Raises: DatasetError for another split, an absent folder, an empty class, an index file that names a path twice,
        outside the root or that is no file; files that cannot be read or have changed.

    Example:
        >>> ImageNet22k(split_rule="40-40-20").split_rule
        '40-40-20'
    """

    name: ClassVar[str] = "imagenet22k"
    split_rule: Literal["50-50", "40-40-20"] = "50-50"
    index_file: str | None = None
    in_memory: bool | None = False

    def index(self, split: str, root: Path) -> FileIndex:
        """Return the files of a split."""
        check_split(self.name, split)
        if self.index_file is None:
            whole = list_tree(root, root, class_names(root, root))
        else:
            try:
                path = inside(root, self.index_file)
            except FileReadError as error:
                raise DatasetError(f"index_file: {error}") from error
            whole = read_index_file(path, root)
        report_count(self.name, "the whole set", len(whole), NUM_IMAGES)
        return whole.take(share_rows(whole.labels, self.split_rule, split))

    def published_statistics(self) -> Statistics:
        """Return those of ImageNet-1K, which published models of this set take too."""
        return IMAGENET_MEAN, IMAGENET_STD

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the root, and with it an index file that lies there."""
        return (root,) if self.index_file is None else (root, root / self.index_file)
