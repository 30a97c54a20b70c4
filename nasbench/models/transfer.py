"""A backbone trained elsewhere, with a new head for the data at hand."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

HIDDEN = 256
DROPOUT = 0.5


class TransferNet(nn.Module):
    """A frozen backbone under a head: linear to 256, batch normalisation, ReLU, dropout 0.5, linear to K.

    The backbone's weights are never changed. Whether its batch normalisations are frozen too is ``frozen_statistics``:
    else they normalise by the batch in training and their running statistics follow the data.

    Reference: Moser, Raue, Hees and Dengel, "Less is more: proxy datasets in NAS approaches", CVPR workshops 2022,
    arXiv:2203.06905, section 3.3.3 (the head is that of its code).
    Differs from the paper: it describes no head.

    Args:
        backbone: Images [N, C, H, W] -> features [N, d].
        num_features: d.
        num_classes: K.
        frozen_statistics: Keep the backbone in evaluation mode always.

    Shape: [N, C, H, W] -> logits [N, K].
    """

    def __init__(self, backbone: nn.Module, num_features: int, num_classes: int, *, frozen_statistics: bool) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.head = nn.Sequential(
            nn.Linear(num_features, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, num_classes),
        )
        self.frozen_statistics = frozen_statistics

    def train(self, mode: bool = True) -> Self:
        """Set the head's mode, and the backbone's unless its statistics are frozen."""
        super().train(mode)
        if self.frozen_statistics:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, K] of images [N, C, H, W]."""
        with torch.no_grad():
            features = self.backbone(images)
        logits: Tensor = self.head(features)
        return logits
