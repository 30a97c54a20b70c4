"""The size space: readable layers, strings, numbers, and what masking may not change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nasbench.core.errors import ConfigError, GenotypeError
from nasbench.core.genotype import Cell, Genotype
from nasbench.core.seeding import generator
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import use_batch_statistics
from nasbench.spaces.masked_layers import SlicedNorm
from nasbench.spaces.nats_bench_size import NatsBenchSize
from nasbench.spaces.size_network import SizeSupernet, build_edge

SPACE = NatsBenchSize()
SHAPE = NetworkShape(num_cells=3, channels=2, num_classes=5, in_channels=2, image_size=8)


def supernet() -> SizeSupernet:
    torch.manual_seed(0)
    return SPACE.supernet(SHAPE).double()


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 2, 8, 8, dtype=torch.float64)


def soft() -> dict[str, Tensor]:
    return {"widths": torch.randn(5, 8, dtype=torch.float64).softmax(dim=1)}


def close(mine: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_readable_layers() -> None:
    cells = SPACE.cells(SPACE.from_string("8:16:64:32:40"))
    assert list(cells) == ["layer0", "layer1", "layer2", "layer3", "layer4"]
    assert [cell.width for cell in cells.values()] == [8, 16, 64, 32, 40]
    assert cells["layer1"] == Cell(nodes=((("residual_block", 0),),), concat=(1,), num_inputs=1, width=16)
    assert cells["layer4"].nodes[2] == (("skip_connect", 0), ("nor_conv_3x3", 1), ("nor_conv_3x3", 2))
    assert cells["layer0"].num_inputs == 1


@given(st.integers(0, 32_767))
def test_strings_and_numbers_both_ways(number: int) -> None:
    genotype = SPACE.genotype_at(number)
    assert SPACE.index_of(genotype) == number
    assert SPACE.from_string(SPACE.to_string(genotype)) == genotype
    assert SPACE.genotype(SPACE.cells(genotype)) == genotype


def test_numbers_are_in_lexicographic_order() -> None:
    genes = [SPACE.genotype_at(number).genes for number in range(0, SPACE.cardinality, 7)]
    assert genes == sorted(set(genes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8:8:8:8", "has 4 widths"),
        ("8:8:8:8:8:8", "has 6 widths"),
        ("8:8:12:8:8", "layer2 has the width '12'"),
        ("8:8:8:8:eight", "layer4 has the width 'eight'"),
        ("08:8:8:8:8", "layer0 has the width '08'"),
        ("8:8:8:8: 8", "layer4 has the width ' 8'"),
        ("", "has 1 widths"),
    ],
)
def test_wrong_strings(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        SPACE.from_string(text)


@pytest.mark.parametrize("number", [-1, 32_768])
def test_wrong_numbers(number: int) -> None:
    with pytest.raises(GenotypeError, match=f"no architecture {number}; the numbers are 0 to 32767"):
        SPACE.genotype_at(number)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: cells.pop("layer3"), "space 'nats-bench-size' has layer0"),
        (lambda cells: cells.update(layer5=cells["layer0"]), "layer5"),
        (lambda cells: cells.update(layer0=cells["layer1"]), "layer0 has the nodes"),
        (lambda cells: cells.update(layer0=replace(cells["layer0"], concat=(2,))), "layer0 has the nodes"),
        (lambda cells: cells.update(layer2=replace(cells["layer2"], width=12)), "layer2 has the width 12"),
        (lambda cells: cells.update(layer2=replace(cells["layer2"], width=None)), "layer2 has the width None"),
    ],
)
def test_wrong_cells(change, message: str) -> None:
    cells = SPACE.cells(SPACE.genotype_at(284))
    change(cells)
    with pytest.raises(GenotypeError, match=message):
        SPACE.genotype(cells)


def test_the_order_of_a_nodes_edges_does_not_matter() -> None:
    cells = SPACE.cells(SPACE.genotype_at(284))
    cell = cells["layer2"]
    turned = replace(cell, nodes=tuple(edges[::-1] for edges in cell.nodes))
    assert turned != cell
    assert SPACE.genotype({**cells, "layer2": turned}) == SPACE.genotype_at(284)


def test_ties_go_to_the_smaller_width() -> None:
    alphas = np.zeros((5, 8))
    alphas[3, [2, 5]] = 1.0
    assert SPACE.discretize({"widths": alphas}).genes == (0, 0, 0, 2, 0)


def test_channels_scale_all_widths() -> None:
    network = SPACE.network(SPACE.from_string("8:16:24:32:64"), replace(SHAPE, channels=3))
    widths = [network.stem[0].out_channels, network.layers[1].project.out_channels]
    widths += [network.layers[3].project.in_channels, network.layers[3].project.out_channels]
    assert [*widths, network.norm.num_features] == [3, 6, 9, 12, 24]


def test_only_skips_between_unequal_widths_project() -> None:
    network = SPACE.network(SPACE.from_string("8:16:16:32:64"), SHAPE)
    skips = [network.layers[index].edges[3] for index in (0, 2, 4)]
    assert [isinstance(skip, nn.Identity) for skip in skips] == [True, True, False]
    projection, norm = skips[2]
    assert (projection.kernel_size, projection.in_channels, projection.out_channels) == ((1, 1), 8, 16)
    assert norm.affine
    with pytest.raises(GenotypeError, match="no operation 'avg_pool_3x3'"):
        build_edge("avg_pool_3x3", 4, 4)


def test_drop_path_changes_training_only() -> None:
    torch.manual_seed(0)
    network, batch = SPACE.network(SPACE.genotype_at(284), SHAPE).double(), images()
    whole = network(batch).logits
    assert not torch.allclose(network(batch, drop_path=0.5).logits, whole)
    network.eval()
    assert torch.equal(network(batch, drop_path=0.5).logits, network(batch).logits)


@pytest.mark.parametrize("make", [SPACE.supernet, lambda shape: SPACE.network(SPACE.genotype_at(0), shape)])
def test_sizes_that_are_not_there(make) -> None:
    for fields, message in (
        ({"num_cells": 6}, "num_cells 6 must be 3"),
        ({"num_cells": 1}, "num_cells 1 must be 3"),
        ({"stem": "imagenet"}, "no stem 'imagenet'"),
        ({"auxiliary": True}, "no auxiliary head"),
    ):
        with pytest.raises(ConfigError, match=message):
            make(replace(SHAPE, **fields))
    arguments = ({"widths": torch.zeros(5, 8)},) if make == SPACE.supernet else ()
    with pytest.raises(ConfigError, match=r"\[N, 2, H, W\] is needed"):
        make(SHAPE)(torch.randn(2, 3, 8, 8), *arguments)


@pytest.mark.parametrize("training", [True, False])
def test_slicing_to_the_active_widths_equals_masking(training: bool) -> None:
    """Any set of active widths, rows without any among them; the weights of others do not matter."""
    network, batch, rng = supernet(), images(), generator(0, "active")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.train(training)
    for share in (0.15, 0.15, 0.4, 0.7):
        active = {"widths": rng.random((5, 8)) < share}
        weights = soft()
        masked = {"widths": weights["widths"] * torch.from_numpy(active["widths"])}
        outcomes = []
        for mixture in ((weights, active), (masked, None)):
            network.load_state_dict(state)
            outcomes.append(network(batch, *mixture))
        close(*outcomes)


def test_a_layer_without_any_active_width_is_zero() -> None:
    network, weights = supernet(), soft()
    active = {"widths": np.ones((5, 8), dtype=bool)}
    active["widths"][4] = False
    close(network(images(), weights, active), network.classifier.bias.expand(4, 5))


def test_one_hot_equals_the_discrete_network_in_training_too() -> None:
    """By the batch's statistics; the running ones of channels beyond the chosen width do not move."""
    network = supernet()
    active = {"widths": SPACE.one_hot(SPACE.from_string("16:24:24:8:40"))["widths"] != 0}
    before = {name: module.running_mean.clone() for name, module in norms(network)}
    network(images(), soft(), active)
    widths = {"stem": 4, "layers.0": 4, "layers.1": 6, "layers.2": 6, "layers.3": 2, "layers.4": 10, "norm": 10}
    moved = 0
    for name, module in norms(network):
        width = next(width for prefix, width in widths.items() if name.startswith(prefix))
        change = (module.running_mean != before[name]).tolist()
        if "projection" in name and name.startswith("layers.2"):  # 24 to 24 channels: an identity
            assert not any(change)
            continue
        assert change == [True] * width + [False] * (16 - width)
        moved += 1
    assert moved == 1 + 3 * 5 + 2 * 2 + 1 + 1


def norms(network: nn.Module) -> list[tuple[str, SlicedNorm]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, SlicedNorm)]


def test_masked_channels_do_not_leak() -> None:
    """Whatever the weights of channels beyond the chosen width are, the logits are the same."""
    network, batch = supernet().eval(), images()
    genotype = Genotype(space=SPACE.name, genes=(2, 0, 3, 1, 2))
    weights = {"widths": torch.from_numpy(SPACE.one_hot(genotype)["widths"])}
    with torch.no_grad():
        expected = network(batch, weights)
        for layer, gene in zip(network.layers, genotype.genes, strict=True):
            for module in layer.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight[2 * (gene + 1) :].normal_(std=9.0)
                elif isinstance(module, SlicedNorm):
                    module.running_mean[2 * (gene + 1) :].normal_(std=9.0)
        network.stem.body.weight[6:].normal_(std=9.0)
        network.norm.running_mean[6:].normal_(std=9.0)
        network.norm.bias[6:].fill_(9.0)
        network.classifier.weight[:, 6:].normal_(std=9.0)
        assert torch.equal(network(batch, weights), expected)


def test_the_skip_connection_is_mixed_by_the_chance_of_equal_widths() -> None:
    """Layers 1 and 2 are equally wide with weight .3 * .6 + .7 * .4: that much of the identity, else projected."""
    network, seen = supernet(), []
    weights = torch.zeros(5, 8, dtype=torch.float64)
    weights[:, 7] = 1.0
    weights[1, [0, 7]] = torch.tensor([0.3, 0.7], dtype=torch.float64)
    weights[2, [0, 7]] = torch.tensor([0.6, 0.4], dtype=torch.float64)
    skip = network.layers[2].edges[3]
    skip.register_forward_hook(lambda module, inputs, output: seen.append((*inputs, output)))
    network(images(), {"widths": weights})
    ((x, _, output),) = seen
    close(output, 0.46 * x + 0.54 * skip.projection(x, 16))


def test_batch_statistics_in_evaluation_mode_equal_training_mode() -> None:
    batch, weights = images(), soft()
    active = {"widths": generator(0, "statistics").random((5, 8)) < 0.3}
    torch.manual_seed(0)
    network = SPACE.supernet(SHAPE, batch_statistics=True).double()
    for used in (None, active):
        in_training = network.train()(batch, weights, used)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        close(network.eval()(batch, weights, used), in_training)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    use_batch_statistics(network, False)
    assert not torch.allclose(network(batch, weights, active), in_training)


def test_memory_format_does_not_matter() -> None:
    network, batch = supernet(), images()
    active = {"widths": generator(0, "format").random((5, 8)) < 0.3}
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        weights = {"widths": torch.linspace(-1, 1, 40, dtype=torch.float64).view(5, 8).requires_grad_()}
        logits = network.to(memory_format=layout)(batch.contiguous(memory_format=layout), weights, active)
        gradients = torch.autograd.grad(logits.square().sum(), [weights["widths"], *network.parameters()])
        results.append([logits, *gradients])
    for mine, theirs in zip(*results, strict=True):
        close(mine, theirs)


def test_second_derivatives_exist() -> None:
    network = supernet()
    weights = soft()["widths"].requires_grad_()
    loss = network(images(), {"widths": weights}).square().sum()
    (first,) = torch.autograd.grad(loss, weights, create_graph=True)
    second = torch.autograd.grad(first.square().sum(), list(network.parameters()), materialize_grads=True)
    assert all(torch.isfinite(gradient).all() for gradient in second)
    assert any(gradient.abs().max() > 1e-8 for gradient in second)
