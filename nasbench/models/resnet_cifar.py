"""Residual networks for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench.core.errors import ConfigError, nearest
from nasbench.models.zoo import RESNETS


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, and a shortcut without parameters (option A).

    Args:
        in_channels: C_in.
        channels: C_out; where it is larger than C_in, the shortcut is padded with zero channels, half of them before
            and half after its own.
        stride: 1, or 2 to halve the resolution; the shortcut then takes every second pixel.

    Shape: [N, C_in, H, W] -> [N, C_out, ceil(H/stride), ceil(W/stride)].
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.before = (channels - in_channels) // 2
        self.after = channels - in_channels - self.before

    def forward(self, states: Tensor) -> Tensor:
        """Add the residual to the shortcut, then ReLU."""
        residual = functional.relu(self.bn1(self.conv1(states)))
        residual = self.bn2(self.conv2(residual))
        shortcut = states
        if self.stride > 1:
            shortcut = shortcut[:, :, :: self.stride, :: self.stride]
        if self.before or self.after:
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.before, self.after))
        return functional.relu(residual + shortcut)


class CifarResNet(nn.Module):
    """ResNet-(6n+2): a 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels, mean, linear.

    Weights are drawn from PyTorch's current default generator: convolutions and the linear layer normal with
    variance 2 / fan_in (He et al., ICCV 2015), as the paper asks for.

    Reference: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385,
    section 4.2 and Table 6 (ResNet-20: 0.27 million parameters, 8.75 % error; ResNet-56: 0.85, 6.97 %).
    Differs from the paper: any size and number of channels of images; where zero channels are padded is not said
    there, here half before and half after, as published state dicts have it.

    Args:
        blocks: n.
        num_classes: K.
        in_channels: Channels of the images.

    Shape: [N, C, H, W] -> logits [N, K].

    Example:
        >>> sum(weight.numel() for weight in CifarResNet(3, 10, 3).parameters())
        269722
    """

    def __init__(self, blocks: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, 1)
        self.layer2 = _stage(16, 32, blocks, 2)
        self.layer3 = _stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, K] of images [N, C, H, W]."""
        states = functional.relu(self.bn1(self.conv1(images)))
        states = self.layer3(self.layer2(self.layer1(states)))
        logits: Tensor = self.linear(torch.mean(states, dim=(2, 3)))
        return logits


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def create(name: str, num_classes: int, in_channels: int) -> CifarResNet:
    """Build a residual network of He et al. for small images.

    Args:
        name: ``resnet20``, ``resnet32``, ``resnet44``, ``resnet56`` or ``resnet110``.
        num_classes: K.
        in_channels: Channels of the images.

    Raises:
        ConfigError: Another name.
    """
    if name not in RESNETS:
        raise ConfigError(f"there is no model {name!r}. Known: {', '.join(RESNETS)}.{nearest(name, RESNETS)}")
    return CifarResNet(RESNETS[name], num_classes, in_channels)
