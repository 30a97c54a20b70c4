"""What EcoDARTS changes in DARTS: the size of the supernet and of what it sees."""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.nn import functional

from nasbench.core.errors import ConfigError
from nasbench.searchers.strategy import Strategy
from nasbench.spaces.base import NetworkShape

LEAST_SIDE = 4
"""Pixels that the two reductions of a cell network need to end at one."""

TOLERANCE = 0.02
"""How far a product may be from a whole number, so that 2/3 can be written as 0.667."""


class ReducedSetting(Strategy):
    """DARTS of first order with fewer channels and smaller images.

    Args:
        channel_ratio: Of the task's channels.
        resolution_ratio: Of the images' side.
    """

    def __init__(self, channel_ratio: float, resolution_ratio: float) -> None:
        super().__init__()
        self._channel_ratio, self._resolution_ratio = channel_ratio, resolution_ratio

    def shape(self, shape: NetworkShape) -> NetworkShape:
        """Return the size of the reduced supernet.

        Raises:
            ConfigError: The channels or the side become no allowed number.
        """
        channels = _product("channel_ratio", self._channel_ratio, shape.channels, "channels", least=2, step=2)
        side = _product("resolution_ratio", self._resolution_ratio, shape.image_size, "pixels", least=LEAST_SIDE)
        return dataclasses.replace(shape, channels=channels, image_size=side)

    def view(self, images: Tensor) -> Tensor:
        """Resize images [N, C, H, W] to [N, C, r H, r W]."""
        size = [round(side * self._resolution_ratio) for side in images.shape[2:]]
        if size == list(images.shape[2:]):
            return images
        return functional.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)


def _product(name: str, ratio: float, whole: int, unit: str, *, least: int, step: int = 1) -> int:
    """Return ratio * whole as the multiple of ``step``, at least ``least``, that it is."""
    exact = ratio * whole
    nearest = max(step * round(exact / step), least)
    if ratio == 1.0 and whole >= least:
        return whole
    if abs(exact - nearest) <= TOLERANCE and nearest <= whole:
        return nearest
    wanted = "an even whole number" if step == 2 else "a whole number"
    advice = f"Take {nearest / whole:.3g}, or another size." if nearest <= whole else "Take a larger size."
    raise ConfigError(
        f"{name}: {ratio:g} of {whole} {unit} is {exact:g}; {wanted} of at least {least} is needed. {advice}"
    )
