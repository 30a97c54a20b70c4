"""PC-DARTS: partial channels and edge normalisation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nasbench.config.component import component
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher, SearchResult, SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.spaces.base import Trait
from nasbench.tracking.tracker import Tracker


@SEARCHERS.register
@component
class PcDarts(BilevelSettings, Searcher):
    """Send only 1/K of the channels through the candidate operations, and weigh the edges by parameters of their own.

    Formula: f_ij(x_i; S_ij) = sum_o softmax(alpha_ij)_o o(S_ij * x_i) + (1 - S_ij) * x_i, Eq. 2, with S_ij a mask of
    C/K channels; x_j = sum_{i<j} softmax(beta_j)_i f_ij(x_i), Eq. 3, the softmax over the edges that enter node j.
    The genotype ranks edges by softmax(beta_j)_i times the largest softmax(alpha_ij)_o.
    Reference: Xu et al., PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search, ICLR 2020,
    arXiv:1907.05737, sections 3.2 and 3.3.
    Differs from the paper: S_ij is not drawn at random; the first C/K channels go through the operations, and the
    channels are shuffled in K groups afterwards, as in its published code. The betas are trained by the alphas' Adam
    and start as they do, at 1e-3 times a standard normal (its code). Where a space's alphas are not those of edges,
    there are no betas, as in the code of NAS-Bench-1Shot1 (Zela et al., ICLR 2020, arXiv:2001.10422); where a node
    keeps all its edges, the betas scale them and choose nothing. From its published code: no images are loaded for
    the alphas while these are frozen.

    Attributes:
        name: ``"pc-darts"``.
        partial_channels: K, at least 1; must divide the supernet's channels. The paper's 4 for CIFAR-10, 2 for
            ImageNet; 1 leaves the edge normalisation only.
        batch_size: The paper's 256.
        learning_rate: The paper's 0.1.
        final_learning_rate: The paper's 0.
        alpha_learning_rate: Of alphas and betas; the paper's 6e-4.
        alpha_warmup_epochs: The paper's 15 of 50.

    The other fields are documented in `nasbench.searchers.settings.BilevelSettings`; the published code has their
    defaults, too. Records hold ``edge_norm``, group -> softmax(beta) [E]. Preset ``pc-darts-imagenet`` has the values
    for ImageNet.

    Shape: supernet ``forward(images [N, C, H, W], group -> [E, O], edge_norm: group -> [E]) -> [N, L]``; alphas as
    ``space.alpha_shapes``, betas ``group/edges`` [E]: 224 + 28 in the DARTS space.
    Raises: ConfigError also where K does not divide the channels; else ConfigError, CheckpointError and TrainingError
    as `nasbench.searchers.bilevel.bilevel_search`.

    Example:
        >>> PcDarts(partial_channels=2).alpha_warmup_epochs
        15
    """

    name: ClassVar[str] = "pc-darts"
    needs: ClassVar[frozenset[Trait]] = frozenset({"partial-channels"})
    defaults_from: ClassVar[str] = "the paper and its code (CIFAR-10, DARTS space)"

    partial_channels: Annotated[int, Field(ge=1)] = 4
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    alpha_learning_rate: Annotated[float, Field(gt=0)] = 6e-4
    alpha_warmup_epochs: Annotated[int, Field(ge=0)] = 15

    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the bilevel loop on the partial-channel supernet."""
        from nasbench.searchers.bilevel import bilevel_search
        from nasbench.searchers.pc_darts_strategy import PartialChannels

        self.check_space(task.space)
        edges = task.space.edges_of_nodes if "edges" in task.space.traits else {}
        strategy = PartialChannels(self.partial_channels, edges)
        return bilevel_search(self.name, self, task, tracker, strategy)
