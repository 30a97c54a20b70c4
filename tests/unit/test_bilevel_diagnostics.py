"""Shares and entropies of derived cells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasbench.core.genotype import Cell
from nasbench.searchers.diagnostics import alpha_entropy, collapse_warning, collapsed, parameter_free_share, skip_share

MIXED = Cell(
    nodes=((("skip_connect", 0), ("sep_conv_3x3", 1)), (("max_pool_3x3", 0), ("dil_conv_5x5", 2))), concat=(2,)
)
POOLS = Cell(nodes=((("skip_connect", 0), ("avg_pool_3x3", 1)), (("max_pool_3x3", 0), ("noise", 2))), concat=(2,))


def test_shares_count_the_operations_of_all_cells():
    cells = {"normal": MIXED, "reduce": POOLS}
    assert skip_share(cells) == 0.25
    assert parameter_free_share(cells) == 0.75
    assert collapsed(cells) == ("reduce",)
    assert collapsed({"normal": MIXED}) == ()
    assert collapse_warning("reduce", POOLS).startswith("the reduce cell collapsed: all its 4 operations")


def test_the_entropy_is_that_of_the_softmax_over_each_edge():
    assert alpha_entropy({"a": np.zeros((14, 8)), "b": np.full((2, 8), 5.0)}) == pytest.approx(math.log(8))
    assert alpha_entropy({"a": np.array([[1000.0, 0.0]])}) == pytest.approx(0.0)
    p = np.array([0.2, 0.3, 0.5])
    mixed = {"a": np.log(p)[None], "b": np.zeros((1, 2))}
    assert alpha_entropy(mixed) == pytest.approx((-(p * np.log(p)).sum() + math.log(2)) / 2)
