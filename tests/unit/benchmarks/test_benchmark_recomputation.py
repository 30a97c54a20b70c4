"""Benchmarks of operators and of recomputation: they run, and their figures say what they are to say."""

from __future__ import annotations

import json

import pytest

from benchmarks import dispatch_count, recomputation


def figures_of(module, tmp_path, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    target = tmp_path / "results.json"
    monkeypatch.setattr("sys.argv", ["benchmark", "--quick", "--json", str(target)])
    module.main()
    (line,) = json.loads(target.read_text(encoding="utf-8"))["results"]
    return line["figures"]


def test_fewer_operators_off_the_cpu(tmp_path, monkeypatch, capsys) -> None:
    figures = figures_of(dispatch_count, tmp_path, monkeypatch)
    assert figures["times_fewer"] == figures["plain_operations"] / figures["operations"] > 3


def test_recomputation_holds_less(tmp_path, monkeypatch, capsys) -> None:
    figures = figures_of(recomputation, tmp_path, monkeypatch)
    assert figures["with_held_mb"] < figures["without_held_mb"]
    assert figures["with_peak_tensors_mb"] < figures["without_peak_tensors_mb"]
