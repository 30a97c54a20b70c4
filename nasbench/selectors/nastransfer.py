"""The eight proxies that NASTransfer samples from ImageNet, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from nasbench.core.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class ProxyPreset:
    """A selector with its fields and size.

    Attributes:
        selector: Registered name.
        options: Its fields.
        size: k, or None for all images of the chosen classes.
        printed: The number of images that the paper prints for it.
    """

    selector: str
    options: Mapping[str, int] = field(default_factory=dict)
    size: int | None = None
    printed: int

    def as_params(self) -> dict[str, Any]:
        """Return what stands for it in params.yaml: ``selector``, ``options`` and, where k is given, ``size``."""
        size = {} if self.size is None else {"size": self.size}
        return {"selector": self.selector, "options": dict(self.options), **size}


NASTRANSFER_PROXIES: Mapping[str, ProxyPreset] = MappingProxyType({
    "imagenet1k-p1": ProxyPreset(selector="random-classes", options={"num_classes": 100}, printed=128_000),
    "imagenet1k-p2": ProxyPreset(selector="random-classes", options={"num_classes": 200}, printed=258_000),
    "imagenet1k-p3": ProxyPreset(selector="random-classes", options={"num_classes": 300}, printed=384_000),
    "imagenet1k-p4": ProxyPreset(
        selector="random-classes", options={"num_classes": 200}, size=128_000, printed=128_000
    ),
    "imagenet1k-p5": ProxyPreset(selector="uniform-classes", size=128_000, printed=128_000),
    "imagenet22k-p1": ProxyPreset(selector="random-classes", options={"num_classes": 100}, printed=70_000),
    "imagenet22k-p2": ProxyPreset(
        selector="uniform-classes", options={"min_images": 2}, size=70_000, printed=70_000
    ),
    "imagenet22k-p3": ProxyPreset(selector="uniform-classes", options={"num_classes": 100}, printed=70_000),
})  # fmt: skip
"""Table 1 of Panda et al., NASTransfer, AAAI 2021, arXiv:2006.13314.

ImageNet-1K: of its 1,281,167 training images; the column "# Train" is meant (the column "# Val" is 50 of the official
validation images a class, or 5 for P5). P4 and P5 take the share of each class that meets the printed 128K.

ImageNet-22K has no official parts; of its 14.2 million images these proxies take as many as the columns "# Train" and
"# Val" have together, 35K + 35K, which a proxy's two halves part again. The table contradicts itself: the text samples
0.97 % "of images from each class" for P2, but 0.97 % of the 7.5 million training images are 72.8K, not 35K. So the
0.97 % give both columns together, 70K, one image to train and one to validate for the smallest class that is left. The
printed 13,377 classes agree: 70,000 of all images are 1.5 a class of 300, and by what is known of the sizes (11,221
classes have 500 images or more, and hold 12,358,684) about 13,100 classes keep 2, but 7,400 if k were 35K. So k is
70,000, and classes that would keep one image are left out.

P1 and P3 take all images of 100 classes: 65,000 on average (100 of 21,841 classes, 14.2 million images), where 35K and
35K are printed; so P1's random classes were larger than the average. P3 was picked to have P1's total, and which
spacing did so is not said; here the evenly spaced classes come out at the average.
"""


def preset(name: str) -> ProxyPreset:
    """Return a preset by name.

    Raises:
        ConfigError: There is none of that name.

    Example:
        >>> preset("imagenet1k-p4").as_params()
        {'selector': 'random-classes', 'options': {'num_classes': 200}, 'size': 128000}
    """
    if name not in NASTRANSFER_PROXIES:
        known = ", ".join(NASTRANSFER_PROXIES)
        raise ConfigError(f"there is no proxy preset {name!r}. Known: {known}.{nearest(name, NASTRANSFER_PROXIES)}")
    return NASTRANSFER_PROXIES[name]
