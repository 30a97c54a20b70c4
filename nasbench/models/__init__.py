"""Models that score examples: CIFAR residual networks and timm's."""
