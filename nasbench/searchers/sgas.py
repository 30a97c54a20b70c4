"""SGAS, criterion 1 and 2."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher, SearchResult, SearchTask
from nasbench.searchers.settings import BilevelSettings
from nasbench.spaces.base import SearchSpace, Trait
from nasbench.tracking.tracker import Tracker

HISTORY = 4


@SEARCHERS.register
@component
class Sgas(BilevelSettings, Searcher):
    """Decide one edge after the other, greedily, while the rest is still searched.

    Formula: with p = softmax(alpha) of an edge and q = p over its operations but ``none``, renormalised: edge
    importance S_EI = sum_{o != none} p_o; selection certainty S_SC = 1 - H(q) / log n, n operations but ``none``;
    selection stability S_SS = mean over the last epochs' q' of sum_o min(q_o, q'_o). Criterion 1 scores
    minmax(S_EI) minmax(S_SC), criterion 2 that times minmax(S_SS), each scaled over all edges of the cell. At each
    decision epoch the open edge of the highest score gets argmax_o q_o in every kind of cell: from then on only that
    operation is computed, without a weight, and its alphas are frozen. A node that has all edges it keeps prunes the
    others. After each decision the batch grows.
    Reference: Li et al., SGAS: Sequential Greedy Architecture Search, CVPR 2020, arXiv:1912.00195, section 3;
    epochs of decisions and the growing batch as in its published code.
    Differs from the paper: what `Darts` differs by. Measures are scaled over all edges, decided and pruned ones
    included (its code). One that is equal on all edges counts as 1, so that the others decide; in the code it counts
    as 0 and the first open edge is taken. On spaces that keep every edge (NAS-Bench-201) each edge is decided and
    none is pruned, so that ``none`` is never chosen there; the paper does not search them.

    Attributes:
        name: ``"sgas"``.
        criterion: 1, or 2 with the stability. The paper reports both.
        first_decision_epoch: At whose end the first decision is made, from 0. Default of the code.
        decision_interval: Epochs from one decision to the next. Default of the code.
        batch_growth: Images by which a batch of either half grows after each decision, 64 to 128 on the DARTS space;
            the learning rate stays. Default of the code.
        history: Epochs that criterion 2 looks back; it cannot be changed with criterion 1. Default of the code.

    The other fields are documented in `nasbench.searchers.settings.BilevelSettings`; all defaults are those of the
    published code. Its 50 epochs are five more than the eight decisions of the DARTS space need. Records hold
    ``decisions``, [group, edge, operation index] in their order, and ``decided_share``.

    Shape: supernet ``forward(images [N, C, H, W], group -> [E, O], active=group -> [E, O]) -> [N, K]``; alphas as
    ``space.alpha_shapes``, with rows as ``space.edges_of_nodes``.
    Raises: ConfigError where an option has no effect, the epochs do not suffice for all decisions, or the space has
    no edges; else ConfigError, CheckpointError and TrainingError as `nasbench.searchers.bilevel.bilevel_search`.

    Example:
        >>> from nasbench.spaces.darts import Darts
        >>> Sgas().epochs_needed(Darts())
        45
    """

    name: ClassVar[str] = "sgas"
    needs: ClassVar[frozenset[Trait]] = frozenset({"edges"})
    defaults_from: ClassVar[str] = "the published code (CIFAR-10, DARTS space)"

    criterion: Literal[1, 2] = 1
    first_decision_epoch: Annotated[int, Field(ge=0)] = 9
    decision_interval: Annotated[int, Field(ge=1)] = 5
    batch_growth: Annotated[int, Field(ge=0)] = 8
    history: Annotated[int, Field(ge=1)] = HISTORY

    def __post_init__(self) -> None:
        BilevelSettings.__post_init__(self)
        if self.criterion == 1 and self.history != HISTORY:
            raise ConfigError(
                f"history: {self.history} has no effect with criterion 1. Leave it out, or set criterion 2."
            )
        if self.alpha_warmup_epochs > self.first_decision_epoch:
            raise ConfigError(
                f"first_decision_epoch: {self.first_decision_epoch} comes before any alpha is trained, as "
                f"alpha_warmup_epochs is {self.alpha_warmup_epochs}. Decide at {self.alpha_warmup_epochs} or later."
            )

    def epochs_needed(self, space: SearchSpace) -> int:
        """Return the epochs after which every edge of a space is decided."""
        from nasbench.searchers.sgas_scores import num_decisions

        rounds = max(num_decisions(space).values())
        return self.first_decision_epoch + self.decision_interval * (rounds - 1) + 1

    def search(self, task: SearchTask, tracker: Tracker) -> SearchResult:
        """Run the bilevel loop with decisions at the end of some epochs.

        Raises:
            ConfigError: The space has no edges, or the epochs do not suffice to decide them.
        """
        from nasbench.searchers.bilevel import bilevel_search
        from nasbench.searchers.sgas_strategy import SgasStrategy

        self.check_space(task.space)
        needed = self.epochs_needed(task.space)
        if self.epochs < needed:
            raise ConfigError(
                f"epochs: {self.epochs} do not suffice for {self.name} to decide all edges of space "
                f"{task.space.name!r}. Give at least {needed}, or lower first_decision_epoch or decision_interval."
            )
        strategy = SgasStrategy(
            task.space,
            first_epoch=self.first_decision_epoch,
            interval=self.decision_interval,
            batch_growth=self.batch_growth,
            history=self.history if self.criterion == 2 else None,
        )
        return bilevel_search(self.name, self, task, tracker, strategy)
