"""How unsure a trained classifier is of each example."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.datasets.base import ImageSet
from nasbench.scorers import SCORERS
from nasbench.scorers.base import ComputeOptions
from nasbench.scorers.trained import ClassifierScorer
from nasbench.tracking.tracker import Tracker


@SCORERS.register
@component
class Entropy(ClassifierScorer):
    """Entropy of a classifier's prediction for every training example: low where it is sure.

    Formula: f_H(x; M) = -sum_{y'} P(y' | x; M) log P(y' | x; M), natural logarithm, so in nats.
    Reference: Na, Mok, Choe and Yoon, "Accelerating neural architecture search via proxy data", IJCAI 2021,
    arXiv:2106.04784, section 3.1, equation 1 (after Settles 2009); the classifiers are the ResNets of He et al., CVPR
    2016, arXiv:1512.03385, section 4.2.
    Differs from the paper: its code of the entropies is not published; here logits are float32, everything after
    them float64, and nothing cancels, so that values far below 1e-16 are right too. The recipe's cosine replaces
    the two steps of He et al.

    Attributes: those of `ClassifierScorer` (model, weights, pretrained, recipe, batch_size, precision, input_mean,
        input_std).

    Shape: images [n, H, W, C] -> column ``entropy`` float64 [n], 0 to log K.
    Raises: ConfigError for options that cannot go together; CheckpointError for weights that cannot be read or do
        not fit; ScoreError for an entropy that is not finite.

    Example:
        >>> Entropy(model="resnet56").recipe.epochs
        200
    """

    name: ClassVar[str] = "entropy"
    columns: ClassVar[tuple[str, ...]] = ("entropy",)

    def score(self, images: ImageSet, folder: Path, *, compute: ComputeOptions, tracker: Tracker) -> ExampleTable:
        """Score every image with the classifier that lies in the folder, without augmentation."""
        from nasbench.scorers.classifier import load_classifier, normalised
        from nasbench.scorers.logits import entropies
        from nasbench.training.determinism import device_of

        model, description = load_classifier(folder, images)
        inputs = normalised(images, description.input_mean, description.input_std)
        values = entropies(
            model,
            inputs,
            batch_size=self.batch_size,
            device=device_of(compute.device),
            precision=self.precision,
            checkpoint=compute.checkpoint,
            identity={"scorer": self.name, "model": description.model},
        )
        tracker.tag("scorer.model", description.model)
        return ExampleTable(
            dataset=images.fingerprint,
            labels=np.array(images.labels, dtype=np.int64),
            columns={"entropy": values},
            ids=images.ids,
        )
