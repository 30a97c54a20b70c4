"""Images that stay in their files: the same pixels, fingerprints without pixels, and what is noticed when reading."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasbench.config.component import parse
from nasbench.core.errors import ConfigError, DatasetError
from nasbench.core.ids import ArrowStrings
from nasbench.core.table import load_table
from nasbench.datasets import file_images, lazy
from nasbench.datasets.image_files import ImageReader, decode
from nasbench.datasets.image_folder import ImageFolder
from nasbench.datasets.lazy import LazyImages, sample_rows
from nasbench.datasets.prepared import load_prepared, save_prepared
from nasbench.datasets.tree import class_names, list_tree

SIDE = 8


def noise(path: Path, seed: int, size=(9, 12), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Oddly sized, grey and palette images of three classes in two splits."""
    seed = 0
    for split, count in (("train", 7), ("test", 3)):
        for name in ("ant", "bee", "cat"):
            for number in range(count):
                mode = ("RGB", "L", "P")[number % 3]
                noise(tmp_path / split / name / f"{number}.png", seed, (9 + number, 16 - number), mode)
                seed += 1
    return tmp_path


def both(root, split="train", **fields):
    return (ImageFolder(image_size=SIDE, in_memory=held, **fields).load(split, root=root) for held in (True, False))


def test_files_give_the_pixels_that_would_lie_in_memory(root):
    memory, files = both(root)
    assert isinstance(files.images, LazyImages)
    assert isinstance(memory.images, np.ndarray)
    assert files.images.shape == memory.images.shape == (21, SIDE, SIDE, 3)
    assert files.images.dtype == memory.images.dtype
    assert (len(files), files.image_shape, files.num_classes) == (len(memory), memory.image_shape, 3)
    assert np.array_equal(files.images[:], memory.images)
    rows = np.array([20, 3, 3, -1, 0])
    assert np.array_equal(files.images[rows], memory.images[rows])
    assert np.array_equal(files.images[4:15:5], memory.images[4:15:5])
    assert np.array_equal(files.images[-2], memory.images[-2])
    assert files.images[np.array([], dtype=np.int64)].shape == (0, SIDE, SIDE, 3)
    assert (files.ids, files.labels.tolist()) == (memory.ids, memory.labels.tolist())
    assert isinstance(files.ids, ArrowStrings)
    assert (files.mean, files.std) == (memory.mean, memory.std)


@pytest.mark.parametrize(
    "rows", [21, -22, np.array([0, 21]), np.array([0.5]), np.ones(21, bool), np.zeros((2, 2), int)]
)
def test_what_is_no_row_is_refused(root, rows):
    _, files = both(root)
    with pytest.raises(IndexError):
        files.images[rows]


def test_without_image_size_the_first_image_gives_the_size(root):
    files = LazyImages(list_tree(root / "train", root, ("ant",)), image_size=None)
    assert files.shape == (7, 9, 16, 3)
    with pytest.raises(DatasetError, match=r"1 of 2 images are not 9x16 as the first is: ant/3.png \(12x13\)"):
        files[np.array([0, 3])]


def test_the_fingerprint_needs_no_pixels_and_changes_with_files_and_reading(root, monkeypatch):
    index = list_tree(root / "train", root, ("ant", "bee", "cat"))
    monkeypatch.setattr(ImageReader, "read", lambda *_: pytest.fail("a file was read"))
    prints = {
        LazyImages(index, image_size=SIDE).fingerprint,
        LazyImages(index, image_size=SIDE + 1).fingerprint,
        LazyImages(index, image_size=SIDE, channels=1).fingerprint,
        LazyImages(index, image_size=SIDE, resample="box").fingerprint,
        LazyImages(index.take(np.arange(20)), image_size=SIDE).fingerprint,
    }
    assert len(prints) == 5
    again = list_tree(root / "train", root, ("ant", "bee", "cat"))
    assert LazyImages(again, image_size=SIDE).fingerprint in prints


def test_a_file_of_another_size_is_named_when_it_is_read(root):
    _, files = both(root)
    path = root / "train/bee/2.png"
    path.write_bytes(path.read_bytes() + b"x")
    size = path.stat().st_size
    assert len(files.images[:9]) == 9
    with pytest.raises(DatasetError, match=rf"bee/2.png \(has {size} bytes; it had {size - 1} when it was indexed"):
        files.images[5:12]


def test_checksum_notices_another_content_of_the_same_size(root):
    plain = ImageFolder(image_size=SIDE, in_memory=False).load("train", root=root)
    careful = ImageFolder(image_size=SIDE, in_memory=False, checksum=True).load("train", root=root)
    assert plain.fingerprint != careful.fingerprint
    assert np.array_equal(careful.images[:], plain.images[:])
    path = root / "train/ant/0.png"
    data = bytearray(path.read_bytes())
    path.write_bytes(data)  # written again, but the same
    careful.images[0]
    data[-1] ^= 1  # behind the picture: it can still be decoded
    path.write_bytes(data)
    plain.images[0]
    with pytest.raises(DatasetError, match=r"ant/0.png \(has another content"):
        careful.images[0]


def test_a_file_that_became_a_link_out_is_refused(root, tmp_path_factory):
    _, files = both(root, mean=(0.5,) * 3, std=(0.2,) * 3)
    outside = tmp_path_factory.mktemp("outside") / "0.png"
    outside.write_bytes((root / "train/ant/0.png").read_bytes())
    (root / "train/ant/0.png").unlink()
    (root / "train/ant/0.png").symlink_to(outside)
    with pytest.raises(DatasetError, match=r"ant/0.png \(.*leads out"):
        files.images[0]
    (root / "train/bee").rename(outside.parent / "bee")
    (root / "train/bee").symlink_to(outside.parent / "bee")
    with pytest.raises(DatasetError, match=r"bee/0.png \(leads out"):
        files.images[7]


def test_a_link_inside_is_followed(root):
    (root / "train/ant/again.png").symlink_to(root / "test/ant/1.png")
    memory, files = both(root)
    assert np.array_equal(files.images[:], memory.images)


def test_broken_files_are_counted_and_named(root):
    (root / "train/ant/1.png").write_bytes(b"no image")
    files = ImageFolder(image_size=SIDE, in_memory=False, mean=(0.5,) * 3, std=(0.2,) * 3).load("train", root=root)
    (root / "train/ant/2.png").unlink()
    with pytest.raises(DatasetError) as caught:
        files.images[:5]
    assert str(caught.value).startswith(
        "2 of 5 image files cannot be read: ant/1.png (is no image file), ant/2.png (No"
    )


def test_in_memory_none_decides_by_size(root, monkeypatch):
    for size in (SIDE, None):
        bytes_of_train = 21 * SIDE * SIDE * 3
        spec = ImageFolder(image_size=SIDE)
        monkeypatch.setattr(file_images, "IN_MEMORY_BYTES", bytes_of_train)
        assert isinstance(spec.load("train", root=root).images, np.ndarray), size
        monkeypatch.setattr(file_images, "IN_MEMORY_BYTES", bytes_of_train - 1)
        assert isinstance(spec.load("train", root=root).images, LazyImages)
        assert isinstance(spec.load("test", root=root).images, np.ndarray)
    assert file_images.IN_MEMORY_BYTES < 2**30
    one_size = root / "same"
    for name in ("ant", "bee"):
        noise(one_size / "train" / name / "a.png", 1)
    monkeypatch.setattr(file_images, "IN_MEMORY_BYTES", 2 * 9 * 12 * 3 - 1)
    assert isinstance(ImageFolder().load("train", root=one_size).images, LazyImages)
    monkeypatch.setattr(file_images, "IN_MEMORY_BYTES", 2 * 9 * 12 * 3)
    assert isinstance(ImageFolder().load("train", root=one_size).images, np.ndarray)


def test_statistics_of_many_files_come_from_evenly_spaced_ones(root, monkeypatch):
    assert sample_rows(10_000)[[0, 1, 1999]].tolist() == [2, 7, 9997]
    monkeypatch.setattr(lazy, "STATISTICS_ROWS", 4)
    memory, files = both(root)
    chosen = memory.images[[2, 7, 13, 18]] / 255
    assert files.mean == pytest.approx(chosen.mean(axis=(0, 1, 2)), rel=1e-12)
    assert files.mean != memory.mean
    _, test = both(root, "test")
    assert (test.mean, test.std) == (files.mean, files.std)


@pytest.mark.parametrize("held", [None, True])
def test_checksum_without_files_is_refused(held):
    with pytest.raises(ConfigError, match=r"checksum: .*in_memory"):
        parse(ImageFolder, {"checksum": True, "in_memory": held})


def test_an_empty_index_is_refused(root):
    index = list_tree(root / "train", root, ("ant",))
    with pytest.raises(DatasetError, match="no image in this split"):
        LazyImages(index.take(np.array([], dtype=np.int64)))


def prepared(root: Path, folder: Path, **fields):
    spec = ImageFolder(image_size=SIDE, in_memory=False, **fields)
    train, test = (spec.load(split, root=root) for split in ("train", "test"))
    save_prepared(folder, train, test, {"dataset": "image-folder"})
    return train, test


@pytest.mark.parametrize("checksum", [False, True])
def test_prepared_form_is_the_index(root, tmp_path, checksum):
    folder = tmp_path / "prepared"
    train, test = prepared(root, folder, checksum=checksum)
    assert sorted(path.name for path in folder.iterdir()) == [
        "spec.json",
        "table.parquet",
        "test_index.parquet",
        "test_index.stamp.json",
        "test_table.parquet",
        "train_index.parquet",
        "train_index.stamp.json",
    ]
    data = load_prepared(folder, verify=True)
    for found, wanted in ((data.train, train), (data.test, test)):
        assert isinstance(found.images, LazyImages)
        assert found.fingerprint == wanted.fingerprint
        assert np.array_equal(found.images[:], wanted.images[:])
        assert found.labels.tolist() == wanted.labels.tolist()
        assert (found.ids, found.mean, found.std) == (wanted.ids, wanted.mean, wanted.std)
        assert found.images.index.checksums is None or checksum
    table = load_table(folder / "table.parquet")
    assert (table.dataset, table.ids) == (train.fingerprint, tuple(train.ids))


def test_prepared_form_is_the_same_bytes_but_for_the_times(root, tmp_path):
    prepared(root, tmp_path / "one")
    os.utime(root / "train/ant", (1, 1))
    prepared(root, tmp_path / "two")
    names = [path.name for path in (tmp_path / "one").iterdir()]
    differing = [
        name for name in names if (tmp_path / "one" / name).read_bytes() != (tmp_path / "two" / name).read_bytes()
    ]
    assert differing == ["train_index.stamp.json"]


def test_a_prepared_set_notices_a_changed_folder_and_an_altered_index(root, tmp_path):
    folder = tmp_path / "prepared"
    prepared(root, folder)
    noise(root / "train/cat/new.png", 1)
    with pytest.raises(DatasetError, match=r"cat/new.png is new.*Prepare the dataset again"):
        load_prepared(folder)
    (root / "train/cat/new.png").unlink()
    load_prepared(folder)
    for name in ("index.parquet", "index.stamp.json"):
        (folder / f"train_{name}").write_bytes((folder / f"test_{name}").read_bytes())
    with pytest.raises(DatasetError, match="the index of train was altered"):
        load_prepared(folder)


def test_verifying_reads_every_file(root, tmp_path):
    for place, _, _ in os.walk(root):
        os.utime(place, (1, 1))  # long settled: else the folders would be listed again
    prepared(root, tmp_path / "prepared")
    path = root / "test/cat/0.png"
    path.write_bytes(path.read_bytes()[:-1])  # overwritten in place, which changes no folder
    load_prepared(tmp_path / "prepared")
    with pytest.raises(DatasetError, match=r"cat/0.png \(has .* bytes; it had"):
        load_prepared(tmp_path / "prepared", verify=True)


def test_decode_says_what_is_wrong_and_squeezes_with_the_box_filter():
    assert decode(b"", channels=3, image_size=4) == "is no image file"
    striped = np.zeros((4, 8, 3), np.uint8)
    striped[:, 4:] = 200
    buffer = io.BytesIO()
    Image.fromarray(striped).save(buffer, "PNG")
    squeezed = decode(buffer.getvalue(), channels=3, image_size=2, resample="box")
    assert squeezed[..., 0].tolist() == [[0, 200], [0, 200]]


@pytest.mark.shared
def test_the_real_subset_in_files_is_the_one_in_memory(shared_data, tmp_path):
    with tarfile.open(shared_data / "cifar10-subset.tar.gz") as archive:
        members = [member for member in archive if member.isfile() and "/train/" in member.name]
        archive.extractall(tmp_path, members[::50], filter="data")
    root = tmp_path / "cifar10-subset"
    assert len(class_names(root / "train", root)) == 10
    memory, files = (ImageFolder(in_memory=held).load("train", root=root) for held in (True, False))
    assert np.array_equal(files.images[:], memory.images)
    assert files.mean == memory.mean
