"""What goes to the compiled kernels as a chain, and what does not: all else has to be computed by its modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasbench.core.genotype import Genotype
from nasbench.spaces import compiled
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import BatchNorm
from nasbench.spaces.chain_builder import ChainBuilder
from nasbench.spaces.chain_forms import Shape
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.spaces.ops import KernelUnit, build
from tests.kernels import needs_kernels

pytestmark = needs_kernels

SHAPE = NetworkShape(num_cells=6, channels=8, num_classes=5, in_channels=2, image_size=8)
GENES = (3, 1, 2, 4, 3, 1)


def both_ways(network: nn.Module, *given: Any, training: bool = True, asked: tuple[Tensor, ...] = ()) -> None:
    """Assert that output, gradients (or their absence), statistics and errors are those of the modules."""
    start, results = {name: value.clone() for name, value in network.state_dict().items()}, []
    for enabled in (False, True):
        network.load_state_dict(start)
        network.train(training)
        with compiled.used(enabled):
            output = network(*given)
            output = getattr(output, "logits", output)
            wanted = [*asked, *network.parameters()]
            grads = torch.autograd.grad(output.square().sum(), wanted, allow_unused=True)
        results.append([output, *grads, *(own.clone() for own in network.buffers() if own.is_floating_point())])
    found, expected = results[::-1]
    assert [part is None for part in found] == [part is None for part in expected]
    for a, b in zip(found, expected, strict=True):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


class Doubled(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return 2 * super().forward(input)


class Moved(BatchNorm):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input) + 1


def changed(name: str, change: Callable[[Any], None]) -> Any:
    torch.manual_seed(0)
    unit = build(name, 6, 1, True).double()
    for parameter in unit.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    change(unit)
    return unit.double()


def put(path: str, value: Callable[[], Any]) -> Callable[[Any], None]:
    """Replace a part of a module, or an attribute of one."""
    *owners, last = path.split(".")

    def change(module: Any) -> None:
        setattr(module.get_submodule(".".join(owners)), last, value())

    return change


def bias_for_depthwise(unit: Any) -> None:
    unit.body[0].bias = nn.Parameter(torch.ones(6))


CHANGES = {
    "no BN at the end": ("sep_conv_3x3", put("norm", nn.Identity)),
    "another BN at the end": ("dil_conv_3x3", put("norm", lambda: nn.BatchNorm2d(6))),
    "a BN of one's own": ("nor_conv_3x3", put("norm", lambda: Moved(6))),
    "a convolution of one's own": ("nor_conv_3x3", put("body", lambda: Doubled(6, 6, 3, padding=1))),
    "other padding": ("nor_conv_1x1", put("body.padding", lambda: (1, 1))),
    "padding by reflection": ("sep_conv_3x3", put("body.1.padding_mode", lambda: "reflect")),
    "a mirrored border": (
        "nor_conv_3x3",
        put("body", lambda: nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect", bias=False)),
    ),
    "a bias of the depthwise convolution": (
        "dil_conv_3x3",
        put("body.0", lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6)),
    ),
    "an even kernel": (
        "dil_conv_3x3",
        put("body.0", lambda: nn.Conv2d(6, 6, 4, padding=1, stride=2, groups=6, bias=False)),
    ),
    "a long kernel": (
        "dil_conv_3x3",
        put("body.0", lambda: nn.Conv2d(6, 6, (3, 5), padding=(1, 2), groups=6, bias=False)),
    ),
    "several filters for a channel": (
        "dil_conv_3x3",
        put(
            "body",
            lambda: nn.Sequential(
                nn.Conv2d(6, 12, 3, padding=1, groups=6, bias=False), nn.Conv2d(12, 6, 1, bias=False)
            ),
        ),
    ),
    "groups": ("nor_conv_3x3", put("body", lambda: nn.Conv2d(6, 6, 3, padding=1, groups=2))),
    "no ReLU between": ("sep_conv_3x3", put("body.3", nn.Identity)),
    "a pool": ("nor_conv_3x3", put("body", lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(6, 6, 1)))),
    "two BNs": ("sep_conv_3x3", put("body.3", lambda: BatchNorm(6))),
    "weights that are shared": ("sep_conv_3x3", lambda unit: setattr(unit.body[4], "weight", unit.body[0].weight)),
    "a BN that is shared": ("sep_conv_3x3", lambda unit: setattr(unit, "norm", unit.body[2])),
    "statistics with gaps": (
        "nor_conv_3x3",
        lambda unit: unit.norm._buffers.update(running_mean=torch.zeros(6, 2).double()[:, 0]),
    ),
    "weight norm": ("nor_conv_3x3", lambda unit: nn.utils.parametrizations.weight_norm(unit.body)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("what", CHANGES)
def test_units_that_were_changed_are_computed_by_their_modules(what, training):
    unit = changed(*CHANGES[what])
    unit.norm.batch_statistics = unit.body.batch_statistics = True
    x = torch.randn(3, 6, 8, 8).double().requires_grad_()
    both_ways(unit, x, training=training, asked=(x,))


def test_a_bn_of_fewer_channels_is_refused():
    unit = KernelUnit(nn.Conv2d(8, 12, 3, padding=1), 8, affine=False)
    with compiled.used(), pytest.raises(ValueError, match="BN of 8 channels follows a convolution with 12"):
        unit(torch.randn(2, 8, 5, 5))


def drawn_network(genes=GENES) -> Any:
    torch.manual_seed(0)
    return NasBench201().network(Genotype(space="nas-bench-201", genes=genes), SHAPE).double()


NETWORK_CHANGES: dict[str, Callable[[Any], None]] = {
    "nothing": lambda network: None,
    "a cell twice": lambda network: network.chain.cells.__setitem__(1, network.chain.cells[0]),
    "an operation twice": lambda network: network.chain.cells[0].edges.__setitem__(4, network.chain.cells[0].edges[0]),
    "another pool on an edge": lambda network: network.chain.cells[0].edges.__setitem__(3, nn.MaxPool2d(3, 1, 1)),
    "an average of another size": lambda network: network.chain.cells[0].edges.__setitem__(3, nn.AvgPool2d(5, 1, 2)),
    "no operation on an edge": lambda network: network.chain.cells[0].edges.__setitem__(0, nn.Identity()),
    "another pool in a block": put("chain.blocks.2.pool", lambda: nn.MaxPool2d(2)),
    "a bias of a block's projection": put("chain.blocks.2.project", lambda: nn.Conv2d(8, 16, 1)),
    "another BN in a block": put("chain.blocks.2.second.norm", lambda: nn.BatchNorm2d(16)),
}


@pytest.mark.parametrize("what", NETWORK_CHANGES)
def test_networks_that_were_changed(what, kernel_calls):
    network = drawn_network()
    NETWORK_CHANGES[what](network)
    images = torch.randn(3, 2, 8, 8).double().requires_grad_()
    both_ways(network.double(), images, asked=(images,))
    whole = kernel_calls == ["chain_forward"] * 3 + ["chain_backward"] * 3
    assert whole == (what in {"nothing", "no operation on an edge"})


@pytest.mark.parametrize("seed", range(12))
def test_alphas_that_nothing_depends_on_have_no_gradient(seed):
    torch.manual_seed(seed)
    network = NasBench201().supernet(SHAPE).double()
    nn.init.constant_(network.chain.norm.bias, 0.5)  # or it is rounding that the last ReLU decides by
    generator = np.random.default_rng(seed)
    genes = generator.choice(5, size=6, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    weights, added, norm = (torch.randn(shape).double().requires_grad_() for shape in ((6, 5), 6, 6))
    images = torch.randn(3, 2, 8, 8).double()

    class Sampled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self) -> Tensor:
            active, bias = {"cell": np.eye(5, dtype=bool)[genes]}, {"cell": added}
            logits: Tensor = network(images, {"cell": weights}, {"cell": norm}, active, edge_bias=bias)
            return logits

    both_ways(Sampled(), asked=(weights, added, norm))


def test_who_listens_to_all_modules_hears_them(kernel_calls):
    told: list[str] = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: told.append(type(module).__name__))
    try:
        with compiled.used():
            drawn_network()(torch.randn(2, 2, 8, 8).double())
    finally:
        handle.remove()
    assert not kernel_calls
    assert told.count("KernelUnit") == 6 * 3 + 2 * 2


def test_no_images_and_what_is_no_image():
    unit = build("nor_conv_3x3", 4, 1, False)
    with compiled.used():
        assert unit(torch.randn(0, 4, 5, 5)).shape == (0, 4, 5, 5)
        for shape in ((4, 5), (2, 2, 4, 5, 5)):
            with pytest.raises(RuntimeError, match="input to conv2d, but got input of size"):
                unit(torch.randn(shape))


def test_links_that_do_not_fit_are_refused():
    chain = ChainBuilder(Shape(4, 5, 6))
    target = chain.state(Shape(6, 5, 6))
    with pytest.raises(ValueError, match=r"weight has shape .6, 3, 1, 1.*not that of 4 channels in and 6 out"):
        chain.convolution(0, target, torch.ones(6, 3, 1, 1), kernel=1)
    with pytest.raises(ValueError, match=r"gain has shape .3.*not that of 4 channels in and 6 out"):
        chain.convolution(0, target, torch.ones(6, 4, 1, 1), kernel=1, norm=BatchNorm(3))
    with pytest.raises(ValueError, match="no kernel for convolution with kernel 5, stride 1, dilation 1"):
        chain.convolution(0, target, torch.ones(6, 4, 5, 5), kernel=5)
    with pytest.raises(ValueError, match="stride 2 does not lead from Shape"):
        chain.convolution(0, target, torch.ones(6, 4, 3, 3), kernel=3, stride=2)
    with pytest.raises(ValueError, match="skip_connect leads from Shape"):
        chain.add(0, target, "skip_connect")


@pytest.mark.parametrize(("channels", "most"), [(4, 2.0), (8, 1.2), (16, 0.9)])
def test_what_is_kept_for_the_way_back(channels, most):
    """Against PyTorch's own operators. Lanes that narrow cells leave empty cost memory."""
    shape = NetworkShape(num_cells=3, channels=channels, num_classes=5, in_channels=3, image_size=16)
    network = NasBench201().network(Genotype(space="nas-bench-201", genes=GENES), shape)
    images, kept = torch.randn(8, 3, 16, 16), []
    for enabled in (False, True):
        found: dict[int, int] = {}

        def keep(tensor: Tensor, found: dict[int, int] = found) -> Tensor:
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with compiled.used(enabled), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = network(images).logits
        kept.append(sum(found.values()))
        del logits
    assert kept[1] <= most * kept[0]
