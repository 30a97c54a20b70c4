"""Parameters and multiply-adds of hand-made networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasbench.spaces.base import NetworkShape
from nasbench.spaces.network import build_network
from nasbench.spaces.published import published_cells
from nasbench.training.cost import Cost, measure


class Small(nn.Module):
    """A grouped strided convolution, BN, a linear layer, and an auxiliary head that must not count."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=True)
        self.norm = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 5)
        self.auxiliary_head = nn.Linear(6, 1000)
        self.scale = nn.Parameter(torch.ones(7), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.conv(images)).mean(dim=(2, 3))
        return self.linear(x) + self.auxiliary_head(x).mean()


EXPECTED = Cost(parameters=6 * 2 * 9 + 6 + 12 + 5 * 6 + 5, macs=5 * 3 * 6 * 2 * 9 + 5 * 6)


def test_by_hand() -> None:
    assert measure(Small(), (4, 9, 5)) == EXPECTED


def test_on_the_meta_device_and_in_float64() -> None:
    with torch.device("meta"):
        assert measure(Small(), (4, 9, 5)) == EXPECTED
    assert measure(Small().double(), (4, 9, 5)) == EXPECTED


def test_the_model_stays_as_it_was() -> None:
    model = Small()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, (4, 9, 5))
    assert (model.training, model.norm.training, model.conv.training) == (True, False, True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_no_auxiliary_head_and_no_resolution_in_the_parameters() -> None:
    fields = {"num_cells": 3, "channels": 4, "num_classes": 5, "image_size": 8}
    plain = build_network(published_cells("DARTS_V2"), NetworkShape(**fields))
    with_head = build_network(published_cells("DARTS_V2"), NetworkShape(**fields, auxiliary=True))
    assert measure(plain, (3, 8, 8)) == measure(with_head, (3, 8, 8))
    larger = measure(plain, (3, 16, 16))
    assert larger.parameters == measure(plain, (3, 8, 8)).parameters
    assert larger.macs > 3.5 * measure(plain, (3, 8, 8)).macs
