"""Classifiers by name; no framework is imported before a model is built."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from nasbench.core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from torch import nn

TIMM_PREFIX = "timm:"
"""Names that begin with it are handed to timm without it, for example ``timm:resnet18``."""

RESNETS: Mapping[str, int] = MappingProxyType(
    {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}
)
"""Names of the residual networks for small images, and their blocks a stage."""


def check_name(name: str) -> None:
    """Refuse a name that cannot be a model's; whether timm knows its part is seen when it is built.

    Raises:
        ConfigError: Neither one of `RESNETS` nor ``timm:`` and a name.

    Example:
        >>> check_name("timm:resnet18")
    """
    if name in RESNETS or (name.startswith(TIMM_PREFIX) and len(name) > len(TIMM_PREFIX)):
        return
    raise ConfigError(
        f"model: there is no {name!r}. Known: {', '.join(RESNETS)}, and timm:NAME for a model of timm."
        f"{nearest(name, RESNETS)}"
    )


def create(name: str, num_classes: int, in_channels: int, *, pretrained: bool = False) -> nn.Module:
    """Build a classifier; weights are drawn from PyTorch's current default generator.

    Args:
        name: See `check_name`.
        num_classes: K.
        in_channels: Channels of the images.
        pretrained: Start from timm's weights (which it fetches where they are not cached); timm models only.

    Returns:
        A module: images [N, C, H, W] -> logits [N, K].

    Raises:
        ConfigError: No such model, or ``pretrained`` without timm.
        CheckpointError: The pretrained weights cannot be fetched.
    """
    check_name(name)
    if name.startswith(TIMM_PREFIX):
        from nasbench.models import timm_zoo

        return timm_zoo.create(name.removeprefix(TIMM_PREFIX), num_classes, in_channels, pretrained)
    if pretrained:
        raise ConfigError(f"pretrained: {name!r} has no published weights here; only timm:NAME models have.")
    from nasbench.models import resnet_cifar

    return resnet_cifar.create(name, num_classes, in_channels)


def without_head(name: str, model: nn.Module) -> nn.Module:
    """Take the last layer off a classifier, in place: what is left gives the features that it was given.

    Args:
        name: What the classifier was created by; see `check_name`.
        model: Images [N, C, H, W] -> logits [N, K].

    Returns:
        A module: images [N, C, H, W] -> features [N, d], 64 for the residual networks.

    Raises:
        ConfigError: Its classifier cannot be taken off.
    """
    if name.startswith(TIMM_PREFIX):
        from nasbench.models import timm_zoo

        return timm_zoo.without_head(model)
    from torch import nn as layers

    model.linear = layers.Identity()
    return model
