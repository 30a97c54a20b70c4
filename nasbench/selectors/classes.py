"""Some of the classes, with all or the same share of the images of each: the proxies of NASTransfer."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import SelectionError
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.class_sampling import class_sizes, evenly_spaced, quotas_with_minimum, sample_of_classes
from nasbench.selectors.selection import check_size


@component
class _ClassSelector(ProxySelector):
    """What both have in common: choose classes, then k of their images, the same share of each class."""

    may_take_all: ClassVar[bool] = True

    num_classes: Annotated[int, Field(ge=1)] | None = None
    min_images: Annotated[int, Field(ge=1)] = 1

    @abstractmethod
    def pick_classes(self, sizes: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return which of some classes are taken.

        Args:
            sizes: int64 [C], images of each class, all above 0.
            count: How many, 1 <= count < C.
            rng: The only source of randomness.

        Returns:
            int64 [count], ascending places among the C classes.
        """

    def num_available(self, table: ExampleTable, rng: np.random.Generator) -> int:
        """Return the number of images of the classes that `select` will take."""
        return int(self._sizes_of_chosen(table, rng).sum())

    def select(self, table: ExampleTable, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return k rows of the chosen classes, of each class in proportion to its size."""
        check_size(k, len(table))
        sizes = self._sizes_of_chosen(table, rng)
        if k > int(sizes.sum()):
            raise SelectionError(
                f"the {np.count_nonzero(sizes)} classes that {self.name!r} took hold {int(sizes.sum())} examples, "
                f"fewer than {k}. Lower size or fraction, or raise num_classes."
            )
        return sample_of_classes(table.labels, quotas_with_minimum(sizes, k, self.min_images), rng)

    def _sizes_of_chosen(self, table: ExampleTable, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return the sizes of all classes, 0 for those that are not taken."""
        sizes = class_sizes(table.labels)
        present = np.flatnonzero(sizes)
        count = len(present) if self.num_classes is None else self.num_classes
        if count > len(present):
            raise SelectionError(
                f"num_classes: {count} of {len(present)} classes cannot be taken. Lower it to at most {len(present)}."
            )
        if count == len(present):
            return sizes
        chosen = present[self.pick_classes(sizes[present], count, rng)]
        kept = np.zeros_like(sizes)
        kept[chosen] = sizes[chosen]
        return kept


@SELECTORS.register
@component
class RandomClasses(_ClassSelector):
    """Take random classes, with all their images or the same share of each.

    Formula: C' uniform over all sets of N classes; D' has q_c images of class c in C', q_c = k n_c / (sum of n_c over
    C') rounded by largest remainder, and of each class every set of q_c images is equally likely.
    Reference: "random" selection of Panda et al., NASTransfer: Analyzing Architecture Transferability in Large Scale
    Neural Architecture Search, AAAI 2021, arXiv:2006.13314, Table 1 and "Datasets and Proxy Sets".
    Differs from the paper: its text says that all images of the classes are used, its Table 1 has a proxy (ImageNet-1K
    P4) with half of them; here k says how many, and without a size or fraction all are taken. How it rounds a share
    of a class it does not say. A fraction is of the images of the chosen classes, not of the whole set.

    Attributes:
        num_classes: N, or None for all that have images (the default).
        min_images: Classes that would keep fewer images are left out and their share given to the others; at least 1,
            which is the default.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n, or the classes do not have so many images, or there are
    fewer classes than N.

    Example:
        >>> table = ExampleTable(dataset="", labels=np.array([0, 0, 1, 1, 2, 2]))
        >>> rows = RandomClasses(num_classes=2).select(table, 4, np.random.default_rng(0))
        >>> len(set(table.labels[rows]))
        2
    """

    name: ClassVar[str] = "random-classes"

    def pick_classes(self, sizes: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return random classes, uniform over all sets of that size."""
        return np.sort(rng.permutation(len(sizes))[:count]).astype(np.int64, copy=False)


@SELECTORS.register
@component
class UniformClasses(_ClassSelector):
    """Take classes evenly spaced in the order of their sizes, and the same share of each: sizes spread as in the whole.

    Formula: C' = the classes at places floor((2 i + 1) C / (2 N)) of all C in ascending order of size, i = 0 to N-1;
    D' has q_c images of class c in C', q_c = k n_c / (sum of n_c over C') rounded by largest remainder, and of each
    class every set of q_c images is equally likely.
    Reference: "uniform" selection of Panda et al., NASTransfer: Analyzing Architecture Transferability in Large Scale
    Neural Architecture Search, AAAI 2021, arXiv:2006.13314, Table 1 and "Datasets and Proxy Sets".
    Differs from the paper: it does not say where the evenly spaced places begin (here in the middle of each part, so
    that neither end is preferred), nor how equal sizes are ordered (here by class number), nor how it rounds. Where
    it "eliminated classes for which only one image remained", `min_images` = 2 does so, and shares their images among
    the others so that k is met.

    Attributes:
        num_classes: N, or None for all that have images (the default).
        min_images: Classes that would keep fewer images are left out and their share given to the others; at least 1,
            which is the default.

    Shape: table of n rows -> int64 [k].
    Raises: SelectionError where k does not lie in 1 to n, or the classes do not have so many images, or there are
    fewer classes than N, or no class would keep `min_images`.

    Example:
        >>> table = ExampleTable(dataset="", labels=np.repeat([0, 1, 2], [1, 2, 6]))
        >>> UniformClasses(num_classes=1).select(table, 2, np.random.default_rng(0))
        array([1, 2])
    """

    name: ClassVar[str] = "uniform-classes"

    def pick_classes(self, sizes: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return the evenly spaced classes; no randomness is used."""
        return evenly_spaced(sizes, count)
