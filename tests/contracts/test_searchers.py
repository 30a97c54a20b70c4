"""What every registered searcher promises: two steps on 60 images.

On cells wired as those of DARTS where the genotype matters; on a tiny space where only a parameter does, or on a small
one with every trait if the searcher needs one. Each run that others are compared with is made once.
"""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
import small_cells
import tiny_space

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import ConfigError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.spaces import compiled
from nasbench.spaces.darts import Darts as DartsSpace
from nasbench.tracking.tracker import NullTracker, RecordingTracker
from nasbench.training.recipe import Augmentation
from tests.kernels import needs_kernels

NAMES = SEARCHERS.names()
SMALL = {"epochs": 2, "batch_size": 30, "alpha_warmup_epochs": 0, "order": "first"}
"""Fields of every run; a searcher that lacks one does without."""

SMALL_OF = {
    "sgas": {"epochs": 5, "first_decision_epoch": 1, "decision_interval": 1, "batch_growth": 0},  # three decisions
}
"""Other fields of one searcher's runs."""

CHANGES = {
    "epochs": 3,
    "batch_size": 15,
    "learning_rate": 0.5,
    "final_learning_rate": 0.02,
    "warmup_epochs": 2,
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
    "weights_first": True,
    "partial_channels": 2,
    "first_perturbation": 0.2,
    "largest_perturbation": 0.9,
    "channel_ratio": 1.0,
    "resolution_ratio": 1.0,
    "first_temperature": 5.0,
    "final_temperature": 1.0,
    "unchosen": "add",
    ("gdas", "schedule"): "epoch",
    ("gdas", "nesterov"): False,
    "drop_path": 0.5,
    "eigenvalue_interval": 1,
    "early_stop": "eigenvalue",
    "stop_window": 3,
    "stop_first_epoch": 2,
    "stop_look_back": 3,
    "stop_factor": 100.0,
    "criterion": 2,
    "first_decision_epoch": 0,
    "decision_interval": 2,
    "batch_growth": 1,
    "history": 1,
    ("sgas", "epochs"): 6,
    ("sgas", "least_steps"): 7,
}
"""Another value of each field (of one searcher, where it is named, too); a new field needs a line here."""

SHARPENING = {"learning_rate": 1.0, "weight_decay": 0.0, "epochs": 18, "eigenvalue_interval": 1}
"""With these the dominant eigenvalue grows so fast that the early stop of RobustDARTS strikes at once."""

STOPPING = SHARPENING | {
    "epochs": 6, "early_stop": "eigenvalue", "stop_window": 1, "stop_first_epoch": 1, "stop_look_back": 2,
    "stop_factor": 1.0,
}  # fmt: skip
"""The same with the shortest of early stops, after the fourth epoch."""

RESTLESS = {"alpha_learning_rate": 1.0, "first_decision_epoch": 2, "epochs": 6}
"""With these the distributions on the edges move enough for SGAS to ask how stable they are."""

ONLY_WITH = {
    "early_stop": SHARPENING,
    **dict.fromkeys(("stop_window", "stop_first_epoch", "stop_look_back", "stop_factor"), STOPPING),
    "schedule": {"batch_size": 15},  # with one step an epoch there is no other schedule
    "decision_interval": {"epochs": 7},
    "batch_growth": {"batch_size": 20},  # else the halves are too small for more
    "criterion": RESTLESS,
    "history": RESTLESS | {"criterion": 2},
}
"""What else must be set, before and after, for the change of a field to matter."""

SPACE_OF = {"drop_path": "small", "unchosen": "small"}
"""Where a field matters if not on the tiny space, or for a searcher with ``needs`` on the small one."""

LONG = {("sgas", "cells"): {"epochs": 9}}
"""More epochs are needed where a group has eight edges to decide."""


def space_of(name, field=""):
    return SPACE_OF.get(field, "small" if SEARCHERS.get(name).needs else "tiny")


def searcher(name, **fields):
    cls = SEARCHERS.get(name)
    known = {field.name for field in dataclasses.fields(cls)}
    given = SMALL | SMALL_OF.get(name, {}) | fields
    return parse(cls, {key: value for key, value in given.items() if key in known})


def padded_images():
    """Of 8x8 pixels, so that halves of them are images, too."""
    images = tiny_space.image_set(60)
    return dataclasses.replace(images, images=np.pad(images.images, ((0, 0), (1, 1), (1, 1), (0, 0))))


IMAGES = padded_images()
SPACES = {
    "tiny": (tiny_space.TinySpace(), dataclasses.replace(tiny_space.SHAPE, image_size=8)),
    "small": (small_cells.TwoNodes(), small_cells.SHAPE),
    "cells": (small_cells.SmallCells(), small_cells.SHAPE),
}


def task_of(space, **changes):
    space, shape = SPACES[space]
    fields = {
        "space": space,
        "shape": shape,
        "images": IMAGES,
        "weight_indices": np.arange(30, dtype=np.int64),
        "alpha_indices": np.arange(30, 60, dtype=np.int64),
        "augmentation": Augmentation(crop_padding=1, flip=False),
        "seed": 0,
    }
    return SearchTask(**(fields | changes))


@functools.cache
def tracked(name, space, **fields):
    """The run that the others are compared with, and its tracker."""
    tracker = RecordingTracker()
    return searcher(name, **LONG.get((name, space), {}), **fields).search(task_of(space), tracker), tracker


def plain(name, space, **fields):
    return tracked(name, space, **fields)[0]


def arrays(groups):
    return groups and {group: np.array(values) for group, values in groups.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_genotype_is_of_the_space_and_the_records_are_plain_data(name):
    result, tracker = tracked(name, "cells")
    space, _ = SPACES["cells"]
    space.check(result.genotype)
    last = result.trajectory[-1]
    assert last["genes"] == list(result.genotype.genes)
    assert 0 <= last["skip_share"] <= last["parameter_free_share"] <= 1
    json.dumps([dict(record) for record in result.trajectory], allow_nan=False)
    assert [step for step, _ in tracker.metrics] == list(range(len(result.trajectory)))
    if "alphas" in last:
        assert 0 <= last["one_shot_top1"] <= 1
    if "alphas" in last and "decisions" not in last and not result.notes:
        alphas, norm = (arrays(last.get(what)) for what in ("alphas", "edge_norm"))
        assert space.discretize(alphas, norm) == result.genotype


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_one_search_and_another_seed_another(name):
    again, other = (searcher(name).search(task_of("small", seed=seed), NullTracker()) for seed in (0, 1))
    assert again.genotype == plain(name, "small").genotype
    assert again.trajectory == plain(name, "small").trajectory
    assert other.trajectory != again.trajectory
    assert other.genotype != again.genotype


class StopAfterOne(NullTracker):
    def log_metrics(self, metrics, step=None):
        raise KeyboardInterrupt


CASES = [(name, "small", "first") for name in NAMES] + [
    (name, "tiny", order)
    for name in NAMES
    if not SEARCHERS.get(name).needs
    for order in (("first", "second") if "order" in fields_of(searcher(name)) else ("first",))
]


@pytest.mark.parametrize(("name", "space", "order"), CASES)
def test_a_killed_search_resumes_to_the_same_result(name, space, order, tmp_path):
    task, member = task_of(space, checkpoint=tmp_path / "c.pt"), searcher(name, order=order)
    with pytest.raises(KeyboardInterrupt):
        member.search(task, StopAfterOne())
    resumed = member.search(task, NullTracker())
    whole = plain(name, space, **({} if order == "first" else {"order": order}))
    assert resumed.trajectory == whole.trajectory
    assert resumed.genotype == whole.genotype


@needs_kernels
@pytest.mark.parametrize("name", [name for name in NAMES if issubclass(SEARCHERS.get(name), BilevelSettings)])
def test_a_search_by_compiled_kernels_resumes_to_the_same_bits(name, tmp_path):
    """And finds what PyTorch's operators find, but for rounding."""
    task, member = task_of("small", checkpoint=tmp_path / "c.pt"), searcher(name)
    with compiled.used():
        with pytest.raises(KeyboardInterrupt):
            member.search(task, StopAfterOne())
        resumed = member.search(task, NullTracker())
        whole = member.search(task_of("small"), NullTracker())
    assert resumed.trajectory == whole.trajectory
    found, expected = (result.trajectory[0] for result in (whole, plain(name, "small")))
    assert found["alphas"].keys() == expected["alphas"].keys()
    for group, values in found["alphas"].items():
        np.testing.assert_allclose(values, expected["alphas"][group], atol=2e-3)


FIELDS = [
    (name, field.name)
    for name in NAMES
    for field in dataclasses.fields(SEARCHERS.get(name))
    if field.name != "adapt_batch_size"
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_hyper_parameter_changes_something(name, field):
    space = space_of(name, field)
    fields = ONLY_WITH.get(field, {})
    changed = searcher(name, **(fields | {field: CHANGES.get((name, field), CHANGES.get(field))}))
    same = searcher(name, **fields)
    assert fields_of(changed)[field] != fields_of(same)[field]
    assert changed.search(task_of(space), NullTracker()).trajectory != plain(name, space, **fields).trajectory


@pytest.mark.parametrize("name", [name for name in NAMES if issubclass(SEARCHERS.get(name), BilevelSettings)])
def test_a_batch_larger_than_a_half_is_an_error_unless_it_may_adapt(name):
    space = space_of(name)
    with pytest.raises(ConfigError, match=r"batch_size: 64 is larger than the weight half of 30 images.*adapt_batch"):
        searcher(name, batch_size=64).search(task_of(space), NullTracker())
    adapted = searcher(name, batch_size=64, adapt_batch_size=True).search(task_of(space), NullTracker())
    assert adapted.trajectory == plain(name, space).trajectory
    assert any("batches of 30 images instead of 64" in note for note in adapted.notes)


@pytest.mark.parametrize("name", [name for name in NAMES if SEARCHERS.get(name).needs])
def test_a_space_without_the_needed_traits_is_refused_with_those_that_have_them(name):
    with pytest.raises(ConfigError, match=rf"^{name} cannot search the space 'tiny'.*It can search: .*darts"):
        searcher(name).search(task_of("tiny"), NullTracker())
    assert "darts" in SEARCHERS.get(name).spaces()


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
        "weights_first": False,
        "epochs": 50,
        "batch_size": 64,
        "learning_rate": 0.025,
        "final_learning_rate": 0.001,
        "warmup_epochs": 0,
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
    task = dataclasses.replace(task_of("cells"), space=DartsSpace())
    genes = [member.search(dataclasses.replace(task, seed=seed), NullTracker()).genotype.genes for seed in range(400)]
    for column, choice in zip(np.array(genes).T, DartsSpace().choices, strict=True):
        counts = np.bincount(column, minlength=len(choice.candidates))
        expected = 400 / len(choice.candidates)
        assert ((counts - expected) ** 2 / expected).sum() < 35  # chi-square, at most 9 degrees of freedom
