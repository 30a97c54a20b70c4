"""One offline page with table, cells, histograms, trajectories, costs and lineage."""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nasbench.analysis.report import write_report
from nasbench.analysis.report_data import ReportData
from nasbench.analysis.search_trajectory import trajectory_fields
from nasbench.analysis.tables import comparison_markdown, comparison_table
from nasbench.config.component import parse
from nasbench.core.files import read_json, write_json
from pipelines.params import Params
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, run_stage

_STAGES = (
    "prepare_data", "train_scorer", "score_examples", "select_proxy", "search_cell", "sample_cells", "augment_cell",
    "augment_samples", "compare_cells", "promote_cell", "transfer_samples", "transfer_cell",
)  # fmt: skip
_INPUTS = (
    "comparison", "curves", "genotypes", "promotion", "proxies", *(f"metrics/{stage}" for stage in _STAGES),
    *(f"runs/{stage}" for stage in _STAGES),
)  # fmt: skip

_ORIGINS = {
    "promoted": [],
    "best": ["Refused on the source; trained on the target for the record."],
    "champion": ["The registry's champion, of an earlier run; this run promoted no cell."],
}


def _read(kind: str, *parts: str) -> dict[str, Any]:
    name = {"metrics": "metrics.json", "runs": "mlflow_run.json"}[kind]
    return read_json(ARTIFACTS.joinpath(kind, *parts, name))


def _searcher(params: Params, section: str) -> str:
    """Return a searcher's registered name, with its section where several sections of the matrix have that one."""
    name = params.searchers[section].searcher
    alike = [other for other in params.search.searchers if params.searchers[other].searcher == name]
    return f"{section} ({name})" if len(alike) > 1 else name


def _searches(params: Params) -> Iterator[tuple[str, str, int, str]]:
    """Yield proxy, searcher, seed and label of every search."""
    for proxy, searcher in params.arms:
        for seed in params.search.seeds:
            yield proxy, searcher, seed, f"{proxy}-{searcher}-{seed}"


def _interval(figures: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    return {
        "estimate": figures["relative_improvement"], "low": figures["relative_improvement_low"],
        "high": figures["relative_improvement_high"], "confidence": confidence,
        "statement": figures.get("statement", ""),
    }  # fmt: skip


def rows(params: Params, comparison: Mapping[str, Any], promotion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the table's rows on the source, random sampling last."""
    verdicts = {verdict["arm"]: verdict for verdict in promotion["verdicts"]}
    listed = []
    for arm in comparison["arms"]:
        proxy = _read("metrics", "select_proxy", arm["proxy"])
        verdict = verdicts[arm["name"]]
        promoted = promotion["promoted"] and promotion["judged"] == arm["name"]
        reasons = verdict["reasons"] or ([] if promoted else ["Passed, but another cell became champion."])
        listed.append(
            {
                "proxy": arm["proxy"], "selector": params.proxies[arm["proxy"]].selector,
                "searcher": _searcher(params, arm["searcher"]), "num_selected": proxy["num_examples"],
                "num_examples": proxy["num_available"], "top1": [cell["top1_per_seed"] for cell in arm["cells"]],
                "relative_improvement": _interval(arm, comparison["confidence"]),
                "verdict": "promoted" if promoted else "refused", "reasons": reasons,
            }
        )  # fmt: skip
    return [*listed, _baseline(comparison["baseline"]["cells"], listed[0]["num_examples"])]


def _baseline(cells: list[dict[str, Any]], num_examples: int) -> dict[str, Any]:
    return {
        "proxy": "", "selector": "", "searcher": "random-sampling", "num_selected": 0, "num_examples": num_examples,
        "top1": [cell["top1_per_seed"] for cell in cells], "verdict": "baseline",
    }  # fmt: skip


def target_rows(params: Params, promotion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the table's rows on the target; none where nothing was transferred."""
    champion, chosen = _read("metrics", "transfer_cell"), promotion["transfer"]
    if not champion["transferred"]:
        return []
    num_train = _read("metrics", "prepare_data", "target")["num_train"]
    proxy = _read("metrics", "select_proxy", chosen["proxy"]) if chosen["proxy"] else {}
    row = {
        "proxy": chosen["proxy"], "selector": chosen["selector"], "searcher": chosen["searcher"],
        "num_selected": proxy.get("num_examples", 0), "num_examples": proxy.get("num_available", num_train),
        "top1": [champion["top1_per_seed"]], "relative_improvement": _interval(champion, params.gate.confidence),
        "verdict": "promoted" if champion["promoted"] else "refused", "reasons": _ORIGINS[chosen["origin"]],
    }  # fmt: skip
    samples = [_read("metrics", "transfer_samples", str(cell)) for cell in params.baseline.cells]
    return [row, _baseline(samples, num_train)]


def _gate(params: Params, promotion: Mapping[str, Any]) -> dict[str, Any]:
    run = _read("runs", "promote_cell")
    judged = next(verdict for verdict in run["verdicts"] if verdict["arm"] == promotion["judged"])
    gate = params.gate
    return {
        "decision": "promoted" if promotion["promoted"] else "refused",
        "candidate": promotion["judged"].replace("-", "/", 1),
        "conditions": {
            "least_relative_improvement": gate.least_relative_improvement, "bound": gate.bound,
            "confidence": gate.confidence, "least_seeds": gate.least_seeds, "least_cells": gate.least_cells,
            "margin": gate.margin,
        },
        "reasons": [*judged["reasons"], judged["note"]], "model": judged["model"], "version": str(judged["version"]),
        "champion": run["champion"],
    }  # fmt: skip


def _cells(params: Params) -> Iterator[dict[str, Any]]:
    for _, _, _, label in _searches(params):
        yield _drawn(label, ARTIFACTS / "genotypes" / label, _read("metrics", "augment_cell", label))
    for cell in params.baseline.cells:
        folder = ARTIFACTS / "genotypes" / "baseline" / str(cell)
        yield _drawn(f"random sampling {cell}", folder, _read("metrics", "augment_samples", str(cell)))


def _drawn(title: str, folder: Path, figures: Mapping[str, Any]) -> dict[str, Any]:
    genotype = read_json(folder / "genotype.json")
    return {
        "title": title, "fingerprint": genotype["fingerprint"], "cells": genotype["cells"],
        "parameters": figures["parameters"], "macs": figures["macs"],
    }  # fmt: skip


def _histograms(params: Params) -> Iterator[dict[str, Any]]:
    for name, section in params.proxies.items():
        proxy = read_json(ARTIFACTS / "proxies" / name / "proxy.json")
        if "entropy" in proxy:
            yield {"proxy": name, "selector": section.selector, **proxy["entropy"]}


def _trajectories(params: Params) -> Iterator[dict[str, Any]]:
    for proxy, searcher, _, label in _searches(params):
        folder = ARTIFACTS / "genotypes" / label
        stored = read_json(folder / "trajectory.json")
        drawn = {
            group: (folder / f"alphas-{group}.svg").read_text(encoding="utf-8")
            for group in stored["operations"] if (folder / f"alphas-{group}.svg").is_file()
        }  # fmt: skip
        yield {**trajectory_fields(label, stored), "arm": f"{proxy}/{searcher}", "drawn": drawn}


def _curves(params: Params) -> Iterator[dict[str, Any]]:
    source, target = params.source.label, params.target.label
    for proxy, searcher, _, label in _searches(params):
        yield _curve(f"{proxy}/{searcher}", source, ARTIFACTS / "curves" / "augment_cell" / f"{label}.csv")
    for cell in params.baseline.cells:
        for stage, dataset in (("augment_samples", source), ("transfer_samples", target)):
            yield _curve("random-sampling", dataset, ARTIFACTS / "curves" / stage / f"{cell}.csv")
    if _read("metrics", "transfer_cell")["transferred"]:
        yield _curve("transferred cell", target, ARTIFACTS / "curves" / "transfer_cell.csv")


def _curve(group: str, dataset: str, path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8", newline="") as handle:
        records = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(handle)]
    return {"group": group, "dataset": dataset, "records": records}


def _items(params: Params) -> Iterator[tuple[str, ...]]:
    """Yield (stage, item) of everything that params.yaml asks for, so that leftovers of former ones stay out."""
    searches = [label for _, _, _, label in _searches(params)]
    cells = [str(cell) for cell in params.baseline.cells]
    items = {
        "prepare_data": ["source", "target"], "train_scorer": params.scorers, "score_examples": params.scorers,
        "select_proxy": params.proxies, "search_cell": searches, "augment_cell": searches, "augment_samples": cells,
        "transfer_samples": cells,
    }  # fmt: skip
    for stage in _STAGES:
        yield from ((stage, item) for item in items[stage]) if stage in items else [(stage,)]


def _costs(params: Params) -> Iterator[dict[str, Any]]:
    for stage, *item in _items(params):
        run = _read("runs", stage, *item)
        yield {
            "stage": stage, "item": "".join(item), "seconds": run["stage_seconds"],
            "peak_memory_bytes": int(run["peak_memory_bytes"]),
        }  # fmt: skip


def _lineage(params: Params) -> Iterator[dict[str, Any]]:
    versions = {verdict["cell"]: verdict for verdict in _read("runs", "promote_cell")["verdicts"]}
    for proxy, _, _, label in _searches(params):
        chosen = read_json(ARTIFACTS / "proxies" / proxy / "proxy.json")
        verdict = versions.get(label)
        yield {
            "item": label, "dataset": chosen["dataset"], "proxy": chosen["fingerprint"],
            "genotype": read_json(ARTIFACTS / "genotypes" / label / "genotype.json")["fingerprint"],
            "run": _read("runs", "search_cell", label)["run_id"],
            "version": f"{verdict['model']} {verdict['version']}" if verdict else "",
        }  # fmt: skip


def _warnings(params: Params) -> Iterator[str]:
    for _, _, _, label in _searches(params):
        metrics = _read("metrics", "search_cell", label)
        yield from (f"{label}: {text}" for text in (*metrics["warnings"], *metrics.get("notes", ())))


def gather(params: Params) -> ReportData:
    """Read everything that the report shows from the stages' files."""
    comparison = read_json(ARTIFACTS / "comparison" / "comparison.json")
    promotion = read_json(ARTIFACTS / "promotion" / "promotion.json")
    packages = ("torch", "torchvision", "mlflow", "dvc", "numpy", "proxy-nasbench")
    fields = {
        "study": params.study, "source": params.source.label, "target": params.target.label,
        "rows": rows(params, comparison, promotion), "target_rows": target_rows(params, promotion),
        "gate": _gate(params, promotion), "cells": list(_cells(params)), "histograms": list(_histograms(params)),
        "trajectories": list(_trajectories(params)), "curves": list(_curves(params)), "costs": list(_costs(params)),
        "lineage": list(_lineage(params)), "warnings": list(_warnings(params)),
        "parameters": Path("params.yaml").read_text(encoding="utf-8"),
        "environment": {
            "python": platform.python_version(), "processor": f"{platform.machine()}, {os.cpu_count()} cores",
            **{name: version(name) for name in packages},
        },
    }  # fmt: skip
    return parse(ReportData, fields, "report")


def body(stage: Stage) -> Outcome:
    """Write the page and the summary that ``make repro`` prints."""
    data = gather(stage.params)
    page = write_report(stage.output, data)
    source, target = comparison_table(data.rows), comparison_table(data.target_rows) if data.target_rows else ""
    text = f"Source: {data.source}\n{source}" + (f"\n\nTarget: {data.target}\n{target}" if target else "")
    write_json(
        stage.output / "summary.json",
        {"table": text, "markdown": comparison_markdown(data.rows),
         "target_markdown": comparison_markdown(data.target_rows) if data.target_rows else ""},
    )  # fmt: skip
    return Outcome(metrics={"num_warnings": len(data.warnings)}, artifacts=((page, "report"),))


SPEC = Spec(
    name="make_report",
    inputs=lambda _params, _item: {
        "params": Path("params.yaml"),
        **{name.replace("/", "."): ARTIFACTS / name for name in _INPUTS},
    },
    sections=lambda _item: (),
    output=lambda _item: ARTIFACTS / "report",
    body=body,
)

if __name__ == "__main__":
    run_stage(SPEC)
