"""``nasbench tune-proxy``, small but for real."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from nasbench.core.errors import TrainingError
from nasbench.core.table import ExampleTable, save_table
from nasbench.datasets.image_folder import ImageFolder
from nasbench.tuning.outcome import SearchOutcome

CONFIG = """
selectors: {random: {}}
fraction: {low: 0.1, high: 0.4}
seeds: [0]
margin: 0.9
searcher: random-sampling
searcher_options: {}
augment: {channels: 2}
recipe: {epochs: 1, batch_size: 256, learning_rate: 0.05, augmentation: {crop_padding: 1, flip: false}}
"""
TUNE = "tune-proxy --config {config} --out {out} --dataset image-folder --root {root}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/train and ROOT/test of four classes with six pictures each."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, kind, row in product(("train", "test"), "abcd", range(6)):
        path = folder / split / kind / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def places(tmp_path: Path, root: Path) -> dict[str, Path]:
    (tmp_path / "tune.yaml").write_text(CONFIG)
    return {"config": tmp_path / "tune.yaml", "out": tmp_path / "out", "root": root}


def test_a_study_runs_stops_at_its_total_and_goes_on(nasbench, places):
    done = nasbench(f"{TUNE} --trials 2 --json", **places)
    assert done.code == 0, done.err
    assert (done.json["trials"], done.json["running"], done.json["selector"]) == (2, 0, "random")
    assert 0.1 <= done.json["fraction"] <= 0.4
    study = json.loads((places["out"] / "study.json").read_text())
    assert [trial["number"] for trial in study["trials"]] == [0, 1]
    assert study["best"]["size"] == done.json["size"]
    page = (places["out"] / "index.html").read_text()
    assert "searcher: random-sampling" in page
    measured = set((places["out"] / "outcomes").iterdir())
    again = nasbench(f"{TUNE} --trials 2 --json", **places)
    assert again.json == done.json
    assert (places["out"] / "index.html").read_text() == page
    assert nasbench(f"{TUNE} --trials 3", **places).code == 0
    now = set((places["out"] / "outcomes").iterdir())
    assert len(now - measured) == 1
    assert not any((places["out"] / "checkpoints").iterdir())


def test_a_key_that_a_file_does_not_name_keeps_the_tuning_s_default(nasbench, tmp_path):
    file = tmp_path / "tune.yaml"
    show = {}
    for name, text in {
        "default": "{}",
        "part": "{recipe: {epochs: 7, augmentation: {cutout: 2}}, "
        "augment: {channels: 3}, searcher_options: {epochs: 9}}",
        "other": "{searcher: random-sampling, searcher_options: {}}",
    }.items():
        file.write_text(text)
        show[name] = nasbench("tune-proxy --config {file} --show --json", file=file).json
    want = show["default"]
    want["recipe"]["epochs"], want["recipe"]["augmentation"]["cutout"] = 7, 2
    want["augment"]["channels"], want["searcher_options"]["epochs"] = 3, 9
    assert show["part"] == want
    assert show["other"]["searcher_options"] == {}
    file.write_text("{recipe: {epoch: 7}}")
    assert "recipe.epoch: unknown key" in nasbench("tune-proxy --config {file} --show", file=file).err


@pytest.mark.parametrize(
    "scores",
    [
        "--scores {scores}",
        "",
    ],
)
def test_workers_of_one_call_share_the_study(nasbench, places, monkeypatch, scores):
    """A copy of this process takes the place of a new one, which would import PyTorch for ten seconds.

    What a new process is sent goes through pickle all the same.
    """
    fork, asked, workers = multiprocessing.get_context("fork"), [], []

    def copied(**sent):
        workers.append(fork.Process(**pickle.loads(pickle.dumps(sent))))  # noqa: S301  made here
        return workers[-1]

    def context(kind):
        asked.append(kind)
        return SimpleNamespace(Process=copied)

    monkeypatch.setattr(multiprocessing, "get_context", context)
    images = ImageFolder().load("train", root=places["root"])
    file = places["config"].parent / "scores.parquet"
    save_table(file, ExampleTable(dataset=images.fingerprint, labels=images.labels))
    line = f"{TUNE} {scores} --trials 3 --workers 2 --storage {{out}}/journal --json"
    done = nasbench(line, **places, scores=file)
    assert done.code == 0, done.err
    assert (done.json["trials"], done.json["running"]) == (3, 0)
    assert (asked, [worker.exitcode for worker in workers]) == (["spawn"], [0])
    assert (places["out"] / "journal").is_file()


def test_what_is_measured_is_the_cell_trained_from_scratch_and_survives_a_kill(places, tmp_path, monkeypatch):
    from nasbench.cli.parts import dataset_of, shape_for
    from nasbench.config.component import parse
    from nasbench.core.seeding import generator
    from nasbench.core.table import ExampleTable
    from nasbench.searchers.random_sampling import RandomSampling
    from nasbench.selectors.random_subset import RandomSubset
    from nasbench.selectors.selection import select_proxy
    from nasbench.training.augment import augment_cell
    from nasbench.tuning import outcome
    from nasbench.tuning.settings import TuningSettings

    settings = parse(TuningSettings, yaml.safe_load(CONFIG))
    digits = dataset_of("digits", ("test_size=1700",))  # 97 images to train on, many to tell one Top-1 from another
    train, test = (digits.load(split, root=Path()) for split in ("train", "test"))
    proxy = select_proxy(RandomSubset(), ExampleTable(dataset=train.fingerprint, labels=train.labels), 40, 4)
    measure = SearchOutcome(settings=settings, train=train, test=test, folder=tmp_path)
    calls = []

    def broken(*args, **rest):
        calls.append(rest["seed"])
        raise TrainingError("the loss is not finite")

    monkeypatch.setattr(outcome, "augment_cell", broken)
    with pytest.raises(TrainingError):
        measure(proxy, 4)
    monkeypatch.setattr(outcome, "augment_cell", augment_cell)
    top1 = measure(proxy, 4)
    space = settings.build_space()
    genotype = space.sample(generator(4, RandomSampling.name))
    shape = shape_for(train, num_cells=3, channels=2)
    assert augment_cell(space, genotype, shape, train, test, settings.recipe, seed=4).top1 == top1
    monkeypatch.setattr(outcome, "augment_cell", broken)
    assert measure(proxy, 4) == top1  # from its file
    with pytest.raises(TrainingError):
        measure(proxy, 5)
    assert calls == [4, 5]


def test_show_prints_settings_that_may_be_used_as_a_config(nasbench, places, tmp_path):
    shown = nasbench("tune-proxy --quick --show --margin 0.2 --seed 5 --trials 9")
    settings = yaml.safe_load(shown.out)
    assert (settings["margin"], settings["seed"], settings["trials"], settings["seeds"]) == (0.2, 5, 9, [0])
    places["config"].write_text(shown.out)
    assert nasbench(f"{TUNE} --show --json", **places).json == settings
    assert not places["out"].exists()


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("tune-proxy --config {config} --quick --show", 2, "leave out --config"),
        ("tune-proxy --config absent.yaml", 1, "cannot read absent.yaml"),
        ("tune-proxy --margin 2 --show", 1, "margin: 2.0 is not allowed"),
        ("tune-proxy --trials 0", 2, "'--trials'"),
        ("tune-proxy --workers 0", 2, "'--workers'"),
        ("tune-proxy --dataset mnist5k --out {out}", 2, "the candidates read entropy: give --scores FILE"),
        ("tune-proxy --dataset digit --out {out}", 1, "Did you mean 'digits'?"),
        ("tune-proxy --config {config} --out {out} --storage nothing://x", 1, "cannot open the storage nothing://x"),
        ("tune-proxy --config {config} --out {out} --scores absent.parquet", 1, "there is no score file"),
    ],
)
def test_wrong_studies_are_refused(nasbench, places, line, code, said):
    done = nasbench(line, **places)
    assert done.code == code
    assert said in " ".join(done.err.split())
    assert "Traceback" not in done.err


def test_a_study_of_other_settings_and_a_config_of_no_sense_are_refused(nasbench, places):
    assert nasbench(f"{TUNE} --trials 1", **places).code == 0
    assert "study 'proxy' was made with other settings: margin" in nasbench(f"{TUNE} --margin 0.1", **places).err
    places["config"].write_text(CONFIG + "margn: 0.1\n")
    done = nasbench(TUNE, **places)
    assert done.code == 1
    assert "margn: unknown key" in done.err
    places["config"].write_text("[1")
    assert "is not valid YAML" in nasbench(TUNE, **places).err
