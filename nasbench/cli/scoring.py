"""Run a scorer outside the pipeline: train into a folder that a later run takes up again, then score."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench import __version__
from nasbench.cli.options import settings_of
from nasbench.config.component import fields_of
from nasbench.core.errors import ConfigError, nearest
from nasbench.core.files import read_json, write_json

if TYPE_CHECKING:
    from nasbench.core.table import ExampleTable
    from nasbench.datasets.base import ImageSet
    from nasbench.scorers.base import ExampleScorer

STATE = "scoring.json"
_CHECKPOINT = "checkpoint.pt"


def divide(pairs: Sequence[str], scorer: Any, dataset: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of the scorer and of the dataset out of what ``--set`` gave.

    Args:
        pairs: ``FIELD=VALUE`` as typed.
        scorer: The scorer's class.
        dataset: The dataset's class.

    Raises:
        ConfigError: A field is of neither, or of both.
    """
    given = settings_of(pairs)
    ours, theirs = ({field.name for field in dataclasses.fields(cls)} for cls in (scorer, dataset))
    for name in given:
        if name not in ours | theirs:
            raise ConfigError(
                f"--set {name}: unknown key. Known to the scorer {scorer.name!r}: {', '.join(sorted(ours))}; to the "
                f"dataset {dataset.name!r}: {', '.join(sorted(theirs)) or 'none'}.{nearest(name, ours | theirs)}"
            )
        if name in ours & theirs:
            raise ConfigError(
                f"--set {name}: the scorer {scorer.name!r} and the dataset {dataset.name!r} both have it. Give it with "
                f"--scorer-set or with --dataset-set."
            )
    of_scorer = {name: value for name, value in given.items() if name in ours}
    return of_scorer, {name: value for name, value in given.items() if name in theirs}


def merged_recipe(scorer: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scorer's own recipe with some of its keys replaced.

    Args:
        scorer: The scorer's class.
        given: Keys of a recipe; a mapping (``augmentation``) replaces its own keys only.

    Raises:
        ConfigError: The scorer has no recipe.
    """
    own = next((field.default for field in dataclasses.fields(scorer) if field.name == "recipe"), None)
    if own is None:
        raise ConfigError(f"--recipe has no effect: the scorer {scorer.name!r} has no recipe. Leave it out.")
    plain = fields_of(own)
    for name, value in given.items():
        inner = plain.get(name)
        plain[name] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return plain


@contextmanager
def scored(
    scorer: ExampleScorer,
    images: ImageSet,
    load_test: Callable[[], ImageSet],
    folder: Path | None,
    *,
    seed: int,
    device: str,
    amp: bool = False,
) -> Iterator[ExampleTable]:
    """Train what the scorer needs, unless its folder holds it already, and yield the images' scores.

    What an interrupted scoring has done so far is deleted when the block ends well: store the table in it.

    Args:
        scorer: Any registered scorer.
        images: What is scored, and trained on where no weights are given.
        load_test: Loads the test split; called only before a training.
        folder: Where model and checkpoint stand, so that an interrupted run goes on with the same result; None
            keeps nothing.
        seed: Of the training.
        device: ``cpu`` or ``cuda``.
        amp: bfloat16 on CUDA while training.

    Raises:
        ConfigError: The folder is of another scorer, seed or dataset.
        CheckpointError: The weights or the checkpoint cannot be used.
        ScoreError: A score is not finite.
    """
    from nasbench.scorers.base import ComputeOptions
    from nasbench.scorers.partial import discard
    from nasbench.tracking.tracker import NullTracker

    with ExitStack() as stack:
        place = folder if folder is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        if scorer.takes_given_weights:
            scorer.adopt(images, place)
        else:
            _train_once(scorer, images, load_test, place, seed, device, amp)
        checkpoint = place / _CHECKPOINT if folder is not None else None
        compute = ComputeOptions(device=device, checkpoint=checkpoint)
        yield scorer.score(images, place, compute=compute, tracker=NullTracker())
        if checkpoint is not None:
            discard(checkpoint)


def _train_once(
    scorer: ExampleScorer,
    images: ImageSet,
    load_test: Callable[[], ImageSet],
    folder: Path,
    seed: int,
    device: str,
    amp: bool,
) -> None:
    from nasbench.scorers.base import ComputeOptions
    from nasbench.tracking.tracker import NullTracker

    work = {
        "scorer": scorer.name, "fields": fields_of(scorer), "seed": seed, "dataset": images.fingerprint,
        "version": __version__,
    }  # fmt: skip
    state = folder / STATE
    if state.exists():
        found = read_json(state)
        _check_same(folder, work, found)
        if found.get("finished") is True:
            return
    write_json(state, {**work, "finished": False})
    compute = ComputeOptions(device=device, amp=amp, checkpoint=folder / _CHECKPOINT)
    scorer.train(images, load_test(), folder, seed=seed, compute=compute, tracker=NullTracker())
    write_json(state, {**work, "finished": True})
    (folder / _CHECKPOINT).unlink(missing_ok=True)


def _check_same(folder: Path, work: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name, value in work.items():
        if found.get(name) != value:
            raise ConfigError(
                f"{folder} holds the work of another scoring: {name} is {found.get(name)!r} there and {value!r} here. "
                f"Give another --folder, or delete it."
            )
