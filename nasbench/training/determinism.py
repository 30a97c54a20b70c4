"""Same seed, same bits: scoped seeding, deterministic kernels, and the check of a device's name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nasbench.core.errors import ConfigError


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's default generators (CPU and every CUDA device) inside the block only.

    Args:
        seed: For example from `nasbench.core.seeding.derive_seed`.

    Example:
        >>> with seeded(1):
        ...     first = torch.rand(2)
        >>> with seeded(1):
        ...     bool(torch.equal(torch.rand(2), first))
        True
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        if devices:
            torch.manual_seed(seed)
        else:  # the same, but that keeps a printed stack trace for a CUDA that may yet start: a hundred times slower
            torch.default_generator.manual_seed(seed)
        yield


def configure(threads: int) -> None:
    """Make this process's PyTorch deterministic. Call it once, before any CUDA work.

    A kernel that has no deterministic form then raises an error instead of giving other bits each time; where there
    is CUDA it warns, as the backward pass of max pooling may have none there.

    Args:
        threads: CPU threads within one operation, at least 1. Results may differ between thread counts.

    Raises:
        ConfigError: threads is below 1.
    """
    if threads < 1:
        raise ConfigError(f"threads: {threads} is not allowed; give at least 1.")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when its handle is made
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Nothing reads uninitialised memory; filling it costs 10,000 calls a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def device_of(name: str, *, amp: bool = False) -> torch.device:
    """Return the device of a name, or say why it cannot be used.

    Args:
        name: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        amp: Automatic mixed precision is wanted.

    Raises:
        ConfigError: Unknown name, absent device, or AMP without CUDA.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: {name!r} is not a device. Allowed: 'cpu', 'cuda', 'cuda:1'.") from error
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"device: {name!r} is not supported. Allowed: 'cpu', 'cuda', 'cuda:1'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device: {name!r} was asked for, but there are {torch.cuda.device_count()} here. Use 'cpu'.")
    if amp and device.type != "cuda":
        raise ConfigError(f"amp: true has no effect on device {name!r}; it needs CUDA. Leave it out.")
    return device
