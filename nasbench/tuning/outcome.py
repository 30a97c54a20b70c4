"""How good a proxy is: the Top-1 of the cell that a search on it finds, trained from scratch."""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nasbench import __version__
from nasbench.core.errors import FileReadError
from nasbench.core.files import fingerprint, read_json, write_json
from nasbench.core.proxy import ProxySet
from nasbench.datasets.base import ImageSet
from nasbench.searchers.base import SearchTask
from nasbench.spaces.base import NetworkShape
from nasbench.tracking.tracker import NullTracker, Tracker
from nasbench.training.augment import augment_cell
from nasbench.tuning.settings import NetworkSize, TuningSettings


class Measure(Protocol):
    """Anything that says how good a proxy is."""

    def __call__(self, proxy: ProxySet, seed: int) -> float:
        """Return the Top-1 in [0, 1] of the cell found on the proxy; the same for the same arguments."""


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """Searches on the proxy and trains the cell from scratch; what was measured once is not measured again.

    An interrupted measurement goes on from its checkpoints with the same result.

    Attributes:
        settings: Space, searcher, sizes and recipe.
        train: Training split that proxies index.
        test: Test split.
        folder: Holds ``outcomes/`` and, while one is under way, ``checkpoints/``.
        device: ``cpu`` or ``cuda``.
        tracker: Gets the curves.
    """

    settings: TuningSettings
    train: ImageSet
    test: ImageSet
    folder: Path
    device: str = "cpu"
    tracker: Tracker = NullTracker()  # noqa: RUF009 - frozen and without state

    def __call__(self, proxy: ProxySet, seed: int) -> float:
        """Return the Top-1 on the test split after the last epoch.

        Raises:
            ConfigError: The searcher cannot search this proxy.
            TrainingError: A loss is not finite.
        """
        key = fingerprint(
            {
                "measure": self.settings.measure_identity, "version": __version__, "train": self.train.fingerprint,
                "test": self.test.fingerprint, "proxy": proxy.fingerprint, "halves": proxy.seed, "seed": seed,
            }
        )  # fmt: skip
        file, work = self.folder / "outcomes" / f"{key}.json", self.folder / "checkpoints" / key
        if file.exists():
            return _top1(file)
        work.mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may measure the same; then its result is taken
            if file.exists():
                return _top1(file)
            top1 = self._measure(proxy, seed, work)
            write_json(file, {"top1": top1, "proxy": proxy.fingerprint, "seed": seed})
        shutil.rmtree(work, ignore_errors=True)
        return top1

    def _measure(self, proxy: ProxySet, seed: int, work: Path) -> float:
        space = self.settings.build_space()
        weights, alphas = proxy.halves()
        task = SearchTask(
            space=space, shape=self._shape(self.settings.supernet), images=self.train, weight_indices=weights,
            alpha_indices=alphas, augmentation=self.settings.augmentation, seed=seed, device=self.device,
            checkpoint=work / "search.pt",
        )  # fmt: skip
        genotype = self.settings.build_searcher().search(task, self.tracker).genotype
        result = augment_cell(
            space, genotype, self._shape(self.settings.augment), self.train, self.test, self.settings.recipe,
            seed=seed, device=self.device, checkpoint=work / "augment.pt", tracker=self.tracker,
            description="augment",
        )  # fmt: skip
        return result.top1

    def _shape(self, size: NetworkSize) -> NetworkShape:
        channels, side, _ = self.train.image_shape
        return NetworkShape(
            num_cells=size.num_cells, channels=size.channels, num_classes=self.train.num_classes,
            in_channels=channels, image_size=side, stem=size.stem,
        )  # fmt: skip


def _top1(file: Path) -> float:
    value = read_json(file).get("top1")
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise FileReadError(f"{file} holds no Top-1. Delete it; it will be measured again.")
    return value
