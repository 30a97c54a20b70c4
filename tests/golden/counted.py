"""Networks whose size is counted and whose values do not matter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

import torch
from torch import nn

from nasbench.spaces.ops import BatchNorm
from nasbench.training.cost import Cost, measure


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network on the meta device; there drawing initial values that nobody sees is what costs."""
    with ExitStack() as stack:
        for layer in (nn.Conv2d, nn.Linear, nn.BatchNorm2d):
            stack.enter_context(mock.patch.object(layer, "reset_parameters", lambda self: None))
        stack.enter_context(torch.device("meta"))
        return build()


def cost_on_meta(build: Callable[[], nn.Module], image_shape: tuple[int, int, int]) -> Cost:
    """Measure such a network; BN passes its input on, as it changes no shape and is not counted."""
    with mock.patch.object(BatchNorm, "forward", lambda self, x: x):
        return measure(on_meta(build), image_shape)
