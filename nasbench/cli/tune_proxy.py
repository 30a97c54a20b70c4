"""``nasbench tune-proxy``: the smallest proxy whose found cell stays within a margin of the whole set's."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench.cli import options
from nasbench.cli.parts import dataset_of, say

if TYPE_CHECKING:
    from nasbench.core.table import ExampleTable
    from nasbench.datasets.base import ImageSet
    from nasbench.tuning.study import Tuning


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every worker of one call is given; plain values, so that it can be sent to a new process.

    Attributes:
        fields: Of `nasbench.tuning.settings.TuningSettings`.
        out: Folder of all results.
        storage: Of the study.
        study: Its name.
        dataset: Name of the dataset.
        dataset_settings: ``FIELD=VALUE`` for it.
        root: Its folder.
        scores: Score table.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of one operation.
        everywhere: Take trials as lost that other hosts left running.
    """

    fields: dict[str, Any]
    out: Path
    storage: str
    study: str
    dataset: str
    dataset_settings: tuple[str, ...]
    root: Path
    scores: Path | None
    device: str
    threads: int
    everywhere: bool


@click.command("tune-proxy")
@click.option("--config", type=click.Path(path_type=Path), default=None, help="YAML of settings; see --show.")
@click.option("--show", is_flag=True, help="Print the settings as they would be used, and stop.")
@click.option("--quick", is_flag=True, help="One seed and one epoch: shows that everything works, no more.")
@click.option("--trials", type=click.IntRange(min=1), default=None, help="Total, over all workers and resumptions.")
@click.option("--margin", type=float, default=None, help="Top-1 that may be lost, in [0, 1].")
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Of the sampler.")
@click.option("--dataset", default="digits")
@click.option("--root", type=click.Path(path_type=Path), default=Path("data"))
@options.pairs("--dataset-set", "dataset_settings", "A field of the dataset; may be repeated.")
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    default=None,
    help="Score table of the training split. For the digits it is made if absent.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("tuning"))
@click.option("--storage", default=None, help="sqlite:///FILE or a journal file; OUT/study.db if absent.")
@click.option("--study", default="proxy", help="Name of the study in its storage.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, help="Processes; the same command elsewhere joins too."
)
@click.option("--release", is_flag=True, help="Run trials again that other hosts left unfinished.")
@options.compute
@options.as_json
def tune_proxy(
    config: Path | None, show: bool, quick: bool, trials: int | None, margin: float | None, seed: int | None,
    dataset: str, root: Path, dataset_settings: Sequence[str], scores: Path | None, out: Path, storage: str | None,
    study: str, workers: int, release: bool, device: str, threads: int, as_json: bool,
) -> None:  # fmt: skip
    """Search selector, fraction and fields for the smallest proxy whose found cell keeps a margin."""
    import yaml

    from nasbench.config.component import fields_of, parse
    from nasbench.tuning.settings import TuningSettings

    typed = {
        name: value for name, value in (("trials", trials), ("margin", margin), ("seed", seed)) if value is not None
    }
    settings = parse(TuningSettings, {**_base(config, quick), **typed})
    text = yaml.safe_dump(fields_of(settings), sort_keys=False)
    if show:
        say(fields_of(settings), as_json) if as_json else click.echo(text.rstrip())
        return
    job = Job(
        fields=fields_of(settings), out=out, storage=storage or f"sqlite:///{out / 'study.db'}", study=study,
        dataset=dataset, dataset_settings=tuple(dataset_settings), root=root, scores=scores, device=device,
        threads=threads, everywhere=release,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    _run(job, workers, text, as_json)


def _base(config: Path | None, quick: bool) -> dict[str, Any]:
    """Return the settings' fields before the options that were typed."""
    from nasbench.config.load import load_yaml
    from nasbench.tuning.settings import QUICK

    if config is not None and quick:
        raise click.UsageError("--quick has settings of its own; leave out --config.")
    if config is not None:
        return _completed(load_yaml(config))
    return dict(QUICK) if quick else {}


def _completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's fields; of networks and trainings a key that it does not name keeps the tuning's own default."""
    from nasbench.config.component import fields_of
    from nasbench.tuning.settings import TuningSettings

    own = fields_of(TuningSettings())
    names = {"supernet", "augmentation", "augment", "recipe"}
    if given.get("searcher", own["searcher"]) == own["searcher"]:  # the options' defaults are of this one
        names.add("searcher_options")
    return {name: _over(own[name], value) if name in names else value for name, value in given.items()}


def _over(own: Any, given: Any) -> Any:
    """Return a value with what is given laid over it, mapping by mapping."""
    if not (isinstance(own, Mapping) and isinstance(given, Mapping)):
        return given
    return {**own, **{name: _over(own.get(name), value) for name, value in given.items()}}


def _run(job: Job, workers: int, text: str, as_json: bool) -> None:
    from nasbench.analysis.tuning_page import write_tuning

    tuning = _tuning(job)
    if workers > 1:
        tuning.prepare()
        made = _scores_file(job.out)  # of the digits; without scores there is none
        job = replace(job, scores=job.scores or (made if made.is_file() else None))
    others = _start(job, workers - 1)
    data = tuning.run(release_everywhere=job.everywhere)
    for other in others:
        other.join()
    if others:  # one that died leaves its trial to this one; and the page must tell of all
        data = tuning.run()
    page = write_tuning(job.out, data, text)
    best = data.best
    found: dict[str, Any] = {"selector": None} if best is None else {
        "selector": best.selector, "fields": dict(best.fields), "fraction": best.fraction, "size": best.size,
        "top1": best.top1,
    }  # fmt: skip
    say({"page": str(page), "trials": len(data.trials), "running": data.running, "whole_top1": data.whole_top1,
         "whole_top1_spread": data.whole_spread, "margin": data.margin, **found}, as_json)  # fmt: skip


def _tuning(job: Job) -> Tuning:
    from nasbench.config.component import parse
    from nasbench.training.determinism import configure
    from nasbench.tuning.outcome import SearchOutcome
    from nasbench.tuning.settings import TuningSettings
    from nasbench.tuning.study import Tuning

    configure(job.threads)
    settings = parse(TuningSettings, job.fields)
    source = dataset_of(job.dataset, job.dataset_settings)
    train, test = (source.load(split, root=job.root) for split in ("train", "test"))
    outcome = SearchOutcome(settings=settings, train=train, test=test, folder=job.out, device=job.device)
    data = {"train": train.fingerprint, "test": test.fingerprint}
    table = _table(job, settings.candidates, train)
    return Tuning(settings=settings, table=table, measure=outcome, storage=job.storage, name=job.study, data=data)


def _scores_file(out: Path) -> Path:
    return out / "scores.parquet"


def _table(job: Job, names: Iterable[str], images: ImageSet) -> ExampleTable:
    """Return the given scores, or those of the digits, or the labels where no candidate reads a score."""
    from nasbench.cli.digit_scores import score_digits
    from nasbench.cli.parts import table_for
    from nasbench.core.table import load_table, save_table
    from nasbench.selectors import SELECTORS

    needs = {column for name in names for column in SELECTORS.get(name).needs}
    if job.scores is not None or not needs:
        return table_for(job.scores, images)
    if job.dataset != "digits" or job.dataset_settings:
        raise click.UsageError(
            f"the candidates read {', '.join(sorted(needs))}: give --scores FILE, made by `nasbench score`."
        )
    file = _scores_file(job.out)
    if not file.exists():
        table, _ = score_digits(images, needs, job.out / "scorers", seed=0)
        save_table(file, table)
    return load_table(file)


def _start(job: Job, count: int) -> list[Any]:
    """Start further workers; their progress bars are off."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=work, args=(job,), daemon=True) for _ in range(count)]
    for other in others:
        other.start()
    return others


def work(job: Job) -> None:
    """Run trials in a process of its own until none is left."""
    import os

    from nasbench.core.errors import NasbenchError

    os.environ["TQDM_DISABLE"] = "1"
    try:
        _tuning(job).run()
    except (NasbenchError, OSError) as error:
        click.echo(f"a worker ended: {type(error).__name__}: {error}", err=True)
        sys.exit(1)
