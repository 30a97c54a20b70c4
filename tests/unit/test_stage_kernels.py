"""That `compute.kernels` reaches what a stage computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nasbench.config.load import load_yaml
from nasbench.core.files import write_json
from nasbench.spaces import compiled
from pipelines.stage import Outcome, Spec, run_item
from tests.kernels import needs_kernels

ROOT = Path(__file__).resolve().parents[2]


def probe(_stage: object) -> Outcome:
    return Outcome(metrics={"kernels": compiled.wanted_for(torch.ones(1, 4, 4, 4))})


SPEC = Spec(
    name="probe", inputs=lambda _params, _item: {}, sections=lambda _item: ("compute",), output=None, body=probe,
    computes=True,
)  # fmt: skip


@needs_kernels
@pytest.mark.parametrize("kernels", ["pytorch", "compiled"])
def test_a_stage_computes_by_the_kernels_that_its_parameters_name(kernels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    params = load_yaml(ROOT / "params.yaml")
    params["compute"]["kernels"] = kernels
    write_json(tmp_path / "params.yaml", params)
    with compiled.used(False):
        run_item(SPEC, {})
    (metrics,) = tmp_path.rglob("metrics.json")
    assert json.loads(metrics.read_text(encoding="utf-8")) == {"kernels": kernels == "compiled"}
