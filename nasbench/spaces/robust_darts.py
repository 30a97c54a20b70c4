"""RobustDARTS's search spaces S1 to S4: DARTS's cells with few candidate operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from nasbench.config.component import component
from nasbench.spaces import SPACES
from nasbench.spaces.two_input_cells import KINDS, TwoInputCells

SKIP, SEP3 = "skip_connect", "sep_conv_3x3"
DIL3, DIL5 = "dil_conv_3x3", "dil_conv_5x5"
MAX, AVG = "max_pool_3x3", "avg_pool_3x3"

S1_NORMAL = (
    (SKIP, DIL3), (SKIP, DIL5),  # node 2 from states 0, 1
    (SKIP, DIL5), (SKIP, SEP3), (SKIP, DIL3),  # node 3 from states 0, 1, 2
    (MAX, SKIP), (SKIP, SEP3), (SKIP, SEP3), (SKIP, DIL3),
    (SKIP, SEP3), (MAX, SKIP), (SKIP, DIL3), (DIL3, DIL5), (DIL3, DIL5),
)  # fmt: skip
S1_REDUCE = (
    (MAX, AVG), (MAX, DIL3),
    (MAX, AVG), (MAX, AVG), (SKIP, DIL5),
    (MAX, AVG), (MAX, SEP3), (SKIP, DIL3), (SKIP, DIL5),
    (MAX, AVG), (MAX, AVG), (SKIP, DIL5), (SKIP, DIL5), (SKIP, DIL5),
)  # fmt: skip
"""For each edge its two operations in alpha order."""


@SPACES.register
@component
class RobustDartsS1(TwoInputCells):
    """Two operations an edge, other ones on each edge, left over from DARTS's eight.

    S1 to S4 are small spaces in which DARTS finds poor cells, mostly of parameter-free operations; they were made to
    study why, and what regularisation does against it. For S1 the authors dropped the least important operation of
    each edge again and again until two were left.

    Formula: |cells| = prod_{i=2}^{5} C(i, 2) * 2^2 = 180 * 2^8 = 46,080 for each of the two kinds.
    Reference: Zela et al., Understanding and Robustifying Differentiable Architecture Search, ICLR 2020,
    arXiv:1909.09656, section 3; which operations an edge has, and in which order, from the authors' code.
    Differs from the paper: nothing known. The authors' code decides whether ``none`` is excluded by the operations
    of the edge with the same number within the node, not within the cell; here each edge has its own, which gives
    the same genotypes in S1 to S4. Order of a node's edges and ties are as in the space ``darts``.

    Attributes:
        name: ``"robust-darts-s1"``.

    Shape: alphas ``{"normal": [14, 2], "reduce": [14, 2]}``; edges in the order of the space ``darts``. What the two
    columns of an edge mean is in `candidates`; `operations` and the choices call them ``first`` and ``second``.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> RobustDartsS1().candidates["normal"][5]
        ('max_pool_3x3', 'skip_connect')
    """

    name: ClassVar[str] = "robust-darts-s1"

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """Labels, as the operations differ between edges."""
        return dict.fromkeys(KINDS, ("first", "second"))

    @property
    def candidates(self) -> Mapping[str, tuple[tuple[str, ...], ...]]:
        """For each edge its two operations."""
        return {"normal": S1_NORMAL, "reduce": S1_REDUCE}


@SPACES.register
@component
class RobustDartsS2(TwoInputCells):
    """On every edge a skip connection or a separable convolution 3x3.

    What the spaces S1 to S4 are for: see S1.

    Formula: |cells| = 180 * 2^8 = 46,080 for each of the two kinds.
    Reference: Zela et al., Understanding and Robustifying Differentiable Architecture Search, ICLR 2020,
    arXiv:1909.09656, section 3.
    Differs from the paper: nothing known; order of a node's edges and ties are as in the space ``darts``.

    Attributes:
        name: ``"robust-darts-s2"``.

    Shape: alphas ``{"normal": [14, 2], "reduce": [14, 2]}``; edges in the order of the space ``darts``.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> RobustDartsS2().operations["reduce"]
        ('skip_connect', 'sep_conv_3x3')
    """

    name: ClassVar[str] = "robust-darts-s2"

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """The same two on every edge."""
        return dict.fromkeys(KINDS, (SKIP, SEP3))


@SPACES.register
@component
class RobustDartsS3(TwoInputCells):
    """On every edge nothing (``none``), a skip connection or a separable convolution 3x3.

    What the spaces S1 to S4 are for: see S1. As in DARTS, ``none`` takes part in the softmax and is never chosen.

    Formula: |cells| = 180 * 2^8 = 46,080 for each of the two kinds.
    Reference: Zela et al., Understanding and Robustifying Differentiable Architecture Search, ICLR 2020,
    arXiv:1909.09656, section 3.
    Differs from the paper: nothing known; order of a node's edges and ties are as in the space ``darts``.

    Attributes:
        name: ``"robust-darts-s3"``.

    Shape: alphas ``{"normal": [14, 3], "reduce": [14, 3]}``; edges in the order of the space ``darts``.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> RobustDartsS3().choices[1].candidates
        ('skip_connect', 'sep_conv_3x3')
    """

    name: ClassVar[str] = "robust-darts-s3"

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """The same three on every edge."""
        return dict.fromkeys(KINDS, ("none", SKIP, SEP3))


@SPACES.register
@component
class RobustDartsS4(TwoInputCells):
    """On every edge noise or a separable convolution 3x3.

    What the spaces S1 to S4 are for: see S1. Noise can only harm, so a search that chooses it went wrong. It is
    drawn anew in each forward pass, when a network is evaluated too: the same images get other logits each time,
    unless PyTorch's generator is seeded before, as the training loop does for each epoch's test. A network in
    which noise was chosen is a legal genotype.

    Formula: |cells| = 180 * 2^8 = 46,080 for each of the two kinds.
    Reference: Zela et al., Understanding and Robustifying Differentiable Architecture Search, ICLR 2020,
    arXiv:1909.09656, section 3.
    Differs from the paper: nothing known; order of a node's edges and ties are as in the space ``darts``.

    Attributes:
        name: ``"robust-darts-s4"``.

    Shape: alphas ``{"normal": [14, 2], "reduce": [14, 2]}``; edges in the order of the space ``darts``.
    Raises: GenotypeError where a genotype, a cell or alphas are not of this space.

    Example:
        >>> RobustDartsS4().operations["normal"]
        ('noise', 'sep_conv_3x3')
    """

    name: ClassVar[str] = "robust-darts-s4"

    @property
    def operations(self) -> Mapping[str, tuple[str, ...]]:
        """The same two on every edge."""
        return dict.fromkeys(KINDS, ("noise", SEP3))
