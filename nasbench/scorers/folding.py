"""Forms of a model that run faster than the one it was trained in."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional

Precision = Literal["float32", "float32-folded", "bfloat16"]

_LARGEST_ERROR = 1e-3
_PROBES = 2
_FRESH_MODULES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
_ADDITIONS: tuple[Callable[..., Any], ...] = (operator.add, operator.iadd)


def prepared(model: nn.Module, image_shape: tuple[int, int, int], precision: Precision) -> nn.Module:
    """Return the form of a model that a pass over a set should use, in channels_last memory.

    - ``float32``: activations and additions overwrite their input where nothing else needs it; the same arithmetic.
    - ``float32-folded``: batch normalisations are folded into the convolutions before them as well.
    - ``bfloat16``: folded, then rounded.

    A model that cannot be traced, or that gives other values when traced (control flow that depends on the data cannot
    be traced faithfully), is used as it is.

    Args:
        model: In evaluation mode, float32; left as it is but for its memory format.
        image_shape: (C, H, W).
        precision: See above.
    """
    ready = _traced(model, image_shape, fold=precision != "float32")
    if precision == "bfloat16":
        ready = (copy.deepcopy(model) if ready is model else ready).to(torch.bfloat16)
    return ready.to(memory_format=torch.channels_last)


def _traced(model: nn.Module, image_shape: tuple[int, int, int], *, fold: bool) -> nn.Module:
    if not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.ReLU) for module in model.modules()):
        return model
    first = next(model.parameters(), torch.empty(0))
    count = _PROBES * image_shape[0] * image_shape[1] * image_shape[2]
    probe = torch.linspace(-2, 2, count, device=first.device).reshape(_PROBES, *image_shape)
    try:
        with torch.no_grad():
            # In float64, as each weight is then rounded once. `fuse` works on a copy.
            fused = fuse(copy.deepcopy(model).double()).float() if fold else fx.symbolic_trace(copy.deepcopy(model))
            traced: nn.Module = _overwriting(fused).eval()
            wanted, found = model(probe), traced(probe.clone())
    except Exception:  # a foreign model may refuse to be traced in any way, and can still be run as it is
        return model
    error, scale = float((found - wanted).abs().max()), float(wanted.abs().max())
    return traced if error <= _LARGEST_ERROR * scale else model  # NaN is not below anything


def _overwriting(traced: Any) -> Any:
    """Let activations and additions of a traced model overwrite their first input, where nothing else reads it."""
    modules: Mapping[str, nn.Module] = dict(traced.named_modules())
    for node in traced.graph.nodes:
        if not node.args or not isinstance(node.args[0], fx.Node) or not _is_fresh(node.args[0], modules):
            continue
        if node.op == "call_function" and node.target is functional.relu:
            node.target, node.args, node.kwargs = torch.relu_, node.args[:1], {}
        elif node.op == "call_module" and type(modules[str(node.target)]) is nn.ReLU:
            node.op, node.target = "call_function", torch.relu_
        elif node.op == "call_function" and node.target is operator.add and isinstance(node.args[1], fx.Node):
            node.target = operator.iadd
    traced.graph.lint()
    traced.recompile()
    return traced


def _is_fresh(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Say whether a value was made for its only reader."""
    if len(node.users) != 1:
        return False
    if node.op == "call_module":
        return type(modules[str(node.target)]) in _FRESH_MODULES
    return node.op == "call_function" and node.target in _ADDITIONS
