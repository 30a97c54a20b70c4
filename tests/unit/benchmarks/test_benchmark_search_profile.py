"""Where the time of a search goes."""

from __future__ import annotations

import math
import types

import pytest

from benchmarks import search_profile, stopwatch
from benchmarks.common import BenchmarkError
from benchmarks.stopwatch import REST, Stopwatch, watching


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The present time, which a test moves on."""
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    return now


def test_time_counts_for_the_innermost_category(clock) -> None:
    watch = Stopwatch()
    clock[0] = 1.0
    with watch.within("a"):
        clock[0] = 3.0
        with watch.within("b"):
            clock[0] = 7.0
        clock[0] = 15.0
    clock[0] = 31.0
    watch.stop()
    assert dict(watch.seconds) == {REST: 17.0, "a": 10.0, "b": 4.0}
    assert dict(watch.calls) == {"a": 1, "b": 1}


def test_a_category_may_keep_what_is_within(clock) -> None:
    watch = Stopwatch(keeping=frozenset({"a"}))
    with watch.within("a"), watch.within("b"):
        clock[0] = 2.0
    assert dict(watch.seconds) == {REST: 0.0, "a": 2.0}


def test_functions_and_iterators_are_wrapped_for_a_time(clock) -> None:
    def work(seconds: float) -> float:
        clock[0] += seconds
        return seconds

    def values():
        for number in (1.0, 2.0):
            clock[0] += number
            yield number

    owner = types.SimpleNamespace(work=work, values=values)
    with watching(Stopwatch(), {"work": [(owner, "work")]}, {"data": [(owner, "values")]}) as watch:
        for value in owner.values():
            clock[0] += 10.0
            assert owner.work(value) == value
    assert dict(watch.seconds) == {"work": 3.0, "data": 3.0, REST: 20.0}
    assert owner.work is work
    assert owner.values is values


def test_a_function_that_got_another_name_is_missed() -> None:
    with pytest.raises(BenchmarkError, match="has no 'gone' to be timed as data"):
        watching(Stopwatch(), {"data": [(types.SimpleNamespace(), "gone")]}, {}).__enter__()


def test_the_shares_of_a_real_search_sum_to_the_whole() -> None:
    lines = {line.name.partition(": ")[2]: line for line in search_profile.profile("digits", quick=True, rounds=1)}
    assert list(lines) == [*search_profile.CATEGORIES, "overhead", "whole search"]
    shares = {name: float(line.figures["percent"]) for name, line in lines.items()}
    assert math.isclose(sum(shares[name] for name in search_profile.CATEGORIES), 100.0)
    assert math.isclose(shares["overhead"], sum(shares[name] for name in search_profile.OVERHEAD))
    assert all(shares[name] > 0 for name in search_profile.CATEGORIES), "each of the named functions is called"
    assert shares["network"] > shares["data"]
