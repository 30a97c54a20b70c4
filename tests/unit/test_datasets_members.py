"""The papers' sets of image files, on small trees of their form: layouts, splits, statistics, and what can be wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision.datasets
from PIL import Image

from nasbench.core.errors import DatasetError
from nasbench.datasets import flowers102, imagenet1k, imagenet16_120, imagenet22k, mit67
from nasbench.datasets.cifar import Cifar10
from nasbench.datasets.flowers102 import Flowers102
from nasbench.datasets.imagenet1k import ImageNet1k
from nasbench.datasets.imagenet16_120 import ImageNet16By120
from nasbench.datasets.imagenet22k import ImageNet22k
from nasbench.datasets.index import save_index
from nasbench.datasets.lazy import LazyImages
from nasbench.datasets.mit67 import Mit67
from nasbench.datasets.tree import class_names, list_tree

COLOURS = {"n01": (250, 10, 10), "n02": (10, 250, 10), "n03": (10, 10, 250)}


def picture(path: Path, colour=(1, 2, 3), size=(12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def tree(folder: Path, count: int, ending: str = "png") -> None:
    for name, colour in COLOURS.items():
        for number in range(count):
            picture(folder / name / f"{name}_{number:02}.{ending}", colour, (12, 8 + number))


def colours_of(images) -> list[int]:
    """Return the strongest channel of each image, which is its label here."""
    return images.images[:].mean(axis=(1, 2)).argmax(axis=1).tolist()


def test_published_counts():
    """Russakovsky et al. 2015, table 2; Dong and Yang 2020; NASTransfer, table 1 and the sets' own pages."""
    assert (imagenet1k.NUM_CLASSES, imagenet1k.NUM_TRAIN, imagenet1k.NUM_TEST) == (1000, 1_281_167, 50_000)
    assert (imagenet16_120.NUM_CLASSES, imagenet16_120.NUM_TRAIN, imagenet16_120.NUM_TEST) == (120, 151_700, 6000)
    assert (imagenet22k.NUM_CLASSES, imagenet22k.NUM_IMAGES) == (21_841, 14_197_122)
    assert (mit67.NUM_CLASSES, mit67.NUM_TRAIN, mit67.NUM_TEST) == (67, 67 * 80, 67 * 20)
    assert (flowers102.NUM_TRAIN, flowers102.NUM_TEST) == (102 * 20, flowers102.NUM_IMAGES - 102 * 20)
    assert ImageNet1k().published_statistics() == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert ImageNet16By120.mean[0] * 255 == pytest.approx(122.68)  # facts/sampling_search.md, section 7.4
    assert ImageNet16By120.std[2] * 255 == pytest.approx(65.09)


def test_imagenet1k_reads_folders_and_stays_on_disk(tmp_path, caplog):
    tree(tmp_path / "train", 4, "JPEG")
    tree(tmp_path / "val", 2, "JPEG")
    train, test = (ImageNet1k(image_size=6).load(split, root=tmp_path) for split in ("train", "test"))
    assert isinstance(train.images, LazyImages)
    assert (len(train), len(test), train.num_classes) == (12, 6, 3)
    assert colours_of(train) == train.labels.tolist()
    assert colours_of(test) == test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert train.ids[0] == "n01/n01_00.JPEG"
    assert "imagenet1k: train has 12 images; published are 1281167" in caplog.messages
    share = ImageNet1k(image_size=6, split_rule="40-40-20")
    parts = [share.load(split, root=tmp_path) for split in ("train", "test")]
    assert [len(part) for part in parts] == [9, 3]
    assert sorted([*parts[0].ids, *parts[1].ids]) == sorted(train.ids)


@pytest.mark.parametrize("form", ["{} {}", "{}\t{}", "{},{} 85 1 499 272"])
@pytest.mark.parametrize("ending", ["", ".JPEG"])
def test_imagenet1k_reads_flat_validation_images_with_a_list(tmp_path, form, ending):
    tree(tmp_path / "train", 2, "JPEG")
    lines = ["ImageId,PredictionString"] if "," in form else []
    for number, name in enumerate(("n03", "n01", "n02")):
        picture(tmp_path / "val" / f"ILSVRC2012_val_{number}.JPEG", COLOURS[name])
        lines.insert(1, form.format(f"ILSVRC2012_val_{number}{ending}", name))
    (tmp_path / "val_labels.txt").write_text("\n".join(lines), encoding="utf-8")
    test = ImageNet1k(image_size=6).load("test", root=tmp_path)
    assert test.ids == tuple(f"ILSVRC2012_val_{number}.JPEG" for number in range(3))
    assert test.labels.tolist() == colours_of(test) == [2, 0, 1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (None, "val_labels.txt cannot be read .*images of val lie flat"),
        (["a.JPEG n01"], r"holds 2 images, .* labels 1; without a label: b.JPEG"),
        (["a.JPEG n01", "b.JPEG n01", "c.JPEG n01"], r"holds 2 images, .* labels 3"),
        (["a.JPEG n01", "b.JPEG"], r"1 lines have no label \(b.JPEG\)"),
        (["a.JPEG n01", "a.JPEG n02"], r"1 images are listed more than once"),
        (["a.JPEG n01", "b.JPEG n09"], r"classes that train lacks: n09. Did you mean"),
    ],
)
def test_wrong_label_lists_are_named(tmp_path, lines, said):
    tree(tmp_path / "train", 1)
    for name in ("a", "b"):
        picture(tmp_path / "val" / f"{name}.JPEG")
    if lines is not None:
        (tmp_path / "val_labels.txt").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DatasetError, match=said):
        ImageNet1k(image_size=6).load("test", root=tmp_path)


def test_imagenet1k_validation_classes_must_be_those_of_train(tmp_path):
    tree(tmp_path / "train", 1)
    tree(tmp_path / "val", 1)
    picture(tmp_path / "val/n09/a.png")
    with pytest.raises(DatasetError, match="classes that train lacks: n09"):
        ImageNet1k().load("test", root=tmp_path)
    with pytest.raises(DatasetError, match="no split folder"):
        ImageNet1k().load("test", root=tmp_path / "nowhere")


def test_imagenet22k_lists_the_tree_or_reads_an_index(tmp_path):
    tree(tmp_path / "data", 5)
    picture(tmp_path / "data/n04/lonely.png")
    root = tmp_path / "data"
    listed = [ImageNet22k(image_size=6).load(split, root=root) for split in ("train", "test")]
    assert [len(part) for part in listed] == [10, 6]
    assert np.bincount(listed[0].labels).tolist() == [3, 3, 3, 1]
    assert listed[1].num_classes == 4
    index = list_tree(root, root, class_names(root, root))
    save_index(tmp_path / "index.parquet", index)
    (root / "index.parquet").write_bytes((tmp_path / "index.parquet").read_bytes())
    text = "".join(f"{path}\t{index.classes[label]}\n" for path, label in zip(index.paths, index.labels, strict=True))
    (root / "index.tsv").write_text(text, encoding="utf-8")
    for file in ("index.tsv", "index.parquet"):
        parts = [ImageNet22k(image_size=6, index_file=file).load(split, root=root) for split in ("train", "test")]
        assert [part.fingerprint for part in parts] == [part.fingerprint for part in listed]
    other = ImageNet22k(image_size=6, index_file="index.tsv", split_rule="40-40-20")
    assert [len(other.load(split, root=root)) for split in ("train", "test")] == [13, 3]
    with pytest.raises(DatasetError, match=r"index_file: .*leads out"):
        ImageNet22k(index_file="../index.parquet").load("train", root=root)
    with pytest.raises(DatasetError, match=r"absent.tsv cannot be read"):
        ImageNet22k(index_file="absent.tsv").load("train", root=root)


def scenes(root: Path, train=(), test=()) -> Path:
    tree(root / "Images", 5, "jpg")
    given = {
        "TrainImages.txt": train
        or [f"{name}/{name}_0{number}.jpg" for name in ("n02", "n01", "n03") for number in (0, 3)],
        "TestImages.txt": test or [f"{name}/{name}_04.jpg" for name in COLOURS],
    }
    for file, lines in given.items():
        (root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_mit67_takes_the_official_lists_or_all_images(tmp_path):
    root = scenes(tmp_path)
    train, test = (Mit67(image_size=6).load(split, root=root) for split in ("train", "test"))
    assert train.ids == tuple(f"{name}/{name}_0{number}.jpg" for name in COLOURS for number in (0, 3))
    assert test.labels.tolist() == [0, 1, 2]
    assert (test.mean, test.std) == (train.mean, train.std)
    share = Mit67(image_size=6, split_rule="40-40-20")
    assert [len(share.load(split, root=root)) for split in ("train", "test")] == [12, 3]


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"train": ["n01/n01_09.jpg"]}, r"1 are not in .*Images: n01/n01_09.jpg"),
        ({"train": ["n01/n01_00.jpg", "n01/n01_00.jpg"]}, r"names images more than once: n01/n01_00.jpg"),
        ({"train": ["n01/n01_04.jpg"]}, r"both official lists name n01/n01_04.jpg"),
        ({"test": ["../../secret.jpg"]}, r"1 are not in .*Images"),
    ],
)
def test_wrong_lists_of_mit67_are_named(tmp_path, lists, said):
    with pytest.raises(DatasetError, match=said):
        Mit67(image_size=6).load("train", root=scenes(tmp_path, **lists))


def test_an_absent_list_of_mit67_is_named(tmp_path):
    (scenes(tmp_path) / "TestImages.txt").unlink()
    with pytest.raises(DatasetError, match=r"TestImages.txt cannot be read"):
        Mit67(image_size=6).load("train", root=tmp_path)


def flowers(root: Path, monkeypatch) -> Path:
    """Three images each of 102 classes: one in each official part; files of torchvision's form."""
    folder = root / "flowers-102"
    labels = np.tile(np.arange(1, 103), 3)
    for number, label in enumerate(labels, 1):
        picture(folder / "jpg" / f"image_{number:05}.jpg", (int(label), 0, number % 256), (4, 5))
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels[None].astype(np.uint8)})
    parts = {"tstid": np.arange(1, 103), "valid": np.arange(103, 205), "trnid": np.arange(205, 307)}
    scipy.io.savemat(folder / "setid.mat", {key: rows[None] for key, rows in parts.items()})
    known = {
        key: (file, hashlib.md5((folder / file).read_bytes(), usedforsecurity=False).hexdigest())
        for key, file in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
    }
    known["image"] = ("102flowers.tgz", "")
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", known)
    return root


def test_flowers102_takes_torchvisions_files(tmp_path, monkeypatch):
    root = flowers(tmp_path, monkeypatch)
    train, test = (Flowers102(image_size=2, in_memory=True).load(split, root=root) for split in ("train", "test"))
    assert (len(train), len(test), train.num_classes) == (204, 102, 102)
    assert test.ids[0] == "image_00001.jpg"
    assert test.labels.tolist() == list(range(102))
    red = train.images[..., 0].mean(axis=(1, 2))
    assert np.abs(red - (train.labels + 1)).max() < 4  # JPEG
    share = Flowers102(image_size=2, split_rule="40-40-20")
    assert [len(share.load(split, root=root)) for split in ("train", "test")] == [204, 102]
    assert set(share.load("test", root=root).ids) != set(test.ids)
    (root / "flowers-102/setid.mat").write_bytes(b"altered")
    with pytest.raises(DatasetError, match="incomplete or altered"):
        Flowers102().load("train", root=root)


def small_batches(root: Path, **changes) -> np.ndarray:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (11, 4, 3, 16, 16), dtype=np.uint8)
    for number, name in enumerate([*imagenet16_120.FILES["train"], *imagenet16_120.FILES["test"]]):
        arrays = {
            "data": pixels[number].reshape(4, -1),
            "labels": np.array([120, 121, 1 + number, 1000]),
            "mean": pixels[0],
        }
        np.savez(root / name, **(arrays | (changes if number == 3 else {})))
    return pixels


def test_imagenet16_120_reads_the_npz_form(tmp_path):
    pixels = small_batches(tmp_path)
    train, test = (ImageNet16By120().load(split, root=tmp_path) for split in ("train", "test"))
    assert train.images.shape == (20, 16, 16, 3)
    assert train.labels.tolist()[:4] == [119, 0, 119, 1]
    assert train.ids[:4] == ("0", "2", "4", "6")
    assert np.array_equal(train.images[3], pixels[1, 2].transpose(1, 2, 0))
    assert test.labels.tolist() == [119, 10]
    assert train.num_classes == 120


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": np.array([0, 1, 2, 3])}, r"batch_4.npz: labels lie in 0 to 3; 1 to 1000"),
        ({"labels": np.array([1.0, 1, 2, 3])}, r"labels are float64 \[4\]"),
        ({"data": np.zeros((4, 3072), np.uint8)}, r"data is uint8 \[4, 3072\]; uint8 \[n, 768\]"),
        ({"data": np.array([{}], dtype=object)}, "Python objects"),
    ],
)
def test_wrong_arrays_of_imagenet16_120_are_named(tmp_path, changes, said):
    small_batches(tmp_path, **changes)
    with pytest.raises(DatasetError, match=said):
        ImageNet16By120().load("train", root=tmp_path)


def test_imagenet16_120_wants_all_batches_and_no_pickles(tmp_path):
    small_batches(tmp_path)
    (tmp_path / "train_data_batch_7.npz").unlink()
    with pytest.raises(DatasetError, match=r"lacks train_data_batch_7.npz.*pickled form is not read"):
        ImageNet16By120().load("train", root=tmp_path)


def test_imagenet16_120_is_made_from_photographs_by_the_box_filter(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet16_120, "NUM_CLASSES", 2)
    for split in ("train", "val"):
        tree(tmp_path / split, 2)
    (tmp_path / "map_clsloc.txt").write_text("n03 1 blue\nn01 2 red\nn02 3 green\n", encoding="utf-8")
    wide = np.random.default_rng(0).integers(0, 256, (16, 64, 3), dtype=np.uint8)
    Image.fromarray(wide).save(tmp_path / "train/n01/wide.png")
    train = ImageNet16By120().load("train", root=tmp_path)
    assert train.ids == ("n03/n03_00.png", "n03/n03_01.png", "n01/n01_00.png", "n01/n01_01.png", "n01/wide.png")
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    wanted = wide.reshape(16, 16, 4, 3).mean(axis=2)  # the whole width, each four columns one pixel
    assert np.abs(train.images[4] - wanted).max() <= 0.5
    assert ImageNet16By120().load("test", root=tmp_path).labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "map_clsloc.txt").write_text("n03 1 blue\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="does not number the classes"):
        ImageNet16By120().load("train", root=tmp_path)


def test_cifar10_has_the_papers_splits(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)

    class Files:
        base_folder = "cifar-10-batches-py"
        classes = tuple(range(10))

        def __init__(self, root, train, download):
            self.data = (100 if train else 200) + rng.integers(0, 50, (50 if train else 10, 32, 32, 3), dtype=np.uint8)
            self.targets = (np.arange(len(self.data)) % 10).tolist()

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Files)
    sizes = {
        rule: [len(Cifar10(split_rule=rule).load(split, root=tmp_path)) for split in ("train", "test")]
        for rule in ("official", "40-40-20", "nas-bench-201")
    }
    assert sizes == {"official": [50, 10], "40-40-20": [40, 20], "nas-bench-201": [25, 25]}
    pooled = Cifar10(split_rule="40-40-20").load("test", root=tmp_path)
    assert np.bincount(pooled.labels).tolist() == [2] * 10
    of_test_file = np.array([int(name) >= 50 for name in pooled.ids])
    assert np.array_equal(pooled.images.min(axis=(1, 2, 3)) >= 200, of_test_file)
    valid = Cifar10(split_rule="nas-bench-201").load("test", root=tmp_path)
    assert valid.images.max() < 200
    assert valid.labels.tolist() == [int(name) % 10 for name in valid.ids]
