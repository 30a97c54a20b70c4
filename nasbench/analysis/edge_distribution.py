"""How often each operation was chosen on each edge, over many genotypes. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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
