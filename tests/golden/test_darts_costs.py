"""Parameters and multiply-adds of published cells and supernets, exact.

Source: section 10 of the differentiable-search fact sheet. Its counter agrees with four figures printed by others:
DARTS_V1 3.169414M (quark0/darts#18), P-DARTS 3,433,798 and its auxiliary head 476,426 (pdarts#7), the PC-DARTS ImageNet
supernet 0.956512M (PC-DARTS#15), and with the 20 counts that the SGAS authors print.
"""

from __future__ import annotations

import pytest
from counted import num_weights, without_values
from torch import nn

from nasbench.spaces import published
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.darts import Darts
from nasbench.spaces.network import build_network, plan_cells
from nasbench.training.cost import count_parameters, measure

CIFAR10 = {"num_cells": 20, "channels": 36, "num_classes": 10}
CIFAR100 = {**CIFAR10, "num_classes": 100}
IMAGENET = {"num_cells": 14, "channels": 48, "num_classes": 1000, "image_size": 224, "stem": "imagenet"}
SMALL = {"num_cells": 8, "channels": 16, "num_classes": 10}

# name, CIFAR-10 20x36 parameters, multiply-adds in millions, CIFAR-100 20x36, ImageNet 14x48, its multiply-adds,
# CIFAR-10 8x16.
TABLE = (
    ("DARTS_V1", 3_169_414, "500.99", 3_221_344, 4_510_432, "505.86", 232_890),
    ("DARTS_V2", 3_349_342, "528.36", 3_401_272, 4_718_752, "529.91", 246_106),
    ("PC_DARTS_cifar", 3_634_678, "556.67", 3_686_608, 5_270_560, "571.14", 335_738),
    ("PC_DARTS_image", 3_721_510, "570.47", 3_773_440, 5_342_464, "581.63", 327_546),
    ("NASNet", 3_830_950, "603.45", 3_895_840, 5_564_320, "604.03", 333_946),
    ("AmoebaNet", 3_145_078, "488.93", 3_184_048, 4_627_360, "526.75", 326_330),
    ("GDAS_V1", 3_368_782, "519.43", 3_420_712, 4_969_216, "537.60", 330_330),
    ("PDARTS", 3_433_798, "532.17", 3_485_728, 4_944_352, "542.82", 292_026),
    ("c10_s5_random", 3_606_166, "562.39", 3_658_096, 5_120_320, "566.76", 301_114),
    ("c10_s5_pgd", 3_344_806, "526.76", 3_396_736, 4_768_864, "531.57", 270_906),
    ("Cri1_CIFAR_1", 3_750_238, "589.71", 3_802_168, 5_247_040, "586.84", 304_026),
    ("Cri1_CIFAR_2", 3_729_502, "583.96", 3_781_432, 5_230_144, "583.08", 301_978),
    ("Cri1_CIFAR_3", 3_795_166, "601.65", 3_847_096, 5_285_440, "594.82", 309_658),
    ("Cri1_CIFAR_4", 3_320_614, "520.56", 3_372_544, 4_747_360, "527.35", 267_322),
    ("Cri1_CIFAR_5", 3_449_782, "544.95", 3_501_712, 4_910_368, "547.73", 290_426),
    ("Cri1_CIFAR_6", 3_465_334, "544.15", 3_517_264, 4_897_216, "546.63", 271_290),
    ("Cri1_CIFAR_7", 3_830_374, "605.44", 3_882_304, 5_343_904, "599.59", 318_906),
    ("Cri1_CIFAR_8", 3_662_110, "571.93", 3_714_040, 5_195_680, "575.30", 312_410),
    ("Cri1_CIFAR_9", 3_975_094, "629.03", 4_027_024, 5_493_760, "618.86", 322_874),
    ("Cri1_CIFAR_10", 3_606_814, "558.66", 3_658_744, 5_143_456, "565.96", 302_170),
    ("Cri2_CIFAR_1", 4_143_574, "653.91", 4_195_504, 5_742_976, "643.66", 357_818),
    ("Cri2_CIFAR_2", 3_877_030, "611.72", 3_928_960, 5_361_472, "603.60", 306_426),
    ("Cri2_CIFAR_3", 4_094_110, "631.68", 4_146_040, 5_697_664, "630.02", 332_058),
    ("Cri2_CIFAR_4", 3_909_430, "611.33", 3_961_360, 5_438_464, "607.12", 315_194),
    ("Cri2_CIFAR_5", 3_687_166, "582.05", 3_739_096, 5_196_064, "580.51", 315_610),
    ("Cri2_CIFAR_6", 3_948_094, "615.56", 4_000_024, 5_501_536, "612.34", 325_978),
    ("Cri2_CIFAR_7", 3_690_190, "583.46", 3_742_120, 5_143_936, "578.65", 290_138),
    ("Cri2_CIFAR_8", 4_328_254, "690.54", 4_380_184, 5_856_928, "667.85", 344_794),
    ("Cri2_CIFAR_9", 3_734_686, "590.51", 3_786_616, 5_260_192, "587.94", 323_162),
    ("Cri2_CIFAR_10", 3_676_150, "584.46", 3_728_080, 5_159_104, "579.95", 309_946),
    ("imagenet_DARTS_proxy_histo1_10p", 3_910_726, "617.39", 3_962_656, 5_463_328, "611.48", 334_650),
    ("imagenet_PCDARTS_proxy_histo1_10p", 4_131_478, "659.99", 4_183_408, 5_682_304, "643.85", 350_906),
    ("cifar10_DARTS_proxy_histo1_10p", 3_803_158, "597.84", 3_855_088, 5_374_528, "597.23", 340_794),
    ("cifar10_PCDARTS_proxy_histo1_10p", 3_395_350, "535.60", 3_447_280, 4_837_024, "539.39", 279_802),
    ("cifar10_EcoDARTS_c4r2_proxy_histo1_10p", 3_788_902, "593.94", 3_840_832, 5_310_112, "592.06", 314_810),
    ("cifar10_SDARTS_proxy_histo1_10p", 3_000_286, "477.07", 3_052_216, 4_361_920, "486.53", 244_122),
    ("cifar10_SGAS_proxy_histo1_10p", 3_730_582, "593.80", 3_782_512, 5_232_448, "588.29", 320_570),
)


def millions(macs: int) -> str:
    return f"{macs / 1e6:.2f}"


def network_of(name: str, fields: dict[str, object]) -> nn.Module:
    return build_network(published.published_cells(name), NetworkShape(**fields))


def cost_of(network: nn.Module, size: int) -> tuple[int, str]:
    cost = measure(network, (3, size, size))
    return cost.parameters, millions(cost.macs)


def test_the_table_has_every_published_cell() -> None:
    assert sorted(row[0] for row in TABLE) == list(published.names())


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_published_cells(row: tuple[str, int, str, int, int, str, int]) -> None:
    name, cifar10, cifar10_macs, cifar100, imagenet, imagenet_macs, small = row
    with without_values():
        network = network_of(name, CIFAR10)
        assert cost_of(network, 32) == (cifar10, cifar10_macs)
        network.classifier.linear = nn.Linear(network.classifier.linear.in_features, 100)  # no more depends on classes
        assert count_parameters(network) == cifar100
        assert cost_of(network_of(name, IMAGENET), 224) == (imagenet, imagenet_macs)
        assert count_parameters(network_of(name, SMALL)) == small


@pytest.mark.parametrize(("fields", "size"), [(CIFAR100, 32), (IMAGENET, 224)])
def test_what_is_counted_without_values_is_what_a_network_computes(fields: dict[str, object], size: int) -> None:
    real = cost_of(network_of("AmoebaNet", fields), size)
    with without_values():
        assert cost_of(network_of("AmoebaNet", fields), size) == real


def test_gdas_imagenet_network_reproduces_the_papers_581m() -> None:
    with without_values():
        assert cost_of(network_of("GDAS_V1", {**IMAGENET, "channels": 50}), 224) == (5_345_075, "581.01")


@pytest.mark.parametrize(("fields", "expected"), [(CIFAR10, 476_426), (IMAGENET, 1_260_776)])
def test_auxiliary_head(fields: dict[str, object], expected: int) -> None:
    with without_values():
        with_head = network_of("DARTS_V2", {**fields, "auxiliary": True})
        assert count_parameters(with_head) == count_parameters(network_of("DARTS_V2", fields))
    assert num_weights(with_head.auxiliary_head) == expected


def test_p_darts_with_its_auxiliary_head() -> None:
    with without_values():
        network = network_of("PDARTS", {**CIFAR10, "auxiliary": True})
    assert num_weights(network) == 3_910_224  # printed in pdarts#7


SUPERNETS = (
    ({**SMALL}, 1, 1_930_618),
    ({**SMALL}, 2, 671_482),
    ({**SMALL}, 4, 299_578),
    ({**SMALL}, 8, 178_042),
    ({**SMALL, "num_classes": 100}, 1, 1_953_748),
    ({**SMALL, "num_classes": 100}, 4, 322_708),
    ({**IMAGENET, "num_cells": 8, "channels": 16}, 1, 2_215_648),
    ({**IMAGENET, "num_cells": 8, "channels": 16}, 2, 956_512),
    ({**SMALL, "channels": 8}, 1, 597_890),
    ({**SMALL, "channels": 4}, 1, 207_094),
    ({**SMALL, "channels": 9}, 1, 724_294),
)


@pytest.mark.parametrize(("fields", "partial_channels", "expected"), SUPERNETS)
def test_supernet_weights(fields: dict[str, object], partial_channels: int, expected: int) -> None:
    with without_values():
        supernet = Darts().supernet(NetworkShape(**fields), partial_channels=partial_channels)
    assert num_weights(supernet) == expected


def test_architecture_parameters() -> None:
    assert sum(edges * operations for edges, operations in Darts().alpha_shapes.values()) == 224


def test_space_size() -> None:
    assert Darts().cardinality == 1_037_664_180**2 == (180 * 7**8) ** 2


def test_channel_triples() -> None:
    """Printed in quark0/darts#18 for the CIFAR network of 20 cells and 36 channels."""
    plans = plan_cells(NetworkShape(**CIFAR10), 108, {"normal": 4, "reduce": 4})
    assert [plan[1:4] for plan in plans] == [
        (108, 108, 36),
        (108, 144, 36),
        *[(144, 144, 36)] * 4,
        (144, 144, 72),
        (144, 288, 72),
        *[(288, 288, 72)] * 5,
        (288, 288, 144),
        (288, 576, 144),
        *[(576, 576, 144)] * 5,
    ]
    assert [index for index, plan in enumerate(plans) if plan.kind == "reduce"] == [6, 13]


@pytest.mark.parametrize(("num_cells", "reductions"), [(3, [1, 2]), (8, [2, 5]), (14, [4, 9]), (20, [6, 13])])
def test_reductions_stand_at_one_and_two_thirds(num_cells: int, reductions: list[int]) -> None:
    plans = plan_cells(NetworkShape(**{**SMALL, "num_cells": num_cells}), 48, {"normal": 4, "reduce": 4})
    assert [index for index, plan in enumerate(plans) if plan.kind == "reduce"] == reductions
    assert [index for index, plan in enumerate(plans) if plan.after_reduction] == [
        index + 1 for index in reductions if index + 1 < num_cells
    ]
