"""Training from scratch: recipe, whole-batch augmentation, loop, checkpoint."""
