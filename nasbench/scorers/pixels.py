"""The pixels themselves, as features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import CheckpointError, FileReadError
from nasbench.core.files import read_json, write_json
from nasbench.core.table import FEATURES, ExampleTable
from nasbench.datasets.base import ImageSet
from nasbench.scorers import SCORERS
from nasbench.scorers.base import ComputeOptions, ExampleScorer
from nasbench.tracking.tracker import Tracker

_NOTE = "model.json"


@SCORERS.register
@component
class Pixels(ExampleScorer):
    """The pixels of every example as its features: what KM-OR and CC-OR cluster in their paper. Nothing is trained.

    Formula: phi(x) = x / 255, flattened, channel by channel.
    Reference: Moser, Raue, Hees and Dengel, Less is More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022,
    arXiv:2203.06905, sections 3.2.2 and 3.3.2.
    Differs from the paper: nothing known; its code standardises each dimension, which is an option of ``km-or``.

    Attributes:
        batch_size: Images a step; without effect on the numbers.

    Shape: images [n, H, W, C] -> features float32 [n, C H W], 0 to 1.
    Raises: CheckpointError for images of another shape than those that it was prepared for.

    Example:
        >>> Pixels().columns
        ('features',)
    """

    name: ClassVar[str] = "pixels"
    columns: ClassVar[tuple[str, ...]] = (FEATURES,)

    batch_size: Annotated[int, Field(ge=1)] = 512

    @property
    def takes_given_weights(self) -> bool:
        """True: there is no model to train."""
        return True

    def adopt(self, images: ImageSet, folder: Path) -> None:
        """Note the shape of the images."""
        write_json(folder / _NOTE, {"scorer": self.name, "image_shape": list(images.image_shape)})

    def train(
        self, train: ImageSet, test: ImageSet, folder: Path, *, seed: int, compute: ComputeOptions, tracker: Tracker
    ) -> Mapping[str, Any]:
        """Note the shape of the images; there are no figures."""
        del test, seed, compute, tracker
        self.adopt(train, folder)
        return {}

    def score(self, images: ImageSet, folder: Path, *, compute: ComputeOptions, tracker: Tracker) -> ExampleTable:
        """Copy the pixels, block by block."""
        import torch

        from nasbench.scorers.classifier import normalised
        from nasbench.scorers.inference import score_set
        from nasbench.training.determinism import device_of

        del tracker
        self._check(images, folder)
        channels, height, width = images.image_shape
        values = score_set(
            torch.nn.Identity(),
            normalised(images, (0.0,) * channels, (1.0,) * channels),
            lambda pixels, _inputs, _labels: pixels.flatten(1),
            batch_size=self.batch_size,
            device=device_of(compute.device),
            width=channels * height * width,
            dtype=np.float32,
            checkpoint=compute.checkpoint,
            identity={"scorer": self.name},
            description=self.name,
        )
        labels = np.array(images.labels, dtype=np.int64)
        return ExampleTable(dataset=images.fingerprint, labels=labels, ids=images.ids, features=values)

    def _check(self, images: ImageSet, folder: Path) -> None:
        try:
            note = read_json(folder / _NOTE)
        except FileReadError as error:
            raise CheckpointError(f"{folder} was not made by the scorer 'pixels' ({error}). Train it first.") from error
        if note != {"scorer": self.name, "image_shape": list(images.image_shape)}:
            raise CheckpointError(
                f"{folder} is of {note.get('scorer', 'another scorer')} and images of shape {note.get('image_shape')}; "
                f"these have shape {list(images.image_shape)}. Train on these images."
            )
