"""Size and arithmetic of a network, in the convention of the published parameter counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

AUXILIARY = "auxiliary_head"
"""A submodule of this name serves training only and is left out."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: Trainable numbers without the auxiliary head.
        macs: Multiply-adds of convolutions and linear layers for one image: no BN, pooling, bias or auxiliary head,
            one multiply-add counted as 1. Papers count differently: GDAS prints this figure, DARTS, PC-DARTS and
            SGAS print other ones for their own cells.
    """

    parameters: int
    macs: int


def count_parameters(model: nn.Module) -> int:
    """Return the trainable numbers of a model, without any submodule named ``auxiliary_head``."""
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and AUXILIARY not in name.split(".")
    )


def measure(model: nn.Module, image_shape: tuple[int, int, int]) -> Cost:
    """Count parameters, and multiply-adds of one image in evaluation mode.

    Arithmetic that is not in a convolution or linear module is not counted.

    Args:
        model: Callable with images alone; on any device, the meta device included. Its modes stay as they were.
        image_shape: (channels, height, width).
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal total
        weight: Any = module.weight
        total += output[0].numel() * weight[0].numel()

    first = next(model.parameters(), torch.empty(0))
    with ExitStack() as stack:
        for name, module in model.named_modules():
            counted = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))
            if counted and AUXILIARY not in name.split("."):
                stack.callback(module.register_forward_hook(add).remove)
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.no_grad())
        model(torch.zeros((1, *image_shape), device=first.device, dtype=first.dtype))
    return Cost(parameters=count_parameters(model), macs=total)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and back into its own."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training
