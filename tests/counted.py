"""Networks whose parameters and multiply-adds are counted, and whose values do not matter."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from torch import Tensor, nn

from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.depthwise import DepthwiseConv2d

LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)


def outline(self: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution returns, without its values."""
    sizes = (
        (size + 2 * int(padding) - dilation * (kernel - 1) - 1) // stride + 1
        for size, padding, dilation, kernel, stride in zip(
            x.shape[2:], self.padding, self.dilation, self.kernel_size, self.stride, strict=True
        )
    )
    return x.new_empty((len(x), self.out_channels, *sizes))


def nothing(self: nn.Module) -> None:
    """Leave a layer as it is."""


def unchanged(self: nn.Module, x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Return the input."""
    return x


@contextmanager
def without_values() -> Iterator[None]:
    """Let networks be built and called in the block at no cost: no initial values, no arithmetic, only sizes.

    BN passes its input on, as it keeps its size and is not counted. Of thousands of new modules none is garbage, so the
    collector does not look.
    """
    with ExitStack() as stack:
        if gc.isenabled():
            gc.disable()
            stack.callback(gc.enable)
        for layer in LAYERS:
            stack.enter_context(mock.patch.object(layer, "reset_parameters", nothing))
        for convolution in (nn.Conv2d, DepthwiseConv2d):
            stack.enter_context(mock.patch.object(convolution, "forward", outline))
        stack.enter_context(mock.patch.object(BatchNorm, "forward", unchanged))
        yield


def num_weights(network: nn.Module) -> int:
    """Trainable numbers of all of a network, an auxiliary head included."""
    return sum(parameter.numel() for parameter in network.parameters())
