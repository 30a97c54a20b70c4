"""The published settings of searchers: each is one, is for spaces that it can search, and says where it is from."""

from __future__ import annotations

import dataclasses
import re

import pytest

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import UnknownNameError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.presets import PRESETS, preset
from nasbench.spaces import SPACES

every_preset = pytest.mark.parametrize("name", PRESETS)

MAY_EQUAL_DEFAULTS = {"robust-darts-l2", "eco-darts-c4r2"}
"""Presets that name a searcher's defaults."""


@every_preset
def test_a_preset_is_a_searcher_with_those_fields(name: str) -> None:
    entry = preset(name)
    params = entry.as_params()
    made = fields_of(parse(SEARCHERS.get(params["searcher"]), params["options"], name))
    assert {field: made[field] for field in entry.fields} == dict(entry.fields)
    defaults = fields_of(parse(SEARCHERS.get(params["searcher"]), {}))
    same = {field for field, value in entry.fields.items() if defaults[field] == value}
    assert (set(entry.fields) == same) == (name in MAY_EQUAL_DEFAULTS)
    assert name in MAY_EQUAL_DEFAULTS or not same  # a field that says nothing is left out


@every_preset
def test_a_preset_names_spaces_that_can_be_searched(name: str) -> None:
    entry = preset(name)
    assert entry.spaces
    assert all(SEARCHERS.get(entry.searcher).can_search(SPACES.get(space)) for space in entry.spaces)


@every_preset
def test_a_preset_has_its_source(name: str) -> None:
    entry = preset(name)
    assert entry.name == name
    assert re.search(r"arXiv:\d{4}\.\d{5}", entry.source)
    assert entry.source.endswith(".")


def test_no_preset_is_there_twice() -> None:
    seen = [(entry.searcher, tuple(sorted(map(str, entry.fields.items()))), entry.spaces) for entry in PRESETS.values()]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # differentiable_search.md, section 9.1 (AutoDL's DARTS-V1 and GDAS)
        ("darts-nas-bench-201", {
            "epochs": 50, "batch_size": 64, "learning_rate": 0.025, "final_learning_rate": 0.001, "weight_decay": 5e-4,
            "nesterov": True, "schedule": "step", "weights_first": True, "order": "first",
        }),
        ("gdas-nas-bench-201", {
            "epochs": 250, "batch_size": 64, "weight_decay": 5e-4, "nesterov": True, "schedule": "step",
            "unchosen": "add",
        }),
        ("gdas-darts-space", {"epochs": 250, "batch_size": 256, "weight_decay": 5e-4}),
        # section 4 (column ImageNet)
        ("pc-darts-imagenet", {
            "epochs": 50, "batch_size": 1024, "learning_rate": 0.5, "final_learning_rate": 0.0, "weight_decay": 3e-4,
            "alpha_learning_rate": 6e-3, "alpha_gradient_clip": 5.0, "alpha_warmup_epochs": 35, "partial_channels": 2,
            "warmup_epochs": 5,
        }),
        # section 9.2
        ("darts-1shot1", {"epochs": 50, "batch_size": 96, "learning_rate": 0.025, "alpha_learning_rate": 3e-4}),
        ("pc-darts-1shot1", {"epochs": 100, "batch_size": 96, "partial_channels": 4}),
        ("gdas-1shot1", {
            "epochs": 100, "batch_size": 96, "alpha_gradient_clip": 5.0, "first_temperature": 10.0,
            "final_temperature": 1.0,
        }),
        # section 5
        ("sdarts-nas-bench-201", {"epochs": 100, "batch_size": 64, "largest_perturbation": 0.3}),
        # sampling_search.md, section 8
        ("less-is-more-darts", {"epochs": 50, "batch_size": 64, "weight_decay": 5e-4, "batch_statistics": False}),
        ("less-is-more-gdas", {"epochs": 250, "first_temperature": 10.0, "final_temperature": 0.1}),
        # Na et al., arXiv:2106.04784, section 5.3
        ("robust-darts-l2", {"weight_decay": 0.0243, "epochs": 50, "batch_size": 64}),
    ],
)  # fmt: skip
def test_values_are_those_of_the_sheets(name: str, expected: dict[str, object]) -> None:
    entry = preset(name)
    made = fields_of(parse(SEARCHERS.get(entry.searcher), entry.fields))
    assert {field: made[field] for field in expected} == expected


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no searcher preset 'darts-1shot'.*Did you mean 'darts-1shot1'"):
        preset("darts-1shot")


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("darts-1shot1").searcher = "gdas"  # type: ignore[misc]
