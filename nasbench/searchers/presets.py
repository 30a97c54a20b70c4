"""Published settings of searchers that differ from their defaults: other spaces, datasets and variants, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from nasbench.core.errors import UnknownNameError, nearest

_ONE_SHOT_SPACES = ("nas-bench-1shot1-1", "nas-bench-1shot1-2", "nas-bench-1shot1-3")
_NAS_BENCH_201 = {"schedule": "step", "nesterov": True, "weight_decay": 5e-4}


@dataclass(frozen=True, kw_only=True)
class SearcherPreset:
    """A searcher with the fields that differ from its defaults.

    Attributes:
        name: Of the preset.
        searcher: Registered name.
        fields: Its fields; the others keep their defaults.
        spaces: Registered names of the spaces that it is meant for.
        source: Where the values come from, and what of it they leave out.
    """

    name: str
    searcher: str
    fields: Mapping[str, Any]
    spaces: tuple[str, ...]
    source: str

    def as_params(self) -> dict[str, Any]:
        """Return what stands for it in params.yaml: ``searcher`` and ``options``."""
        return {"searcher": self.searcher, "options": dict(self.fields)}


_ALL = (
    SearcherPreset(
        name="darts-second-order",
        searcher="darts",
        fields={"order": "second"},
        spaces=("darts",),
        source="Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, section 3.1 (the 2.76 % of Table 1).",
    ),
    SearcherPreset(
        name="darts-nas-bench-201",
        searcher="darts",
        fields={"weights_first": True, **_NAS_BENCH_201},
        spaces=("nas-bench-201",),
        source=(
            "DARTS-V1 of Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326: its code, 50 epochs, batch 64, the "
            "weights before the alphas, the cosine falling after every step. Its gradient clip of 5 is an option there."
        ),
    ),
    SearcherPreset(
        name="darts-second-order-nas-bench-201",
        searcher="darts",
        fields={"order": "second", **_NAS_BENCH_201},
        spaces=("nas-bench-201",),
        source="DARTS-V2 of the code of NAS-Bench-201, arXiv:2001.00326; the alphas before the weights.",
    ),
    SearcherPreset(
        name="darts-1shot1",
        searcher="darts",
        fields={"batch_size": 96},
        spaces=_ONE_SHOT_SPACES,
        source=(
            "Zela et al., NAS-Bench-1Shot1, ICLR 2020, arXiv:2001.10422: its code, 50 epochs, first order. Cutout with "
            "a rising probability is an option there and left out."
        ),
    ),
    SearcherPreset(
        name="pc-darts-imagenet",
        searcher="pc-darts",
        fields={
            "partial_channels": 2, "batch_size": 1024, "learning_rate": 0.5, "alpha_learning_rate": 6e-3,
            "alpha_gradient_clip": 5.0, "alpha_warmup_epochs": 35, "warmup_epochs": 5,
        },
        spaces=("darts",),
        source=(
            "Xu et al., PC-DARTS, ICLR 2020, arXiv:1907.05737: its code for ImageNet (12.5 % of the images), which "
            "multiplies the weights' learning rate by (e + 1) / 5 in the first five epochs. Left out: its split, 10 % "
            "of each class for the weights and 2.5 % for the alphas."
        ),
    ),
    SearcherPreset(
        name="pc-darts-1shot1",
        searcher="pc-darts",
        fields={
            "epochs": 100, "batch_size": 96, "learning_rate": 0.025, "final_learning_rate": 0.001,
            "alpha_learning_rate": 3e-4, "alpha_warmup_epochs": 0,
        },
        spaces=_ONE_SHOT_SPACES,
        source=(
            "Zela et al., NAS-Bench-1Shot1, ICLR 2020, arXiv:2001.10422: its code, 100 epochs, batch 96, K = 4, no "
            "edge normalisation. Learning rates and no frozen epochs are those of its DARTS; whether its PC-DARTS has "
            "others was not read."
        ),
    ),
    SearcherPreset(
        name="sdarts-nas-bench-201",
        searcher="sdarts-rs",
        fields={"epochs": 100},
        spaces=("nas-bench-201",),
        source=(
            "Chen and Hsieh, SDARTS, ICML 2020, arXiv:2002.05283: its code for NAS-Bench-201, batch 64, weight decay "
            "3e-4 without Nesterov, so not that benchmark's own settings."
        ),
    ),
    SearcherPreset(
        name="sdarts-1shot1",
        searcher="sdarts-rs",
        fields={"epochs": 100, "batch_size": 96},
        spaces=_ONE_SHOT_SPACES,
        source="Chen and Hsieh, SDARTS, ICML 2020, arXiv:2002.05283: its code for NAS-Bench-1Shot1.",
    ),
    SearcherPreset(
        name="gdas-nas-bench-201",
        searcher="gdas",
        fields={"unchosen": "add"},
        spaces=("nas-bench-201",),
        source=(
            "Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326: its code, 250 epochs, batch 64, which adds the "
            "weights of operations that were not sampled. Its file of benchmark settings has 240 epochs."
        ),
    ),
    SearcherPreset(
        name="gdas-darts-space",
        searcher="gdas",
        fields={"batch_size": 256},
        spaces=("darts",),
        source=(
            "Dong and Yang, GDAS, CVPR 2019, arXiv:1910.04465: its code for the DARTS space, 250 epochs. Its supernet "
            "of 6 cells without BN after pools is not built."
        ),
    ),
    SearcherPreset(
        name="gdas-1shot1",
        searcher="gdas",
        fields={
            "epochs": 100, "batch_size": 96, "schedule": "epoch", "nesterov": False, "weight_decay": 3e-4,
            "alpha_gradient_clip": 5.0, "final_temperature": 1.0,
        },
        spaces=_ONE_SHOT_SPACES,
        source=(
            "Zela et al., NAS-Bench-1Shot1, ICLR 2020, arXiv:2001.10422: its code, tau from 10 to 1, alpha gradients "
            "clipped to 5; the weights' optimiser is that of its DARTS."
        ),
    ),
    SearcherPreset(
        name="less-is-more-darts",
        searcher="darts",
        fields={"weights_first": True, "batch_statistics": False, **_NAS_BENCH_201},
        spaces=("nas-bench-201-five-vertices",),
        source=(
            "DARTS-V1 of Moser et al., Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022, "
            "arXiv:2203.06905: its code, 50 epochs, batch 64, running statistics. Left out: its alphas are trained on "
            "5,000 images of the test set, while only the weights' images are a proxy."
        ),
    ),
    SearcherPreset(
        name="less-is-more-darts-second-order",
        searcher="darts",
        fields={"order": "second", "batch_statistics": False, **_NAS_BENCH_201},
        spaces=("nas-bench-201-five-vertices",),
        source="DARTS-V2 of Moser et al., arXiv:2203.06905: its code; see less-is-more-darts for what is left out.",
    ),
    SearcherPreset(
        name="less-is-more-gdas",
        searcher="gdas",
        fields={"batch_statistics": False, "unchosen": "add"},
        spaces=("nas-bench-201-five-vertices",),
        source=(
            "GDAS of Moser et al., arXiv:2203.06905: its code, 250 epochs, tau from 10 to 0.1, running statistics; see "
            "less-is-more-darts for what is left out."
        ),
    ),
    SearcherPreset(
        name="robust-darts-l2",
        searcher="robust-darts",
        fields={"weight_decay": 0.0243},
        spaces=tuple(f"robust-darts-s{number}" for number in (1, 2, 3, 4)),
        source=(
            "Na et al., Accelerating Neural Architecture Search via Proxy Data, IJCAI 2021, arXiv:2106.04784, section "
            "5.3: weight decay 0.0243 after Zela et al., ICLR 2020, arXiv:1909.09656, whose searches are of second "
            "order; which order Na et al. took is not said."
        ),
    ),
    SearcherPreset(
        name="eco-darts-c4r2",
        searcher="eco-darts",
        fields={"channel_ratio": 0.5, "resolution_ratio": 0.5},
        spaces=("darts",),
        source=(
            "Named in Na et al., IJCAI 2021, arXiv:2106.04784, Table 2, after the factors of Zhou et al., EcoNAS, CVPR "
            "2020, arXiv:2001.01233: 8 instead of 16 channels, 16 instead of 32 pixels. No code was published."
        ),
    ),
    SearcherPreset(
        name="sgas-criterion-2",
        searcher="sgas",
        fields={"criterion": 2},
        spaces=("darts",),
        source="Li et al., SGAS, CVPR 2020, arXiv:1912.00195: criterion 2; else as criterion 1.",
    ),
)  # fmt: skip

PRESETS: Mapping[str, SearcherPreset] = MappingProxyType({entry.name: entry for entry in _ALL})
"""Presets by name; each has its source."""


def preset(name: str) -> SearcherPreset:
    """Return a preset by name.

    Raises:
        UnknownNameError: There is none of that name; the message has the nearest.

    Example:
        >>> preset("sgas-criterion-2").as_params()
        {'searcher': 'sgas', 'options': {'criterion': 2}}
    """
    if name not in PRESETS:
        known, hint = ", ".join(PRESETS), nearest(name, PRESETS)
        raise UnknownNameError(f"there is no searcher preset {name!r}. Known: {known}.{hint}")
    return PRESETS[name]
