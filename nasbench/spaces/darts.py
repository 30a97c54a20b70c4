"""The DARTS search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from nasbench.config.component import component
from nasbench.spaces import SPACES
from nasbench.spaces.two_input_cells import KINDS, TwoInputCells

PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Candidate operations in alpha order; ``none`` can be mixed in, never chosen."""

CHOSEN = PRIMITIVES[1:]


@SPACES.register
@component
class Darts(TwoInputCells):
    """Cells of four nodes; each node keeps two of its incoming edges, with one of seven operations each.

    Formula: |cells| = prod_{i=2}^{5} C(i, 2) * 7^2 = 180 * 7^8 = 1,037,664,180 for each of the two kinds.
    Reference: Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, arXiv:1806.09055, sections 2.1 and
    2.4, appendix A.1.
    Differs from the paper: the genotype keeps no order between the two edges of a node, so that equal cells have
    equal genes; ties between edges go to the lower input and ties between operations to the earlier one, as in the
    published code.

    Attributes:
        name: ``"darts"``.

    Shape: alphas ``{"normal": [14, 8], "reduce": [14, 8]}``; the edges of node 2 from states 0, 1, then those of
    node 3 from states 0, 1, 2, and so on.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> import numpy as np
        >>> space = Darts()
        >>> genotype = space.sample(np.random.default_rng(0))
        >>> space.genotype(space.cells(genotype)) == genotype
        True
    """

    name: ClassVar[str] = "darts"

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """The same eight for both kinds."""
        return dict.fromkeys(KINDS, PRIMITIVES)
