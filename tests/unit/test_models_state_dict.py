"""Weights from files: what is accepted, and that nothing is half-loaded."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from nasbench.core.errors import CheckpointError
from nasbench.models import zoo
from nasbench.models.state_dict import fit_state_dict, load_state_dict_file, read_model_file


def resnet(seed: int = 0, classes: int = 10) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return zoo.create("resnet20", classes, 3)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("form", ["bare", "wrapped", "parallel", "wrapped parallel"])
def test_accepted_forms(tmp_path, form):
    state = resnet().state_dict()
    value = {f"module.{name}": tensor for name, tensor in state.items()} if "parallel" in form else dict(state)
    torch.save({"state_dict": value, "epoch": 3} if "wrapped" in form else value, tmp_path / "weights.pt")
    assert same(load_state_dict_file(tmp_path / "weights.pt"), dict(state))


def test_the_prefix_is_kept_where_not_every_name_has_it(tmp_path):
    value = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    torch.save(value, tmp_path / "weights.pt")
    assert set(load_state_dict_file(tmp_path / "weights.pt")) == {"module.a", "b"}


def test_statistics_of_the_inputs_are_read(tmp_path):
    content = {"state_dict": {"a": torch.zeros(1)}, "input_mean": [0.1], "input_std": [0.2]}
    torch.save(content, tmp_path / "weights.pt")
    file = read_model_file(tmp_path / "weights.pt")
    assert (file.input_mean, file.input_std) == ((0.1,), (0.2,))
    torch.save({**content, "input_mean": "x"}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="input_mean"):
        read_model_file(tmp_path / "weights.pt")


def test_safetensors_are_read_and_broken_ones_refused(tmp_path):
    state = resnet().state_dict()
    save_file(state, tmp_path / "model.safetensors")
    assert same(load_state_dict_file(tmp_path / "model.safetensors"), dict(state))
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_state_dict_file(tmp_path / "model.safetensors")


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a weights file was run')",))


def test_files_that_are_no_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.raises(CheckpointError, match="no weights file"):
        load_state_dict_file(path)
    torch.save(resnet().state_dict(), path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-5], b"", b"text", pickle.dumps(Payload()), pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"weights\.pt"):
            load_state_dict_file(path)


@pytest.mark.parametrize(
    "value",
    [
        [torch.zeros(1)],
        {},
        {"state_dict": {}},
        {"state_dict": 3},
        {"a": 3},
        {"state_dict": {"a": [1.0]}},
        {1: torch.zeros(1)},
    ],
)
def test_other_content_than_tensors_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="tensor"):
        load_state_dict_file(tmp_path / "weights.pt")


def test_fitting_weights_are_taken_over():
    model = resnet(1)
    fit_state_dict(model, resnet(0).state_dict())
    assert same(dict(model.state_dict()), dict(resnet(0).state_dict()))


def test_batch_counters_may_be_missing():
    state = {
        name: tensor for name, tensor in resnet(0).state_dict().items() if not name.endswith("num_batches_tracked")
    }
    model = resnet(1)
    fit_state_dict(model, state)
    assert torch.equal(model.state_dict()["linear.weight"], state["linear.weight"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state.pop("bn1.weight"), "1 missing: bn1.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (
            lambda state: state.update({"linear.bias": torch.zeros(9)}),
            r"1 of another form: linear.bias is float \[9\] in the file, float \[10\]",
        ),
        (
            lambda state: state.update({"linear.bias": torch.zeros(10, dtype=torch.int64)}),
            r"linear.bias is int64 \[10\]",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(change, problem):
    state = dict(resnet(0).state_dict())
    change(state)
    model = resnet(1)
    with pytest.raises(CheckpointError, match=problem):
        fit_state_dict(model, state)
    assert same(dict(model.state_dict()), dict(resnet(1).state_dict()))


def test_only_the_first_three_names_are_listed():
    with pytest.raises(CheckpointError) as caught:
        fit_state_dict(zoo.create("resnet32", 10, 3), resnet().state_dict())
    assert "missing: layer1.3.conv1.weight, layer1.3.bn1.weight, layer1.3.bn1.bias, ..." in str(caught.value)


@pytest.mark.shared
def test_the_published_file_fits(shared_data):
    """269,722 trainable numbers, batch statistics apart: as many as our ResNet-20 has."""
    state = load_state_dict_file(shared_data / "cifar10-resnet20-12fca82f.th")
    trainable = [tensor for name, tensor in state.items() if "running" not in name]
    assert sum(tensor.numel() for tensor in trainable) == 269_722
    fit_state_dict(resnet(), state)
    with pytest.raises(CheckpointError, match=r"linear.weight"):
        fit_state_dict(resnet(classes=100), state)
