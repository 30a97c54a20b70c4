"""The NAS-Bench-201 search space."""

from __future__ import annotations

import random
from functools import cache
from typing import ClassVar

from nasbench.config.component import component
from nasbench.core.errors import GenotypeError
from nasbench.core.genotype import Genotype
from nasbench.spaces import SPACES
from nasbench.spaces.edge_cell import OPERATIONS, EdgeCells

ORDER_SEED = 88
"""Of the shuffle that made the published order."""


@SPACES.register
@component
class NasBench201(EdgeCells):
    """A cell of four nodes with one of five operations on each of its six edges; the topology space of NATS-Bench.

    Formula: x_j = sum_{i<j} o_ij(x_i), j = 1, 2, 3, with o_ij one of ``none``, ``skip_connect``, ``nor_conv_1x1``,
    ``nor_conv_3x3``, ``avg_pool_3x3``; |cells| = 5^6 = 15,625.
    Reference: Dong and Yang, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR 2020,
    arXiv:2001.00326, section 2.1 and figure 1; Dong et al., NATS-Bench, TPAMI 2021, arXiv:2009.00437 (topology space).
    Differs from the paper: any image size, number of channels and 3N cells; the benchmark has C = 16 and N = 5.

    Attributes:
        name: ``"nas-bench-201"``.

    Shape: alphas ``{"cell": [6, 5]}``; edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2, operations in the order above.
    Raises: GenotypeError where a genotype, a cell, a string, an index or alphas are not of this space.

    Example:
        >>> space = NasBench201()
        >>> resnet = space.from_string(
        ...     "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
        ... )
        >>> space.index_of(resnet), space.canonical(resnet, zeros="dropped")
        (11472, '((0)@nor_conv_3x3)@nor_conv_3x3+0')
    """

    name: ClassVar[str] = "nas-bench-201"
    num_nodes: ClassVar[int] = 3

    def index_of(self, genotype: Genotype) -> int:
        """Return the number of an architecture in the benchmark's files, 0 to 15,624.

        The order is that of all cells (the edge 1<-0 slowest, the edge 3<-2 fastest, operations in index order),
        shuffled by Python's ``random`` with seed 88.

        Raises:
            GenotypeError: The genotype is not of this space.
        """
        self.check(genotype)
        place = 0
        for gene in genotype.genes:
            place = place * len(OPERATIONS) + gene
        return _published_order().index(place)

    def genotype_at(self, index: int) -> Genotype:
        """Return the architecture of this number, the inverse of `index_of`.

        Raises:
            GenotypeError: There is no such number.
        """
        if not 0 <= index < self.cardinality:
            raise GenotypeError(f"there is no architecture {index}; the numbers are 0 to {self.cardinality - 1}.")
        place = _published_order()[index]
        powers = [len(OPERATIONS) ** exponent for exponent in reversed(range(len(self.choices)))]
        return Genotype(space=self.name, genes=tuple(place // power % len(OPERATIONS) for power in powers))


@cache
def _published_order() -> tuple[int, ...]:
    """Return the place in the order of all cells for each published number."""
    places = list(range(len(OPERATIONS) ** 6))
    random.Random(ORDER_SEED).shuffle(places)  # noqa: S311 - the published order, not a secret
    return tuple(places)
