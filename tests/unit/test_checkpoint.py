"""Checkpoints are whole or refused."""

from __future__ import annotations

import pytest
import torch

from nasbench.core.errors import CheckpointError, FileWriteError
from nasbench.training.checkpoint import load_checkpoint, save_checkpoint, state_fingerprint

IDENTITY = {"seed": 1, "recipe": {"epochs": 3}}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "run" / "state.pt"
    save_checkpoint(file, "training", IDENTITY, {"weights": {"w": torch.arange(3.0)}, "history": [{"a": 0.1}]})
    return file


def test_what_was_saved_comes_back(path):
    state = load_checkpoint(path, "training", IDENTITY)
    assert torch.equal(state["weights"]["w"], torch.arange(3.0))
    assert state["history"] == [{"a": 0.1}]
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]


def test_an_absent_file_is_a_fresh_start(tmp_path):
    assert load_checkpoint(tmp_path / "none.pt", "training", IDENTITY) is None


@pytest.mark.parametrize("keep", [0, 1, 100, -10])
def test_a_truncated_file_is_refused_with_a_way_out(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"truncated or foreign.*Delete .*state\.pt"):
        load_checkpoint(path, "training", IDENTITY)


def test_a_foreign_file_is_refused(path):
    torch.save({"model": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="not written by this project"):
        load_checkpoint(path, "training", IDENTITY)
    path.write_text("hello")
    with pytest.raises(CheckpointError, match="truncated or foreign"):
        load_checkpoint(path, "training", IDENTITY)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_would_run_code_is_refused(path, capsys):
    torch.save({"format": Evil()}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, "training", IDENTITY)
    assert "executed" not in capsys.readouterr().out


def test_another_kind_or_identity_is_refused_and_the_difference_named(path):
    with pytest.raises(CheckpointError, match="kind 'training'; 'search' is needed"):
        load_checkpoint(path, "search", IDENTITY)
    with pytest.raises(CheckpointError, match=r"recipe\.epochs is 3 in the file, 4 now"):
        load_checkpoint(path, "training", {"seed": 1, "recipe": {"epochs": 4}})
    with pytest.raises(CheckpointError, match="genotype is None in the file"):
        load_checkpoint(path, "training", {**IDENTITY, "genotype": "abc"})


def test_a_failed_write_leaves_the_former_checkpoint(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileWriteError, match="No space left"):
        save_checkpoint(path, "training", IDENTITY, {"weights": {}})
    assert "weights" in load_checkpoint(path, "training", IDENTITY)
    assert len(list(path.parent.iterdir())) == 1


def test_a_state_fingerprint_tells_every_change():
    state = {"a": torch.zeros(2), "b": torch.tensor(1)}
    assert state_fingerprint(state) == state_fingerprint(dict(reversed(state.items())))
    others = [
        {"a": torch.tensor([0.0, 1e-30]), "b": torch.tensor(1)},
        {"a": torch.zeros(2, 1), "b": torch.tensor(1)},
        {"a": torch.zeros(2), "c": torch.tensor(1)},
        {"a": torch.zeros(2), "b": torch.tensor(1, dtype=torch.int32)},
    ]
    assert len({state_fingerprint(value) for value in [state, *others]}) == 5
