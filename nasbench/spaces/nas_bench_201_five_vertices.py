"""NAS-Bench-201's cell with a fifth vertex: what the Less-is-More paper searched."""

from __future__ import annotations

from typing import ClassVar

from nasbench.config.component import component
from nasbench.spaces import SPACES
from nasbench.spaces.edge_cell import EdgeCells


@SPACES.register
@component
class NasBench201FiveVertices(EdgeCells):
    """A cell of five nodes with one of NAS-Bench-201's five operations on each of its ten edges.

    Formula: x_j = sum_{i<j} o_ij(x_i), j = 1, ..., 4; |cells| = 5^10 = 9,765,625.
    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, section 4.2 and figure 5 ("Each cell design has ten edges"); Dong and Yang, NAS-Bench-201, ICLR
    2020, arXiv:2001.00326.
    Differs from the paper: nothing known. The paper says NAS-Bench-201, but ten edges are five vertices, and the
    search scripts of its code say so too (``max_nodes=5``). So none of its cells is among the benchmark's 15,625, no
    accuracy can be looked up in a table, and every cell must be trained. Like the benchmark's, the networks have 15
    cells; C is 16 in the search, and 16, 32 or 64 in the training of found cells.

    Attributes:
        name: ``"nas-bench-201-five-vertices"``.

    Shape: alphas ``{"cell": [10, 5]}``; edges 1<-0, 2<-0, 2<-1, and so on to 4<-3, operations as in NAS-Bench-201.
    Raises: GenotypeError where a genotype, a cell, a string or alphas are not of this space.

    Example:
        >>> space = NasBench201FiveVertices()
        >>> space.to_string(space.discretize({"cell": [[0, 1, 0, 0, 0]] * 10}))[:38]
        '|skip_connect~0|+|skip_connect~0|skip_'
    """

    name: ClassVar[str] = "nas-bench-201-five-vertices"
    num_nodes: ClassVar[int] = 4
