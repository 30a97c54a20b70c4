"""Costs, numbers and counts of NATS-Bench's size space, exact.

Source: sections 7.2, 7.6 and 7.8 of the sampling-search fact sheet: the costs of architectures 0, 11 and 284 are those
that the benchmark's files print; the largest one is computed there. They count the last layer's bias among the
multiply-adds; `measure` does not.
"""

from __future__ import annotations

import pytest

from nasbench.spaces.base import NetworkShape
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.spaces.nats_bench_size import CELL, NatsBenchSize
from nasbench.training.cost import measure

SPACE = NatsBenchSize()
CIFAR10 = NetworkShape(num_cells=3, channels=8, num_classes=10)

# string, number, multiply-adds and parameters on CIFAR-10
TABLE = (
    ("8:8:8:8:8", 0, 4_481_114, 11_714),
    ("8:8:8:16:32", 11, 6_840_650, 49_202),
    ("8:8:40:32:40", 284, 21_827_994, 144_834),
    ("64:64:64:64:64", 32_767, 274_399_882, 713_674),
)


@pytest.mark.parametrize(("text", "number", "macs", "parameters"), TABLE)
def test_published_strings_numbers_and_costs(text: str, number: int, macs: int, parameters: int) -> None:
    genotype = SPACE.from_string(text)
    assert (SPACE.to_string(genotype), SPACE.index_of(genotype)) == (text, number)
    assert SPACE.genotype_at(number) == genotype
    cost = measure(SPACE.network(genotype, CIFAR10), (3, 32, 32))
    assert (cost.parameters, cost.macs + CIFAR10.num_classes) == (parameters, macs)


def test_space_size_and_architecture_parameters() -> None:
    assert SPACE.cardinality == 8**5 == 32_768
    assert [edges * widths for edges, widths in SPACE.alpha_shapes.values()] == [40]


def test_the_cell_is_number_9930_of_nas_bench_201() -> None:
    """And a network of the widths C, 2C and 4C costs as much as that architecture with N = 1."""
    topology = NasBench201()
    cell = topology.cells(topology.genotype_at(9930))["cell"]
    chosen = [[edge for edge in edges if edge[0] != "none"] for edges in cell.nodes]
    assert [list(edges) for edges in CELL.nodes] == chosen
    assert CELL.concat == cell.concat
    network = topology.network(topology.genotype_at(9930), NetworkShape(num_cells=3, channels=16, num_classes=10))
    sized = SPACE.network(SPACE.from_string("16:32:32:64:64"), CIFAR10)
    assert measure(sized, (3, 32, 32)) == measure(network, (3, 32, 32))


def test_supernet_weights_by_hand() -> None:
    """Section 7.1 and 7.2 with C = 64 everywhere: BN in cells without scale and shift, but a bias in each convolution.

    Stem 27C + 2C; five convolutions a cell, 9C^2 + C each, and in cells 2 and 4 a projection C^2 + C; residual blocks
    2 (9C^2 + 2C) + C^2; last BN 2C, linear 10C + 10.
    """
    c = 64
    stem, cell, projection = 27 * c + 2 * c, 5 * (9 * c * c + c), c * c + c
    block, head = 2 * (9 * c * c + 2 * c) + c * c, 2 * c + 10 * c + 10
    supernet = SPACE.supernet(CIFAR10)
    total = stem + 3 * cell + 2 * projection + 2 * block + head
    assert sum(parameter.numel() for parameter in supernet.parameters()) == total == 721_034
