"""``nasbench score`` with any scorer: fields, recipe, folder, and an interrupted training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import TrainingError
from nasbench.core.table import ExampleTable, load_table
from nasbench.scorers import SCORERS
from nasbench.scorers.base import ExampleScorer
from nasbench.training.recipe import Recipe

CALLS: list[tuple[Any, ...]] = []


@component
class Noise(ExampleScorer):
    """Trains by writing a number; scores with it.

    Attributes:
        level: What is written.
        image_size: A name that the dataset has too.
        recipe: Only looked at.
        broken: Stop in the middle of the training.
    """

    name: ClassVar[str] = "noise"
    columns: ClassVar[tuple[str, ...]] = ("noise", "features")

    level: Annotated[float, Field(ge=0)] = 1.0
    image_size: int = 0
    recipe: Recipe = Recipe(epochs=7, learning_rate=0.5)
    broken: bool = False

    def train(self, train, test, folder, *, seed, compute, tracker) -> Mapping[str, Any]:
        CALLS.append((self, len(train), len(test), seed, compute.device, compute.amp, compute.checkpoint.exists()))
        compute.checkpoint.write_text("half")
        if not (folder / "mend").exists() and self.broken:
            raise TrainingError("the loss is not finite")
        (folder / "model.json").write_text(json.dumps(self.level + seed))
        return {"top1": 0.5}

    def score(self, images, folder, *, compute, tracker) -> ExampleTable:
        values = np.full(len(images), float(json.loads((folder / "model.json").read_text())))
        return ExampleTable(
            dataset=images.fingerprint, labels=images.labels, columns={"noise": values}, ids=images.ids,
            features=np.ones((len(images), 3), dtype=np.float32),
        )  # fmt: skip


@pytest.fixture(autouse=True)
def noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the scorer for one test."""
    SCORERS.names()
    monkeypatch.setattr(SCORERS, "_members", {**SCORERS._members, "noise": Noise})
    CALLS.clear()


SCORE = "score --scorer noise --dataset digits --folder {folder} --out {out}"


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {"folder": tmp_path / "model", "out": tmp_path / "scores.parquet"}


def test_a_scorer_trains_into_its_folder_once_and_scores(nasbench, places):
    done = nasbench(f"{SCORE} --seed 2 --set level=0.5 --json", **places)
    assert done.code == 0, done.err
    expected = {"out": str(places["out"]), "num_examples": 1197, "noise_mean": 2.5, "num_features": 3}
    assert done.json == expected
    table = load_table(places["out"])
    assert table.column("noise").tolist() == [2.5] * 1197
    assert table.feature_rows().shape == (1197, 3)
    ((scorer, train, test, seed, device, amp, resumed),) = CALLS
    assert (scorer.level, train, test, seed, device, amp, resumed) == (0.5, 1197, 600, 2, "cpu", False, False)
    assert nasbench(f"{SCORE} --seed 2 --set level=0.5 --json", **places).json == expected
    assert len(CALLS) == 1
    assert not (places["folder"] / "checkpoint.pt").exists()


def test_fields_go_to_whom_has_them(nasbench, refused, places):
    assert nasbench(f"{SCORE} --set level=2.0 --set test_size=500 --amp", **places).code == 0
    ((scorer, train, test, *_, amp, _),) = CALLS
    assert (scorer.level, train, test, amp) == (2.0, 1297, 500, True)
    options = "--scorer-set level=3.0 --dataset-set test_size=400"
    assert nasbench(f"{SCORE} {options}", **(places | {"folder": places["folder"] / "b"})).code == 0
    assert (CALLS[1][0].level, CALLS[1][2]) == (3.0, 400)
    said = refused(f"{SCORE} --set lvel=1", **places)
    assert "--set lvel: unknown key." in said
    assert "to the dataset 'digits': test_size" in said
    assert "Did you mean 'level'?" in said
    both = SCORE.replace("--dataset digits", "--dataset image-folder")
    assert "Give it with --scorer-set or with --dataset-set" in refused(f"{both} --set image_size=8", **places)
    assert "level: is given twice" in refused(f"{SCORE} --set level=1.0 --scorer-set level=2.0", **places)
    assert "score.level: -1.0 is not allowed" in refused(f"{SCORE} --set level=-1.0", **places)
    assert "Did you mean 'noise'?" in refused(SCORE.replace("noise", "nois"), **places)
    assert "score.weights: unknown key" in refused(f"{SCORE} --weights w.pt", **places)


def test_a_recipe_s_keys_replace_those_of_the_scorer_s_own(nasbench, refused, places):
    options = "--recipe epochs=3 --recipe 'augmentation={{flip: false}}'"
    assert nasbench(f"{SCORE} {options}", **places).code == 0
    recipe = CALLS[0][0].recipe
    assert (recipe.epochs, recipe.learning_rate) == (3, 0.5)
    assert (recipe.augmentation.flip, recipe.augmentation.crop_padding) == (False, 4)
    assert "score.recipe.epoch: unknown key" in refused(f"{SCORE} --recipe epoch=3", **places)
    assert "--recipe 'x': write FIELD=VALUE" in refused(f"{SCORE} --recipe x", **places)
    weightless = SCORE.replace("noise", "reconstruction")
    assert "the scorer 'reconstruction' has no recipe" in refused(f"{weightless} --recipe epochs=3", **places)


def test_an_interrupted_training_goes_on_and_another_one_is_refused(nasbench, refused, places):
    line = f"{SCORE} --set broken=true"
    assert nasbench(line, **places).err.startswith("TrainingError")
    assert not places["out"].exists()
    (places["folder"] / "mend").touch()
    assert nasbench(line, **places).code == 0
    assert [call[-1] for call in CALLS] == [False, True]  # the second found the first one's checkpoint
    for options, what in (("--seed 1", "seed is 0 there and 1 here"), ("--set level=4.0", "fields is")):
        said = refused(f"{line} {options}", **places)
        assert "holds the work of another scoring" in said
        assert what in said
    assert "dataset is " in refused(line.replace("digits", "mnist5k"), **places)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("score --scorer noise --dataset digits --out x", "give --folder DIR"),
        ("score --dataset digits --out x", "or --weights FILE"),
        ("score --dataset digits --weights w.th --seed 1 --out x", "--seed has no effect where weights are given"),
        ("score --dataset digits --weights w.th --test-split test --out x", "--test-split has no effect"),
        ("score --dataset digits --weights w.th --amp --out x", "--amp has no effect"),
    ],
)
def test_what_is_missing_or_without_effect_is_refused(nasbench, tmp_path, monkeypatch, line, said):
    monkeypatch.chdir(tmp_path)
    done = nasbench(line)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert said in " ".join(done.err.split())
