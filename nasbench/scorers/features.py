"""What a trained classifier's last layer is given of each example."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from nasbench.config.component import component
from nasbench.core.table import FEATURES, ExampleTable
from nasbench.datasets.base import ImageSet
from nasbench.scorers import SCORERS
from nasbench.scorers.base import ComputeOptions
from nasbench.scorers.trained import ClassifierScorer
from nasbench.tracking.tracker import Tracker


@SCORERS.register
@component
class Features(ClassifierScorer):
    """Features of a trained classifier's penultimate layer, for k-center selection and clustering.

    Formula: phi(x), where the classifier's logits are W phi(x) + b.
    Reference: Na, Mok, Choe and Yoon, "Accelerating neural architecture search via proxy data", IJCAI 2021,
    arXiv:2106.04784, section 3.1 (feature vectors of a pre-trained ResNet-20, after Sener and Savarese, ICLR 2018,
    arXiv:1708.00489); the classifiers are the ResNets of He et al., CVPR 2016, arXiv:1512.03385, section 4.2.
    Differs from the paper: which layer it takes is not said; here the input of the last linear layer, as Sener and
    Savarese do.

    The features are written in blocks to a file that is mapped, so that n d numbers need not fit into memory: beside
    the checkpoint, where one is named, else, above 64 MiB, a nameless temporary file.

    Attributes: those of `ClassifierScorer` (model, weights, pretrained, recipe, batch_size, precision, input_mean,
        input_std).

    Shape: images [n, H, W, C] -> features float32 [n, d]; d = 64 for the residual networks.
    Raises: ConfigError for options that cannot go together; CheckpointError for weights that cannot be read or do
        not fit; ScoreError for a feature that is not finite.

    Example:
        >>> Features(weights="resnet20.pt").columns
        ('features',)
    """

    name: ClassVar[str] = "features"
    columns: ClassVar[tuple[str, ...]] = (FEATURES,)

    def score(self, images: ImageSet, folder: Path, *, compute: ComputeOptions, tracker: Tracker) -> ExampleTable:
        """Run every image through the classifier that lies in the folder, without augmentation."""
        from nasbench.models.zoo import without_head
        from nasbench.scorers.classifier import load_classifier, normalised
        from nasbench.scorers.inference import num_outputs, score_set
        from nasbench.training.determinism import device_of

        model, description = load_classifier(folder, images)
        body = without_head(description.model, model)
        values = score_set(
            body,
            normalised(images, description.input_mean, description.input_std),
            lambda features, _pixels, _labels: features.flatten(1),
            batch_size=self.batch_size,
            device=device_of(compute.device),
            width=num_outputs(body, images.image_shape),
            dtype=np.float32,
            precision=self.precision,
            checkpoint=compute.checkpoint,
            identity={"scorer": self.name, "model": description.model},
            description=self.name,
        )
        tracker.tag("scorer.model", description.model)
        return ExampleTable(
            dataset=images.fingerprint,
            labels=np.array(images.labels, dtype=np.int64),
            ids=images.ids,
            features=values,
        )
