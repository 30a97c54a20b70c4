"""Names in Arrow's memory: in every way like a tuple of strings."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pyarrow as pa
import pytest

from nasbench.core.ids import ArrowStrings, to_arrow

NAMES = ("ant/1.png", "bee/ü.png", "", "cat/3.png", "dog")


@pytest.fixture(params=[[5], [2, 3], [1, 0, 3, 1]])
def names(request) -> ArrowStrings:
    """The names in chunks of several sizes."""
    ends = np.cumsum([0, *request.param])
    chunks = [list(NAMES[start:end]) for start, end in itertools.pairwise(ends)]
    return ArrowStrings(pa.chunked_array(chunks, pa.string()))


def test_they_are_indexed_as_a_tuple_is(names):
    assert len(names) == 5
    assert [names[row] for row in range(-5, 5)] == [NAMES[row] for row in range(-5, 5)]
    assert type(names[1]) is str
    for row in (5, -6):
        with pytest.raises(IndexError, match=f"row {row} of 5"):
            names[row]
    assert (names.index("dog"), "dog" in names, "cow" in names, names.count("")) == (4, True, False, 1)
    assert list(reversed(names)) == list(reversed(NAMES))


@pytest.mark.parametrize(
    "part", [slice(None), slice(1, 3), slice(3, 1), slice(-2, None), slice(0, 9), slice(None, None, -1), slice(0, 5, 2)]
)
def test_they_are_cut_as_a_tuple_is(names, part):
    assert names[part] == NAMES[part]


def test_they_equal_a_tuple_of_the_same_strings_from_both_sides(names):
    other = ArrowStrings(pa.chunked_array([list(NAMES)], pa.large_string()))
    assert names == NAMES
    assert tuple(NAMES) == names
    assert (names, 1) == (NAMES, 1)
    assert names == other
    assert hash(names) == hash(NAMES) == hash(other)
    for wrong in (NAMES[:4], (*NAMES, "x"), ("x", *NAMES[1:]), list(NAMES), "dog", None):
        assert names != wrong


def test_they_are_iterated_in_blocks(names, monkeypatch):
    monkeypatch.setattr("nasbench.core.ids._BLOCK", 2)
    assert tuple(names) == NAMES
    assert list(ArrowStrings(pa.chunked_array([], pa.string()))) == []


def test_they_are_shown_shortly_and_can_be_sent_to_another_process(names):
    assert repr(names) == "ArrowStrings(5: 'ant/1.png', 'bee/ü.png', '', ...)"
    assert repr(names[3:]) == "ArrowStrings(2: 'cat/3.png', 'dog')"
    assert pickle.loads(pickle.dumps(names)) == NAMES  # noqa: S301 - our own bytes


def test_what_is_no_name_is_refused():
    with pytest.raises(ValueError, match="of type int64; strings are needed"):
        ArrowStrings(pa.chunked_array([[1, 2]]))
    with pytest.raises(ValueError, match="1 of 2 names are missing"):
        ArrowStrings(pa.chunked_array([["a", None]]))


def test_rows_without_names_are_named_by_their_numbers(names):
    assert to_arrow((), 3).to_pylist() == ["0", "1", "2"]
    assert to_arrow(names, 5) is names.column
    assert to_arrow(NAMES, 5).to_pylist() == list(NAMES)
