"""The papers' training protocols by name; accuracies compare only within one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from nasbench.core.errors import UnknownNameError, nearest
from nasbench.training.recipe import Augmentation, Recipe

_PLAIN = Recipe(epochs=600, batch_size=96, learning_rate=0.025, weight_decay=3e-4, gradient_clip=5.0)
_DARTS_CIFAR = dataclasses.replace(
    _PLAIN,
    drop_path=0.2,
    auxiliary_weight=0.4,
    augmentation=Augmentation(crop_padding=4, flip=True, cutout=16),
)
_DARTS_IMAGENET = Recipe(
    epochs=250,
    batch_size=128,
    learning_rate=0.1,
    weight_decay=3e-5,
    schedule="step",
    decay=0.97,
    label_smoothing=0.1,
    auxiliary_weight=0.4,
    augmentation=Augmentation(crop_padding=0, flip=True),
)

PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        "nastransfer": _PLAIN,
        "darts-cifar": _DARTS_CIFAR,
        "pc-darts-cifar": dataclasses.replace(_DARTS_CIFAR, drop_path=0.3),
        "robust-darts": _DARTS_CIFAR,
        "darts-imagenet": _DARTS_IMAGENET,
        "pc-darts-imagenet": dataclasses.replace(
            _DARTS_IMAGENET, batch_size=1024, learning_rate=0.5, schedule="linear", decay=1.0, warmup_epochs=5
        ),
    }
)
"""Recipes by name; `preset` documents each."""


def preset(name: str) -> Recipe:
    """Return a published training protocol.

    - ``nastransfer``: NASTransfer (Panda et al., AAAI 2021, "Training and Evaluation Protocol"): SGD 0.025,
      momentum 0.9, clip 5, 600 epochs, no cutout, drop path or auxiliary head, for 20 cells of 36 channels.
      Batch 96, weight decay 3e-4 and the cosine to 0 are not stated there; they are the defaults of the code
      it appears to build on. ImageNet-1K takes 120 epochs, ImageNet-22K 60.
    - ``darts-cifar``: DARTS (Liu et al., ICLR 2019, arXiv:1806.09055; code with the auxiliary and cutout
      flags): the same with drop path 0.2, auxiliary 0.4, cutout 16. SDARTS, SGAS and Na et al.
      (arXiv:2106.04784) use it too.
    - ``pc-darts-cifar``: PC-DARTS (Xu et al., ICLR 2020, arXiv:1907.05737; code): drop path 0.3. The code's
      batch of 96 is taken; the paper's is said to be 128.
    - ``robust-darts``: RobustDARTS (Zela et al., ICLR 2020, arXiv:1909.09656; code): equal to
      ``darts-cifar``; the networks are smaller (8 cells of 16 channels).
    - ``darts-imagenet``: DARTS's code for 14 cells of 48 channels: 250 epochs, batch 128, learning rate 0.1
      times 0.97 an epoch, weight decay 3e-5, label smoothing 0.1, auxiliary 0.4.
    - ``pc-darts-imagenet``: PC-DARTS's code: batch 1,024, learning rate 0.5, five epochs of
      warm-up, linear decay.

    Both ImageNet protocols also crop to a random scale and jitter colours; here they flip only.

    Args:
        name: One of the names above.

    Raises:
        UnknownNameError: Another name; the message has the nearest.

    Example:
        >>> preset("darts-cifar").drop_path
        0.2
    """
    if name not in PRESETS:
        known, hint = ", ".join(PRESETS), nearest(name, PRESETS)
        raise UnknownNameError(f"there is no training preset {name!r}. Known: {known}.{hint}")
    return PRESETS[name]
