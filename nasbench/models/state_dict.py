"""Reading weights from files, and putting them into models whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasbench.core.errors import CheckpointError

_PARALLEL_PREFIX = "module."
_COUNTER = ".num_batches_tracked"
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """What a weights file holds.

    Attributes:
        state: Tensors by name, on the CPU, without the prefix ``module.``.
        input_mean: What the model's inputs were normalised by, per channel, where the file says so.
        input_std: Likewise.
    """

    state: Mapping[str, Tensor]
    input_mean: tuple[float, ...] | None = None
    input_std: tuple[float, ...] | None = None


def load_state_dict_file(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch weights file; see `read_model_file`."""
    return dict(read_model_file(path).state)


def read_model_file(path: Path | str) -> ModelFile:
    """Read a weights file of PyTorch or safetensors onto the CPU, without running anything that stands in it.

    A file that ends in ``.safetensors`` (as timm's on its hub) holds tensors by name. Accepted in one of PyTorch are
    a mapping of names to tensors, and a mapping with such a mapping under ``state_dict`` (other entries
    are left alone, but for ``input_mean`` and ``input_std``). Where every name begins with ``module.``, as a
    parallel wrapper leaves it, that prefix is taken off.

    Args:
        path: The file.

    Raises:
        CheckpointError: Absent, truncated, not of PyTorch, or with something else than tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"there is no weights file {file}. Check the path.")
    try:
        value = _read(file)
    except Exception as error:  # a broken file makes PyTorch raise one of many unrelated types
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CheckpointError(
            f"{file} cannot be read as weights: truncated, foreign, or with more than plain tensors in it "
            f"({type(error).__name__}: {reason}). Fetch it again, or save it with torch.save(model.state_dict(), ...)."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds a {type(value).__name__}; a mapping of names to tensors is needed.")
    state = _tensors(file, value.get("state_dict", value))
    return ModelFile(
        state=state,
        input_mean=_numbers(file, value, "input_mean"),
        input_std=_numbers(file, value, "input_std"),
    )


def _read(file: Path) -> object:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file  # timm, which needs it, brings it

        return load_file(file, device="cpu")
    return torch.load(file, map_location="cpu", weights_only=True)


def _tensors(file: Path, state: object) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{file} holds no state dict; a mapping of names to tensors is needed.")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{file}: entry {name!r} is a {type(tensor).__name__}, not a tensor. Save model.state_dict() alone, "
                f"or under the key 'state_dict'."
            )
    prefixed = all(name.startswith(_PARALLEL_PREFIX) for name in state)
    return {name.removeprefix(_PARALLEL_PREFIX) if prefixed else name: tensor for name, tensor in state.items()}


def _numbers(file: Path, value: Mapping[str, Any], key: str) -> tuple[float, ...] | None:
    if "state_dict" not in value or key not in value:
        return None
    numbers = value[key]
    if not isinstance(numbers, list | tuple) or not all(isinstance(number, float) for number in numbers):
        raise CheckpointError(f"{file}: {key!r} is {numbers!r}; a list of numbers, one a channel, is needed.")
    return tuple(numbers)


def fit_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put weights into a model, if every one fits; else leave the model as it was.

    Batch counters (``num_batches_tracked``), which older files lack and which change no result, may be missing.

    Args:
        model: Changed in place.
        state: Tensors by name.

    Raises:
        CheckpointError: Names are missing or unexpected, or shapes or types differ; the first three of each are named.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {_form(state[name])} in the file, {_form(own[name])} in the model"
        for name in own
        if name in state and _form(state[name]) != _form(own[name])
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another form", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"the weights do not fit the model ({'; '.join(problems)}). Nothing was loaded. "
            f"Choose the model, number of classes and channels that the weights were trained with."
        )
    model.load_state_dict(dict(state), strict=False)


def _form(tensor: Tensor) -> str:
    kind = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    shape: Sequence[int] = tuple(tensor.shape)
    return f"{kind} {list(shape)}"
