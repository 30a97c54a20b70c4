"""The scorers of the pages about selectors, so small that all of them score the digits in a minute or two."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nasbench.cli.parts import dataset_of, together
from nasbench.cli.scoring import scored

if TYPE_CHECKING:
    from nasbench.core.table import ExampleTable
    from nasbench.datasets.base import ImageSet
    from nasbench.scorers.base import ExampleScorer

_RECIPE: Mapping[str, Any] = {
    "epochs": 5, "batch_size": 64, "learning_rate": 0.1, "weight_decay": 1e-4, "gradient_clip": 0.0,
    "augmentation": {"crop_padding": 1, "flip": False},
}  # fmt: skip
_BACKBONE = "timm:resnet10t"

DIGIT_SCORERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "entropy": {"model": "resnet20", "recipe": _RECIPE},
        "forgetting": {"model": "resnet20", "recipe": {**_RECIPE, "epochs": 10}},
        "features": {"model": "resnet20", "recipe": _RECIPE},
        "reconstruction": {"epochs": 10},
        "transfer-loss": {
            "backbone": _BACKBONE,
            "recipe": {
                "epochs": 10, "batch_size": 64, "learning_rate": 0.01, "weight_decay": 3e-4, "gradient_clip": 0.0,
                "augmentation": {"crop_padding": 0, "flip": False},
            },
        },
    }
)  # fmt: skip
"""Scorer -> its fields."""

TELLS: Mapping[str, str] = MappingProxyType(
    {
        "entropy": "Entropies are those of a ResNet-20 trained for 5 epochs on the digits.",
        "forgetting": "Forgetting events are those of a ResNet-20 in 10 epochs of training.",
        "features": "Features are those of a ResNet-20 trained for 5 epochs on the digits.",
        "reconstruction": "Losses are those of an autoencoder trained for 10 epochs on the digits.",
        "transfer-loss": (
            "Losses are those of a head trained for 10 epochs on a ResNet-10 whose weights are random, not those of "
            "ImageNet, which this page does not fetch: the picture shows the mechanism only."
        ),
    }
)
"""Scorer -> what a page says of it."""


def scorer_of(name: str, folder: Path) -> ExampleScorer:
    """Return a scorer of `DIGIT_SCORERS`; one that transfers gets its random weights in the folder."""
    from nasbench.config.component import parse
    from nasbench.scorers import SCORERS

    fields = dict(DIGIT_SCORERS[name])
    if name == "transfer-loss":
        fields["weights"] = str(_random_backbone(folder / "backbone.pt"))
    return parse(SCORERS.get(name), fields, name)


def score_digits(
    images: ImageSet, needs: set[str], folder: Path | None, *, seed: int
) -> tuple[ExampleTable, dict[str, str]]:
    """Run the scorers that make the columns needed.

    Args:
        images: Training split of the digits.
        needs: Columns, and ``"features"``.
        folder: Where the models are kept and taken from; None keeps none.
        seed: Of the trainings.

    Returns:
        The table, and column -> a sentence on how it was made.
    """
    import tempfile

    from nasbench.scorers import SCORERS
    from nasbench.training.determinism import configure

    configure(1)
    tables: list[ExampleTable] = []
    how: dict[str, str] = {}
    with ExitStack() as stack:
        base = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in DIGIT_SCORERS:
            columns = SCORERS.get(name).columns
            if needs & set(columns):
                place = base / name
                place.mkdir(parents=True, exist_ok=True)
                scorer = scorer_of(name, place)
                tables.append(stack.enter_context(scored(scorer, images, _test_digits, place, seed=seed, device="cpu")))
                how |= dict.fromkeys(columns, TELLS[name])
        return together(tables, images), how


def _test_digits() -> ImageSet:
    return dataset_of("digits", ()).load("test", root=Path())


def _random_backbone(file: Path) -> Path:
    """Write the untrained weights of the small backbone, always the same."""
    import torch

    from nasbench.models.zoo import create
    from nasbench.training.determinism import seeded

    if not file.exists():
        with seeded(0):
            state = create(_BACKBONE, 2, 3).state_dict()
        torch.save(state, file)
    return file
