"""What every benchmark shares."""

from __future__ import annotations

import gc
import importlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    gc.freeze()  # else every collection looks through all that the tests before have imported
    return importlib.import_module("benchmarks.common")


def test_both_ways_are_timed_in_turns(common, monkeypatch) -> None:
    clock = iter(float(number) for number in [0, 1, 1, 11, 20, 22, 30, 60, 70, 73, 80, 100])
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(clock))
    calls: list[str] = []
    result = common.compare("x", lambda: calls.append("ours"), lambda: calls.append("plain"), rounds=3)
    assert calls == ["ours", "plain"] * 3
    assert result.ours.seconds == (1.0, 2.0, 3.0)
    assert result.plain.seconds == (10.0, 30.0, 20.0)
    assert (result.ours.median, result.ours.minimum, result.ratio) == (2.0, 1.0, 10.0)


def test_a_warm_up_is_not_timed(common, monkeypatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(common.time, "perf_counter", lambda: float(next(clock)))
    calls: list[int] = []
    result = common.compare("x", lambda: calls.append(1), lambda: None, rounds=2, warm_up=True)
    assert (len(calls), len(result.ours.seconds)) == (3, 2)


def test_a_short_call_is_timed_often(common, monkeypatch) -> None:
    clock = iter([0.0, 0.02, 1.0, 1.2])
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(clock))
    calls: list[int] = []
    value, seconds = common.timed(lambda: calls.append(1) or len(calls))
    assert (value, len(calls)) == (1, 6), "once, and five times to fill a tenth of a second"
    assert seconds == pytest.approx(0.2 / 5)


def test_ways_that_disagree_are_refused(common) -> None:
    with pytest.raises(common.BenchmarkError, match="x: ours and the plain way do not give the same"):
        common.compare("x", lambda: 1, lambda: 2, rounds=1, check=lambda mine, other: mine == other)
    with pytest.raises(common.BenchmarkError, match="0 rounds"):
        common.compare("x", lambda: 1, lambda: 2, rounds=0)


def test_peak_memory_is_what_a_call_takes_and_one_run_does_not_hide_the_next(common) -> None:
    big = common.peak_memory_of(lambda: np.ones(5_000_000).sum())
    small = common.peak_memory_of(lambda: np.ones(1_000_000).sum())
    assert 36e6 < big < 60e6
    assert 6e6 < small < 20e6


def test_what_went_wrong_in_the_child_is_told(common) -> None:
    with pytest.raises(common.BenchmarkError, match="ZeroDivisionError: division by zero"):
        common.peak_memory_of(lambda: 1 / 0)


def test_table_and_json_hold_medians_ratio_and_figures(common, tmp_path, capsys) -> None:
    line = common.Result(
        name="line", ours=common.Timing(seconds=(0.5, 0.25, 0.75)), plain=common.Timing(seconds=(2.0,))
    ).with_figures(peak_mb=12, kind="x")
    alone = common.measure("alone", lambda: None, rounds=2)
    common.report("demo", [line, alone], tmp_path / "sub" / "demo.json")
    printed = capsys.readouterr().out
    assert "0.5 / 0.25" in printed
    assert "4.00" in printed
    assert "peak_mb 12, kind x" in printed
    stored = json.loads((tmp_path / "sub" / "demo.json").read_text())
    assert stored["results"][0] == {
        "name": "line", "ratio": 4.0, "figures": {"peak_mb": 12, "kind": "x"},
        "ours": {"median_s": 0.5, "minimum_s": 0.25, "rounds_s": [0.5, 0.25, 0.75]},
        "plain": {"median_s": 2.0, "minimum_s": 2.0, "rounds_s": [2.0]},
    }  # fmt: skip
    assert stored["results"][1]["ratio"] is None
    assert {"cpu", "cores", "python", "numpy", "torch"} <= set(stored["machine"])


def test_json_without_a_file_goes_to_the_folder_of_results(common, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    options = common.parse_options("x", ["--quick", "--json"])
    common.report("demo", [common.measure("a", lambda: None, rounds=1)], options.json)
    assert options.quick
    assert (tmp_path / "demo.json").is_file()
    assert common.parse_options("x", []) == common.Options(quick=False, json=None)


@pytest.mark.parametrize("name", ["k_center", "class_proxies"])
def test_plain_ways_agree_with_ours(common, name, monkeypatch, capsys) -> None:
    """The benchmark's own check, at a size of nothing."""
    module = importlib.import_module(f"benchmarks.{name}")
    if name == "k_center":
        lines = [*module.in_memory(400, 8, 40, 1), *module.from_file(300, 16, (20,))]
    else:
        table = module.made_up_table(400)
        lines = [module.measured(table, proxy, 1) for proxy in ("imagenet22k-p1", "imagenet22k-p3")]
    assert all(line.as_json()["ours"]["median_s"] > 0 for line in lines)
    assert abs(module.imagenet22k_sizes().sum() / 14_197_122 - 1) < 0.002 if name == "class_proxies" else True
