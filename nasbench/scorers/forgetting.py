"""How often each example is forgotten while a network is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nasbench.config.component import component
from nasbench.core.seeding import derive_seed
from nasbench.core.table import ExampleTable
from nasbench.datasets.base import ImageSet
from nasbench.models.zoo import check_name
from nasbench.scorers import SCORERS
from nasbench.scorers.base import ComputeOptions, ExampleScorer
from nasbench.scorers.trained import CLASSIC, check_recipe
from nasbench.tracking.tracker import Tracker
from nasbench.training.recipe import Recipe


@SCORERS.register
@component
class Forgetting(ExampleScorer):
    """Forgetting events of every training example in a training from scratch: many where it is hard.

    Formula: T_i = #{t : acc_i^t = 1 and acc_i^{t+1} = 0} over consecutive presentations t of example i, where acc_i^t
    says whether the network, before the step's update, classifies it as its label; acc_i^0 = 0.
    Reference: Toneva, Sordoni, Tachet des Combes, Trischler, Bengio and Gordon, "An empirical study of example
    forgetting during deep neural network learning", ICLR 2019, arXiv:1812.05159, section 3 and algorithm 1; asked for
    by Na et al., IJCAI 2021, arXiv:2106.04784, section 3.1, with a ResNet-20.
    Differs from the paper: it counts an example that was never classified correctly as forgotten infinitely often;
    columns are finite, so here it gets epochs + 1, which no count reaches (E presentations have at most E / 2 events).
    It trains on CIFAR-10 with other networks than a ResNet-20, for 200 epochs as the default here.

    An example is presented once an epoch, as the training sees it: augmented, in training mode.

    Attributes:
        model: ``resnet20``, ``resnet32``, ``resnet44``, ``resnet56``, ``resnet110``, or ``timm:NAME``; from scratch.
        recipe: How to train; He et al.'s for CIFAR-10 by default.

    Shape: images [n, H, W, C] -> columns ``forgetting_events`` and ``first_learned`` float64 [n]: 0 to E / 2, or E + 1;
        and the first epoch, from 0, in which the example was classified correctly, or E.
    Raises: ConfigError for a model or recipe that cannot be; CheckpointError where the counts of the folder are
        absent, altered, or of other images; TrainingError for a loss that is not finite.

    Example:
        >>> Forgetting().recipe.epochs
        200
    """

    name: ClassVar[str] = "forgetting"
    columns: ClassVar[tuple[str, ...]] = ("forgetting_events", "first_learned")

    model: str = "resnet20"
    recipe: Recipe = CLASSIC

    def __post_init__(self) -> None:
        check_name(self.model)
        check_recipe(self.model, self.recipe)

    def train(
        self, train: ImageSet, test: ImageSet, folder: Path, *, seed: int, compute: ComputeOptions, tracker: Tracker
    ) -> Mapping[str, Any]:
        """Train from scratch and count; write ``forgetting.npy`` and ``forgetting.json``.

        Returns:
            ``top1`` and ``best_top1`` on the test split, ``parameters``, ``macs``, ``seconds``,
            ``peak_memory_bytes``, ``mean_forgetting_events`` (of examples that were ever learned),
            ``num_never_learned`` and ``num_unforgettable`` (learned and never forgotten).
        """
        from nasbench.scorers.classifier import build
        from nasbench.scorers.presentations import Presentations, save_counts
        from nasbench.training.trainer import fit

        counts = Presentations(len(train), self.recipe.epochs)
        start = derive_seed(seed, self.name, "weights")
        model, _ = build(self.model, train.image_shape, train.num_classes, seed=start)
        result = fit(
            model,
            train,
            test,
            self.recipe,
            seed=derive_seed(seed, self.name, "training"),
            device=compute.device,
            amp=compute.amp,
            checkpoint=compute.checkpoint,
            tracker=tracker,
            description=f"training {self.model}",
            identity={"model": self.model, "counts": self.name},
            hook=counts,
        )
        save_counts(folder, counts, dataset=train.fingerprint, model=self.model)
        names = ("top1", "best_top1", "parameters", "macs", "seconds", "peak_memory_bytes")
        return {**{name: getattr(result, name) for name in names}, **counts.summary()}

    def score(self, images: ImageSet, folder: Path, *, compute: ComputeOptions, tracker: Tracker) -> ExampleTable:
        """Return what was counted while the images were trained on."""
        from nasbench.scorers.presentations import load_counts

        del compute  # nothing is left to compute
        events, first, model = load_counts(folder, images)
        tracker.tag("scorer.model", model)
        return ExampleTable(
            dataset=images.fingerprint,
            labels=np.array(images.labels, dtype=np.int64),
            columns={"forgetting_events": events, "first_learned": first},
            ids=images.ids,
        )

    def summary(self, table: ExampleTable) -> dict[str, Any]:
        """Return the means over the examples that were ever learned, and how many never were."""
        learned = table.columns["first_learned"] < self.recipe.epochs
        means = {f"{name}_mean": float(table.columns[name][learned].mean()) for name in self.columns if learned.any()}
        return {**means, "num_never_learned": int((~learned).sum())}
