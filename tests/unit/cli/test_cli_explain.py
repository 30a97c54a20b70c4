"""``nasbench select --explain`` and ``nasbench document``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasbench.core.table import ExampleTable, load_table, save_table
from nasbench.datasets.digits import Digits
from nasbench.datasets.image_folder import ImageFolder
from nasbench.selectors import SELECTORS

SELECT = "select --scores {scores} --out {out} --explain {page} --selector"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Made-up scores of the digits: entropies, and features beside a second column."""
    images = Digits().load("train", root=Path())
    folder, rng = tmp_path_factory.mktemp("digits"), np.random.default_rng(0)
    common = {"dataset": images.fingerprint, "labels": images.labels, "ids": images.ids}
    entropy, loss = np.exp(rng.normal(-4, 3, len(images))), rng.random(len(images))
    features = rng.normal(size=(len(images), 4)).astype(np.float32)
    save_table(folder / "entropy.parquet", ExampleTable(**common, columns={"entropy": entropy}))
    save_table(
        folder / "more.parquet", ExampleTable(**common, columns={"reconstruction_loss": loss}, features=features)
    )
    return {"entropy": folder / "entropy.parquet", "more": folder / "more.parquet"}


def test_explain_writes_a_page_with_pictures_where_the_images_are_given(nasbench, digits, tmp_path):
    paths = {"scores": digits["entropy"], "out": tmp_path / "p.json", "page": tmp_path / "page"}
    done = nasbench(f"{SELECT} entropy-tails-p1 --size 60 --json", **paths)
    assert done.code == 0, done.err
    assert done.json["page"] == str(tmp_path / "page/index.html")
    bare = (tmp_path / "page/index.html").read_text()
    assert "data:image/png" not in bare
    value = json.loads(paths["out"].read_text())
    for word in (value["fingerprint"], value["table"], value["dataset"], "60 of 1,197", "bin_width"):
        assert word in bare, word
    assert nasbench(f"{SELECT} entropy-tails-p1 --size 60 --dataset digits", **paths).code == 0
    full = (tmp_path / "page/index.html").read_text()
    assert full.count("data:image/png") == 4
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", full)
    assert json.loads(paths["out"].read_text()) == value
    assert (tmp_path / "page/figures/montage.png").read_bytes().startswith(b"\x89PNG")


def test_selectors_without_scores_need_the_dataset_only(nasbench, refused, tmp_path):
    paths = {"out": tmp_path / "p.json", "page": tmp_path / "page"}
    line = "select --dataset digits --out {out} --explain {page} --fraction 0.1 --selector"
    assert "the table has no column 'entropy'" in refused(f"{line} entropy-top-k", **paths)
    assert nasbench(f"{line} random", **paths).code == 0
    assert json.loads(paths["out"].read_text())["dataset"] == Digits().load("train", root=Path()).fingerprint
    assert "<h2>Scores</h2>" not in (tmp_path / "page/index.html").read_text()


def test_an_order_of_the_selector_s_own_is_shown(nasbench, digits, tmp_path):
    paths = {"scores": digits["more"], "out": tmp_path / "p.json", "page": tmp_path / "page"}
    assert nasbench(f"{SELECT} km-or --size 60 --set num_clusters=5", **paths).code == 0
    assert "Ordered by the distance that the selector orders by." in (tmp_path / "page/index.html").read_text()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--dataset mnist5k", 1, "not of"),
        ("--dataset digits --split test", 1, "with 1197 examples, not of"),
        ("--dataset digit", 1, "Did you mean 'digits'?"),
        ("--root x", 2, "--root has no effect without --dataset"),
        ("--split test", 2, "--split has no effect without --dataset"),
        ("--dataset-set test_size=500", 2, "--dataset-set has no effect without --dataset"),
        ("--dataset digits --dataset-set test_size=500", 1, "with 1197 examples, not of"),
    ],
)
def test_images_of_other_scores_are_refused(nasbench, digits, tmp_path, options, code, said):
    paths = {"scores": digits["entropy"], "out": tmp_path / "p.json", "page": tmp_path / "page"}
    done = nasbench(f"{SELECT} random --size 6 {options}", **paths)
    assert done.code == code
    assert said in " ".join(done.err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_is_an_error_and_no_scores_at_all_too(nasbench, refused, digits, tmp_path):
    (tmp_path / "file").write_text("x")
    paths = {"scores": digits["entropy"], "out": tmp_path / "p.json", "page": tmp_path / "file/page"}
    assert "cannot write" in refused(f"{SELECT} random --size 6", **paths)
    done = nasbench("select --selector random --size 3 --out {out}", **paths)
    assert done.code == 2
    assert "give --scores FILE, or --dataset NAME" in done.err


DOCUMENT = "document --scores {entropy} --scores {more} --out {out}"


def test_document_writes_a_page_a_selector_and_says_which_are_left_out(nasbench, digits, tmp_path):
    names = ("random", "ae")
    chosen = " ".join(f"--selector {name}" for name in names)
    done = nasbench(f"{DOCUMENT} {chosen} --fraction 0.05 --json", **digits, out=tmp_path)
    assert (done.code, done.json["pages"], done.json["left_out"]) == (0, list(names), {}), done.err
    page = (tmp_path / "ae.md").read_text()
    assert "59 of 1,197 examples" in page
    assert "ordered by reconstruction_loss" in page
    for figure in re.findall(r"\]\((figures/[^)]+)\)", page):
        assert (tmp_path / figure).stat().st_size < 60_000
    assert not (tmp_path / "README.md").exists()


@pytest.fixture
def _nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested elsewhere."""
    from nasbench.analysis import plots

    monkeypatch.setattr(plots, "entropy_histogram", lambda _: "<svg></svg>")
    monkeypatch.setattr(plots, "score_histogram", lambda _: "<svg></svg>")
    monkeypatch.setattr(plots, "class_counts", lambda *_: "<svg></svg>")


@pytest.mark.usefixtures("_nothing_drawn")
def test_document_without_names_makes_every_page_that_the_scores_allow(nasbench, digits, tmp_path):
    done = nasbench("document --scores {entropy} --out {out} --json", **digits, out=tmp_path)
    assert done.code == 0, done.err
    assert set(done.json["pages"]) | set(done.json["left_out"]) == set(SELECTORS.names())
    needing = {name for name in SELECTORS.names() if set(SELECTORS.get(name).needs) - {"entropy"}}
    assert needing == set(done.json["left_out"])
    assert "no page for ae: the table has no column 'reconstruction_loss'" in done.err
    index = (tmp_path / "README.md").read_text()
    assert all((f"]({name}.md)" in index) == (name not in needing) for name in SELECTORS.names())


@pytest.mark.usefixtures("_nothing_drawn")
def test_a_page_says_of_which_image_folder_it_is(nasbench, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / f"birds/train/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    images = ImageFolder().load("train", root=tmp_path / "birds")
    save_table(tmp_path / "scores.parquet", ExampleTable(dataset=images.fingerprint, labels=images.labels))
    line = "document --selector random --dataset image-folder --root {at}/birds --scores {at}/scores.parquet --out {at}"
    assert nasbench(f"{line} --fraction 0.5", at=tmp_path).code == 0
    page = (tmp_path / "random.md").read_text()
    assert "## On the image folder birds\n\n6 of 12 examples" in page
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("document --selector ae --scores {entropy} --out {out}", 1, "no column 'reconstruction_loss'"),
        ("document --selector aee --scores {entropy} --out {out}", 1, "Did you mean 'ae'?"),
        ("document --dataset image-folder --out {out}", 2, "give --scores FILE"),
        ("document --scores {entropy} --folder x --out {out}", 2, "--folder has no effect with --scores"),
        ("document --scores {entropy} --dataset mnist5k --out {out}", 1, "with 1197 examples, not of"),
        ("document --scores {entropy} --fraction 2 --selector random --out {out}", 1, "fraction 2.0 must lie"),
    ],
)
def test_pages_that_cannot_be_made_are_refused(nasbench, digits, tmp_path, line, code, said):
    done = nasbench(line, **digits, out=tmp_path)
    assert done.code == code
    assert said in " ".join(done.err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_nothing_drawn")
def test_the_digits_scores_are_made_and_kept(nasbench, tmp_path, monkeypatch):
    from nasbench.cli import digit_scores

    small = {"reconstruction": {"epochs": 1}}
    monkeypatch.setattr(digit_scores, "DIGIT_SCORERS", small)
    line = "document --selector ae --out {out} --folder {folder}"
    stamps = []
    for _ in range(2):
        assert nasbench(line, out=tmp_path / "pages", folder=tmp_path / "models").code == 0
        stamps.append(sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "models").rglob("*.pt")))
    assert stamps[0] == stamps[1] != []
    assert "an autoencoder trained for" in (tmp_path / "pages/ae.md").read_text()


def test_every_column_that_a_selector_reads_has_a_scorer_for_the_digits():
    from nasbench.cli.digit_scores import DIGIT_SCORERS, TELLS
    from nasbench.scorers import SCORERS

    made = {column for name in DIGIT_SCORERS for column in SCORERS.get(name).columns}
    assert {column for name in SELECTORS.names() for column in SELECTORS.get(name).needs} <= made
    assert set(TELLS) == set(DIGIT_SCORERS)


def test_scores_of_several_files_are_joined(digits):
    from nasbench.cli.parts import together

    images = Digits().load("train", root=Path())
    table = together([load_table(digits["entropy"]), load_table(digits["more"])], images)
    assert set(table.columns) == {"entropy", "reconstruction_loss"}
    assert table.feature_rows().shape == (1197, 4)


def test_a_published_proxy_by_name(nasbench, refused, tmp_path):
    labels = np.repeat(np.arange(250), 4)
    save_table(tmp_path / "s.parquet", ExampleTable(dataset="d" * 32, labels=labels))
    paths = {"scores": tmp_path / "s.parquet", "out": tmp_path / "p.json"}
    line = "select --scores {scores} --out {out} --preset"
    done = nasbench(f"{line} imagenet1k-p2 --json", **paths)
    assert (done.code, done.json["selector"], done.json["num_examples"]) == (0, "random-classes", 800)
    value = json.loads(paths["out"].read_text())
    assert (value["selector"]["num_classes"], sum(count > 0 for count in value["classes"]["after"])) == (200, 200)
    paths["out"].unlink()
    assert "Did you mean 'imagenet1k-p" in refused(f"{line} imagenet1k-p9", **paths)
    assert "128000 of 800 examples cannot be selected" in refused(f"{line} imagenet1k-p4", **paths)
    for options in ("--size 3", "--fraction 0.5", "--set num_classes=2"):
        done = nasbench(f"{line} imagenet1k-p2 {options}", **paths)
        assert done.code == 2
        assert "has no effect with --preset" in " ".join(done.err.split())
    assert "exactly one of --selector and --preset" in nasbench(f"{line} imagenet1k-p2 --selector random", **paths).err
    assert nasbench("select --scores {scores} --out {out}", **paths).code == 2
