"""ImageNet16-120: 120 classes of ImageNet at 16x16 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nasbench.config.component import component
from nasbench.core.errors import DatasetError
from nasbench.datasets import DATASETS
from nasbench.datasets.arrays import read_arrays
from nasbench.datasets.base import DatasetSpec, ImageSet
from nasbench.datasets.image_files import ImageReader, read_images
from nasbench.datasets.splits import check_split, report_count
from nasbench.datasets.tree import list_tree, name_some

NUM_CLASSES, NUM_TRAIN, NUM_TEST = 120, 151_700, 6000
FILES = {"train": tuple(f"train_data_batch_{number}.npz" for number in range(1, 11)), "test": ("val_data.npz",)}
CLASS_LIST = "map_clsloc.txt"
_SIDE, _ALL = 16, 1000


@DATASETS.register
@component
class ImageNet16By120(DatasetSpec):
    """151,700 training and 6,000 test images of 16x16 pixels: the first 120 classes of the downsampled ImageNet.

    Read from the .npz form of the downsampled set, ``ROOT/train_data_batch_1.npz`` to ``_10.npz`` and
    ``ROOT/val_data.npz`` (arrays ``data`` uint8 [n, 3 16 16] by colour planes and ``labels`` 1 to 1,000). Its other
    form consists of pickles, which could run any code: those are not read. Where there is no .npz, images are made
    from the photographs by the same box filter, the whole image squeezed to 16x16: ``ROOT/train/CLASS/*.JPEG``,
    ``ROOT/val/CLASS/*.JPEG`` and ``ROOT/map_clsloc.txt`` (lines of class folder, number from 1, name), of which the
    classes 1 to 120 are taken. Mean and std are those of the NAS-Bench-201 code. Another number of images than
    the published one is logged as a warning, not refused.

    Reference: Chrabaszcz, Loshchilov and Hutter, "A downsampled variant of ImageNet as an alternative to the CIFAR
    datasets", 2017, arXiv:1707.08819; the 120 classes: Dong and Yang, "NAS-Bench-201", ICLR 2020, arXiv:2001.00326.
    Differs from the paper: images made here from photographs can differ from the published ones in the last digit,
    as another version of the filter rounded them. NAS-Bench-201 halves the 6,000 into validation and test; here
    they are all test, and the search validates on a half of its proxy.

    Shape: images uint8 [n, 16, 16, 3].
    Raises: DatasetError for another split, absent or incomplete files, labels out of range, broken images.

    Example:
        >>> ImageNet16By120().name
        'imagenet16-120'
    """

    name: ClassVar[str] = "imagenet16-120"
    mean: ClassVar[tuple[float, ...]] = (122.68 / 255, 116.66 / 255, 104.01 / 255)
    std: ClassVar[tuple[float, ...]] = (63.22 / 255, 61.26 / 255, 65.09 / 255)

    def load(self, split: str, *, root: Path, download: bool = False) -> ImageSet:
        """Load a split; ids are row numbers of the batches one after the other, or paths below the split's folder."""
        check_split(self.name, split)
        absent = [name for name in FILES[split] if not (root / name).is_file()]
        if not absent:
            images, labels, ids = _from_arrays(root, split)
        elif len(absent) == len(FILES[split]) and (root / "train").is_dir():
            images, labels, ids = _from_photographs(root, split)
        else:
            raise DatasetError(
                f"imagenet16-120: {root} lacks {name_some(absent)}. Put the .npz form of the 16x16 downsampled "
                f"ImageNet there (the pickled form is not read), or the photographs as train/CLASS and val/CLASS with "
                f"{CLASS_LIST}. Nothing is downloaded{', also when asked to' if download else ''}."
            )
        report_count(self.name, split, len(labels), NUM_TRAIN if split == "train" else NUM_TEST)
        return ImageSet(images=images, labels=labels, ids=ids, num_classes=NUM_CLASSES, mean=self.mean, std=self.std)

    def sources(self, root: Path) -> tuple[Path, ...]:
        """Return the .npz files, or the photographs."""
        files = tuple(root / name for names in FILES.values() for name in names)
        if any(file.exists() for file in files):
            return files
        return (root / "train", root / "val", root / CLASS_LIST)


Parts = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], tuple[str, ...]]


def _from_arrays(root: Path, split: str) -> Parts:
    pixels, labels, rows = [], [], []
    count = 0
    for name in FILES[split]:
        arrays = read_arrays(root / name, ("data", "labels"))
        data, numbers = arrays["data"], np.asarray(arrays["labels"])
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * _SIDE * _SIDE:
            raise DatasetError(f"{root / name}: data is {data.dtype} {list(data.shape)}; uint8 [n, 768] is needed.")
        if numbers.dtype.kind not in "iu" or numbers.shape != (len(data),):
            raise DatasetError(f"{root / name}: labels are {numbers.dtype} {list(numbers.shape)}; whole [n] is needed.")
        if len(numbers) and not 1 <= int(numbers.min()) <= int(numbers.max()) <= _ALL:
            raise DatasetError(
                f"{root / name}: labels lie in {int(numbers.min())} to {int(numbers.max())}; 1 to {_ALL} are allowed."
            )
        chosen = np.flatnonzero(numbers <= NUM_CLASSES)
        pixels.append(data[chosen].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
        labels.append(numbers[chosen].astype(np.int64) - 1)
        rows.append(chosen + count)
        count += len(data)
    ids = tuple(str(row) for row in np.concatenate(rows))
    return np.ascontiguousarray(np.concatenate(pixels)), np.concatenate(labels), ids


def _from_photographs(root: Path, split: str) -> Parts:
    try:
        lines = [line.split() for line in (root / CLASS_LIST).read_text(encoding="utf-8").splitlines() if line.strip()]
        numbers = {int(words[1]): words[0] for words in lines}
        classes = [numbers[number] for number in range(1, NUM_CLASSES + 1)]
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise DatasetError(
            f"{root / CLASS_LIST} is absent or does not number the classes ({error}). Needed: lines of class folder, "
            f"number from 1, name, as they come with the downsampled ImageNet."
        ) from error
    folder = root / {"train": "train", "test": "val"}[split]
    absent = [name for name in classes if not (folder / name).is_dir()]
    if absent:
        raise DatasetError(f"{folder} lacks {len(absent)} of the 120 classes: {name_some(absent)}.")
    index = list_tree(folder, root, classes)
    reader = ImageReader(index, channels=3, image_size=_SIDE, resample="box")
    return read_images(reader, np.arange(len(index))), index.labels, tuple(index.paths)
