"""GDAS."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher, SearchResult, SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.tracking.tracker import Tracker


@SEARCHERS.register
@component
class Gdas(BilevelSettings, Searcher):
    """Sample one operation an edge with Gumbel noise, compute only that, and send the gradient through the softmax.

    Formula: p_k = exp((log pi_k + g_k) / tau) / sum_k' exp((log pi_k' + g_k') / tau) with pi = softmax(alpha) and
    g = -log(-log u), u uniform; the edge computes h = one_hot(argmax p), in the backward pass dh = dp. tau falls
    linearly: tau(e) = tau_0 + (tau_1 - tau_0) e / (E - 1). A step trains the weights, then the alphas, each with a
    sample of its own, shared by all cells of a kind.
    Reference: Dong and Yang, Searching for a Robust Neural Architecture in Four GPU Hours, CVPR 2019,
    arXiv:1910.04465, section 3.2; settings of Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326, and the code
    published with it.
    Differs from the paper: what `Darts` differs by, and by option what ``unchosen`` says. In the code the alphas'
    gradient of the weight step counts in the weights' ``gradient_clip``; here there is none. The weights of operations
    that are not sampled stay as they are; in the code it depends on PyTorch's version whether decay and momentum move
    them. On the DARTS space the genotype is derived by the rule of DARTS, each node from two different inputs, where
    the code takes the two strongest pairs of input and operation, which may share an input; its own macro skeleton,
    without BN after pools, is not built. On spaces that choose inputs (NAS-Bench-1Shot1) these are a soft sample, and
    all are computed, as by that benchmark's authors. The supernet is evaluated with the derived genotype.

    Attributes:
        name: ``"gdas"``.
        first_temperature: tau_0, of the first epoch. Default of both codes.
        final_temperature: tau_1, of the last epoch. Default of the code; 1 on NAS-Bench-1Shot1.

        unchosen: ``leave``: an edge is its sampled operation times its weight, so that the other alphas get their
            gradient through the softmax only (the paper, and the code on the DARTS space). ``add``: the others'
            weights, which are zero, are added to all of the edge's output, so that the sum of the output's gradient
            reaches their alphas (the code on NAS-Bench-201); only on spaces with edges of nodes.

    The other fields are documented in `nasbench.searchers.settings.BilevelSettings`; all defaults are those on
    NAS-Bench-201. The code on the DARTS space has ``batch_size`` 256; that on NAS-Bench-1Shot1 has 96, and ``epochs``
    100, ``alpha_gradient_clip`` 5. Records hold ``temperature``.

    Shape: supernet ``forward(images [N, C, H, W], group -> [E, O], active=group -> [E, O]) -> [N, K]``; alphas as
    ``space.alpha_shapes``.
    Raises: ConfigError, CheckpointError and TrainingError as `nasbench.searchers.bilevel.bilevel_search`.

    Example:
        >>> Gdas(epochs=100, final_temperature=1.0).first_temperature
        10.0
    """

    name: ClassVar[str] = "gdas"
    defaults_from: ClassVar[str] = "the published code (CIFAR-10, NAS-Bench-201 space)"

    epochs: Annotated[int, Field(ge=1)] = 250
    schedule: Literal["epoch", "step"] = "step"
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    first_temperature: Annotated[float, Field(gt=0)] = 10.0
    final_temperature: Annotated[float, Field(gt=0)] = 0.1
    unchosen: Literal["leave", "add"] = "leave"

    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the bilevel loop with sampled operations."""
        from nasbench.searchers.bilevel import bilevel_search
        from nasbench.searchers.gdas_strategy import GdasStrategy

        self.check_space(task.space)
        add = self.unchosen == "add"
        if add and "edges" not in task.space.traits:
            raise ConfigError(
                f"unchosen: 'add' is not there on space {task.space.name!r}, whose alphas are not those of edges. "
                f"Leave it out."
            )
        strategy = GdasStrategy(task.space, self.first_temperature, self.final_temperature, add)
        return bilevel_search(self.name, self, task, tracker, strategy)
