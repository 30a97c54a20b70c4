"""The benchmark of entropy scoring: its number of images is that asked for."""

from __future__ import annotations

import json

import pytest

from benchmarks import entropy_scoring


def test_count_is_the_number_of_images(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    target = tmp_path / "results.json"
    monkeypatch.setattr("sys.argv", ["benchmark", "--count", "70", "--json", str(target)])
    entropy_scoring.main()
    lines = json.loads(target.read_text(encoding="utf-8"))["results"]
    assert [line["name"] for line in lines[:3]] == [
        f"{precision}, 70 images" for precision in ("float32", "float32-folded", "bfloat16")
    ]
    assert lines[0]["figures"]["max_delta_log10_entropy"] < 1e-4
