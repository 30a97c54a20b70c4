"""Published cells are found by name and read from their compact notation."""

from __future__ import annotations

import pytest

from nasbench.core.errors import GenotypeError, UnknownNameError
from nasbench.core.genotype import Cell
from nasbench.spaces import published


def test_a_cell_as_the_paper_draws_it() -> None:
    found = published.load("DARTS_V2")
    assert found.cells["normal"] == Cell(
        nodes=(
            (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
            (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
            (("sep_conv_3x3", 1), ("skip_connect", 0)),
            (("skip_connect", 0), ("dil_conv_3x3", 2)),
        ),
        concat=(2, 3, 4, 5),
    )
    assert "1806.09055" in found.source


@pytest.mark.parametrize(
    ("alias", "name"),
    [("DARTS", "DARTS_V2"), ("PCDARTS", "PC_DARTS_cifar"), ("Cri1_CIFAR_Best", "Cri1_CIFAR_3"),
     ("Cri2_CIFAR_Best", "Cri2_CIFAR_3"), ("Cri2_ImageNet_Best", "Cri2_CIFAR_4")],
)  # fmt: skip
def test_aliases(alias: str, name: str) -> None:
    assert published.load(alias) == published.load(name)
    assert published.load(alias).name == name


def test_every_entry_can_be_read_and_says_where_it_comes_from() -> None:
    assert len(published.names()) == 37
    assert set(published.aliases().values()) <= set(published.names())
    assert not set(published.aliases()) & set(published.names())
    for name in published.names():
        assert "arXiv:" in published.load(name).source


def test_five_node_cells_keep_their_own_outputs() -> None:
    cells = published.published_cells("AmoebaNet")
    assert (cells["normal"].concat, cells["reduce"].concat) == ((4, 5, 6), (3, 4, 6))
    assert published.published_cells("NASNet")["normal"].concat == (2, 3, 4, 5, 6)


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match=r"no published cells 'DARTS_V3'.*Did you mean 'DARTS_V"):
        published.load("DARTS_V3")


@pytest.mark.parametrize("text", ["skip_connect", "skip_connect<", "<1", "skip_connect<-1", "skip_connect<a", ""])
def test_bad_notation(text: str) -> None:
    with pytest.raises(GenotypeError, match="not an edge"):
        published.parse_cell(text)


def test_an_edge_from_a_later_state() -> None:
    with pytest.raises(GenotypeError, match="from state 2"):
        published.parse_cell("skip_connect<2")
