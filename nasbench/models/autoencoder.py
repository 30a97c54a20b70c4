"""A convolutional autoencoder for small images."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional

from nasbench.core.errors import ConfigError

WIDTHS = (16, 32, 64, 64)
"""Channels after each halving of the resolution."""


class ConvAutoencoder(nn.Module):
    """Four 4x4 convolutions of stride 2 to 16, 32, 64 and 64 channels, and as many transposed ones back.

    Batch normalisation and ReLU stand after every convolution but the code's and the last one. What is returned are
    the logits of the pixels: their sigmoid is the reconstruction, so that a binary cross-entropy can be computed from
    them without a logarithm of zero.

    Reference: Moser, Raue, Hees and Dengel, "Less is more: proxy datasets in NAS approaches", CVPR workshops 2022,
    arXiv:2203.06905, section 3.2.3.
    Differs from the paper: it describes no layers; these are those of its code, which is for 32x32 pixels. Images
    below 16 pixels are halved until one pixel is left; where a side is no multiple of what the halvings need, zeros
    are added below and right of the image and cut off from the reconstruction.

    Args:
        channels: C of the images.
        side: The smaller of height and width, at least 2.

    Shape: [N, C, H, W] in [0, 1] -> logits [N, C, H, W].

    Raises:
        ConfigError: side is below 2.

    Example:
        >>> sum(weight.numel() for weight in ConvAutoencoder(3, 32).parameters())
        215267
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        if side < 2:
            raise ConfigError(f"an image of side {side} cannot be halved; the autoencoder needs at least 2 pixels.")
        widths = (channels, *WIDTHS[: min(len(WIDTHS), side.bit_length() - 1)])
        self.multiple = 2 ** (len(widths) - 1)
        down, up = list(itertools.pairwise(widths)), list(itertools.pairwise(reversed(widths)))
        self.encoder = nn.Sequential(*_layers(nn.Conv2d, down))
        self.decoder = nn.Sequential(*_layers(nn.ConvTranspose2d, up))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of every pixel's reconstruction."""
        height, width = images.shape[2:]
        below, right = -height % self.multiple, -width % self.multiple
        padded = functional.pad(images, (0, right, 0, below)) if below or right else images
        logits: Tensor = self.decoder(self.encoder(padded))
        return logits[:, :, :height, :width]


def _layers(kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], widths: list[tuple[int, int]]) -> list[nn.Module]:
    found: list[nn.Module] = []
    for place, (before, after) in enumerate(widths):
        found.append(kind(before, after, 4, stride=2, padding=1))
        if place < len(widths) - 1:
            found += [nn.BatchNorm2d(after), nn.ReLU()]
    return found
