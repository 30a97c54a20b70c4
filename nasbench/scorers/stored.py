"""A trained model in a folder: its weights, and what must be known to use them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasbench.core.errors import CheckpointError, FileReadError
from nasbench.core.files import fingerprint, read_json, write_bytes, write_json
from nasbench.models.state_dict import ModelFile, read_model_file

WEIGHTS = "weights.pt"
"""Name of the weights file in the folder; ``read_model_file`` reads it."""

DESCRIPTION = "model.json"
"""Name of the description in the folder."""

CURE = "Run the stage train_scorer again."


def save_model(folder: Path, model: nn.Module, description: Mapping[str, Any]) -> None:
    """Write the weights and then the description; equal models give equal bytes.

    Args:
        folder: An existing folder.
        model: Only its state dict is kept.
        description: JSON values; ``input_mean`` and ``input_std``, one number a channel, stand in both files.

    Raises:
        FileWriteError: The folder cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    statistics = {key: list(description[key]) for key in ("input_mean", "input_std")}
    buffer = io.BytesIO()
    torch.save({"state_dict": state, **statistics}, buffer)
    write_bytes(folder / WEIGHTS, buffer.getvalue())
    stamp = fingerprint(buffer.getvalue())
    write_json(folder / DESCRIPTION, {**description, "weights_fingerprint": stamp})


def load_description(folder: Path, what: str) -> tuple[dict[str, Any], str]:
    """Read the description of a folder, lists as tuples, and the fingerprint of the weights that belong to it.

    Raises:
        CheckpointError: There is none; ``what`` says in the message what is missing.
    """
    try:
        value = read_json(folder / DESCRIPTION)
        stamp = str(value.pop("weights_fingerprint"))
    except (FileReadError, KeyError) as error:
        raise CheckpointError(f"{folder} holds no {what} ({error}). {CURE}") from error
    return {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in value.items()}, stamp


def load_weights(folder: Path, stamp: str) -> ModelFile:
    """Read the weights of a folder.

    Raises:
        CheckpointError: They are absent, truncated, or not those of the fingerprint.
    """
    path = folder / WEIGHTS
    file = read_model_file(path)
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if not found.startswith(stamp):
        raise CheckpointError(f"{path} was altered after it was written. {CURE}")
    return file
