"""trajectory.json says what its pictures need: names of rows and operations, and what was chosen; for every space."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from nasbench.analysis import plots
from nasbench.analysis.edge_distribution import chosen_of_arms
from nasbench.analysis.search_trajectory import SearchTrajectory, trajectory_fields
from nasbench.config.component import parse
from nasbench.core.errors import ComparisonError
from nasbench.core.seeding import generator
from nasbench.searchers.base import SearchResult
from nasbench.spaces import SPACES
from nasbench.spaces.base import SearchSpace
from pipelines.search_cell import stored_trajectory

every_space = pytest.mark.parametrize("name", SPACES.names())

NAMED: dict[str, dict[str, tuple[str, ...]]] = {
    "nas-bench-1shot1-1": {"operations": ("node1", "node2", "node3", "node4")},
    "nas-bench-1shot1-2": {"operations": ("node1", "node2", "node3", "node4")},
    "nas-bench-1shot1-3": {"operations": ("node1", "node2", "node3", "node4", "node5")},
    "nats-bench-size": {"widths": ("layer0", "layer1", "layer2", "layer3", "layer4")},
}
"""Rows that are no edges; those of other spaces have their places in a cell by number."""


def build(name: str) -> SearchSpace:
    return SPACES.get(name)()


def found(space: SearchSpace, seed: int = 0) -> tuple[SearchResult, dict[str, Any]]:
    """A search of two epochs, and what is stored of it."""
    rng = generator(seed, "stored")
    shapes = space.alpha_shapes
    records = tuple(
        {"epoch": epoch, "alphas": {group: rng.normal(size=shape).tolist() for group, shape in shapes.items()}}
        for epoch in range(2)
    )
    result = SearchResult(genotype=space.sample(rng), trajectory=records, seconds=1.0, warnings=("w",), notes=("n",))
    return result, json.loads(json.dumps(stored_trajectory(space, result), allow_nan=False))


def words_of(svg: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


@every_space
def test_rows_are_named_once_or_are_edges(name: str) -> None:
    space = build(name)
    assert dict(space.row_names) == NAMED.get(name, {})
    assert ("edges" in space.traits) == (name not in NAMED)
    for group, names in space.row_names.items():
        assert len(names) == len(set(names)) == space.alpha_shapes[group][0]


def test_a_name_is_that_of_the_choice_which_its_row_decides() -> None:
    for name, groups in NAMED.items():
        space = build(name)
        for group, names in groups.items():
            for row, called in enumerate(names):
                alphas = {other: np.zeros(shape) for other, shape in space.alpha_shapes.items()}
                before = space.discretize(alphas).genes
                alphas[group][row, -1] = 1.0
                changed = [old != new for old, new in zip(before, space.discretize(alphas).genes, strict=True)]
                assert [choice.name.split("/")[0] for choice, differs in zip(space.choices, changed, strict=True)
                        if differs] == [called]  # fmt: skip


@every_space
def test_the_pictures_need_no_space(name: str) -> None:
    space = build(name)
    _, stored = found(space)
    assert set(stored) == {"operations", "chosen", "epochs", "warnings", "notes", *(["edges"] if name in NAMED else [])}
    search = parse(SearchTrajectory, trajectory_fields("a", stored))
    for group in space.alpha_shapes:
        assert search.candidates(group) == space.candidates[group]
        words = words_of(plots.alpha_heat_map(search, group))
        assert set(space.row_names.get(group, ())) <= set(words)
        assert ("0 to 2" in words) == (name not in NAMED)  # an edge of every cell
    if name in NAMED:
        (group, names) = next(iter(NAMED[name].items()))
        assert set(names) <= set(words_of(plots.alpha_trajectory(search, group)))


@every_space
def test_what_was_chosen_is_the_genotype(name: str) -> None:
    space = build(name)
    result, stored = found(space)
    fields = trajectory_fields("a", stored) | {"arm": "p1/x"}
    search = parse(SearchTrajectory, fields)
    assert set(search.chosen) == set(space.alpha_shapes) - space.connection_groups
    for group in search.chosen:
        one, two = chosen_of_arms([search, search], group)["p1/x"]
        np.testing.assert_array_equal(one, space.one_hot(result.genotype)[group])
        np.testing.assert_array_equal(one, two)


def test_a_file_of_an_earlier_version_still_draws() -> None:
    _, stored = found(build("nats-bench-size"))
    old = {key: stored[key] for key in ("operations", "epochs", "warnings")}
    search = parse(SearchTrajectory, trajectory_fields("a", old))
    assert "softmax(alpha)" in words_of(plots.alpha_heat_map(search, "widths"))
    assert chosen_of_arms([search, search], "widths") == {}


@pytest.mark.parametrize("stored", [{}, {"operations": {}}, {"epochs": [], "genes": []}])
def test_another_file_is_no_trajectory(stored: dict[str, Any]) -> None:
    with pytest.raises(ComparisonError, match=r"x\.json is no trajectory of a search: it has .*Give its trajectory"):
        trajectory_fields("a", stored, "x.json")


def test_arms_are_counted_alone_where_they_have_several_searches_and_together_where_there_are_several_arms() -> None:
    space = build("nas-bench-201")
    searches = [
        parse(SearchTrajectory, trajectory_fields(arm, found(space, seed)[1]) | {"arm": arm})
        for seed, arm in enumerate(("p1/darts", "p1/darts", "p1/gdas"))
    ]
    counted = chosen_of_arms(searches, "cell")
    assert {arm: len(several) for arm, several in counted.items()} == {"p1/darts": 2, "all searches": 3}
    assert {arm: len(several) for arm, several in chosen_of_arms(searches[:2], "cell").items()} == {"p1/darts": 2}
    assert chosen_of_arms(searches[:1], "cell") == chosen_of_arms([], "cell") == {}
    single = [searches[0], searches[2]]
    assert {arm: len(several) for arm, several in chosen_of_arms(single, "cell").items()} == {"all searches": 2}


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]])
def test_numbers_of_no_candidate_are_refused(chosen: list[int]) -> None:
    _, stored = found(build("nas-bench-201"))
    search = parse(SearchTrajectory, trajectory_fields("a", stored | {"chosen": {"cell": chosen}}))
    with pytest.raises(ComparisonError, match=r"a: chosen operations .* of group 'cell' are not numbers"):
        chosen_of_arms([search], "cell")
