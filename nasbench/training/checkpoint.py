"""Checkpoints: one file, written atomically, refused where it is broken or belongs to something else."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasbench.core.errors import CheckpointError
from nasbench.core.files import FINGERPRINT_CHARS, canonical_json, write_bytes

_FORMAT = "proxy-nasbench checkpoint 1"


def save_checkpoint(path: Path, kind: str, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        path: The file.
        kind: Who wrote it, for example ``"training"`` or ``"search"``.
        identity: JSON values that must be equal when it is loaded: parameters, seed, fingerprints.
        state: Tensors and plain values (numbers, text, lists, tuples, mappings).

    Raises:
        FileWriteError: The file cannot be written; a former one stays as it was.
    """
    # Through memory: PyTorch's own writer hides a full disk behind an error that is not an OSError.
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "kind": kind, "identity": canonical_json(identity), "state": dict(state)}, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path, kind: str, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a checkpoint onto the CPU.

    Args:
        path: The file.
        kind: As it was saved.
        identity: As it was saved.

    Returns:
        The state, or None where there is no file.

    Raises:
        CheckpointError: The file is truncated, of another kind, or of another identity.
    """
    if not path.exists():
        return None
    cure = f"Delete {path} to start from the beginning, or name another checkpoint file."
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file makes PyTorch raise one of many unrelated types
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: truncated or foreign ({_first(error)}). {cure}"
        ) from error
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise CheckpointError(f"{path} was not written by this project (or by another version). {cure}")
    if value["kind"] != kind:
        raise CheckpointError(f"{path} is a checkpoint of kind {value['kind']!r}; {kind!r} is needed. {cure}")
    if value["identity"] != canonical_json(identity):
        changed = _differences(json.loads(value["identity"]), json.loads(canonical_json(identity)))
        raise CheckpointError(f"{path} belongs to another run: {changed}. {cure}")
    state: dict[str, Any] = value["state"]
    return state


def state_fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return 32 hexadecimal digits over the names, types, shapes and bytes of a state dict."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:FINGERPRINT_CHARS]


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _differences(stored: object, wanted: object, path: str = "") -> str:
    """Say what differs, for example ``seed is 1 in the file, 2 now``."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        keys = sorted(key for key in {*stored, *wanted} if stored.get(key) != wanted.get(key))
        return "; ".join(
            _differences(stored.get(key), wanted.get(key), f"{path}.{key}" if path else key) for key in keys
        )
    return f"{path} is {_short(stored)} in the file, {_short(wanted)} now"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
