"""From images to scores and from scores to a proxy: ``nasbench score`` and ``nasbench select``."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shlex
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasbench.core.proxy import load_proxy
from nasbench.core.table import ExampleTable, load_table, save_table
from nasbench.selectors import SELECTORS


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of a ResNet-20 for two classes as it is initialised."""
    import torch

    from nasbench.models.resnet_cifar import create
    from nasbench.training.determinism import seeded

    path = tmp_path_factory.mktemp("weights") / "resnet20.th"
    with seeded(0):
        torch.save(create("resnet20", 2, 3).state_dict(), path)
    return path


SCORE = "score --dataset image-folder --root {root} --split train --model resnet20 --weights {weights} --out {out}"


def entropy_by_hand(
    root: Path, weights: Path, ids: list[str], mean: Any, std: Any, classes: int, mode: str = "RGB"
) -> np.ndarray:
    """The formula, example by example, in float64."""
    import torch

    from nasbench.models.resnet_cifar import create

    state = torch.load(weights, weights_only=True, map_location="cpu")
    state = state.get("state_dict", state)
    model = create("resnet20", classes, len(mode)).eval()
    model.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    values = []
    for name in ids:
        image = np.asarray(Image.open(root / name).convert(mode)) / 255.0
        pixels = image.reshape(*image.shape[:2], len(mode))
        inputs = torch.tensor((pixels - mean) / std, dtype=torch.float32).permute(2, 0, 1)[None]
        with torch.no_grad():
            log_p = torch.log_softmax(model(inputs).double(), dim=1)[0].numpy()
        values.append(float(-(np.exp(log_p) * log_p).sum()))
    return np.array(values)


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def test_score_writes_id_label_and_entropy_of_every_image(nasbench, pictures, weights, tmp_path):
    import pyarrow.parquet as pq

    done = nasbench(f"{SCORE} --json", root=pictures, weights=weights, out=tmp_path / "scores.parquet")
    assert (done.code, done.json["num_examples"]) == (0, 6)
    read = pq.read_table(tmp_path / "scores.parquet")
    assert read.column_names == ["id", "label", "entropy"]
    ids = read["id"].to_pylist()
    assert ids == ["ant/0.png", "ant/1.png", "ant/2.png", "bee/0.png", "bee/1.png", "bee/2.png"]
    assert read["label"].to_pylist() == [0, 0, 0, 1, 1, 1]
    entropy = read["entropy"].to_numpy()
    expected = entropy_by_hand(pictures / "train", weights, ids, classes=2, **IMAGENET)
    assert entropy == pytest.approx(expected, rel=1e-4)
    assert len(set(entropy)) == 6
    assert done.json["entropy_mean"] == pytest.approx(entropy.mean())


def test_options_of_score_matter(nasbench, pictures, weights, tmp_path):
    def entropies(options: str = "", line: str = SCORE) -> list[float]:
        done = nasbench(f"{line} {options}", root=pictures, weights=weights, out=tmp_path / "scores.parquet")
        assert done.code == 0, done.err
        return load_table(tmp_path / "scores.parquet").column("entropy").tolist()

    plain = entropies()
    assert entropies() == plain
    statistics = "--input-mean 0.1,0.2,0.3 --input-std 0.5,0.6,0.7"
    ids = ["ant/0.png", "ant/1.png", "ant/2.png", "bee/0.png", "bee/1.png", "bee/2.png"]
    by_hand = entropy_by_hand(pictures / "train", weights, ids, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), 2)
    assert entropies(statistics) == pytest.approx(by_hand, rel=1e-4)
    assert entropies("--set image_size=8") != plain
    assert entropies(line=SCORE.replace("--split train", "--split other")) != plain


def test_wrong_weights_are_refused(refused, pictures, weights, tmp_path):
    places = {"root": pictures, "out": tmp_path / "scores.parquet"}
    assert "there is no weights file" in refused(SCORE, weights=tmp_path / "absent.th", **places)
    (tmp_path / "truncated.th").write_bytes(weights.read_bytes()[:50_000])
    assert "truncated" in refused(SCORE, weights=tmp_path / "truncated.th", **places)
    (tmp_path / "foreign.th").write_bytes(b"no weights at all")
    assert "CheckpointError" in refused(SCORE, weights=tmp_path / "foreign.th", **places)
    other_model = SCORE.replace("resnet20", "resnet32")
    assert "the weights do not fit the model" in refused(other_model, weights=weights, **places)
    unknown = refused(SCORE.replace("resnet20", "resnet21"), weights=weights, **places)
    assert "resnet21" in unknown
    assert "resnet20" in unknown
    assert "input_mean and input_std belong together" in refused(
        f"{SCORE} --input-mean 0,0,0", weights=weights, **places
    )
    assert "must have one number for each of the images' 3 channel(s)" in refused(
        f"{SCORE} --input-mean 0.13 --input-std 0.3", weights=weights, **places
    )


def test_a_model_of_grey_images_is_scored_with_one_number_each(nasbench, pictures, tmp_path):
    import torch

    from nasbench.models.resnet_cifar import create
    from nasbench.training.determinism import seeded

    weights, out = tmp_path / "grey.th", tmp_path / "scores.parquet"
    with seeded(0):
        torch.save(create("resnet20", 2, 1).state_dict(), weights)
    options = "--set channels=1 --input-mean 0.13 --input-std 0.3"
    done = nasbench(f"{SCORE} {options}", root=pictures, weights=weights, out=out)
    assert done.code == 0, done.err
    table = load_table(out)
    by_hand = entropy_by_hand(pictures / "train", weights, list(table.ids), 0.13, 0.3, 2, mode="L")
    assert table.column("entropy") == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("text", ["0.1;0.2;0.3", "0.1,,0.3", "nan", "0.1,inf,0.3", "''"])
def test_what_is_not_numbers_with_commas_is_refused(nasbench, pictures, weights, tmp_path, text):
    out = tmp_path / "scores.parquet"
    done = nasbench(f"{SCORE} --input-mean {text}", root=pictures, weights=weights, out=out)
    said = " ".join(done.err.split())
    assert (done.code, out.exists()) == (2, False)
    assert "Invalid value for '--input-mean'" in said
    assert f"{shlex.split(text)[0]!r} is not allowed; write numbers with commas between them" in said
    assert "0.485,0.456,0.406" in said


def test_score_makes_pytorch_deterministic_with_the_threads_asked_for(nasbench, pictures, weights, tmp_path):
    import torch

    paths = {"root": pictures, "weights": weights, "out": tmp_path / "scores.parquet"}
    for options, threads in (("--threads 2", 2), ("", 1)):
        torch.use_deterministic_algorithms(False)
        assert nasbench(f"{SCORE} {options}", **paths).code == 0
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, True)
    assert nasbench(f"{SCORE} --threads 0", **paths).code == 2


def test_wrong_pictures_are_refused(refused, pictures, weights, tmp_path):
    places = {"root": pictures, "weights": weights, "out": tmp_path / "scores.parquet"}
    assert "splt" in refused(SCORE.replace("--split train", "--split splt"), **places)
    assert "did you mean 'image-folder'" in refused(SCORE.replace("image-folder", "image-foldr"), **places).lower()
    assert "unknown key" in refused(f"{SCORE} --set image_sise=8", **places)
    (pictures / "train/cow").mkdir()
    assert "cow" in refused(SCORE, **places)
    (pictures / "train/cow").rmdir()
    (pictures / "train/ant/0.png").write_bytes(b"no picture")
    (pictures / "train/bee/1.png").write_bytes(b"")
    said = refused(SCORE, **places)
    assert "ant/0.png" in said
    assert "bee/1.png" in said
    for path in (pictures / "train/bee").iterdir():
        path.unlink()
    (pictures / "train/bee").rmdir()
    assert "class" in refused(SCORE, **places)


@pytest.mark.shared
@pytest.mark.slow
def test_score_of_real_images_with_the_published_weights(nasbench, shared_data, tmp_path):
    """The first 40 CIFAR-10 test images of each class of the subset; every sixteenth is checked by hand."""
    with tarfile.open(shared_data / "cifar10-subset.tar.gz") as archive:
        files = sorted((m for m in archive if m.isfile() and "/test/" in m.name), key=lambda m: m.name)
        of_class = itertools.groupby(files, key=lambda m: Path(m.name).parent)
        chosen = [member for _, members in of_class for member in itertools.islice(members, 40)]
        archive.extractall(tmp_path, chosen, filter="data")
    (tmp_path / "cifar10-subset/test").rename(tmp_path / "cifar10-subset/train")
    root, file = tmp_path / "cifar10-subset", shared_data / "cifar10-resnet20-12fca82f.th"
    done = nasbench(SCORE, root=root, weights=file, out=tmp_path / "scores.parquet")
    assert (done.code, len(files), len(chosen)) == (0, 5000, 400), done.err
    table = load_table(tmp_path / "scores.parquet")
    entropy = table.column("entropy")
    assert np.bincount(table.labels).tolist() == [40] * 10
    rows = list(range(0, 400, 16))
    by_hand = entropy_by_hand(root / "train", file, [table.ids[row] for row in rows], classes=10, **IMAGENET)
    assert entropy[rows] == pytest.approx(by_hand, rel=2e-3)
    # Of the published list of training images the median is 2.777e-05 and the largest value 1.6128
    # (facts/differentiable_search.md, section 2); a test image is a little harder.
    assert 1e-5 < np.median(entropy) < 1e-3
    assert 0 <= entropy.min() < 1e-7
    assert 1.0 < entropy.max() < np.log(10)


ROWS = 200
SELECT = "select --scores {scores} --out {out} --selector"


FORMS = [(name, form) for name in SELECTORS.names() for form in ("parquet", "tsv")]


@pytest.mark.parametrize(
    ("selector", "form"),
    [(name, form) for name, form in FORMS if form == "parquet" or set(SELECTORS.get(name).needs) <= {"entropy"}],
)
def test_select_writes_sorted_row_numbers(nasbench, scores, tmp_path, selector, form):
    size = "" if selector == "whole" else "--fraction 0.1"
    done = nasbench(f"{SELECT} {selector} {size} --seed 3 --json", scores=scores[form], out=tmp_path / "p.json")
    expected = ROWS if selector == "whole" else 20
    assert done.code == 0, done.err
    assert (done.json["selector"], done.json["num_examples"], done.json["of"]) == (selector, expected, ROWS)
    value = json.loads((tmp_path / "p.json").read_text())
    assert len(value["indices"]) == expected
    assert value["indices"] == sorted(set(value["indices"]))
    assert 0 <= value["indices"][0] <= value["indices"][-1] < ROWS
    assert sorted(value["weight_indices"] + value["alpha_indices"]) == value["indices"]
    assert value["dataset"] == ("d" * 32 if form == "parquet" else "")
    assert (value["seed"], value["selector"]["name"], value["num_examples"]) == (3, selector, ROWS)
    load_proxy(tmp_path / "p.json")


def test_select_takes_what_the_formula_says(nasbench, scores, tmp_path):
    entropy = load_table(scores["tsv"]).column("entropy")
    paths = {"scores": scores["tsv"], "out": tmp_path / "p.json"}

    def chosen(options: str) -> list[int]:
        assert nasbench(f"{SELECT} {options}", **paths).code == 0
        return json.loads((tmp_path / "p.json").read_text())["indices"]

    order = np.argsort(entropy)
    assert chosen("entropy-bottom-k --size 7") == sorted(order[:7])
    assert chosen("entropy-top-k --size 7") == sorted(order[-7:])
    assert chosen("entropy-tails-deterministic --size 10 --set low_entropy_ratio=0.6") == sorted(
        [*order[:6], *order[-4:]]
    )
    assert chosen("entropy-tails-p1 --size 30 --set bin_width=0.25") != chosen("entropy-tails-p1 --size 30")
    preset = chosen("entropy-tails-p1 --size 30 --set bin_width=cifar100")
    assert preset == chosen("entropy-tails-p1 --size 30 --set bin_width=0.25")
    assert chosen("random --size 20") == chosen("random --fraction 0.1")
    assert chosen("whole --size 200") == chosen("whole") == list(range(ROWS))


def test_same_seed_same_bytes_whatever_the_form_another_seed_other_rows(nasbench, scores, tmp_path):
    for name, form, seed in (("a", "parquet", 1), ("b", "parquet", 1), ("c", "tsv", 1), ("d", "parquet", 2)):
        line = f"{SELECT} entropy-tails-p1 --fraction 0.2 --seed {seed}"
        assert nasbench(line, scores=scores[form], out=tmp_path / name).code == 0
    values = {name: json.loads((tmp_path / name).read_text()) for name in "abcd"}
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert values["c"]["indices"] == values["a"]["indices"]
    assert values["d"]["indices"] != values["a"]["indices"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("random", "exactly one must be given"),
        ("random --size 3 --fraction 0.1", "exactly one must be given"),
        ("random --size 201", "201 of 200 examples cannot be selected"),
        ("random --size 0", "0 of 200 examples cannot be selected"),
        ("random --size -3", "-3 of 200 examples cannot be selected"),
        ("random --fraction 1.5", "fraction 1.5 must lie above 0"),
        ("random --fraction 0", "fraction 0.0 must lie above 0"),
        ("random --fraction nan", "fraction nan must lie above 0"),
        ("random --fraction 0.001", "less than one"),
        ("whole --size 5", "'whole' takes all 200 examples, not 5"),
        ("whole --fraction 0.5", "'whole' takes all 200 examples, not 100"),
        ("entropy-tails-p4 --size 5", "Did you mean 'entropy-tails-p"),
        ("entropy-tails-p1 --size 5 --set bin_with=1", "entropy-tails-p1.bin_with: unknown key"),
        ("entropy-tails-p1 --size 5 --set bin_width=wide", "entropy-tails-p1.bin_width: 'wide' is not allowed"),
        ("entropy-tails-p1 --size 5 --set bin_width=cifar1", "'imagenet'. Did you mean 'cifar10'?"),
        ("entropy-tails-p1 --size 5 --set bin_width=.nan", "entropy-tails-p1.bin_width: nan is not allowed"),
        ("entropy-tails-p1 --size 5 --set bin_width", "write FIELD=VALUE"),
        ("entropy-tails-p1 --size 5 --set =1", "write FIELD=VALUE"),
        ("entropy-tails-p1 --size 5 --set bin_width=[", "the value is not YAML"),
        ("entropy-tails-p1 --size 5 --set bin_width=1.0 --set bin_width=2.0", "is given twice"),
    ],
)
def test_wrong_options_of_select_are_refused(refused, scores, tmp_path, options, said):
    assert said in refused(f"{SELECT} {options}", scores=scores["parquet"], out=tmp_path / "p.json")


def test_wrong_scores_are_refused(refused, scores, tmp_path):
    line = f"{SELECT} entropy-tails-p1 --size 5"
    (tmp_path / "nan.tsv").write_text("".join(f"{row} {'nan' if row == 7 else 0.5} 0\n" for row in range(20)))
    assert "the first is nan in row 7" in refused(line, scores=tmp_path / "nan.tsv", out=tmp_path / "p.json")
    (tmp_path / "minus.tsv").write_text("".join(f"{row} {row - 3} 0\n" for row in range(20)))
    assert "an entropy is never below 0" in refused(line, scores=tmp_path / "minus.tsv", out=tmp_path / "p.json")
    save_table(tmp_path / "bare.parquet", ExampleTable(dataset="", labels=np.zeros(20, dtype=np.int64)))
    assert "no column 'entropy'" in refused(line, scores=tmp_path / "bare.parquet", out=tmp_path / "p.json")
    (tmp_path / "cut.parquet").write_bytes(scores["parquet"].read_bytes()[:-30])
    assert "cannot read" in refused(line, scores=tmp_path / "cut.parquet", out=tmp_path / "p.json")
    assert "there is no score file" in refused(line, scores=tmp_path / "absent.tsv", out=tmp_path / "p.json")


def test_a_file_that_cannot_be_written_is_an_error_and_the_former_one_stays(refused, scores, tmp_path, monkeypatch):
    line = f"{SELECT} random --size 5"
    said = refused(line, scores=scores["tsv"], out=scores["tsv"] / "p.json")
    assert said.startswith("FileWriteError: cannot write")
    (tmp_path / "p.json").write_text("former")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    said = refused(line, scores=scores["tsv"], out=tmp_path / "p.json")
    assert os.strerror(errno.ENOSPC) in said
    assert (tmp_path / "p.json").read_text() == "former"


@pytest.mark.shared
@pytest.mark.parametrize(("name", "size"), [("svhn-resnet20", 7_325), ("cifar100-resnet56", 5_000)])
def test_select_from_a_published_list_takes_the_papers_size(nasbench, shared_data, tmp_path, name, size):
    """k = floor(0.1 n): facts/differentiable_search.md, section 0, fact 4."""
    line = f"{SELECT} entropy-tails-p1 --fraction 0.1"
    done = nasbench(line, scores=shared_data / f"{name}-entropy.tsv.gz", out=tmp_path / "p.json")
    assert done.code == 0, done.err
    assert len(json.loads((tmp_path / "p.json").read_text())["indices"]) == size
