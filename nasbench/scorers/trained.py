"""What the scorers that ask one classifier share: to train it, or to take given weights."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ConfigError
from nasbench.core.seeding import derive_seed
from nasbench.datasets.base import ImageSet
from nasbench.models.zoo import RESNETS, check_name
from nasbench.scorers.base import ComputeOptions, ExampleScorer
from nasbench.tracking.tracker import Tracker
from nasbench.training.recipe import Augmentation, Recipe

if TYPE_CHECKING:
    from torch import nn

    from nasbench.models.state_dict import ModelFile
    from nasbench.training.cost import Cost

CLASSIC = Recipe(
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    weight_decay=1e-4,
    gradient_clip=0.0,
    augmentation=Augmentation(crop_padding=4, flip=True),
)
"""He et al. 2016, section 4.2, with a cosine over 200 epochs instead of two steps over 164."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def check_recipe(model: str, recipe: Recipe) -> None:
    """Refuse what a classifier's training cannot do.

    Raises:
        ConfigError: Drop path or an auxiliary head is asked for.
    """
    if recipe.drop_path or recipe.auxiliary_weight:
        raise ConfigError(
            f"recipe: {model!r} has no paths to drop (drop_path {recipe.drop_path}) and no auxiliary "
            f"head (auxiliary_weight {recipe.auxiliary_weight}); set both to 0."
        )


@component
class ClassifierScorer(ExampleScorer):
    """Has a classifier, trained or given.

    Attributes:
        model: ``resnet20``, ``resnet32``, ``resnet44``, ``resnet56``, ``resnet110``, or ``timm:NAME``.
        weights: A weights file (a state dict of PyTorch, or safetensors) to use instead of training, or None to train.
        pretrained: Begin with timm's published weights and a new head; needs a ``timm:`` model, and a network
            where they are not cached.
        recipe: How to train; He et al.'s for CIFAR-10 by default. Leave it out where weights are given.
        batch_size: Images a step while scoring; more than a processor's cache holds makes it slower.
        precision: Of the network's arithmetic while scoring: ``float32``, the arithmetic of a plain evaluation;
            ``float32-folded``, with batch normalisations folded into the convolutions before them, which is faster
            and moves log10 of entropies by about 1e-5 at most; ``bfloat16``, folded too, faster still where the
            processor has it, and moves them by 0.1 and more, so that some images change their bin of the histogram.
            `benchmarks.entropy_scoring` measures both.
        input_mean: What inputs are normalised by, per channel, of images scaled to [0, 1]. None takes what stands
            in the weights file (files of this project have it); else, where the weights come from others (a bare
            state dict, or pretrained) and images have 3 channels, ImageNet's 0.485 0.456 0.406, the usual
            convention; else the dataset's own.
        input_std: Likewise (0.229 0.224 0.225); given together with input_mean.
    """

    model: str = "resnet20"
    weights: Annotated[str, Field(min_length=1)] | None = None
    pretrained: bool = False
    recipe: Recipe = CLASSIC
    batch_size: Annotated[int, Field(ge=1)] = 64
    precision: Literal["float32", "float32-folded", "bfloat16"] = "float32"
    input_mean: tuple[float, ...] | None = None
    input_std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_name(self.model)
        if self.pretrained and (self.model in RESNETS or self.weights is not None):
            raise ConfigError(
                f"pretrained has no effect with model {self.model!r} and weights {self.weights!r}: it is for timm:NAME "
                f"models without a weights file. Leave it out."
            )
        if self.weights is not None and self.recipe != CLASSIC:
            raise ConfigError(f"recipe has no effect where weights are given ({self.weights}); leave out one of both.")
        check_recipe(self.model, self.recipe)
        if (self.input_mean is None) != (self.input_std is None):
            raise ConfigError("input_mean and input_std belong together; give both or neither.")
        if self.input_std is not None and not all(0 < value < math.inf for value in self.input_std):
            raise ConfigError(f"input_std: {self.input_std} is not allowed; every number must be above 0.")

    @property
    def takes_given_weights(self) -> bool:
        """Whether weights are given."""
        return self.weights is not None

    def train(
        self, train: ImageSet, test: ImageSet, folder: Path, *, seed: int, compute: ComputeOptions, tracker: Tracker
    ) -> Mapping[str, Any]:
        """Train the classifier, or take the given weights; write ``weights.pt`` and ``model.json``.

        Returns:
            ``top1`` on the test split, ``parameters``, ``macs``, ``seconds``, ``peak_memory_bytes``, and after a
            training ``best_top1``.
        """
        from nasbench.scorers.stored import DESCRIPTION

        metrics = (
            self._fit(train, test, folder, seed, compute, tracker)
            if self.weights is None
            else self._take(train, test, folder, compute)
        )
        tracker.log_artifact(folder / DESCRIPTION, "scorer")
        return metrics

    def adopt(self, images: ImageSet, folder: Path) -> None:
        """Write the given weights into a folder for `score`, without measuring their accuracy.

        A residual network may have been trained for more classes than the images have: its entropy is as good.

        Args:
            images: What will be scored.
            folder: An existing folder.

        Raises:
            ConfigError: No weights are given.
            CheckpointError: They cannot be read or do not fit.
        """
        file = self._file()
        head = file.state.get("linear.weight") if self.model in RESNETS else None
        num_classes = images.num_classes if head is None or head.ndim != 2 else max(images.num_classes, len(head))
        model, _ = self._given(file, images, num_classes)
        mean, std = self._statistics(file, images)
        self._save(folder, model, images, num_classes, mean, std)

    def _fit(
        self, train: ImageSet, test: ImageSet, folder: Path, seed: int, compute: ComputeOptions, tracker: Tracker
    ) -> dict[str, Any]:
        from nasbench.scorers.classifier import build, normalised
        from nasbench.training.trainer import fit

        if self.input_mean is not None and self.input_std is not None:
            mean, std = self.input_mean, self.input_std
        else:
            mean, std = _foreign_statistics(train) if self.pretrained else (train.mean, train.std)
        inputs = normalised(train, mean, std)
        start = derive_seed(seed, self.name, "weights")
        model, _ = build(self.model, train.image_shape, train.num_classes, seed=start, pretrained=self.pretrained)
        result = fit(
            model,
            inputs,
            normalised(test, mean, std),
            self.recipe,
            seed=derive_seed(seed, self.name, "training"),
            device=compute.device,
            amp=compute.amp,
            checkpoint=compute.checkpoint,
            tracker=tracker,
            description=f"training {self.model}",
            identity={"model": self.model, "input_mean": list(mean), "input_std": list(std)},
        )
        self._save(folder, model, train, train.num_classes, mean, std, top1=result.top1)
        names = ("top1", "best_top1", "parameters", "macs", "seconds", "peak_memory_bytes")
        return {name: getattr(result, name) for name in names}

    def _take(self, train: ImageSet, test: ImageSet, folder: Path, compute: ComputeOptions) -> dict[str, Any]:
        from nasbench.scorers.classifier import normalised
        from nasbench.scorers.logits import top1
        from nasbench.training.determinism import device_of
        from nasbench.training.metrics import peak_memory_bytes

        started = time.perf_counter()
        place = device_of(compute.device)
        file = self._file()
        model, cost = self._given(file, train, train.num_classes)
        mean, std = self._statistics(file, train)
        accuracy = top1(model, normalised(test, mean, std), batch_size=self.batch_size, device=place)
        self._save(folder, model, train, train.num_classes, mean, std, top1=accuracy)
        return {
            "top1": accuracy,
            "parameters": cost.parameters,
            "macs": cost.macs,
            "seconds": time.perf_counter() - started,
            "peak_memory_bytes": peak_memory_bytes(place),
        }

    def _file(self) -> ModelFile:
        from nasbench.models.state_dict import read_model_file

        if self.weights is None:
            raise ConfigError("weights: a weights file is needed here; give one, or train on a train and a test split.")
        return read_model_file(self.weights)

    def _given(self, file: ModelFile, images: ImageSet, num_classes: int) -> tuple[nn.Module, Cost]:
        """Build the model with the given weights; returns it and its cost."""
        from nasbench.models.state_dict import fit_state_dict
        from nasbench.scorers.classifier import build

        model, cost = build(self.model, images.image_shape, num_classes)
        fit_state_dict(model, file.state)
        return model, cost

    def _statistics(self, file: ModelFile, images: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and std that the given weights' inputs are normalised by."""
        from nasbench.scorers.classifier import normalised

        mean, std = _foreign_statistics(images)
        if file.input_mean is not None and file.input_std is not None:
            mean, std = file.input_mean, file.input_std
        if self.input_mean is not None and self.input_std is not None:
            mean, std = self.input_mean, self.input_std
        normalised(images, mean, std)  # refuses another number of channels before anything is written
        return mean, std

    def _save(
        self,
        folder: Path,
        model: nn.Module,
        images: ImageSet,
        num_classes: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        top1: float | None = None,
    ) -> None:
        from nasbench.scorers.classifier import Classifier, save_classifier

        description = Classifier(
            model=self.model,
            num_classes=num_classes,
            image_shape=images.image_shape,
            input_mean=mean,
            input_std=std,
            dataset=images.fingerprint,
            top1=top1,
        )
        save_classifier(folder, model, description)


def _foreign_statistics(images: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what weights of unknown origin were most likely trained with."""
    return (IMAGENET_MEAN, IMAGENET_STD) if images.image_shape[0] == 3 else (images.mean, images.std)
