"""Where the time of a real search goes: network, optimisers, data, logging, checkpoints, evaluation, rest of Python.

Run it as ``python -m benchmarks.search_profile [--quick] [--json [FILE]]``. It runs the default run's search (space,
searcher and supernet of params.yaml) on the whole of digits and of mnist5k, with a checkpoint each epoch and an MLflow
run in a temporary folder, and wraps the product's functions from outside. The lines:

- network: forward passes, losses, backward passes (the Python within them included);
- optimiser: clipping and both optimisers' steps;
- data: batches of both halves; logging: metrics, progress bar; checkpoint: writing it;
- evaluation: the alpha half at the end of an epoch, with all that belongs to it;
- start: supernet, optimisers and halves are built, once a search;
- rest: everything else, which is the loop's own Python;
- overhead: data, logging, checkpoint and rest together.

Seconds are one a search; ``percent`` is the share of the whole search. With ``--quick`` a smaller set is searched for
one epoch and nothing is sent to MLflow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.common import Result, Timing, parse_options, report
from benchmarks.stopwatch import REST, Stopwatch, watching
from nasbench.core.proxy import ProxySet
from nasbench.datasets import DATASETS
from nasbench.searchers import bilevel
from nasbench.searchers.base import Searcher, SearchTask
from nasbench.searchers.halves import Endless
from nasbench.searchers.search_state import SearchState
from nasbench.spaces.base import Mixture, NetworkShape
from nasbench.tracking.mlflow_tracker import MlflowTracker, open_run
from nasbench.tracking.tracker import RecordingTracker, Tracker
from nasbench.training.determinism import configure
from nasbench.training.transforms import Batches
from pipelines.params import Params, load_params

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
DATASETS_PROFILED = ("digits", "mnist5k")
QUICK_IMAGES = 60
ROUNDS = 3
NETWORK, OPTIMISER, DATA, LOGGING = "network", "optimiser", "data", "logging"
CHECKPOINT, EVALUATION, START = "checkpoint", "evaluation", "start"
CATEGORIES = (NETWORK, OPTIMISER, DATA, LOGGING, CHECKPOINT, EVALUATION, START, REST)
OVERHEAD = (DATA, LOGGING, CHECKPOINT, REST)

Places = Mapping[str, Sequence[tuple[Any, str]]]


def functions(tracker: Tracker) -> Places:
    """Return which functions belong to which category."""
    return {
        NETWORK: [
            (Mixture, "apply"),
            (torch.nn.functional, "cross_entropy"),
            (torch.Tensor, "backward"),
            (torch.autograd, "grad"),
        ],
        OPTIMISER: [
            (torch.nn.utils, "clip_grad_norm_"),
            (torch.optim.SGD, "step"),
            (torch.optim.Adam, "step"),
            (torch.optim.Optimizer, "zero_grad"),
        ],
        DATA: [(Endless, "__next__")],
        LOGGING: [(type(tracker), "log_metrics"), (type(tracker), "tag"), (bilevel, "_log"), (tqdm, "update")],
        CHECKPOINT: [(SearchState, "save"), (SearchState, "resume")],
        EVALUATION: [(bilevel._Search, "_evaluate")],  # noqa: SLF001 - wrapped from outside
        START: [(SearchState, "__init__")],
    }


@contextmanager
def tracker_of(folder: Path, quick: bool) -> Iterator[Tracker]:
    """Yield what takes the search's metrics: an MLflow run in a folder, or a list in memory."""
    if quick:
        yield RecordingTracker()
        return
    with open_run(folder, "profile", "search", params={}, tags={}, datasets=(), resume_key="") as tracker:
        yield tracker


def task_of(params: Params, dataset: str, images: int | None, checkpoint: Path) -> SearchTask:
    """Return the default search on the whole of a dataset, or on its first images."""
    data = DATASETS.get(dataset)().load("train", root=Path())
    count = len(data) if images is None else images
    proxy = ProxySet(
        indices=np.arange(count, dtype=np.int64), num_examples=len(data), dataset=data.fingerprint,
        selector={"selector": "whole"}, seed=0,
    )  # fmt: skip
    weights, alphas = proxy.halves()
    channels, height, _ = data.image_shape
    section = params.supernet
    shape = NetworkShape(
        num_cells=section.num_cells, channels=section.channels, num_classes=data.num_classes, in_channels=channels,
        image_size=height, stem=section.stem,
    )  # fmt: skip
    return SearchTask(
        space=params.search_space(), shape=shape, images=data, weight_indices=weights, alpha_indices=alphas,
        augmentation=section.augmentation, seed=0, checkpoint=checkpoint,
    )  # fmt: skip


def profiled(searcher: Searcher, task: SearchTask, tracker: Tracker) -> dict[str, float]:
    """Search and return the seconds of every category."""
    watch = Stopwatch(keeping=frozenset({EVALUATION, START}))
    with watching(watch, functions(tracker), {DATA: [(Batches, "epoch")]}):
        searcher.search(task, tracker)
        if isinstance(tracker, MlflowTracker):
            with watch.within(LOGGING):
                tracker.flush()
    return {category: watch.seconds[category] for category in CATEGORIES}


def profile(dataset: str, quick: bool, rounds: int) -> list[Result]:
    """Return the categories of a dataset's search, the overhead and the whole."""
    params = load_params(PARAMS)
    searcher = params.searcher("darts")
    if quick:
        searcher = replace(searcher, epochs=1, batch_size=QUICK_IMAGES // 2)  # type: ignore[type-var]
    found = []
    with tempfile.TemporaryDirectory() as folder, tracker_of(Path(folder), quick) as tracker:
        for number in range(rounds):
            checkpoint = Path(folder) / f"search{number}.pt"
            task = task_of(params, dataset, QUICK_IMAGES if quick else None, checkpoint)
            found.append(profiled(searcher, task, tracker))
    sums = {"overhead": OVERHEAD, "whole search": CATEGORIES}
    lines = {category: [seconds[category] for seconds in found] for category in CATEGORIES}
    lines |= {name: [sum(seconds[part] for part in parts) for seconds in found] for name, parts in sums.items()}
    whole = lines["whole search"]
    return [
        Result(name=f"{dataset}: {name}", ours=Timing(seconds=tuple(seconds))).with_figures(
            percent=100 * sum(seconds) / sum(whole)
        )
        for name, seconds in lines.items()
    ]


def main() -> None:
    """Run the benchmark."""
    options = parse_options("Where the time of a real search goes.")
    configure(load_params(PARAMS).compute.threads)
    names = DATASETS_PROFILED[:1] if options.quick else DATASETS_PROFILED
    rounds = 1 if options.quick else ROUNDS
    results = [line for name in names for line in profile(name, options.quick, rounds)]
    report("search_profile", results, options.json)


if __name__ == "__main__":
    main()
