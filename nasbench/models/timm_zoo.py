"""Models of timm; the only module that imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasbench.core.errors import CheckpointError, ConfigError, nearest

if TYPE_CHECKING:
    from torch import nn


def create(name: str, num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Build a model of timm with a new head for K classes.

    Reference: Wightman, "PyTorch Image Models", 2019, doi:10.5281/zenodo.4414861.

    Args:
        name: timm's name, for example ``resnet18``.
        num_classes: K.
        in_channels: Channels of the images; timm adapts the first layer.
        pretrained: Start from its published weights; they are fetched over the network where they are not cached.

    Returns:
        A module: images [N, C, H, W] -> logits [N, K].

    Raises:
        ConfigError: timm has no such model, or it cannot be built so.
        CheckpointError: The pretrained weights cannot be fetched.
    """
    import timm

    if not timm.is_model(name):
        known = timm.list_models()
        raise ConfigError(f"model: timm has no {name!r} among its {len(known)} models.{nearest(name, known)}")
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        if pretrained:
            raise CheckpointError(
                f"the pretrained weights of timm model {name!r} cannot be had ({_first(error)}). Without a network "
                f"leave out 'pretrained', or give the weights as a file."
            ) from error
        raise ConfigError(
            f"model: timm cannot build {name!r} for {num_classes} classes and {in_channels} channels "
            f"({_first(error)}). Choose another model."
        ) from error
    return model


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
