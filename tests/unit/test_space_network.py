"""The discrete network: auxiliary head, drop path, stems, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasbench.core.errors import ConfigError, GenotypeError
from nasbench.core.genotype import Cell
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.network import CellPlan, DiscreteCell, build_network
from nasbench.spaces.published import published_cells

CELLS = published_cells("DARTS_V2")


def shape(**changes: object) -> NetworkShape:
    return NetworkShape(**{"num_cells": 3, "channels": 4, "num_classes": 5, "image_size": 8, **changes})


def one_edge(operation: str, channels: int = 4) -> DiscreteCell:
    """A cell whose output is one operation on its (normalised) second input."""
    cell = Cell(nodes=(((operation, 1),),), concat=(2,))
    return DiscreteCell(cell, CellPlan("normal", channels, channels, channels, after_reduction=False))


def run(cell: DiscreteCell, images: Tensor, drop_path: float) -> Tensor:
    torch.manual_seed(1)
    return cell(images, images, drop_path)


@pytest.mark.parametrize("operation", ["max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3"])
def test_drop_path_drops_whole_images_and_scales_the_rest(operation: str) -> None:
    torch.manual_seed(0)
    cell, images = one_edge(operation), torch.randn(64, 4, 4, 4)
    kept, dropped = run(cell, images, 0.0), run(cell, images, 0.25)
    zero = dropped.flatten(1).abs().sum(dim=1) == 0
    torch.testing.assert_close(dropped[~zero], kept[~zero] / 0.75)
    assert 4 <= zero.sum() <= 32


def test_drop_path_spares_identities_and_evaluation_mode() -> None:
    images = torch.randn(16, 4, 4, 4)
    identity = one_edge("skip_connect")
    assert torch.equal(run(identity, images, 0.9), run(identity, images, 0.0))
    pool = one_edge("max_pool_3x3").eval()
    assert torch.equal(run(pool, images, 0.9), run(pool, images, 0.0))


def test_drop_path_reaches_the_cells_of_a_network() -> None:
    network, images = build_network(CELLS, shape()), torch.randn(4, 3, 8, 8)
    torch.manual_seed(0)
    assert not torch.equal(network(images, drop_path=0.5).logits, network(images).logits)


@pytest.mark.parametrize(
    ("stem", "image_size", "pool"),
    [("cifar", 32, nn.AvgPool2d), ("cifar", 8, nn.AdaptiveAvgPool2d), ("cifar", 28, nn.AdaptiveAvgPool2d),
     ("imagenet", 224, nn.AvgPool2d), ("imagenet", 64, nn.AdaptiveAvgPool2d)],
)  # fmt: skip
def test_auxiliary_head_in_training_only(stem: str, image_size: int, pool: type[nn.Module]) -> None:
    network = build_network(CELLS, shape(stem=stem, image_size=image_size, auxiliary=True))
    assert type(network.auxiliary_head.pool) is pool
    images = torch.randn(2, 3, image_size, image_size)
    prediction = network(images)
    assert prediction.logits.shape == prediction.auxiliary.shape == (2, 5)
    assert network.eval()(images).auxiliary is None


def test_the_published_pooling_sees_the_published_features() -> None:
    """8x8 features at 32 pixels, 7x7 at 224: only there does the pooling give the 2x2 that the head needs."""
    for fields, side in (({"image_size": 32}, 8), ({"image_size": 224, "stem": "imagenet"}, 7)):
        network = build_network(CELLS, shape(auxiliary=True, **fields))
        seen: list[Tensor] = []
        network.auxiliary_head.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        network(torch.randn(2, 3, fields["image_size"], fields["image_size"]))
        assert seen[0].shape == (2, 4 * 16, side, side)


def test_auxiliary_head_refuses_another_image_size() -> None:
    network = build_network(CELLS, shape(auxiliary=True))
    with pytest.raises(ConfigError, match="built for 8x8 images and got 9x9"):
        network(torch.randn(2, 3, 9, 9))
    assert network.eval()(torch.randn(2, 3, 9, 9)).logits.shape == (2, 5)


def test_imagenet_stem_divides_by_eight() -> None:
    network = build_network(CELLS, shape(stem="imagenet"))
    s0, s1 = network.stem(torch.randn(2, 3, 64, 64))
    assert (s0.shape, s1.shape) == ((2, 4, 16, 16), (2, 4, 8, 8))


def test_five_node_cells_run() -> None:
    for name in ("NASNet", "AmoebaNet"):
        logits = build_network(published_cells(name), shape())(torch.randn(2, 3, 8, 8)).logits
        assert logits.shape == (2, 5)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="num_cells 2"):
        build_network(CELLS, shape(num_cells=2))
    with pytest.raises(GenotypeError, match="'normal' and 'reduce' are needed"):
        build_network({"normal": CELLS["normal"]}, shape())
    bad = Cell(nodes=((("skip_conect", 0), ("skip_connect", 1)),), concat=(2,))
    with pytest.raises(GenotypeError, match="Did you mean 'skip_connect'"):
        build_network({"normal": bad, "reduce": bad}, shape())
