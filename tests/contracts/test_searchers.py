"""What every registered searcher promises: two steps on 60 images.

On the real space where the genotype matters; on a tiny one where only the loop's parameters do.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_space import SHAPE, TinySpace, image_set

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import ConfigError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.darts import Darts as DartsSpace
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.recipe import Augmentation

NAMES = SEARCHERS.names()
SMALL = {"epochs": 2, "batch_size": 30}
CHANGES = {
    "epochs": 3,
    "batch_size": 15,
    "learning_rate": 0.5,
    "final_learning_rate": 0.02,
    "momentum": 0.1,
    "weight_decay": 0.1,
    "gradient_clip": 0.01,
    "alpha_learning_rate": 0.1,
    "alpha_weight_decay": 0.5,
    "alpha_betas": [0.1, 0.5],
    "alpha_warmup_epochs": 1,
    "batch_statistics": False,
    "order": "second",
    "schedule": "step",
    "nesterov": True,
    "alpha_gradient_clip": 0.001,
    "least_steps": 3,
}
"""Another value of each field; a new field of a searcher needs a line here."""


def searcher(name, **fields):
    cls = SEARCHERS.get(name)
    known = {field.name for field in dataclasses.fields(cls)}
    return parse(cls, {key: value for key, value in (SMALL | fields).items() if key in known})


SPACES = {
    "tiny": (TinySpace(), SHAPE, image_set(60)),
    "darts": (
        DartsSpace(),
        NetworkShape(num_cells=3, channels=2, num_classes=3, in_channels=1, image_size=6),
        image_set(60),
    ),
}


def task_of(space, **changes):
    space, shape, images = SPACES[space]
    fields = {
        "space": space,
        "shape": shape,
        "images": images,
        "weight_indices": np.arange(30, dtype=np.int64),
        "alpha_indices": np.arange(30, 60, dtype=np.int64),
        "augmentation": Augmentation(crop_padding=1, flip=False),
        "seed": 0,
    }
    return SearchTask(**(fields | changes))


@functools.cache
def plain(name, space, order="first"):
    """The run that the others are compared with."""
    return searcher(name, order=order).search(task_of(space), NullTracker())


def test_listing_the_family_imports_no_framework():
    code = "import sys; from nasbench.searchers import SEARCHERS; SEARCHERS.names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", NAMES)
def test_the_genotype_is_of_the_space_the_records_plain_data_and_both_repeatable(name):
    tracker = RecordingTracker()
    result = searcher(name).search(task_of("darts"), tracker)
    space = DartsSpace()
    space.check(result.genotype)
    last = result.trajectory[-1]
    assert last["genes"] == list(result.genotype.genes)
    assert 0 <= last["skip_share"] <= last["parameter_free_share"] <= 1
    json.dumps([dict(record) for record in result.trajectory], allow_nan=False)
    assert [step for step, _ in tracker.metrics] == list(range(len(result.trajectory)))
    if "alphas" in last:
        alphas = {group: np.array(values) for group, values in last["alphas"].items()}
        assert space.discretize(alphas) == result.genotype
        assert 0 <= last["one_shot_top1"] <= 1
    again = plain(name, "darts")
    assert again.genotype == result.genotype
    assert again.trajectory == result.trajectory


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_another_search(name):
    other = searcher(name).search(task_of("darts", seed=1), NullTracker())
    assert other.trajectory != plain(name, "darts").trajectory
    assert other.genotype != plain(name, "darts").genotype


class StopAfterOne(NullTracker):
    def log_metrics(self, metrics, step=None):
        raise KeyboardInterrupt


CASES = [(name, "darts", "first") for name in NAMES] + [
    (name, "tiny", order)
    for name in NAMES
    for order in (("first", "second") if "order" in fields_of(searcher(name)) else ("first",))
]


@pytest.mark.parametrize(("name", "space", "order"), CASES)
def test_a_killed_search_resumes_to_the_same_result(name, space, order, tmp_path):
    task, member = task_of(space, checkpoint=tmp_path / "c.pt"), searcher(name, order=order)
    with pytest.raises(KeyboardInterrupt):
        member.search(task, StopAfterOne())
    resumed = member.search(task, NullTracker())
    assert resumed.trajectory == plain(name, space, order).trajectory
    assert resumed.genotype == plain(name, space, order).genotype


FIELDS = [
    (name, field.name)
    for name in NAMES
    for field in dataclasses.fields(SEARCHERS.get(name))
    if field.name != "adapt_batch_size"
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_hyper_parameter_changes_something(name, field):
    fields = {"batch_size": 15} if field == "schedule" else {}  # with one step an epoch there is no other schedule
    changed = searcher(name, **fields, **{field: CHANGES[field]})
    same = searcher(name, **fields)
    assert fields_of(changed)[field] != fields_of(same)[field]
    before = plain(name, "tiny") if not fields else same.search(task_of("tiny"), NullTracker())
    assert changed.search(task_of("tiny"), NullTracker()).trajectory != before.trajectory


@pytest.mark.parametrize("name", [name for name in NAMES if issubclass(SEARCHERS.get(name), BilevelSettings)])
def test_a_batch_larger_than_a_half_is_an_error_unless_it_may_adapt(name):
    with pytest.raises(ConfigError, match=r"batch_size: 64 is larger than the weight half of 30 images.*adapt_batch"):
        searcher(name, batch_size=64).search(task_of("tiny"), NullTracker())
    adapted = searcher(name, batch_size=64, adapt_batch_size=True).search(task_of("tiny"), NullTracker())
    assert adapted.trajectory == plain(name, "tiny").trajectory


@pytest.mark.parametrize("name", NAMES)
def test_wrong_parameters_are_refused_with_their_path(name):
    with pytest.raises(ConfigError, match=r"searchers\.mine\.epochz: unknown key"):
        parse(SEARCHERS.get(name), {"epochz": 3}, "searchers.mine")


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_has_its_parts_in_order(name):
    text = SEARCHERS.get(name).__doc__
    places = [
        text.index(part)
        for part in (
            "Formula:",
            "Reference:",
            "Differs from the paper:",
            "Attributes:",
            "Shape:",
            "Raises:",
            "Example:",
        )
    ]
    assert places == sorted(places)


def test_the_defaults_of_darts_are_the_papers():
    # facts/differentiable_search.md, section 3 (table)
    assert fields_of(parse(SEARCHERS.get("darts"), {})) == {
        "order": "first",
        "epochs": 50,
        "batch_size": 64,
        "learning_rate": 0.025,
        "final_learning_rate": 0.001,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "gradient_clip": 5.0,
        "alpha_learning_rate": 3e-4,
        "alpha_weight_decay": 1e-3,
        "alpha_betas": [0.5, 0.999],
        "alpha_warmup_epochs": 0,
        "batch_statistics": True,
        "adapt_batch_size": False,
        "schedule": "epoch",
        "nesterov": False,
        "alpha_gradient_clip": 0.0,
        "least_steps": 0,
    }


def test_random_sampling_is_uniform_over_every_choice():
    # facts/sampling_search.md, section 1.4: drawn, not searched
    member = searcher("random-sampling")
    genes = [member.search(task_of("darts", seed=seed), NullTracker()).genotype.genes for seed in range(400)]
    for column, choice in zip(np.array(genes).T, DartsSpace().choices, strict=True):
        counts = np.bincount(column, minlength=len(choice.candidates))
        expected = 400 / len(choice.candidates)
        assert ((counts - expected) ** 2 / expected).sum() < 35  # chi-square, at most 9 degrees of freedom
