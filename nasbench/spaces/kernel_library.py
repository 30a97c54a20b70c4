"""The library of compiled kernels: loading it, and the structures that it is given (``kernels/fan.h``)."""

from __future__ import annotations

import ctypes
import importlib.util
import zlib
from ctypes import c_double, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch

KINDS = {torch.float32: "float", torch.float64: "double"}
"""Type of the numbers -> end of the functions' names."""


class OperationArguments(ctypes.Structure):
    """As in kernels/fan.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kernel", "dilation", "repeats", "dense")),
        *((name, c_void_p) for name in ("rows", "factors")),
        *((name, c_void_p * 2) for name in (
            "kernels", "mixing", "running", "z", "half", "known", "grad_kernels", "grad_mixing",
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


class StateArguments(ctypes.Structure):
    """As in kernels/chain.h."""

    _fields_ = (
        *((name, c_int64) for name in ("channels", "height", "width")),
        *((name, c_void_p) for name in ("values", "grads")),
    )


class LinkArguments(ctypes.Structure):
    """As in kernels/chain.h."""

    _fields_ = (
        *((name, c_int64) for name in ("source", "target", "kind", "kernel", "stride", "dilation", "norm")),
        ("momentum", c_double),
        *((name, c_void_p) for name in (
            "factor", "depthwise", "weight", "bias", "gain", "shift", "mean", "variance", "inner", "z", "known",
            "grad_factor", "grad_depthwise", "grad_weight", "grad_gain", "grad_shift",
        )),
    )  # fmt: skip


class ChainArguments(ctypes.Structure):
    """As in kernels/chain.h."""

    _fields_ = (
        *((name, c_int64) for name in ("batch", "num_states", "num_links", "threads")),
        ("eps", c_double),
        *((name, c_void_p) for name in ("x", "output", "grad_output", "grad_x", "states", "links")),
    )


ARGUMENTS = {
    "forward": FanArguments, "backward": FanArguments, "chain_forward": ChainArguments,
    "chain_backward": ChainArguments,
}  # fmt: skip
"""What each kernel is given."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the library, or None where it was not built from these sources, or cannot be loaded."""
    found = importlib.util.find_spec("nasbench.spaces.kernels._fans")
    if found is None or found.origin is None:
        return None
    try:
        loaded = ctypes.CDLL(found.origin)
    except OSError:
        return None
    loaded.nasbench_sources.restype = ctypes.c_uint32
    if _sources() not in {None, loaded.nasbench_sources()}:
        return None
    for what, given in ARGUMENTS.items():
        for kind in KINDS.values():
            function = getattr(loaded, f"nasbench_{what}_{kind}")
            function.argtypes, function.restype = [ctypes.POINTER(given)], None
    return loaded


def _sources() -> int | None:
    """Return the checksum of the sources, as setup.py does, or None where there are none."""
    folder = Path(__file__).with_name("kernels")
    names = sorted(found for found in folder.iterdir() if found.suffix in {".c", ".h"})
    return zlib.crc32(b"".join(name.read_bytes() for name in names)) if names else None


def available() -> bool:
    """Return whether the kernels were built, from the sources that lie here, when the package was installed."""
    return library() is not None


def level() -> str:
    """Return for which instructions of this machine there are kernels; "none" where there are no kernels."""
    loaded = library()
    return "none" if loaded is None else ("baseline", "AVX2", "AVX-512")[loaded.nasbench_level()]


def run(what: str, kind: str, arguments: FanArguments | ChainArguments) -> None:
    """Run a kernel.

    Args:
        what: A key of `ARGUMENTS`.
        kind: A value of `KINDS`.
        arguments: What it is given.

    Raises:
        RuntimeError: The kernels were not built.
    """
    loaded = library()
    if loaded is None:
        raise RuntimeError("the compiled kernels were not built. Is there GCC? Install the package again.")
    getattr(loaded, f"nasbench_{what}_{kind}")(ctypes.byref(arguments))
