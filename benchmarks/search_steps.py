"""Whole search steps: the product's own loop, and the plain search that does the same.

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]``; nothing runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.network_steps import NUM_CLASSES, Size, in_memory, starting_alphas
from benchmarks.plain_nas_bench_201 import PlainNasBench201
from benchmarks.plain_search import (
    PlainDarts,
    PlainGdas,
    PlainPcDarts,
    PlainSdarts,
    PlainSecondOrder,
    PlainSgas,
    Start,
)
from benchmarks.plain_supernet import PlainSupernet, choices_of
from nasbench.core.seeding import generator
from nasbench.datasets.base import ImageSet
from nasbench.searchers.base import SearchTask
from nasbench.searchers.bilevel import _Search
from nasbench.searchers.darts import Darts as DartsSearch
from nasbench.searchers.gdas import Gdas
from nasbench.searchers.gdas_strategy import GdasStrategy
from nasbench.searchers.hypergradient import second_order
from nasbench.searchers.pc_darts import PcDarts
from nasbench.searchers.pc_darts_strategy import PartialChannels
from nasbench.searchers.sdarts_rs import SdartsRs
from nasbench.searchers.sdarts_rs_strategy import RandomSmoothing
from nasbench.searchers.search_state import SearchState
from nasbench.searchers.settings import BilevelSettings
from nasbench.searchers.sgas import Sgas
from nasbench.searchers.sgas_scores import Decided
from nasbench.searchers.sgas_strategy import SgasStrategy
from nasbench.searchers.strategy import Moment, Strategy
from nasbench.spaces.base import SearchSpace
from nasbench.spaces.darts import Darts
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.training.determinism import seeded
from nasbench.training.metrics import Average
from nasbench.training.recipe import Augmentation

PC_DARTS, SGAS = "PC-DARTS (K=4)", "SGAS (half decided)"
PARTIAL = 4
RADIUS = 0.15  # of SDARTS's noise, half of its largest
DECISIONS = 4  # of SGAS's eight a cell
TEMPERATURE = 1.0
EPOCHS = 50
SAMPLES = 2  # steps of GDAS in one call, each with two samples of its own

PlainBuilder = Callable[[Start], PlainDarts]


@dataclass(frozen=True, kw_only=True)
class Search:
    """One searcher on both sides.

    Attributes:
        name: Of the method.
        size: Of the supernet and its batches.
        space: Where it searches.
        settings: The product's searcher.
        strategy: Builds what makes it.
        plain: Builds the plain search from where it starts.
        partial: K.
        steps: In one call; each draws its random numbers with the same seed on both sides.
    """

    name: str
    size: Size
    space: SearchSpace
    settings: BilevelSettings
    strategy: Callable[[], Strategy]
    plain: PlainBuilder
    partial: int = 1
    steps: int = 1

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.name} step, {self.size}" + (f", {self.steps} steps" if self.steps > 1 else "")

    def ours(self) -> Callable[[], object]:
        """Build the product's search; a call takes the steps of its loop."""
        return _Ours(self)

    def against(self, memory: torch.memory_format) -> Callable[[], object]:
        """Build the plain search in a memory format."""
        with seeded(0):
            if isinstance(self.space, NasBench201):
                model: nn.Module = PlainNasBench201(self.size.shape)
            else:
                model = PlainSupernet(self.space.candidates, self.size.shape, self.partial)
        images = self.size.images(2 * self.size.batch)
        halves = [half.contiguous(memory_format=memory) for half in images.chunk(2)]
        start = Start(
            model=in_memory(model, memory),
            settings=self.settings,
            train=(halves[0], self.size.labels()),
            valid=(halves[1], self.size.labels()),
            alphas=starting_alphas(self.space),
        )
        return _Seeded(self.plain(start), self.steps)


class _Seeded:
    """Some steps with the same random numbers in every call."""

    def __init__(self, step: Callable[[], object], steps: int) -> None:
        self._step, self._steps = step, steps

    def __call__(self) -> None:
        for number in range(self._steps):
            with seeded(200 + number):
                self._step()


class _Ours:
    """The loop of `nasbench.searchers.bilevel`, one step a call."""

    def __init__(self, search: Search) -> None:
        self._strategy = search.strategy()
        self._state = search_state(search.name, search.size, search.space, search.settings, self._strategy)
        with torch.no_grad():
            for group, values in starting_alphas(search.space).items():
                self._state.architecture[group].copy_(values)
        self._loop = _Search(self._state)
        self._state.model.train()
        self._batch: tuple[Tensor, Tensor] = next(self._state.halves.weights.epoch(0))
        self._run = _Seeded(self._step, search.steps)

    def __call__(self) -> None:
        self._run()

    def _step(self) -> None:
        moment = Moment(EPOCHS // 2, EPOCHS)
        rate = self._state.settings.learning_rate
        # The loop itself is what a search runs; it is private as nothing else needs a single step of it.
        if self._strategy.alphas_first:
            self._loop._alpha_step(self._batch, moment, rate)  # noqa: SLF001
        self._loop._weight_step(self._batch, moment, Average())  # noqa: SLF001
        if not self._strategy.alphas_first:
            self._loop._alpha_step(self._batch, moment, rate)  # noqa: SLF001


def search_state(
    name: str, size: Size, space: SearchSpace, settings: BilevelSettings, strategy: Strategy
) -> SearchState:
    """Return the state of a search on images of noise, one batch in each half."""
    task = SearchTask(
        space=space,
        shape=size.shape,
        images=_noise(size),
        weight_indices=np.arange(size.batch),
        alpha_indices=np.arange(size.batch, 2 * size.batch),
        augmentation=Augmentation(),
        seed=0,
    )
    return SearchState(name, settings, task, strategy)


def _noise(size: Size) -> ImageSet:
    count, rng = 2 * size.batch, generator(0, "benchmark", "search-images")
    return ImageSet(
        images=rng.integers(0, 256, (count, size.side, size.side, 3), dtype=np.uint8),
        labels=rng.integers(0, NUM_CLASSES, count),
        ids=tuple(str(row) for row in range(count)),
        num_classes=NUM_CLASSES,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


def half_decided(space: SearchSpace) -> Decided:
    """Return SGAS's decisions in the middle of a search, those of some random alphas."""
    rng = generator(0, "benchmark", "sgas")
    alphas = {group: rng.standard_normal(shape) for group, shape in space.alpha_shapes.items()}
    decided = Decided(space)
    for _ in range(DECISIONS):
        decided = decided.decide(alphas)
    return decided


def sgas_strategy(space: SearchSpace) -> Strategy:
    """Return SGAS's part of the loop in the middle of a search."""
    strategy = SgasStrategy(space, first_epoch=9, interval=5, batch_growth=0, history=None)
    strategy.decided = half_decided(space)
    return strategy


def sgas_choices(space: SearchSpace) -> dict[str, list[int | None]]:
    """Return the same decisions for the plain supernet."""
    decided = half_decided(space)
    return {group: choices_of(decided.one_hot[group], decided.settled[group]) for group in space.alpha_shapes}


def searches(sizes: Mapping[str, Size]) -> list[Search]:
    """Return all searches.

    Args:
        sizes: ``first`` of the first-order searches on the DARTS space, ``second`` of the second-order one, ``pc`` of
            PC-DARTS, ``gdas`` on NAS-Bench-201.
    """
    space, chain = Darts(), NasBench201()
    first: dict[str, Any] = {"space": space, "size": sizes["first"]}
    batch = sizes["first"].batch
    return [
        Search(
            name=PC_DARTS, space=space, size=sizes["pc"], partial=PARTIAL,
            settings=PcDarts(batch_size=sizes["pc"].batch, learning_rate=0.025),
            strategy=lambda: PartialChannels(PARTIAL, space.edges_of_nodes),
            plain=lambda start: PlainPcDarts(start, space.edges_of_nodes),
        ),
        Search(
            name="second-order DARTS", space=space, size=sizes["second"],
            settings=DartsSearch(order="second", batch_size=sizes["second"].batch),
            strategy=lambda: Strategy(second_order), plain=PlainSecondOrder,
        ),
        Search(
            name="SDARTS-RS", **first, settings=SdartsRs(batch_size=batch),
            strategy=lambda: RandomSmoothing(RADIUS, RADIUS), plain=lambda start: PlainSdarts(start, RADIUS),
        ),
        Search(
            name=SGAS, **first, settings=Sgas(batch_size=batch, batch_growth=0),
            strategy=lambda: sgas_strategy(space), plain=lambda start: PlainSgas(start, sgas_choices(space)),
        ),
        Search(
            name="GDAS", space=chain, size=sizes["gdas"], steps=SAMPLES, settings=Gdas(batch_size=sizes["gdas"].batch),
            strategy=lambda: GdasStrategy(chain, TEMPERATURE, TEMPERATURE),
            plain=lambda start: PlainGdas(start, TEMPERATURE),
        ),
    ]  # fmt: skip
