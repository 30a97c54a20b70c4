"""The schema of params.yaml. Every stage checks the whole file before it does any work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from nasbench.config.component import component, parse
from nasbench.config.load import load_yaml
from nasbench.core.registry import Registry
from nasbench.datasets import DATASETS, DatasetSpec
from nasbench.scorers import SCORERS, ExampleScorer
from nasbench.searchers import SEARCHERS, Searcher
from nasbench.selectors import SELECTORS, ProxySelector
from nasbench.spaces import SPACES, SearchSpace
from nasbench.tracking.gate import Gate
from nasbench.training.recipe import Augmentation, Recipe
from pipelines.checks import check, section, with_presets

T = TypeVar("T")
Options = dict[str, Any]


@component
class Compute:
    """Where stages compute. The number of threads changes the last bits of results, so it is a parameter.

    Attributes:
        threads: Threads of one stage; stages side by side (``make repro JOBS=2``) use as many each.
        device: ``auto`` takes CUDA where there is one.
        amp: Mixed precision (bfloat16) while training discrete networks; CUDA only.
        kernels: ``compiled`` computes supernets and cells on a CPU by the kernels that are built with the package: the
            same function in about half the time, with other last digits. Where they were not built, a warning says so.
    """

    threads: Annotated[int, Field(ge=1, le=256)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    amp: bool = False
    kernels: Literal["pytorch", "compiled"] = "pytorch"


@component
class Data:
    """A dataset by name.

    Attributes:
        dataset: Registered name.
        name: What it is called in tables and tags; empty: the registered name. Two image folders need two names.
        root: Folder of its files, relative to params.yaml; embedded datasets have none.
        download: Fetch absent files.
        options: Fields of the dataset.
    """

    dataset: str
    name: str = ""
    root: str = "data"
    download: bool = False
    options: Options = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name for tables and tags."""
        return self.name or self.dataset


@component
class Scorer:
    """A scorer by name, with its seed and fields."""

    scorer: str
    seed: Annotated[int, Field(ge=0)] = 0
    options: Options = Field(default_factory=dict)


@component
class Proxy:
    """A proxy: which selector takes how much of which table.

    ``preset: NAME`` in it takes one of NASTransfer's proxies (Table 1); the other keys override its fields.

    Attributes:
        selector: Registered name.
        table: ``data/source`` (labels only) or ``scores/<scorer>``.
        fraction: Share r of the n examples that the selector can choose from, k = floor(r n).
        size: Or k itself. Exactly one of the two; neither for ``whole``, and at most one for those that choose classes.
        seed: Of the selection.
        options: Fields of the selector.
    """

    selector: str
    table: str
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    size: Annotated[int, Field(ge=2)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    options: Options = Field(default_factory=dict)


@component
class SpaceSection:
    """A search space by name."""

    space: str = "darts"
    options: Options = Field(default_factory=dict)


@component
class Supernet:
    """Size of the supernet and transforms of the images that it sees.

    ``recompute: true`` takes less memory and more time, with the same numbers.
    """

    num_cells: Annotated[int, Field(ge=3)]
    channels: Annotated[int, Field(ge=1)]
    stem: Literal["cifar", "imagenet"] = "cifar"
    augmentation: Augmentation = Augmentation()
    recompute: bool = False


@component
class SearcherSection:
    """A searcher by name, with its fields.

    ``preset: NAME`` in it takes the published fields for a space or dataset; other options override it one by one.
    """

    searcher: str
    options: Options = Field(default_factory=dict)


@component
class SearchMatrix:
    """What is searched: every proxy with every searcher and every seed."""

    proxies: tuple[str, ...]
    searchers: tuple[str, ...]
    seeds: tuple[Annotated[int, Field(ge=0)], ...]


@component
class Baseline:
    """Randomly sampled cells, the reference of relative improvement.

    Attributes:
        cells: Their numbers, 0 to N-1.
        seed: Of the sampling.
    """

    cells: tuple[int, ...]
    seed: Annotated[int, Field(ge=0)] = 0


@component
class Augment:
    """How cells are trained from scratch (augmented), and how often.

    Attributes:
        num_cells: L of the discrete network.
        channels: C of its first cells.
        stem: ``cifar`` or ``imagenet``.
        seeds: One training a seed.
        recipe: The training recipe; ``preset: NAME`` in it takes a paper's protocol, other keys override its fields.
    """

    num_cells: Annotated[int, Field(ge=3)]
    channels: Annotated[int, Field(ge=1)]
    seeds: tuple[Annotated[int, Field(ge=0)], ...]
    stem: Literal["cifar", "imagenet"] = "cifar"
    recipe: Recipe = Recipe()


@component
class Transfer(Augment):
    """How the champion, and the random cells, are trained on the target."""


@component
class Promotion:
    """What goes to the target.

    Attributes:
        if_refused: What is transferred where the gate lets nothing of this run pass: the ``champion`` of an earlier
            run that the registry holds for this source and space (nothing where there is none), the ``best``
            candidate of this run, for the record only, or ``nothing``.
    """

    if_refused: Literal["champion", "best", "nothing"] = "champion"


@component
class Comparison:
    """Bootstrap of the relative improvement."""

    resamples: Annotated[int, Field(ge=100)] = 10_000
    seed: Annotated[int, Field(ge=0)] = 0


@component
class Params:
    """The whole of params.yaml.

    Attributes:
        study: Name of the study, and of its MLflow experiment.
        repository: Folder of the code, relative to params.yaml; dvc.yaml builds its code dependencies from it.
    """

    study: str
    repository: str
    compute: Compute
    source: Data
    target: Data
    scorers: dict[str, Scorer]
    proxies: dict[str, Proxy]
    space: SpaceSection
    supernet: Supernet
    searchers: dict[str, SearcherSection]
    search: SearchMatrix
    baseline: Baseline
    augment: Augment
    comparison: Comparison
    gate: Gate
    promotion: Promotion
    transfer: Transfer

    def dataset(self, role: str) -> DatasetSpec:
        """Return the dataset of ``source`` or ``target``."""
        section = self.source if role == "source" else self.target
        return _build(DATASETS, section.dataset, section.options, f"{role}.dataset", f"{role}.options")

    def scorer(self, name: str) -> ExampleScorer:
        """Return the scorer of a section of ``scorers``."""
        chosen = section(self.scorers, name, "scorers")
        return _build(SCORERS, chosen.scorer, chosen.options, f"scorers.{name}.scorer", f"scorers.{name}.options")

    def selector(self, name: str) -> ProxySelector:
        """Return the selector of a section of ``proxies``."""
        chosen = section(self.proxies, name, "proxies")
        return _build(SELECTORS, chosen.selector, chosen.options, f"proxies.{name}.selector", f"proxies.{name}.options")

    def searcher(self, name: str) -> Searcher:
        """Return the searcher of a section of ``searchers``."""
        chosen = section(self.searchers, name, "searchers")
        return _build(
            SEARCHERS, chosen.searcher, chosen.options, f"searchers.{name}.searcher", f"searchers.{name}.options"
        )

    def search_space(self) -> SearchSpace:
        """Return the search space."""
        return _build(SPACES, self.space.space, self.space.options, "space.space", "space.options")

    @property
    def arms(self) -> tuple[tuple[str, str], ...]:
        """Every (proxy, searcher) that is compared, in the order of the matrix."""
        return tuple((proxy, searcher) for proxy in self.search.proxies for searcher in self.search.searchers)


def _build(registry: Registry[T], name: str, options: Options, where: str, where_options: str) -> T:
    return parse(registry.get(name, where), options, where_options)


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml, every component's options included.

    Raises:
        ConfigError: Names the key's path, the value seen, what is allowed, and the nearest correct name.
    """
    params = parse(Params, with_presets(load_yaml(path), ""))
    check(params)
    return params
