"""How often each operation was chosen on each edge, over many genotypes. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench.analysis.search_trajectory import SearchTrajectory, group_name
from nasbench.core.errors import ComparisonError

Chosen = npt.NDArray[np.float64]
"""``SearchSpace.one_hot(genotype)[group]``: [E, O], 1 for the operation of an edge; zeros where it is not kept."""


def edge_shares(candidates: Sequence[Sequence[str]], genotypes: Sequence[Chosen]) -> tuple[dict[str, float], ...]:
    """Return the empirical probability of each operation on each edge, the Cell Edge Distribution.

    Formula: p_e(o) = (genotypes with operation o on edge e) / (all genotypes). Where nodes keep some of their edges
    only, the rest to 1 is the share of genotypes without the edge.
    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, section 4.4.4 and figure 5.

    Args:
        candidates: ``SearchSpace.candidates[group]``: for each of the E edges its O operations.
        genotypes: At least one.

    Returns:
        For each edge operation -> share, in candidate order.

    Raises:
        ComparisonError: There is no genotype, one has another shape, or a row chooses more than one candidate (as rows
            of connections do).
    """
    if not genotypes:
        raise ComparisonError("there is no genotype to count. Search first.")
    shape = (len(candidates), len(candidates[0]))
    for number, chosen in enumerate(genotypes):
        if np.shape(chosen) != shape:
            raise ComparisonError(f"genotype {number} has shape {np.shape(chosen)}; {shape} is needed.")
        if not np.isin(chosen, (0, 1)).all() or (np.sum(chosen, axis=1) > 1).any():
            raise ComparisonError(
                f"genotype {number} does not choose one operation or none on each edge. Give one-hot rows, and no "
                f"groups that choose inputs."
            )
    shares = np.mean(np.asarray(genotypes, dtype=np.float64), axis=0)
    return tuple(dict(zip(names, map(float, row), strict=True)) for names, row in zip(candidates, shares, strict=True))


def distribution_title(group: str, names: Sequence[str] = ()) -> str:
    """Return what stands on top of the picture of a group, whose rows have names where they are not edges."""
    return f"{'' if names else 'cell edge '}distribution of {group_name(group)}"


def chosen_of_arms(searches: Sequence[SearchTrajectory], group: str) -> dict[str, list[Chosen]]:
    """Return the genotypes to be counted together: those of each arm, and all where there are several arms.

    A single genotype is a drawn cell and no distribution: an arm of one search counts among all only.

    Args:
        searches: Of one space; those that do not say what they chose are left out.
        group: Of alphas, for example ``normal``.

    Raises:
        ComparisonError: A search chose an operation that its edge does not have, or has another number of edges.
    """
    arms: dict[str, list[Chosen]] = {}
    for search in searches:
        if group in search.chosen:
            arms.setdefault(search.arm, []).append(_one_hot(search, group))
    several = {arm: found for arm, found in arms.items() if len(found) > 1}
    every = [one for found in arms.values() for one in found]
    return {**several, "all searches": every} if len(arms) > 1 else several


def _one_hot(search: SearchTrajectory, group: str) -> Chosen:
    chosen, candidates = search.chosen[group], search.candidates(group)
    if len(chosen) != len(candidates) or any(
        number is not None and number >= len(names) for number, names in zip(chosen, candidates, strict=False)
    ):
        raise ComparisonError(
            f"{search.title}: chosen operations {list(chosen)} of group {group!r} are not numbers of the candidates of "
            f"{len(candidates)} edges. Search again."
        )
    rows = np.zeros((len(candidates), len(candidates[0])))
    for edge, number in enumerate(chosen):
        if number is not None:
            rows[edge, number] = 1.0
    return rows
