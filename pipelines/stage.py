"""The frame of every stage: checked parameters, device, tracker, checkpoint, metrics.json, mlflow_run.json."""

from __future__ import annotations

import argparse
import fcntl
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench.config.component import fields_of
from nasbench.core.errors import NasbenchError
from nasbench.core.files import atomic_path, fingerprint, write_json
from nasbench.tracking.tracker import Tracker
from pipelines.lineage import dvc_md5
from pipelines.orphan import die_with_parent
from pipelines.params import Params, load_params
from pipelines.warm import hand_over

if TYPE_CHECKING:
    from nasbench.tracking.mlflow_tracker import MlflowTracker

Item = Mapping[str, str]
ARTIFACTS = Path("artifacts")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a stage is; dvc.yaml says the same to DVC, and a test compares the two.

    Attributes:
        name: Verb and noun.
        arguments: Names of the command's arguments, which tell its items apart.
        inputs: Name -> path of what an item reads.
        sections: Dotted paths of the parameters that an item depends on.
        output: Folder of an item's results, or None where metrics are all there is.
        body: The work; returns what is logged.
        computes: Whether PyTorch works in it.
    """

    name: str
    inputs: Callable[[Params, Item], dict[str, Path]]
    sections: Callable[[Item], tuple[str, ...]]
    output: Callable[[Item], Path] | None
    body: Callable[[Stage], Outcome]
    arguments: tuple[str, ...] = ()
    computes: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a body returns.

    Attributes:
        metrics: Written to metrics.json: the same bytes whenever parameters, code and data are the same.
        volatile: Seconds, memory and the like, which differ from run to run; logged and put into mlflow_run.json.
        artifacts: (path, folder) of files that MLflow keeps a copy of.
        tags: Tags of the run.
        details: Further values for mlflow_run.json.
    """

    metrics: Mapping[str, Any]
    volatile: Mapping[str, float] = field(default_factory=dict)
    artifacts: tuple[tuple[Path, str], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a body is given.

    Attributes:
        spec: Of the stage.
        item: Arguments by name.
        params: The whole of params.yaml.
        inputs: Paths by name, all present.
        output: Empty folder for results, where the spec names one; takes its final place after the body.
        device: ``cpu`` or ``cuda``.
        checkpoints: Folder that survives a kill; deleted after success.
        tracker: Of the item's MLflow run.
        run_id: Of that run.
        root: Folder of the repository (DVC_ROOT).
    """

    spec: Spec
    item: Item
    params: Params
    inputs: Mapping[str, Path]
    output: Path
    device: str
    checkpoints: Path
    tracker: Tracker
    run_id: str
    root: Path

    @property
    def label(self) -> str:
        """The item's name, as DVC shows it."""
        return item_label(self.spec, self.item)


def item_label(spec: Spec, item: Item) -> str:
    """Return the item as one word, for example ``p1-darts-0``; empty for a stage without items."""
    return "-".join(item[name] for name in spec.arguments)


def item_folder(kind: str, spec: Spec, item: Item) -> Path:
    """Return ``artifacts/<kind>/<stage>[/<item>]``."""
    label = item_label(spec, item)
    return ARTIFACTS / kind / spec.name / label if label else ARTIFACTS / kind / spec.name


def relevant(params: Params, sections: tuple[str, ...]) -> dict[str, Any]:
    """Return the parameters below the given dotted paths, flat values by dotted path."""
    whole = fields_of(params)
    chosen: dict[str, Any] = {}
    for section in sections:
        value: Any = whole
        for part in section.split("."):
            value = value[part]
        chosen[section] = value
    return chosen


def resolve_device(wanted: str) -> str:
    """Return ``cuda`` or ``cpu``.

    Raises:
        NasbenchError: CUDA was asked for and is not there.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise NasbenchError("compute.device: 'cuda' is not on this machine. Use 'auto' or 'cpu'.")
    return "cpu"


@contextmanager
def _checkpoint_folder(root: Path, spec: Spec, item: Item, key: str) -> Iterator[Path]:
    """Hold the item's checkpoint folder alone; delete it after success."""
    folder = root / "checkpoints" / spec.name / f"{item_label(spec, item) or 'all'}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NasbenchError(
                f"another process works on {spec.name} {item_label(spec, item)} ({folder}). Wait for it or end it."
            ) from error
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _require(inputs: Mapping[str, Path]) -> None:
    for name, path in inputs.items():
        if not path.exists():
            raise NasbenchError(f"the input {name} ({path}) is absent. Run `dvc repro`, which makes it first.")


class _Curves:
    """Passes everything on to the run's tracker, and knows which metrics have a curve."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.names: set[str] = set()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Pass the metrics on; those with a step are points of a curve."""
        self.names.update(metrics if step is not None else ())
        self._tracker.log_metrics(metrics, step)

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Pass the file on."""
        self._tracker.log_artifact(path, folder)

    def tag(self, key: str, value: str) -> None:
        """Pass the tag on."""
        self._tracker.tag(key, value)


def code_fingerprint() -> str:
    """Return a fingerprint of the project's code, so that no checkpoint of other code is resumed."""
    root = Path(__file__).resolve().parents[1]
    code = (found for package in ("nasbench", "pipelines") for found in (root / package).rglob("*"))
    files = sorted(found for found in code if found.suffix in {".py", ".c", ".h"})
    return fingerprint({found.relative_to(root).as_posix(): dvc_md5(found) for found in files})


def run_item(spec: Spec, item: Item) -> None:
    """Run one item of a stage in the current folder (the one that holds params.yaml).

    Raises:
        NasbenchError: Bad parameters or inputs; nothing half-written is left.
    """
    started = time.perf_counter()
    params = load_params()
    root = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    inputs = spec.inputs(params, item)
    _require(inputs)
    sections = relevant(params, spec.sections(item))
    work = {
        "stage": spec.name, "item": dict(item), "params": sections, "code": code_fingerprint(),
        "inputs": {name: dvc_md5(path) for name, path in inputs.items()},
    }  # fmt: skip
    device = "cpu"
    if spec.computes:
        device = resolve_device(params.compute.device)
        from nasbench.spaces import compiled
        from nasbench.training.determinism import configure

        configure(params.compute.threads)
        compiled.use(params.compute.kernels == "compiled")
        if params.compute.kernels == "compiled":  # with others a checkpoint would not go on to the same bits
            work["kernels"] = compiled.level()
    key = fingerprint(work)
    with _checkpoint_folder(root, spec, item, key) as checkpoints, _run(root, params, spec, item, work, key) as tracker:
        with _output_folder(spec, item) as output:
            curves = _Curves(tracker)
            stage = Stage(
                spec=spec, item=item, params=params, inputs=inputs, output=output, device=device,
                checkpoints=checkpoints, tracker=curves, run_id=tracker.run_id, root=root,
            )  # fmt: skip
            outcome = spec.body(stage)
            metrics = item_folder("metrics", spec, item) / "metrics.json"
            write_json(metrics, outcome.metrics)
            outputs = {"metrics": dvc_md5(metrics)} | ({"output": dvc_md5(output)} if spec.output else {})
            seconds = time.perf_counter() - started
            volatile = {"peak_memory_bytes": float(_peak_memory(spec, device)), **outcome.volatile}
            volatile["stage_seconds"] = seconds
            _log(tracker, outcome, volatile, outputs, curves.names)
        write_json(
            item_folder("runs", spec, item) / "mlflow_run.json",
            {
                "run_id": tracker.run_id, "experiment": params.study, "stage": spec.name,
                "item": item_label(spec, item), "fingerprint": key, "inputs": work["inputs"], "outputs": outputs,
                **volatile, **outcome.details,
            },
        )  # fmt: skip


def _run(
    root: Path, params: Params, spec: Spec, item: Item, work: Mapping[str, Any], key: str
) -> AbstractContextManager[MlflowTracker]:
    """Open the item's MLflow run with its parameters and inputs."""
    from nasbench.tracking.mlflow_tracker import DatasetInput, open_run

    label, inputs = item_label(spec, item), work["inputs"]
    return open_run(
        root,
        params.study,
        f"{spec.name}@{label}" if label else spec.name,
        params={**work["params"], **{f"item.{name}": value for name, value in item.items()}},
        tags={
            "stage": spec.name,
            "item": label,
            "study": params.study,
            "code": work["code"],
            "mlflow.source.name": f"pipelines.{spec.name}",
            "mlflow.source.type": "LOCAL",
        }
        | {f"input.{name}": md5 for name, md5 in inputs.items()},
        datasets=[DatasetInput(name=name, digest=md5, context=spec.name) for name, md5 in inputs.items()],
        resume_key=key,
    )


@contextmanager
def _output_folder(spec: Spec, item: Item) -> Iterator[Path]:
    """Yield an empty folder that takes the output's place when all is well."""
    if spec.output is None:
        yield ARTIFACTS
        return
    with atomic_path(spec.output(item)) as folder:
        folder.mkdir()
        yield folder


def _peak_memory(spec: Spec, device: str) -> int:
    """Return the largest memory of this process: on the device where PyTorch works, else resident."""
    if spec.computes:
        import torch

        from nasbench.training.metrics import peak_memory_bytes

        return peak_memory_bytes(torch.device(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def _log(
    tracker: Tracker, outcome: Outcome, volatile: Mapping[str, float], outputs: Mapping[str, str], curves: set[str]
) -> None:
    """Log what was found; a metric that has a curve already ends with its last point."""
    numbers = {name: float(value) for name, value in outcome.metrics.items() if isinstance(value, int | float)}
    tracker.log_metrics({name: value for name, value in {**numbers, **volatile}.items() if name not in curves})
    for name, value in {**outcome.tags, **{f"dvc.{name}": md5 for name, md5 in outputs.items()}}.items():
        tracker.tag(name, value)
    for path, folder in outcome.artifacts:
        tracker.log_artifact(path, folder)


def run_stage(spec: Spec) -> None:
    """Entry point of ``python -m pipelines.<stage>``: parse the item, run it, turn errors into exit code 1."""
    die_with_parent()
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{spec.name}", description=spec.body.__doc__)
    for name in spec.arguments:
        parser.add_argument(name)
    item = {name: str(value) for name, value in vars(parser.parse_args()).items()}
    code = hand_over()
    if code is not None:
        sys.exit(code)
    try:
        run_item(spec, item)
    except (NasbenchError, OSError) as error:
        sys.stderr.write(f"{spec.name} {item_label(spec, item)}: {type(error).__name__}\n{error}\n")
        sys.exit(1)
