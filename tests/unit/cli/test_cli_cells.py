"""From a proxy to a trained cell: ``nasbench search`` and ``nasbench augment``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench.core.genotype import load_genotype, save_genotype
from nasbench.core.table import ExampleTable, save_table
from nasbench.datasets.digits import Digits
from nasbench.searchers.random_sampling import RandomSampling
from nasbench.spaces.darts import Darts
from nasbench.training.recipe import Augmentation

SELECT = "select --scores {scores} --out {out} --selector"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A score table of the digits, with made-up entropies."""
    images = Digits().load("train", root=Path())
    path = tmp_path_factory.mktemp("digits") / "scores.parquet"
    entropy = np.exp(np.random.default_rng(0).normal(-4, 3, len(images)))
    save_table(path, ExampleTable(dataset=images.fingerprint, labels=images.labels, columns={"entropy": entropy}))
    return path


@pytest.fixture
def proxy(nasbench, digits, tmp_path) -> Path:
    """24 digits."""
    path = tmp_path / "proxy.json"
    assert nasbench(f"{SELECT} entropy-tails-p1 --size 24", scores=digits, out=path).code == 0
    return path


SEARCH = "search --dataset digits --proxy {proxy} --cells 3 --channels 2 --set epochs=1 --set batch_size=6 --out {out}"


def test_search_writes_a_genotype_that_every_other_command_takes(nasbench, proxy, tmp_path):
    done = nasbench(f"{SEARCH} --json", proxy=proxy, out=tmp_path / "g.json")
    assert done.code == 0, done.err
    genotype, cells = load_genotype(tmp_path / "g.json")
    Darts().check(genotype)
    Darts().check_cells(genotype, cells)
    assert done.json["genotype"] == genotype.fingerprint
    assert nasbench("cost --genotype {g} --cells 3 --channels 2", g=tmp_path / "g.json").json["params"] > 0
    again = nasbench(f"{SEARCH} --json", proxy=proxy, out=tmp_path / "again.json")
    assert again.json["seconds"] > 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "g.json").read_bytes()
    assert nasbench(f"{SEARCH} --seed 1", proxy=proxy, out=tmp_path / "other.json").code == 0
    assert (tmp_path / "other.json").read_bytes() != (tmp_path / "g.json").read_bytes()


def test_random_sampling_needs_no_proxy(nasbench, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        line = f"search --dataset digits --searcher random-sampling --seed {seed} --out {{out}}"
        assert nasbench(line, out=tmp_path / name).code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int, bool]]:
    """What random sampling was given, with PyTorch's threads and whether it was deterministic then."""
    import torch

    given: list[tuple[Any, int, bool]] = []
    search = RandomSampling.search

    def listen(self: RandomSampling, task: Any, tracker: Any) -> Any:
        given.append((task, torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        return search(self, task, tracker)

    monkeypatch.setattr(RandomSampling, "search", listen)
    torch.use_deterministic_algorithms(False)
    return given


def test_options_of_search_matter(nasbench, tasks, pictures, tmp_path):
    """What reaches the search; that each matters there is shown by the searchers' and batches' own tests."""
    line = "search --dataset image-folder --root {root} --searcher random-sampling --out {out}"
    for options in (
        "",
        "--crop-padding 0 --no-flip --stem imagenet --threads 2",
        "--dataset-set image_size=8 --dataset-set channels=1 --flip --cells 5 --channels 4 --device cuda",
    ):
        done = nasbench(f"{line} {options}", root=pictures, out=tmp_path / "g.json")
        assert done.code == 0, done.err
    (plain, *torch_plain), (other, *torch_other), (small, *_) = tasks
    assert (plain.augmentation, torch_plain) == (Augmentation(crop_padding=4, flip=True), [1, True])
    assert (other.augmentation, torch_other) == (Augmentation(crop_padding=0, flip=False), [2, True])
    assert (plain.shape.stem, plain.shape.num_cells, plain.shape.channels, plain.device) == ("cifar", 8, 16, "cpu")
    assert (plain.shape.image_size, plain.shape.in_channels, plain.shape.num_classes) == (16, 3, 2)
    assert other.shape == replace(plain.shape, stem="imagenet")
    assert small.shape == replace(plain.shape, image_size=8, in_channels=1, num_cells=5, channels=4)
    assert (small.images.image_shape, small.augmentation.flip, small.device) == ((1, 8, 8), True, "cuda")


def test_compiled_kernels_are_used_where_they_are_asked_for(nasbench, tasks, tmp_path, monkeypatch):
    from nasbench.spaces import compiled

    chosen: list[bool] = []
    monkeypatch.setattr(compiled, "use", chosen.append)
    line = "search --dataset digits --searcher random-sampling --out {out}"
    for options, expected in (("", False), ("--kernels pytorch", False), ("--kernels compiled", True)):
        assert nasbench(f"{line} {options}", out=tmp_path / "g.json").code == 0
        assert chosen.pop() == expected
    for options in ("--kernels compiled --device cuda", "--device cuda:0 --kernels compiled"):
        refused = nasbench(f"{line} {options}", out=tmp_path / "g.json")
        assert (refused.code, chosen) == (2, [])
        assert "compiled kernels are for a CPU" in refused.err


@pytest.mark.parametrize("option", ["--crop-padding -1", "--stem imagnet", "--threads 0", "--flip 1", "--kernels no"])
def test_impossible_options_of_search_are_refused(nasbench, tmp_path, option):
    out = tmp_path / "g.json"
    assert nasbench(f"search --dataset digits --out {{out}} {option}", out=out).code == 2
    assert not out.exists()


def test_wrong_searches_are_refused(refused, proxy, tmp_path):
    paths = {"proxy": proxy, "out": tmp_path / "g.json"}
    assert "Did you mean 'darts'?" in refused(f"{SEARCH} --searcher dart", **paths)
    assert "Did you mean 'darts'?" in refused(f"{SEARCH} --space dart", **paths)
    assert "Did you mean 'digits'?" in refused(SEARCH.replace("digits", "digit"), **paths)
    assert "Did you mean 'epochs'?" in refused(f"{SEARCH} --set epoch=2", **paths)
    assert "darts.order: 'third' is not allowed" in refused(f"{SEARCH} --set order=third", **paths)
    assert "random-sampling.epochs: unknown key" in refused(f"{SEARCH} --searcher random-sampling", **paths)
    assert "batch_size: 60 is larger than" in refused(SEARCH.replace("batch_size=6", "batch_size=60"), **paths)
    assert "digits.test_sise: unknown key" in refused(f"{SEARCH} --dataset-set test_sise=500", **paths)
    assert "--dataset-set 'x': write FIELD=VALUE" in refused(f"{SEARCH} --dataset-set x", **paths)
    assert "ProxyMismatchError" in refused(f"{SEARCH} --dataset-set test_size=500", **paths)
    assert "cannot read" in refused(SEARCH, proxy=tmp_path / "absent.json", out=paths["out"])
    assert "cannot write" in refused(SEARCH, proxy=proxy, out=proxy / "g.json")
    assert "it is a directory" in refused(SEARCH, proxy=proxy, out=tmp_path)


def test_a_proxy_of_another_dataset_is_refused(nasbench, refused, scores, proxy, tmp_path):
    assert nasbench(f"{SELECT} random --size 24", scores=scores["parquet"], out=tmp_path / "foreign.json").code == 0
    said = refused(SEARCH, proxy=tmp_path / "foreign.json", out=tmp_path / "g.json")
    assert said.startswith(f"ProxyMismatchError: this proxy is of dataset {'d' * 32} with 200 examples, not of ")
    said = refused(SEARCH.replace("digits", "mnist5k"), proxy=proxy, out=tmp_path / "g.json")
    assert "with 1197 examples, not of" in said
    value = json.loads(proxy.read_text())
    proxy.write_text(json.dumps(value | {"indices": sorted({*value["indices"][1:], 1196, 1195})[:24]}))
    assert "was altered" in refused(SEARCH, proxy=proxy, out=tmp_path / "g.json")


@pytest.fixture
def genotype(tmp_path: Path) -> Path:
    path = tmp_path / "genotype.json"
    value = Darts().sample(np.random.default_rng(3))
    save_genotype(path, value, Darts().cells(value))
    return path


AUGMENT = "augment --genotype {genotype} --dataset {dataset} --cells 3 --channels 2 --out {out}"


def test_augment_trains_and_says_how_well(nasbench, genotype, tmp_path):
    paths = {"genotype": genotype, "dataset": "digits", "out": tmp_path / "figures.json"}
    done = nasbench(f"{AUGMENT} --dataset-set test_size=1700 --set epochs=1 --json", **paths)
    assert done.code == 0, done.err
    assert set(done.json) == {"top1", "best_top1", "parameters", "macs", "seconds"}
    assert done.json == json.loads((tmp_path / "figures.json").read_text())
    assert 0 <= done.json["top1"] <= done.json["best_top1"] <= 1
    size = "cost --genotype {genotype} --cells 3 --channels 2 --image-size 8 --in-channels 1"
    cost = nasbench(size, genotype=genotype).json
    assert (done.json["parameters"], done.json["macs"]) == (cost["params"], cost["macs"])


def test_options_of_augment_matter(nasbench, genotype, pictures, tmp_path, monkeypatch):
    """What reaches the training; that each matters there is shown by the training's own tests."""
    import torch

    from nasbench.training import augment
    from nasbench.training.result import TrainResult

    (pictures / "other").rename(pictures / "test")
    calls: list[tuple[Any, Any, int]] = []
    settings: list[tuple[int, bool]] = []
    torch.use_deterministic_algorithms(False)

    def pretend(space: Any, value: Any, shape: Any, train: Any, test: Any, recipe: Any, **rest: Any) -> TrainResult:
        calls.append((shape, recipe, rest["seed"]))
        settings.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        assert train.image_shape == test.image_shape == (shape.in_channels, shape.image_size, shape.image_size)
        return TrainResult(top1=0.5, best_top1=0.75, parameters=3, macs=4, seconds=0.5, peak_memory_bytes=6, history=())

    monkeypatch.setattr(augment, "augment_cell", pretend)
    paths = {"genotype": genotype, "dataset": "image-folder", "root": pictures, "out": tmp_path / "f.json"}
    for options in (
        "--set epochs=3 --seed 5",
        "--preset darts-cifar --set learning_rate=0.5",
        "--channels 4 --cells 5 --stem imagenet --dataset-set image_size=8 --threads 2",
    ):
        done = nasbench(f"{AUGMENT} --root {{root}} {options}", **paths)
        assert done.code == 0, done.err
        assert "best_top1: 0.75\n" in done.out
    (shape, plain, seed), (with_head, preset, _), (large, default, _) = calls
    assert (plain.epochs, seed, shape.auxiliary, shape.in_channels, shape.image_size) == (3, 5, False, 3, 16)
    assert (preset.epochs, preset.learning_rate, preset.drop_path, with_head.auxiliary) == (600, 0.5, 0.2, True)
    assert (large.num_cells, large.channels, default.epochs) == (5, 4, 600)
    assert (shape.stem, large.stem, large.image_size) == ("cifar", "imagenet", 8)
    assert settings == [(1, True), (1, True), (2, True)]


def test_wrong_trainings_are_refused(refused, genotype, tmp_path):
    paths = {"genotype": genotype, "dataset": "digits", "out": tmp_path / "figures.json"}
    assert "Did you mean 'darts-cifar'?" in refused(f"{AUGMENT} --preset darts-cifa", **paths)
    assert "recipe.epochs: 0 is not allowed" in refused(f"{AUGMENT} --set epochs=0", **paths)
    assert "recipe: decay 0.5 has no effect" in refused(f"{AUGMENT} --set decay=0.5", **paths)
    assert "unknown key" in refused(f"{AUGMENT} --set 'augmentation={{{{flipp: true}}}}'", **paths)
    assert "digits.test_sise: unknown key" in refused(f"{AUGMENT} --dataset-set test_sise=500", **paths)
    assert "cannot read" in refused(AUGMENT, **(paths | {"genotype": tmp_path / "absent.json"}))
    assert "there is no dataset 'digts'" in refused(AUGMENT, **(paths | {"dataset": "digts"}))
    assert "cannot write" in refused(AUGMENT, **(paths | {"out": genotype / "figures.json"}))
