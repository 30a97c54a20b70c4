"""The library of compiled kernels: loading it, and the structures that it is given (``kernels/fan.h``)."""

from __future__ import annotations

import ctypes
import importlib.util
from ctypes import c_double, c_int64, c_void_p
from functools import cache

import torch

KINDS = {torch.float32: "float", torch.float64: "double"}
"""Type of the numbers -> end of the functions' names."""


class OperationArguments(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kernel", "dilation", "repeats", "dense")),
        *((name, c_void_p) for name in ("rows", "factors")),
        *((name, c_void_p * 2) for name in (
            "kernels", "mixing", "gains", "shifts", "running", "z", "half", "known", "grad_kernels", "grad_mixing",
            "grad_gains", "grad_shifts",
        )),
        ("grad_factors", c_void_p),
    )  # fmt: skip


class TermArguments(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kind", "norm")),
        *((name, c_void_p) for name in ("factors", "running", "z", "known", "grad_factors")),
    )


class FanArguments(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in (
            "batch", "channels", "height", "width", "stride", "edges", "threads", "num_operations", "num_terms",
        )),
        ("eps", c_double),
        *((name, c_void_p) for name in (
            "x", "operations", "terms", "outputs", "grads", "grad_x", "hidden_grads",
        )),
    )  # fmt: skip


@cache
def library() -> ctypes.CDLL | None:
    """Return the library, or None where it was not built or cannot be loaded."""
    found = importlib.util.find_spec("nasbench.spaces.kernels._fans")
    if found is None or found.origin is None:
        return None
    try:
        library = ctypes.CDLL(found.origin)
    except OSError:
        return None
    for what in ("forward", "backward"):
        for kind in KINDS.values():
            function = getattr(library, f"nasbench_{what}_{kind}")
            function.argtypes, function.restype = [ctypes.POINTER(FanArguments)], None
    return library


def available() -> bool:
    """Return whether the kernels were built when the package was installed."""
    return library() is not None


def level() -> str:
    """Return for which instructions of this machine there are kernels; "none" where there are no kernels."""
    loaded = library()
    return "none" if loaded is None else ("baseline", "AVX2", "AVX-512")[loaded.nasbench_level()]


def run(what: str, kind: str, arguments: FanArguments) -> None:
    """Run a kernel.

    Args:
        what: ``forward`` or ``backward``.
        kind: A value of `KINDS`.
        arguments: What it is given.

    Raises:
        RuntimeError: The kernels were not built.
    """
    loaded = library()
    if loaded is None:
        raise RuntimeError("the compiled kernels were not built. Is there a C compiler? Install the package again.")
    getattr(loaded, f"nasbench_{what}_{kind}")(ctypes.byref(arguments))
