"""Models of timm; the only module that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from nasbench.core.errors import CheckpointError, ConfigError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn


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
                f"the pretrained weights of timm model {name!r} cannot be had ({_first(error)}). Run once where there "
                f"is a network (they are cached), or fetch them elsewhere and give the weights as a file ('weights')."
            ) from error
        raise ConfigError(
            f"model: timm cannot build {name!r} for {num_classes} classes and {in_channels} channels "
            f"({_first(error)}). Choose another model."
        ) from error
    return model


def without_head(model: nn.Module) -> nn.Module:
    """Take the classifier off a model of timm, in place: images [N, C, H, W] -> pooled features [N, d].

    Raises:
        ConfigError: Its classifier cannot be taken off.
    """
    found: Any = model
    try:
        found.reset_classifier(0)
    except (AttributeError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"model: the classifier of {type(model).__name__} cannot be taken off ({_first(error)}). Choose another."
        ) from error
    return model


def backbone(name: str, in_channels: int, state: Mapping[str, Tensor] | None) -> nn.Module:
    """Build a model of timm without its classifier, with weights of ImageNet.

    Where the weights were made for another number of channels, the first convolution is adapted as timm does it
    (for one channel the three filters are added up).

    Args:
        name: timm's name.
        in_channels: Channels of the images.
        state: Weights of the whole published model or of its backbone alone, or None to take timm's own, which it
            fetches over the network where they are not cached.

    Returns:
        A module: images [N, C, H, W] -> features [N, d].

    Raises:
        ConfigError: timm has no such model.
        CheckpointError: The weights cannot be fetched, or do not fit.
    """
    if state is None:
        return create(name, 0, in_channels, pretrained=True)
    from timm.models import adapt_input_conv

    from nasbench.models.state_dict import fit_state_dict

    model: Any = create(name, 0, in_channels, pretrained=False)
    config: Mapping[str, Any] = model.default_cfg
    heads, stems = _names(config.get("classifier")), _names(config.get("first_conv"))
    weights = {key: value for key, value in state.items() if key.rpartition(".")[0] not in heads}
    for stem in stems:
        key = f"{stem}.weight"
        if key in weights and weights[key].ndim == 4 and weights[key].shape[1] != in_channels:
            weights[key] = adapt_input_conv(in_channels, weights[key])
    fit_state_dict(model, weights)
    return cast("nn.Module", model)


def statistics(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std, per colour channel, by which the inputs of a model's published weights are normalised."""
    found: Any = model
    config: Mapping[str, Any] = found.default_cfg
    mean, std = config["mean"], config["std"]
    return tuple(float(value) for value in mean), tuple(float(value) for value in std)


def _names(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
