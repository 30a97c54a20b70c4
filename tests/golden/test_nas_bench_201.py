"""Strings, order, counts, parameters and multiply-adds of NAS-Bench-201, exact.

Source: sections 7 and 8 of the sampling-search fact sheet. The published file of the benchmark holds the costs of
indices 0, 11 and 284 (D-X-Y/NATS-Bench); the repository of D-X-Y/AutoDL-Projects asserts 6,466 unique cells and names
the ResNet, GDAS and other cells; NAS-Bench-201 (arXiv:2001.00326), section 2.1 gives 15,625.
"""

from __future__ import annotations

import functools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from counted import without_values

from nasbench.core.genotype import Genotype
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.edge_cell import OPERATIONS, Zeros
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.spaces.nas_bench_201_five_vertices import NasBench201FiveVertices
from nasbench.training.cost import count_parameters, measure

SPACE = NasBench201()
FIVE = NasBench201FiveVertices()
SHORT = {"none": "none", "skip": "skip_connect", "c1": "nor_conv_1x1", "c3": "nor_conv_3x3", "avg": "avg_pool_3x3"}

DATASETS = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16-120": (120, 16)}


def spell(text: str) -> str:
    """Write the sheet's short names in full."""
    for short, name in SHORT.items():
        text = text.replace(f"|{short}~", f"|{name}~")
    return text


# index, string, (multiply-adds, parameters) in millions for each of the three datasets; None where they are not known.
FREE = (7.78305, 0.073306), (7.7889, 0.079156), (1.9534, 0.080456)  # no operation with weights
TABLE = (
    (0, "|avg~0|+|c1~0|skip~1|+|c1~0|skip~1|skip~2|", (15.64737, 0.129306), (15.65322, 0.135156), (3.91948, 0.136456)),
    (11, "|c3~0|+|c3~0|avg~1|+|none~0|c3~1|avg~2|", (113.95137, 0.802426), (113.95722, 0.808276), (28.49548, 0.809576)),
    (284, "|skip~0|+|skip~0|skip~1|+|none~0|c1~1|none~2|",
     (11.71521, 0.101306), (11.72106, 0.107156), (2.93644, 0.108456)),
    (11472, "|c3~0|+|none~0|c3~1|+|skip~0|none~1|skip~2|",
     (78.56193, 0.559386), (78.56778, 0.565236), (19.64812, 0.566536)),
    (1462, "|c3~0|+|c3~0|c3~1|+|c3~0|c3~1|c3~2|", (220.11969, 1.531546), (220.12554, 1.537396), (55.03756, 1.538696)),
    (4317, "|c1~0|+|c1~0|c1~1|+|c1~0|c1~1|c1~2|", (31.37601, 0.241306), (31.38186, 0.247156), (7.85164, 0.248456)),
    (1835, "|skip~0|+|skip~0|skip~1|+|skip~0|skip~1|skip~2|", *FREE),
    (7581, "|avg~0|+|avg~0|avg~1|+|avg~0|avg~1|avg~2|", *FREE),
    (1651, "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", *FREE),
    (9930, "|c3~0|+|c3~0|c3~1|+|skip~0|c3~1|c3~2|", (184.73025, 1.288506), (184.7361, 1.294356), (46.1902, 1.295656)),
    (3928, "|c3~0|+|c3~0|none~1|+|c1~0|c3~1|c3~2|", (153.27297, 1.073466), None, None),
)  # fmt: skip

NAMED = [
    (dataset, row[0], row[1], *cost) for row in TABLE for dataset, cost in zip(DATASETS, row[2:], strict=True) if cost
]


def shape(dataset: str, channels: int = 16) -> NetworkShape:
    classes, size = DATASETS[dataset]
    return NetworkShape(num_cells=15, channels=channels, num_classes=classes, image_size=size)


def formula(genes: tuple[int, ...], dataset: str) -> tuple[int, int]:
    """Return (parameters, multiply-adds) by the formulas of section 7.6, the bias of the head included as published."""
    classes, size = DATASETS[dataset]
    kernels = {2: 1, 3: 3}
    parameters, macs = 29 * 16, 27 * 16 * size * size
    for stage, c in enumerate((16, 32, 64)):
        pixels = (size >> stage) ** 2
        for kernel in (kernels[gene] for gene in genes if gene in kernels):
            parameters += 5 * (kernel**2 * c * c + 2 * c)
            macs += 5 * kernel**2 * c * c * pixels
        if stage < 2:
            parameters += 9 * c * 2 * c + 4 * c + 9 * (2 * c) ** 2 + 4 * c + 2 * c * c
            macs += (9 * c * 2 * c + 9 * (2 * c) ** 2 + 2 * c * c) * pixels // 4
    return parameters + 2 * 64 + 64 * classes + classes, macs + 64 * classes + classes


def measured(
    space: NasBench201 | NasBench201FiveVertices, text: str, dataset: str, channels: int = 16
) -> tuple[int, int]:
    """Return (parameters, multiply-adds) of the network, with the head's bias, which the published figures count."""
    classes, size = DATASETS[dataset]
    with without_values():
        cost = measure(space.network(space.from_string(text), shape(dataset, channels)), (3, size, size))
    return cost.parameters, cost.macs + classes


@pytest.mark.parametrize(("dataset", "index", "short", "macs", "parameters"), NAMED)
def test_costs_of_named_cells(dataset: str, index: int, short: str, macs: float, parameters: float) -> None:
    text = spell(short)
    assert measured(SPACE, text, dataset) == (round(parameters * 1e6), round(macs * 1e6))
    assert SPACE.index_of(SPACE.from_string(text)) == index
    assert SPACE.to_string(SPACE.genotype_at(index)) == text


@pytest.mark.parametrize("dataset", DATASETS)
def test_formulas_agree_with_the_networks(dataset: str) -> None:
    for index in (1, 77, 4000, 15_624):
        genotype = SPACE.genotype_at(index)
        assert measured(SPACE, SPACE.to_string(genotype), dataset) == formula(genotype.genes, dataset)


@functools.cache
def every_genotype() -> tuple[Genotype, ...]:
    return tuple(SPACE.genotype_at(index) for index in range(15_625))


@functools.cache
def texts_of_every_genotype(zeros: Zeros) -> tuple[str, ...]:
    return tuple(SPACE.canonical(genotype, zeros=zeros) for genotype in every_genotype())


def test_costs_over_the_space() -> None:
    """Section 7.5: 28 distinct figures on CIFAR-10; 7.6: their mean, the smallest and the largest."""
    cost_of_kinds = functools.cache(lambda kinds: formula(kinds, "cifar10")[1])  # in whatever order they stand
    macs = [cost_of_kinds(tuple(sorted(genotype.genes))) for genotype in every_genotype()]
    assert f"{float(Fraction(sum(macs), len(macs))) / 1e6:.3f}" == "54.969"
    assert len(set(macs)) == 28
    assert (min(macs), max(macs)) == (7_783_050, 220_119_690)
    assert macs.index(max(macs)) == 1462


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (0, "|avg~0|+|c1~0|skip~1|+|c1~0|skip~1|skip~2|"),
        (1, "|c3~0|+|c3~0|avg~1|+|skip~0|c3~1|skip~2|"),
        (9, "|avg~0|+|none~0|none~1|+|skip~0|none~1|c3~2|"),
        (123, "|avg~0|+|avg~0|c1~1|+|none~0|avg~1|c3~2|"),
    ],
)
def test_published_order(index: int, text: str) -> None:
    """Section 7.3, read from the benchmark's files."""
    assert SPACE.to_string(SPACE.genotype_at(index)) == spell(text)
    assert SPACE.index_of(SPACE.from_string(spell(text))) == index


def test_every_index_is_one_cell() -> None:
    genes = {genotype.genes for genotype in every_genotype()}
    assert len(genes) == SPACE.cardinality == 15_625


def test_unique_cells() -> None:
    """Section 7.5; 6,466 is also asserted by the repository's own test. The last figure is counted by us."""
    genotypes = every_genotype()
    assert SPACE.canonical(genotypes[1234]) == SPACE.canonical(genotypes[1234], zeros="symbol")
    assert len(set(texts_of_every_genotype("operation"))) == 12_751
    texts = texts_of_every_genotype("symbol")
    assert len(set(texts)) == 6_466
    dropped = texts_of_every_genotype("dropped")
    assert len(set(dropped)) == 5_390
    assert dropped.count("#") == 341
    convolutions = {
        (text, *(genotype.genes.count(gene) for gene in (2, 3)))
        for text, genotype in zip(texts, genotypes, strict=True)
    }
    several = Counter(text for text, *_ in convolutions)
    assert sum(count > 1 for count in several.values()) == 578


def test_cells_without_a_path_are_those_that_give_zero() -> None:
    """Section 7.5: 341, by walking the graph."""

    def reaches(genes: tuple[int, ...]) -> bool:
        alive = [True]
        for edges in SPACE.edges_of_nodes["cell"]:
            alive.append(any(alive[source] and genes[edge] for source, edge in enumerate(edges)))
        return alive[-1]

    dead = [genotype for genotype in every_genotype() if not reaches(genotype.genes)]
    assert len(dead) == 341
    texts = zip(every_genotype(), texts_of_every_genotype("dropped"), strict=True)
    assert dead == [genotype for genotype, text in texts if text == "#"]


@pytest.mark.parametrize(("classes", "expected"), [(10, 1_692_826), (100, 1_698_676)])
def test_supernet_weights(classes: int, expected: int) -> None:
    """Section 9.1 of the differentiable-search sheet; there are 30 architecture parameters."""
    with without_values():
        supernet = SPACE.supernet(NetworkShape(num_cells=15, channels=16, num_classes=classes))
    assert count_parameters(supernet) == expected
    assert sum(edges * operations for edges, operations in SPACE.alpha_shapes.values()) == 30


@pytest.mark.parametrize(
    ("channels", "parameters", "macs"),
    [(16, 79_156, "7.789"), (32, 301_572, "30.258"), (64, 1_176_484, "119.236")],
)
def test_five_vertices_all_skip(channels: int, parameters: int, macs: str) -> None:
    """Section 8: the local optimum of the Less-is-More paper, on CIFAR-100."""
    genotype = FIVE.discretize({"cell": np.eye(5)[[OPERATIONS.index("skip_connect")] * 10]})
    seen = measured(FIVE, FIVE.to_string(genotype), "cifar100", channels)
    assert (seen[0], f"{seen[1] / 1e6:.3f}") == (parameters, macs)


def test_five_vertices_example_of_its_readme() -> None:
    """Section 8: the string of four groups, on CIFAR-100 at C = 16."""
    text = spell("|c3~0|+|c3~0|none~1|+|c3~0|none~1|none~2|+|avg~0|c3~1|c3~2|c3~3|")
    seen = measured(FIVE, text, "cifar100")
    assert (seen[0], f"{seen[1] / 1e6:.3f}") == (1_537_396, "220.126")
    assert FIVE.to_string(FIVE.from_string(text)) == text


def test_five_vertices_size() -> None:
    assert FIVE.cardinality == 5**10 == 9_765_625
    assert FIVE.alpha_shapes == {"cell": (10, 5)}
