"""Folders of class folders: what is read, in which order, and every way in which one can be wrong."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasbench.config.component import parse
from nasbench.core.errors import ConfigError, DatasetError
from nasbench.datasets import DATASETS
from nasbench.datasets.image_folder import ImageFolder


def write(path: Path, colour=(10, 20, 30), size=(6, 6), mode="RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def noise(path: Path, seed: int, side: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two splits of classes ant and bee: 3 + 2 training and 1 + 1 test images."""
    for seed, name in enumerate(["train/bee/b.png", "train/bee/a.png", "train/ant/z.png", "train/ant/y.JPG"]):
        noise(tmp_path / name, seed)
    noise(tmp_path / "train/ant/deep/x.png", 4)
    noise(tmp_path / "test/ant/t.png", 5)
    noise(tmp_path / "test/bee/t.png", 6)
    return tmp_path


def test_rows_are_sorted_and_ids_are_paths_below_the_split(root):
    train = ImageFolder().load("train", root=root)
    assert train.ids == ("ant/deep/x.png", "ant/y.JPG", "ant/z.png", "bee/a.png", "bee/b.png")
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert train.image_shape == (3, 6, 6)
    assert train.num_classes == 2
    assert np.array_equal(train.images[3], np.asarray(Image.open(root / "train/bee/a.png")))


def test_loading_twice_gives_the_same_fingerprint(root):
    assert ImageFolder().load("train", root=root).fingerprint == ImageFolder().load("train", root=root).fingerprint


def test_test_split_uses_the_training_statistics(root):
    train, test = (ImageFolder().load(split, root=root) for split in ("train", "test"))
    scaled = train.images / 255.0
    assert train.mean == pytest.approx(scaled.mean(axis=(0, 1, 2)), rel=1e-12)
    assert train.std == pytest.approx(scaled.std(axis=(0, 1, 2)), rel=1e-12)
    assert (test.mean, test.std) == (train.mean, train.std)


def test_given_statistics_are_used_and_spare_the_training_split(root):
    spec = ImageFolder(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    (root / "train/ant/z.png").write_bytes(b"broken")
    test = spec.load("test", root=root)
    assert (test.mean, test.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    with pytest.raises(DatasetError, match=r"z.png"):
        ImageFolder().load("test", root=root)


def test_channels_matters(root):
    grey = ImageFolder(channels=1).load("train", root=root)
    assert grey.image_shape == (1, 6, 6)
    assert np.array_equal(grey.images[3, ..., 0], np.asarray(Image.open(root / "train/bee/a.png").convert("L")))


def test_image_size_cuts_the_middle_square_and_scales(root):
    striped = np.zeros((8, 24, 3), dtype=np.uint8)
    striped[:, 8:16] = 200
    Image.fromarray(striped).save(root / "train/ant/wide.png")
    train = ImageFolder(image_size=4).load("train", root=root)
    assert train.image_shape == (3, 4, 4)
    wide = train.images[train.ids.index("ant/wide.png")]
    assert (wide[:, 1:3] == 200).all()
    assert wide.min() > 150  # the black sides are cut away, not squeezed in


def test_image_size_equal_to_the_size_leaves_pixels_alone(root):
    assert ImageFolder(image_size=6).load("train", root=root).fingerprint == (
        ImageFolder().load("train", root=root).fingerprint
    )


def test_differing_sizes_are_named(root):
    noise(root / "train/bee/big.png", 9, side=7)
    with pytest.raises(DatasetError, match=r"1 of 6 images are not 6x6.*bee/big.png \(7x7\).*image_size"):
        ImageFolder().load("train", root=root)


def test_train_and_test_of_differing_size_are_refused(root):
    for name in ("ant", "bee"):
        noise(root / f"test/{name}/t.png", 9, side=7)
    with pytest.raises(DatasetError, match="images of train are 6x6, those of test are 7x7"):
        ImageFolder().load("test", root=root)


def test_every_broken_file_is_named_up_to_ten_and_all_are_counted(root):
    for number in range(12):
        (root / f"train/ant/broken{number:02}.png").write_bytes(b"no image")
    whole = (root / "train/bee/a.png").read_bytes()
    (root / "train/bee/a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError) as caught:
        ImageFolder().load("train", root=root)
    text = str(caught.value)
    assert text.startswith("13 of 17 image files cannot be read")
    assert all(f"ant/broken{number:02}.png" in text for number in range(10))
    assert "broken10" not in text
    assert "and 3 more" in text


def test_a_truncated_image_is_broken(root):
    path = root / "train/bee/a.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DatasetError, match=r"1 of 5 .*bee/a.png"):
        ImageFolder().load("train", root=root)


def test_pixels_of_sixteen_bits_are_refused_not_clipped(root):
    Image.fromarray(np.full((6, 6), 40000, dtype=np.uint16)).save(root / "train/ant/deep.png")
    with pytest.raises(DatasetError, match=r"ant/deep.png \(has pixels of mode I;16"):
        ImageFolder().load("train", root=root)


@pytest.mark.parametrize("mode", ["L", "RGBA", "1"])
def test_other_pixel_modes_become_rgb(root, mode):
    write(root / "train/ant/mode.png", (1, 2, 3, 0) if mode == "RGBA" else 1, mode=mode)
    train = ImageFolder().load("train", root=root)
    expected = {"L": [1, 1, 1], "RGBA": [1, 2, 3], "1": [255, 255, 255]}[mode]
    assert train.images[train.ids.index("ant/mode.png"), 0, 0].tolist() == expected


def test_a_palette_with_transparency_is_read(root):
    image = Image.new("P", (6, 6), 3)
    image.putpalette(list(range(256)) * 3)
    image.save(root / "train/ant/clear.png", transparency=bytes([0] * 256))
    train = ImageFolder().load("train", root=root)
    assert train.images[train.ids.index("ant/clear.png"), 0, 0].tolist() == [9, 10, 11]


def test_one_class_is_refused(root):
    for path in sorted((root / "train/bee").iterdir()):
        path.unlink()
    (root / "train/bee").rmdir()
    with pytest.raises(DatasetError, match=r"1 class folder\(s\) \(ant\); at least 2"):
        ImageFolder().load("train", root=root)


def test_an_empty_class_is_refused(root):
    (root / "train/cat").mkdir()
    (root / "train/cat/.hidden").write_bytes(b"")
    with pytest.raises(DatasetError, match="without an image: cat"):
        ImageFolder().load("train", root=root)


def test_an_absent_split_says_what_is_there(root):
    with pytest.raises(DatasetError, match=r"no split folder .*validation.*it holds: test, train"):
        ImageFolder().load("validation", root=root)


def test_an_absent_root_is_said(tmp_path):
    with pytest.raises(DatasetError, match="is absent"):
        ImageFolder().load("train", root=tmp_path / "nothing")


@pytest.mark.parametrize("split", ["..", "../train", "train/ant", "", "."])
def test_a_split_is_a_folder_directly_below_the_root(root, split):
    with pytest.raises(DatasetError, match="not the name of a folder"):
        ImageFolder().load(split, root=root)


def test_a_test_class_that_train_lacks_is_named(root):
    noise(root / "test/bees/t.png", 7)
    with pytest.raises(DatasetError, match=r"classes that train lacks: bees.*Did you mean 'bee'"):
        ImageFolder().load("test", root=root)


def test_a_train_class_that_test_lacks_keeps_the_labels(root):
    noise(root / "train/aaa/t.png", 7)
    test = ImageFolder().load("test", root=root)
    assert test.labels.tolist() == [1, 2]
    assert test.num_classes == 3


def test_only_train_is_needed_for_train_and_only_statistics_for_another_split(root):
    (root / "test").rename(root / "apart")
    assert len(ImageFolder().load("train", root=root)) == 5
    (root / "train").rename(root / "away")
    with pytest.raises(DatasetError, match=r"no split folder .*train"):
        ImageFolder().load("apart", root=root)
    assert len(ImageFolder(mean=(0.5,) * 3, std=(0.5,) * 3).load("apart", root=root)) == 2


def test_files_that_are_no_images_by_their_name_are_named(root):
    (root / "train/ant/notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"1 entries are not image files: ant/notes.txt"):
        ImageFolder().load("train", root=root)


def test_files_beside_the_classes_are_named(root):
    (root / "train/labels.csv").write_text("x", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"files beside its class folders: labels.csv"):
        ImageFolder().load("train", root=root)


def test_litter_of_file_managers_is_no_part_of_the_set(root):
    before = ImageFolder().load("train", root=root).fingerprint
    for name in (".DS_Store", "ant/Thumbs.db", "ant/.hidden.png"):
        (root / "train" / name).write_bytes(b"x")
    assert ImageFolder().load("train", root=root).fingerprint == before


@pytest.mark.parametrize("link", ["train/ant/out.png", "train/cat", "validation"])
def test_links_out_of_the_root_are_refused(root, tmp_path_factory, link):
    outside = tmp_path_factory.mktemp("outside")
    for name in ("ant", "bee"):
        noise(outside / name / "o.png", 1)
    target = outside / "ant/o.png" if link.endswith("png") else outside
    (root / link).symlink_to(target)
    split = "validation" if link == "validation" else "train"
    with pytest.raises(DatasetError, match="symbolic link that leads out"):
        ImageFolder().load(split, root=root)


def test_links_inside_the_root_are_followed_but_not_to_folders_within_a_class(root):
    (root / "train/ant/again.png").symlink_to(root / "train/bee/a.png")
    train = ImageFolder().load("train", root=root)
    assert np.array_equal(train.images[train.ids.index("ant/again.png")], train.images[train.ids.index("bee/a.png")])
    (root / "train/ant/loop").symlink_to(root / "train")
    with pytest.raises(DatasetError, match="not image files: ant/loop"):
        ImageFolder().load("train", root=root)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"mean": [0.5, 0.5, 0.5]}, "belong together"),
        ({"mean": [0.5], "std": [0.5]}, "3 number"),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.0, 0.5]}, "above 0"),
        ({"channels": 2}, "channels"),
        ({"image_size": 0}, "image_size"),
        ({"imagesize": 3}, "Did you mean 'image_size'"),
    ],
)
def test_fields_are_checked(fields, problem):
    with pytest.raises(ConfigError, match=problem):
        parse(ImageFolder, fields)


@pytest.mark.shared
def test_the_real_subset_is_read_and_published_statistics_agree(shared_data, tmp_path):
    """Mean and std of CIFAR-10 as in facts/differentiable_search.md, section 1, against 300 real images."""
    with tarfile.open(shared_data / "cifar10-subset.tar.gz") as archive:
        members = [member for member in archive if member.isfile() and "/train/" in member.name]
        archive.extractall(tmp_path, members[::50], filter="data")
    train = ImageFolder().load("train", root=tmp_path / "cifar10-subset")
    assert train.images.shape == (300, 32, 32, 3)
    assert np.bincount(train.labels).tolist() == [30] * 10
    assert train.mean == pytest.approx(DATASETS.get("cifar10").mean, abs=0.02)
    assert train.std == pytest.approx(DATASETS.get("cifar10").std, abs=0.02)
