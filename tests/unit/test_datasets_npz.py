"""Arrays of one's own: what is read, and every way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasbench.config.component import parse
from nasbench.core.errors import ConfigError, DatasetError
from nasbench.datasets.npz import Npz

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
TEST = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.int32) % 3
TEST_LABELS = np.arange(6, dtype=np.uint8) % 2


def write(root: Path, **changes) -> Path:
    train = {"images": TRAIN, "labels": LABELS} | {k: v for k, v in changes.items() if not k.startswith("test")}
    test = {"images": TEST, "labels": TEST_LABELS} | {k[5:]: v for k, v in changes.items() if k.startswith("test")}
    np.savez(root / "train.npz", **train)
    np.savez_compressed(root / "test.npz", **test)
    return root


def test_two_files(tmp_path):
    train, test = (Npz().load(split, root=write(tmp_path)) for split in ("train", "test"))
    assert np.array_equal(train.images, TRAIN)
    assert np.array_equal(test.images, TEST)
    assert train.labels.dtype == np.int64
    assert (train.labels.tolist(), test.labels.tolist()) == (LABELS.tolist(), TEST_LABELS.tolist())
    assert (train.num_classes, test.num_classes) == (3, 3)
    assert train.mean == test.mean == pytest.approx((TRAIN / 255).mean(axis=(0, 1, 2)), rel=1e-12)
    assert train.ids[:2] == ("0", "1")


def test_one_file_holds_the_same_set(tmp_path):
    np.savez(tmp_path / "scans.npz", train_images=TRAIN, train_labels=LABELS, test_images=TEST, test_labels=TEST_LABELS)
    write(tmp_path)
    for split in ("train", "test"):
        one, two = (spec.load(split, root=tmp_path) for spec in (Npz(file="scans.npz"), Npz()))
        assert one.fingerprint == two.fingerprint


def test_grey_images_need_no_channel_axis(tmp_path):
    root = write(tmp_path, images=TRAIN[..., 0], test_images=TEST[..., :1])
    assert Npz().load("train", root=root).image_shape == (1, 5, 4)
    assert Npz().load("test", root=root).image_shape == (1, 5, 4)


def test_num_classes_and_statistics_matter(tmp_path):
    root = write(tmp_path)
    given = Npz(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)).load("test", root=root)
    assert (given.mean, given.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    with pytest.raises(DatasetError, match=r"of 4 classes 1 have no training image \(labels \[3\]\)"):
        Npz(num_classes=4).load("train", root=root)
    with pytest.raises(DatasetError, match=r"4 labels are out of range, the first is 2 in row 2; 0 to 1 are allowed"):
        Npz(num_classes=2).load("train", root=root)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": TRAIN.astype(np.float32)}, r"images is float32 \[12, 5, 4, 3\]; uint8"),
        ({"images": TRAIN[..., :2]}, r"images is uint8 \[12, 5, 4, 2\]"),
        ({"images": TRAIN[0, 0]}, r"images is uint8 \[4, 3\]"),
        ({"images": TRAIN[:0], "labels": LABELS[:0]}, r"holds no pixel"),
        ({"labels": LABELS.astype(np.float64)}, r"labels is float64 \[12\]; whole numbers \[12\]"),
        ({"labels": LABELS[:11]}, r"labels is int32 \[11\]; whole numbers \[12\]"),
        ({"labels": LABELS[:, None]}, r"labels is int32 \[12, 1\]"),
        ({"labels": LABELS - 1}, r"4 labels are out of range, the first is -1 in row 0; 0 to 1"),
        ({"labels": LABELS * 2}, r"of 5 classes 2 have no training image \(labels \[1, 3\]\)"),
        ({"labels": LABELS * 0}, r"over at least 2 classes"),
        ({"labels": np.array([{}] * 12, dtype=object)}, r"Python objects instead of plain arrays"),
        ({"images": TRAIN[:, :4]}, r"training images are \[4, 4, 3\], test images \[5, 4, 3\]"),
        ({"test_labels": TEST_LABELS + 2}, r"test.npz: 3 labels are out of range, the first is 3 in row 1; 0 to 2"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, changes, said):
    write(tmp_path, **changes)
    with pytest.raises(DatasetError, match=said):
        Npz().load("test", root=tmp_path)


def test_absent_names_and_files_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no file .*train.npz"):
        Npz().load("train", root=tmp_path)
    np.savez(tmp_path / "train.npz", image=TRAIN, labels=LABELS)
    with pytest.raises(DatasetError, match=r"no array 'images'; it has: image, labels. Did you mean 'image'"):
        Npz().load("train", root=tmp_path)
    np.save(tmp_path / "one.npy", TRAIN)
    with pytest.raises(DatasetError, match="a single array"):
        Npz(file="one.npy").load("train", root=tmp_path)
    for content in (b"no zip", (tmp_path / "train.npz").read_bytes()[:-40]):
        (tmp_path / "train.npz").write_bytes(content)
        with pytest.raises(DatasetError, match=r"truncated, no .npz file"):
            Npz().load("train", root=tmp_path)


def test_the_file_lies_below_the_root(tmp_path):
    with pytest.raises(DatasetError, match="leads out"):
        Npz(file="../train.npz").load("train", root=tmp_path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mean": [0.5]}, "belong together"),
        ({"mean": [0.5, 0.5], "std": [0.5, 0.5]}, "1 or 3"),
        ({"mean": [0.5], "std": [0.0]}, "above 0"),
        ({"num_classes": 1}, "num_classes"),
    ],
)
def test_fields_are_checked(fields, said):
    with pytest.raises(ConfigError, match=said):
        parse(Npz, fields)


def test_statistics_of_another_number_of_channels_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"3 channel\(s\), mean and std 1"):
        Npz(mean=(0.5,), std=(0.5,)).load("train", root=write(tmp_path))
