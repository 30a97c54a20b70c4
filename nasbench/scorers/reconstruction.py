"""How badly an autoencoder reconstructs each example."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.table import ExampleTable
from nasbench.datasets.base import ImageSet
from nasbench.scorers import SCORERS
from nasbench.scorers.base import ComputeOptions, ExampleScorer
from nasbench.tracking.tracker import Tracker


@SCORERS.register
@component
class Reconstruction(ExampleScorer):
    """Loss of a convolutional autoencoder for every training example; labels have no say.

    Formula: L(D(E(x)), x), by default the squared error, averaged over the pixels of x in [0, 1].
    Reference: Moser, Raue, Hees and Dengel, "Less is more: proxy datasets in NAS approaches", CVPR workshops 2022,
    arXiv:2203.06905, section 3.2.3, equation 4.
    Differs from the paper: it describes neither the layers (see `ConvAutoencoder`) nor the training; both are those of
    its code, for 50 epochs. It names the mean squared error as an example of L; its code minimises the binary
    cross-entropy instead (``bce``), and scores with the arguments exchanged: the image stands where the
    reconstruction should, and logarithms below -100 count as -100 (``bce-swapped``), so that black and white pixels
    weigh heavily.

    Attributes:
        loss: L: ``mse`` (the paper), ``bce`` in training and score, or ``bce-swapped`` (the paper's code: trained like
            ``bce``, scored with exchanged arguments).
        epochs: Passes over the images.
        batch_size: Images a step, in training and scoring.
        learning_rate: Of Adam; PyTorch's default, as in the paper's code.

    Shape: images [n, H, W, C] -> column ``reconstruction_loss`` float64 [n], at least 0 (``bce-swapped`` up to 100).
    Raises: ConfigError for images of one pixel; CheckpointError for an autoencoder that is absent, altered or made
        for images of another shape; TrainingError and ScoreError for a loss that is not finite.

    Example:
        >>> Reconstruction(loss="bce-swapped").epochs
        50
    """

    name: ClassVar[str] = "reconstruction"
    columns: ClassVar[tuple[str, ...]] = ("reconstruction_loss",)

    loss: Literal["mse", "bce", "bce-swapped"] = "mse"
    epochs: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3

    def train(
        self, train: ImageSet, test: ImageSet, folder: Path, *, seed: int, compute: ComputeOptions, tracker: Tracker
    ) -> Mapping[str, Any]:
        """Train the autoencoder; write ``weights.pt`` and ``model.json``.

        Returns:
            ``test_loss``, ``train_loss``, ``parameters``, ``macs``, ``seconds`` and ``peak_memory_bytes``.
        """
        from nasbench.scorers.autoencoding import AutoencoderRecipe, save_autoencoder, train_autoencoder
        from nasbench.scorers.stored import DESCRIPTION

        recipe = AutoencoderRecipe(
            loss=self.loss, epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate
        )
        model, metrics = train_autoencoder(train, test, recipe, seed=seed, compute=compute, tracker=tracker)
        save_autoencoder(folder, model, train, recipe, test_loss=metrics["test_loss"])
        tracker.log_artifact(folder / DESCRIPTION, "scorer")
        return metrics

    def score(self, images: ImageSet, folder: Path, *, compute: ComputeOptions, tracker: Tracker) -> ExampleTable:
        """Reconstruct every image with the autoencoder that lies in the folder."""
        from nasbench.scorers.autoencoding import load_autoencoder, reconstruction_losses

        model = load_autoencoder(folder, images, self.loss)
        values = reconstruction_losses(model, images, self.loss, batch_size=self.batch_size, compute=compute)
        tracker.tag("scorer.model", "autoencoder")
        return ExampleTable(
            dataset=images.fingerprint,
            labels=np.array(images.labels, dtype=np.int64),
            columns={"reconstruction_loss": values},
            ids=images.ids,
        )
