"""What lies outside of the repository is noted, and the notes change when it does."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from nasbench.config.load import load_yaml
from nasbench.core.files import read_json
from pipelines import stamp_inputs as module
from pipelines.params import Params, load_params
from pipelines.stamp_inputs import FOLDER, stamp_inputs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The default parameters, with a folder of images as source and given weights, in an empty folder."""
    values: dict[str, Any] = load_yaml(ROOT / "params.yaml")
    values["source"] = {"dataset": "image-folder", "name": "mine", "root": "data"}
    values["scorers"]["resnet20"]["options"] = {"model": "resnet20", "weights": "data/weights.pt"}
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png", "weights.pt"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    with (tmp_path / "params.yaml").open("w") as handle:
        YAML().dump(values, handle)
    monkeypatch.chdir(tmp_path)
    return load_params()


def notes() -> dict[str, Any]:
    return {path.relative_to(FOLDER).as_posix(): read_json(path)["places"] for path in FOLDER.rglob("*.json")}


def test_names_sizes_and_checksums_are_noted_but_no_times(params: Params) -> None:
    stamp_inputs(params)
    first = notes()
    assert first["target.json"] == {}, "embedded data"
    assert first["source.json"]["train"]["files"] == 2
    assert first["source.json"]["train"]["bytes"] == 2 * len("train/cat/1.png")
    assert first["scorers/resnet20.json"]["weights.pt"]["files"] == 1
    for path in Path("data").rglob("*"):
        os.utime(path, ns=(1, 1))
    stamp_inputs(params)
    assert notes() == first


@pytest.mark.parametrize(("name", "content", "note"), [
    ("train/cat/2.png", b"new", "source.json"), ("weights.pt", b"weights.PT", "scorers/resnet20.json"),
    ("test/dog/1.png", None, "source.json"),
])  # fmt: skip
def test_a_change_changes_the_note_of_what_it_concerns(
    params: Params, name: str, content: bytes | None, note: str
) -> None:
    stamp_inputs(params)
    first = notes()
    time.sleep(0.02)  # times of change have a grain of some milliseconds
    path = Path("data") / name
    path.unlink() if content is None else path.write_bytes(content)
    stamp_inputs(params)
    second = notes()
    assert {key for key in first if first[key] != second[key]} == {note}


def test_an_unchanged_folder_is_not_listed_again(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp_inputs(params)
    before = {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*.json")}
    monkeypatch.setattr(module, "_note", lambda found: pytest.fail(f"listed {found} again"))
    stamp_inputs(params)
    assert {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*.json")} == before, "DVC need not hash them again"


def test_absent_data_are_noted_as_absent_and_noticed_when_they_come(params: Params) -> None:
    moved = Path("data").rename("elsewhere")
    stamp_inputs(params)
    assert set(notes()["source.json"].values()) == {"absent"}
    moved.rename("data")
    stamp_inputs(params)
    assert notes()["source.json"]["train"]["files"] == 2
