"""What a search for the smallest proxy is given: candidates with their ranges, the margin, and how to measure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from nasbench.config.component import component, fields_of, parse
from nasbench.core.errors import ConfigError
from nasbench.searchers import SEARCHERS
from nasbench.searchers.base import Searcher
from nasbench.selectors import SELECTORS
from nasbench.spaces import SPACES
from nasbench.spaces.base import SearchSpace
from nasbench.training.recipe import Augmentation, Recipe

Choice = bool | int | float | str
Seed = Annotated[int, Field(ge=0)]


@component
class Span:
    """A range of numbers; of whole ones where both ends are written as whole numbers.

    Attributes:
        low: Least value.
        high: Largest value, above the least.
        log: Draw evenly from the logarithm; both ends must be above 0.
    """

    low: int | float
    high: int | float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"low {self.low} must lie below high {self.high}.")
        if self.log and self.low <= 0:
            raise ConfigError(f"low {self.low} has no logarithm; it must be above 0 with log: true.")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@component
class NetworkSize:
    """How large a network is built around a cell.

    Attributes:
        num_cells: L.
        channels: C of the first cells.
        stem: ``cifar`` or ``imagenet``.
    """

    num_cells: Annotated[int, Field(ge=3)] = 3
    channels: Annotated[int, Field(ge=1)] = 4
    stem: Literal["cifar", "imagenet"] = "cifar"


def _default_selectors() -> dict[str, dict[str, Any]]:
    return {
        "entropy-tails-p1": {"bin_width": {"low": 0.1, "high": 1.0, "log": True}},
        "entropy-tails-deterministic": {"low_entropy_ratio": {"low": 0.5, "high": 0.95}},
        "random": {},
    }


@component
class TuningSettings:
    """A search for the smallest proxy; every default is meant for the embedded digits.

    Attributes:
        selectors: Name of a selector -> its fields to search: a range (``low``, ``high``, ``log``) or a list of
            choices. A field that is not named keeps its default.
        fraction: Range of the proxy's fraction r.
        margin: Top-1 that may be lost against the whole set, in [0, 1].
        seeds: One selection, search and training from scratch each; what counts is the mean of their Top-1.
        headroom: A trial is stopped when even seeds that reach the whole set's best Top-1 plus this could not bring
            its mean to the margin. 1 stops only what cannot be saved at all.
        trials: How many in all, over all workers and resumptions; those that failed are run again.
        seed: Of the sampler.
        start: Points that the first trials take: ``selector``, ``fraction``, and fields of that selector.
        space: Search space.
        searcher: Search algorithm.
        searcher_options: Its fields.
        supernet: Size of the supernet.
        augmentation: Random transforms in the search.
        augment: Size of the network that is trained from scratch.
        recipe: How it is trained.
    """

    selectors: dict[str, dict[str, Any]] = field(default_factory=_default_selectors)
    fraction: Span = Span(low=0.05, high=0.5, log=True)
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.01
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    headroom: Annotated[float, Field(ge=0, le=1)] = 0.02
    trials: Annotated[int, Field(ge=1)] = 20
    seed: Seed = 0
    start: tuple[dict[str, Any], ...] = ()
    space: str = "darts"
    searcher: str = "darts"
    searcher_options: dict[str, Any] = field(
        default_factory=lambda: {
            "epochs": 3, "batch_size": 64, "alpha_learning_rate": 3e-3, "adapt_batch_size": True,
        }
    )  # fmt: skip
    supernet: NetworkSize = NetworkSize()
    augmentation: Augmentation = Augmentation(crop_padding=1, flip=False)
    augment: NetworkSize = NetworkSize(channels=6)
    recipe: Recipe = Recipe(
        epochs=3, batch_size=64, learning_rate=0.05, augmentation=Augmentation(crop_padding=1, flip=False)
    )

    def __post_init__(self) -> None:
        if not self.selectors:
            raise ConfigError("selectors: is empty; name at least one selector.")
        if len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds: {list(self.seeds)} names one twice, which would count double.")
        if self.fraction.low <= 0 or self.fraction.high > 1:
            raise ConfigError(
                f"fraction: {self.fraction.low} to {self.fraction.high} must lie above 0 and at most at 1."
            )
        candidates = self.candidates
        for number, point in enumerate(self.start):
            check_start(point, candidates, self.fraction, f"start.{number}")
        self.build_searcher()
        self.build_space()

    @property
    def candidates(self) -> dict[str, dict[str, Span | tuple[Choice, ...]]]:
        """Selector -> field -> range or choices, in the order of their names.

        Raises:
            ConfigError: A selector or field is unknown, or a value is not allowed for it.
        """
        return {name: _ranges(name, self.selectors[name]) for name in sorted(self.selectors)}

    @property
    def identity(self) -> dict[str, Any]:
        """All that a study depends on: everything but the number of trials."""
        return {name: value for name, value in fields_of(self).items() if name != "trials"}

    @property
    def measure_identity(self) -> dict[str, Any]:
        """All that one outcome depends on besides data, proxy and seed."""
        names = ("space", "searcher", "searcher_options", "supernet", "augmentation", "augment", "recipe")
        return {name: value for name, value in fields_of(self).items() if name in names}

    def build_searcher(self) -> Searcher:
        """Return the search algorithm."""
        return parse(SEARCHERS.get(self.searcher, "searcher"), self.searcher_options, "searcher_options")

    def build_space(self) -> SearchSpace:
        """Return the search space."""
        return parse(SPACES.get(self.space, "space"), {})


QUICK: Mapping[str, Any] = {
    "seeds": [0],
    "trials": 3,
    "searcher_options": {"epochs": 1, "batch_size": 64, "alpha_learning_rate": 3e-3, "adapt_batch_size": True},
    "supernet": {"channels": 2},
    "augment": {"channels": 2},
    "recipe": {
        "epochs": 1, "batch_size": 64, "learning_rate": 0.05, "augmentation": {"crop_padding": 1, "flip": False},
    },
}  # fmt: skip
"""Fields of a run that only shows that everything works."""


def _ranges(name: str, fields: Mapping[str, Any]) -> dict[str, Span | tuple[Choice, ...]]:
    cls = SELECTORS.get(name, "selectors")
    found: dict[str, Span | tuple[Choice, ...]] = {}
    for key in sorted(fields):
        where, given = f"selectors.{name}.{key}", fields[key]
        if isinstance(given, Mapping):
            found[key] = parse(Span, given, where)
            ends: tuple[Any, ...] = (given["low"], given["high"])
        elif isinstance(given, list | tuple) and len(given) > 0:
            found[key] = ends = tuple(given)
            if len(set(ends)) != len(ends):
                raise ConfigError(f"{where}: {list(ends)} names a choice twice.")
        else:
            raise ConfigError(
                f"{where}: {given!r} is no range. Write low and high ({{low: 0.1, high: 1.0}}), or a list of choices."
            )
        for end in ends:
            parse(cls, {key: end}, f"selectors.{name}")
    return found


def check_start(
    point: Mapping[str, Any], candidates: Mapping[str, Mapping[str, Any]], fraction: Span, where: str
) -> None:
    """Refuse a starting point that the search could not have drawn.

    Raises:
        ConfigError: Its selector, fraction or a field is missing, unknown or out of range.
    """
    name = point.get("selector")
    if name not in candidates:
        raise ConfigError(f"{where}.selector: {name!r} is not among the candidates: {', '.join(candidates)}.")
    ranges = {"fraction": fraction, **candidates[str(name)]}
    wanted, given = set(ranges), set(point) - {"selector"}
    if wanted != given:
        raise ConfigError(
            f"{where}: has {', '.join(sorted(given)) or 'nothing'}; needed are {', '.join(sorted(wanted))}."
        )
    for key, allowed in ranges.items():
        value = point[key]
        inside = (
            isinstance(value, int | float) and allowed.low <= value <= allowed.high
            if isinstance(allowed, Span)
            else value in allowed
        )
        if not inside:
            raise ConfigError(f"{where}.{key}: {value!r} is not within what is searched: {allowed}.")
