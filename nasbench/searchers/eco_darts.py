"""EcoDARTS: DARTS on a supernet of fewer channels and images of lower resolution."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nasbench.config.component import component
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher, SearchResult, SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.tracking.tracker import Tracker


@SEARCHERS.register
@component
class EcoDarts(BilevelSettings, Searcher):
    """Search with DARTS of first order in a reduced setting: fewer channels, smaller images.

    Formula: min_alpha L_val(w*(alpha), alpha) as DARTS of first order, with the supernet of c C channels on images of
    r H x r W pixels; c4r2 is c = 8 / 16, r = 16 / 32.
    Reference: Zhou et al., EcoNAS: Finding Proxies for Economical Neural Architecture Search, CVPR 2020,
    arXiv:2001.01233, section 3 (the reduction factors c0 to c4 and r0 to r4); named EcoDARTS-c4r2 and compared in
    Na et al., arXiv:2106.04784, Table 2.
    Differs from the paper: neither EcoNAS nor Na et al. published code for it; c4 = 8 channels and r2 = 16 pixels are
    EcoNAS's factors from memory, not read again, and are written here as the halves that they are of the search
    network of DARTS (16 channels, 32 pixels), so that they fit other supernets and images, too. Images are resized
    after crop, flip and cutout, bilinearly and with antialiasing, in training and evaluation alike. EcoNAS's
    hierarchical evolution is another method.

    Attributes:
        name: ``"eco-darts"``.
        channel_ratio: c, in (0, 1], of the task's channels; they must become an even whole number. c4's 0.5.
        resolution_ratio: r, in (0, 1], of the images' side; it must become a whole number of at least 4 pixels.
            r2's 0.5.

    The other fields are documented in `nasbench.searchers.settings.BilevelSettings`; their defaults are those of
    DARTS.

    Shape: supernet ``forward(images [N, C, r H, r W], group -> [E, O]) -> [N, K]``; alphas as ``space.alpha_shapes``.
    Raises: ConfigError also where a ratio gives no such number; else ConfigError, CheckpointError and TrainingError as
    `nasbench.searchers.bilevel.bilevel_search`.

    Example:
        >>> EcoDarts(channel_ratio=0.25).resolution_ratio
        0.5
    """

    name: ClassVar[str] = "eco-darts"
    defaults_from: ClassVar[str] = "c4r2 of EcoNAS as Na et al., arXiv:2106.04784, name it; else DARTS (CIFAR-10)"

    channel_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    resolution_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5

    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the bilevel loop in the reduced setting."""
        from nasbench.searchers.bilevel import bilevel_search
        from nasbench.searchers.eco_darts_strategy import ReducedSetting

        self.check_space(task.space)
        strategy = ReducedSetting(self.channel_ratio, self.resolution_ratio)
        return bilevel_search(self.name, self, task, tracker, strategy)
