"""Without the examples that lie far from the centre of their group."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import SelectionError
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.balance import pick_per_class, rows_of_classes
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.kmeans import Init, Metric, Points, distance, kmeans, nearest_distance
from nasbench.selectors.ranks import lowest
from nasbench.selectors.scored import ScoreSelector
from nasbench.selectors.selection import check_size


@SELECTORS.register
@component
class KMeansOutlierRemoval(ScoreSelector):
    """Take the k examples nearest to the centres that K-means finds: KM-OR, without labels.

    Formula: D' = argmin over |D'| = k of the sum over D' of min_j d(mu_j, x), mu_1 to mu_K from K-means.
    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, section 3.2.2, equation 3.
    Differs from the paper: here x is a row of the features, whatever scorer made them, where the paper takes the
    pixels. The text prints no K; the authors' code was run with 50, 100, 150 and 200, and 100, the number of classes
    of its dataset, is the default here. That code standardises each dimension, starts from random rows and keeps
    the best of 100 runs: ``standardize=True, init="random", num_inits=100``; of that the text says nothing, so it is
    off. It takes the distance from an example's own centre, which is the nearest. Ties: the earlier row is nearer.

    Attributes:
        num_clusters: K, 1 to n.
        metric: d: ``euclidean`` (the paper's example, the Frobenius norm), ``manhattan`` or ``cosine``. K-means itself
            always minimises squared Euclidean distances.
        standardize: Whether each dimension gets mean 0 and variance 1 first.
        init: First centres: ``k-means++`` or ``random`` rows.
        num_inits: Runs of K-means of which the best counts.
        max_iterations: Passes of a run at most; 300 as in the authors' code. A run ends earlier once the centres move
            less than 1e-4 of the mean variance.
        class_balance: Whether each class gives its share of k, by largest remainder. Ours; off, as in the paper.

    Shape: table of n rows with features [n, d] -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n, or K is above n; ScoreError where there are no features.

    Example:
        >>> rows = np.array([[0.0], [0.1], [0.9], [10.0], [10.1]], dtype=np.float32)
        >>> table = ExampleTable(dataset="", labels=np.zeros(5, dtype=np.int64), features=rows)
        >>> KMeansOutlierRemoval(num_clusters=2).select(table, 4, np.random.default_rng(0))
        array([0, 1, 3, 4])
    """

    name: ClassVar[str] = "km-or"
    needs: ClassVar[tuple[str, ...]] = ("features",)

    num_clusters: Annotated[int, Field(ge=1)] = 100
    metric: Metric = "euclidean"
    standardize: bool = False
    init: Init = "k-means++"
    num_inits: Annotated[int, Field(ge=1)] = 1
    max_iterations: Annotated[int, Field(ge=1)] = 300

    def order_by(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return the distance of each row from the nearest centre."""
        features = table.feature_rows()
        if self.num_clusters > len(table):
            raise SelectionError(
                f"num_clusters {self.num_clusters} is more than the {len(table)} examples. Take at most as many."
            )
        points = Points.of(features, standardize=self.standardize)
        centres = kmeans(
            points, self.num_clusters, rng,
            init=self.init, num_inits=self.num_inits, max_iterations=self.max_iterations,
        )  # fmt: skip
        return points.each(lambda block: nearest_distance(block, centres, self.metric))


@SELECTORS.register
@component
class ClassConditionalOutlierRemoval(ProxySelector):
    """Take of every class the examples nearest to its centre: CC-OR.

    Formula: D' = union over classes C_j of argmin over |D'_j| = q_j of the sum over D'_j of d(mu_Cj, x), mu_Cj the mean
    of class C_j, q_j its share of k.
    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, section 3.3.2, equation 6.
    Differs from the paper: here x is a row of the features, whatever scorer made them, where the paper takes the
    pixels. The paper asks for about r n_j of each class, its code rounds that down; here shares are rounded by
    largest remainder, so that k is met exactly. Ties: the earlier row is nearer.

    Attributes:
        metric: d: ``euclidean`` (as in the authors' code), ``manhattan`` or ``cosine``.

    Shape: table of n rows with features [n, d] -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n; ScoreError where there are no features.

    Example:
        >>> rows = np.array([[0.0], [0.1], [0.9], [10.0], [10.1], [12.0]], dtype=np.float32)
        >>> table = ExampleTable(dataset="", labels=np.array([0, 0, 0, 1, 1, 1]), features=rows)
        >>> ClassConditionalOutlierRemoval().select(table, 4, np.random.default_rng(0))
        array([0, 1, 3, 4])
    """

    name: ClassVar[str] = "cc-or"
    needs: ClassVar[tuple[str, ...]] = ("features",)

    metric: Metric = "euclidean"

    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return the rows nearest to the centre of their class; no randomness is used."""
        check_size(k, len(table))
        points = Points.of(table.feature_rows(), standardize=False)
        apart = np.empty(len(table))
        for _, rows in rows_of_classes(table.labels):
            centre = points.mean(rows)
            for place, block in points.blocks(rows):
                apart[rows[place]] = distance(block, centre, self.metric)
        return pick_per_class(apart, table.labels, k, lowest)
