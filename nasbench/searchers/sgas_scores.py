"""What SGAS decides: which edge next, with which operation, and what follows from it. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench.core.genotype import Genotype
from nasbench.spaces.base import Alphas, SearchSpace, softmax

NONE = "none"
ROUNDING = 1e-12
"""Values that differ by less count as equal."""

CHOSEN_ALPHA = 30.0
"""Alpha of an operation that a genotype shall have, where the others have 0."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Decision(NamedTuple):
    """An edge that has its operation.

    Attributes:
        group: Of alphas.
        edge: Row of the group.
        operation: Column of the group.
    """

    group: str
    edge: int
    operation: int


def edge_importance(p: Floats, choosable: Flags) -> Floats:
    """Return S_EI [E]: the sum of the softmax weights of all operations but ``none``.

    Args:
        p: Softmax of the alphas [E, O].
        choosable: [E, O], False for ``none``.
    """
    importance: Floats = 1.0 - np.where(choosable, 0.0, p).sum(axis=1)  # exactly 1 where there is no ``none``
    return importance


def choosable_distribution(alphas: Floats, choosable: Flags) -> Floats:
    """Return q [E, O]: the softmax over all operations but ``none``, and 0 for ``none``."""
    return softmax(np.where(choosable, alphas, -np.inf))


def selection_certainty(q: Floats, choosable: Flags) -> Floats:
    """Return S_SC [E]: 1 - H(q) / log(n), with n the operations other than ``none``; 1 where n is 1."""
    entropy = -(q * np.log(np.where(q > 0, q, 1.0))).sum(axis=1)
    counts = choosable.sum(axis=1)
    certainty: Floats = np.where(counts > 1, 1.0 - entropy / np.log(np.maximum(counts, 2)), 1.0)
    return certainty


def selection_stability(q: Floats, history: Sequence[Floats]) -> Floats:
    """Return S_SS [E]: the histogram intersection sum_o min(q_o, q'_o), averaged over earlier q'; 1 without any."""
    if not history:
        return np.ones(len(q))
    stability: Floats = np.mean([np.minimum(q, earlier).sum(axis=1) for earlier in history], axis=0)
    return stability


def min_max(values: Floats) -> Floats:
    """Return the values scaled to 0 to 1; all 1 where they are equal, as they then rank nothing."""
    low, high = values.min(), values.max()
    return np.ones_like(values) if high - low < ROUNDING else (values - low) / (high - low)


def edge_scores(alphas: Floats, choosable: Flags, history: Sequence[Floats] | None = None) -> Floats:
    """Return the score [E] of every edge of a group: minmax(S_EI) minmax(S_SC), and minmax(S_SS) with a history.

    Args:
        alphas: Before the softmax [E, O].
        choosable: [E, O], False for ``none``.
        history: Alphas [E, O] of earlier epochs for criterion 2; None is criterion 1.
    """
    q = choosable_distribution(alphas, choosable)
    scores = min_max(edge_importance(softmax(alphas), choosable)) * min_max(selection_certainty(q, choosable))
    if history is not None:
        earlier = [choosable_distribution(values, choosable) for values in history]
        scores = scores * min_max(selection_stability(q, earlier))
    return scores


def num_decisions(space: SearchSpace) -> dict[str, int]:
    """Return the edges to be decided by group: what each node keeps, or all its edges where it has fewer."""
    return {group: sum(_num_kept(space, edges) for edges in nodes) for group, nodes in space.edges_of_nodes.items()}


def _num_kept(space: SearchSpace, edges: Sequence[int]) -> int:
    return len(edges) if space.num_kept is None else min(space.num_kept, len(edges))


def choosable_of(space: SearchSpace) -> dict[str, Flags]:
    """Return group -> [E, O], False for ``none``."""
    return {
        group: np.array([[name != NONE for name in names] for names in edges])
        for group, edges in space.candidates.items()
    }


@dataclass(frozen=True, eq=False)
class Decided:
    """The decisions of a search so far, and what follows from them.

    Attributes:
        space: With the trait ``edges``.
        decisions: In the order in which they were made.
        choosable: Group -> [E, O], False for ``none``.
    """

    space: SearchSpace
    decisions: tuple[Decision, ...] = ()
    choosable: Mapping[str, Flags] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choosable", choosable_of(self.space))

    @cached_property
    def one_hot(self) -> dict[str, Floats]:
        """Group -> [E, O], 1 for the operation of a decided edge, 0 elsewhere."""
        weights = {group: np.zeros(shape) for group, shape in self.space.alpha_shapes.items()}
        for decision in self.decisions:
            weights[decision.group][decision.edge, decision.operation] = 1.0
        return weights

    @cached_property
    def settled(self) -> dict[str, Flags]:
        """Group -> [E], the edges that are decided or pruned: a node that has all it keeps prunes its other edges."""
        settled: dict[str, Flags] = {group: np.any(weights > 0, axis=1) for group, weights in self.one_hot.items()}
        for group, nodes in self.space.edges_of_nodes.items():
            for edges in nodes:
                if settled[group][list(edges)].sum() == _num_kept(self.space, edges):
                    settled[group][list(edges)] = True
        return settled

    @cached_property
    def active(self) -> dict[str, Flags]:
        """Group -> [E, O]: all operations of an open edge, the chosen one of a decided edge, none of a pruned one."""
        return {group: (self.one_hot[group] > 0) | ~settled[:, None] for group, settled in self.settled.items()}

    @property
    def share(self) -> float:
        """Share of all decisions that are made, 0 to 1."""
        return len(self.decisions) / sum(num_decisions(self.space).values())

    def decide(self, alphas: Alphas, history: Sequence[Alphas] | None = None) -> Decided:
        """Make one more decision in every group that has an open edge: the best score; ties go to the lower edge.

        Args:
            alphas: Of now.
            history: Those of earlier epochs for criterion 2; None is criterion 1.
        """
        made = []
        for group, settled in self.settled.items():
            if settled.all():
                continue
            earlier = None if history is None else [values[group] for values in history]
            scores = edge_scores(alphas[group], self.choosable[group], earlier)
            edge = int(np.where(settled, -np.inf, scores).argmax())
            made.append(Decision(group, edge, int(self._best(alphas, group)[edge])))
        return Decided(self.space, (*self.decisions, *made))

    def genotype(self, alphas: Alphas) -> Genotype:
        """Derive the genotype if the search ended now: nodes take what they lack from their most important open edges.

        Args:
            alphas: Of now.
        """
        forced = {group: CHOSEN_ALPHA * weights for group, weights in self.one_hot.items()}
        for group, nodes in self.space.edges_of_nodes.items():
            importance = edge_importance(softmax(alphas[group]), self.choosable[group])
            best = self._best(alphas, group)
            for edges in nodes:
                open_edges = np.array([edge for edge in edges if not self.settled[group][edge]], dtype=np.int64)
                lacking = _num_kept(self.space, edges) - int(self.one_hot[group][list(edges)].sum())
                ranked = open_edges[np.argsort(-importance[open_edges], kind="stable")]
                forced[group][ranked[:lacking], best[ranked[:lacking]]] = CHOSEN_ALPHA
        return self.space.discretize(forced)

    def _best(self, alphas: Alphas, group: str) -> npt.NDArray[np.int64]:
        """Return the strongest operation other than ``none`` of every edge."""
        best: npt.NDArray[np.int64] = np.where(self.choosable[group], alphas[group], -np.inf).argmax(axis=1)
        return best
