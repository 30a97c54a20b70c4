"""The whole pipeline, small: run, run again, change one parameter, run in a second clone."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.leftovers import remove_leftovers
from pipelines.params import load_params

sys.path.insert(0, str(Path(__file__).parent))
import pipeline

NUM_ITEMS = 19
"""prepare 2, scorer 2, proxies 2, searches 2, sampling 1, augment 2 + 2, compare, promote, transfer 2 + 1, report."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the pipeline has run once; its output is kept in repro.log."""
    folder = pipeline.clone(tmp_path_factory.mktemp("clone"), pipeline.small_params())
    done = pipeline.run(folder, "-m", "pipelines.repro", "--jobs", "2")
    (folder / "repro.log").write_text(done.stdout)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """Return what must not differ between two clones."""
    artifacts = folder / "artifacts"
    patterns = (
        "metrics/**/*.json", "genotypes/**/*", "proxies/**/*", "comparison/*", "promotion/*", "curves/**/*.csv",
    )  # fmt: skip
    kept = [path for pattern in patterns for path in artifacts.glob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(kept) if path.is_file()}


def query(folder: Path, sql: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as connection:
        return connection.execute(sql).fetchall()


def status(folder: Path) -> set[str]:
    changes = json.loads(pipeline.run(folder, "-m", "dvc", "status", "--json", "dvc.yaml").stdout)
    assert changes.pop("stamp_inputs") == ["always changed"]
    return set(changes)


def test_it_ends_with_the_table_and_the_paths(clone: Path) -> None:
    log = (clone / "repro.log").read_text()
    table = log[log.index("Source: digits") :]
    assert re.search(r"p1 +entropy-tails-p1 +darts +48 of 397 +\d+\.\d\d", table)
    assert "random-sampling" in table
    assert re.search(r"RI % \[", table)
    assert "refused: " in table, "one seed and two random cells cannot pass the gate"
    assert "artifacts/report/index.html" in table
    assert "make ui" in table


def test_the_report_is_one_offline_page(clone: Path) -> None:
    page = (clone / "artifacts/report/index.html").read_text()
    addresses = set(re.findall(r"""(?:src|href)=["'](?!#)([^"']+)""", page))
    assert not {address for address in addresses if not address.startswith("data:")}
    assert "<script" not in page
    for word in ("entropy-tails-p1", "refused", "one-shot", "Lineage"):
        assert word.lower() in page.lower(), word
    genotype = json.loads((clone / "artifacts/genotypes/p1-darts-0/genotype.json").read_text())
    run = json.loads((clone / "artifacts/runs/search_cell/p1-darts-0/mlflow_run.json").read_text())
    assert run["run_id"][:8] in page
    assert genotype["fingerprint"][:8] in page


def test_every_item_is_one_finished_run_with_its_inputs(clone: Path) -> None:
    runs = query(clone, "select run_uuid, status, name from runs")
    assert len(runs) == NUM_ITEMS
    assert {status for _, status, _ in runs} == {"FINISHED"}
    assert query(clone, "select name from experiments where name = 'small'")
    (search,) = (run for run, _, name in runs if name == "search_cell@p1-darts-0")
    tags = dict(query(clone, f"select key, value from tags where run_uuid = '{search}'"))  # noqa: S608 - own id
    params = dict(query(clone, f"select key, value from params where run_uuid = '{search}'"))  # noqa: S608
    metrics = {key for (key,) in query(clone, f"select distinct key from metrics where run_uuid = '{search}'")}  # noqa: S608
    lock = (clone / "dvc.lock").read_text()
    assert tags["input.proxy"] in lock
    assert tags["dvc.output"] in lock
    assert tags["mlflow.source.git.commit"]
    assert tags["genotype"]
    assert params["searchers.darts.options.epochs"] == "2"
    assert {"one_shot_top1", "alpha_entropy", "skip_share", "stage_seconds", "peak_memory_bytes"} <= metrics
    steps = query(clone, f"select step from metrics where run_uuid = '{search}' and key = 'alpha_entropy'")  # noqa: S608
    assert [step for (step,) in steps] == [0, 1], "one point an epoch"
    assert len(query(clone, "select input_uuid from inputs where source_type = 'DATASET'")) >= NUM_ITEMS


def test_the_registry_keeps_refused_cells_with_reasons(clone: Path) -> None:
    versions = query(clone, "select version from model_versions where name = 'cell-darts'")
    assert len(versions) == 2
    tags = query(clone, "select key, value from model_version_tags where name = 'cell-darts'")
    assert {value for key, value in tags if key == "gate"} == {"failed"}
    assert all("seeds" in value for key, value in tags if key == "gate_reasons")
    assert not query(clone, "select alias from registered_model_aliases")
    promotion = json.loads((clone / "artifacts/promotion/promotion.json").read_text())
    assert promotion["promoted"] is False


def test_the_transferred_cell_is_the_chosen_one(clone: Path) -> None:
    promotion = json.loads((clone / "artifacts/promotion/promotion.json").read_text())
    transfer = json.loads((clone / "artifacts/metrics/transfer_cell/metrics.json").read_text())
    assert transfer["genotype"] == promotion["transfer"]["genotype"]
    assert transfer["origin"] == "best"
    assert transfer["promoted"] is False
    assert "relative_improvement" in transfer


def test_a_second_run_does_nothing(clone: Path) -> None:
    before = results(clone)
    done = pipeline.run(clone, "-m", "pipelines.repro", "--jobs", "2")
    assert "Nothing has changed." in done.stdout
    assert results(clone) == before
    assert len(query(clone, "select run_uuid from runs")) == NUM_ITEMS


@pytest.mark.parametrize(
    ("before", "after", "stages"),
    [
        ("margin: 0.0", "margin: 0.5", {"promote_cell"}),
        ("bin_width: 0.25", "bin_width: 0.5", {"select_proxy@p1", "promote_cell"}),
        (
            "alpha_learning_rate: ",
            "alpha_learning_rate: 1",
            {"search_cell@random-darts-0", "search_cell@p1-darts-0", "promote_cell"},
        ),
        ("if_refused: best", "if_refused: nothing", {"promote_cell"}),
        ("study: small", "study: other", set()),
    ],
)
def test_a_parameter_reruns_exactly_what_depends_on_it(clone: Path, before: str, after: str, stages: set[str]) -> None:
    path = clone / "params.yaml"
    text = path.read_text()
    assert before in text
    try:
        path.write_text(text.replace(before, after, 1))
        assert status(clone) == stages | {"make_report"}, "the report shows params.yaml"
    finally:
        path.write_text(text)
    assert status(clone) == set()


def test_changed_code_reruns_what_uses_it(clone: Path) -> None:
    path = clone / "nasbench/selectors/entropy_tails.py"
    text = path.read_text()
    try:
        path.write_text(text + "# changed\n")
        assert status(clone) == {"select_proxy@random", "select_proxy@p1"}
    finally:
        path.write_text(text)


def test_a_wrong_key_stops_before_any_work(clone: Path) -> None:
    path = clone / "params.yaml"
    text = path.read_text()
    try:
        path.write_text(text.replace("bin_width", "bin_widht"))
        done = pipeline.run(clone, "-m", "pipelines.repro", code=1)
        assert "proxies.p1.options.bin_widht" in done.stderr
        assert "'bin_width'" in done.stderr
        assert "Running stage" not in done.stdout
        alone = pipeline.run(clone, "-m", "pipelines.prepare_data", "source", code=1)
        assert "bin_widht" in alone.stderr
        assert "Traceback" not in alone.stderr
    finally:
        path.write_text(text)


def test_a_proxy_of_another_dataset_and_a_foreign_genotype_are_refused(clone: Path) -> None:
    proxy = clone / "artifacts/proxies/p1/proxy.json"
    text = proxy.read_text()
    dataset = json.loads(text)["dataset"]
    try:
        proxy.unlink()
        proxy.write_text(text.replace(dataset, "0" * 32))
        done = pipeline.run(clone, "-m", "pipelines.search_cell", "p1", "darts", "0", code=1)
        assert "ProxyMismatchError" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        proxy.write_text(text)
    genotype = clone / "artifacts/genotypes/p1-darts-0/genotype.json"
    text = genotype.read_text()
    metrics = clone / "artifacts/metrics/augment_cell/p1-darts-0/metrics.json"
    kept = metrics.read_bytes()
    try:
        genotype.unlink()
        genotype.write_text(text.replace('"space": "darts"', '"space": "other"'))
        done = pipeline.run(clone, "-m", "pipelines.augment_cell", "p1", "darts", "0", code=1)
        assert "GenotypeError" in done.stderr
        assert metrics.read_bytes() == kept
    finally:
        genotype.write_text(text)


def test_two_clones_give_the_same_bytes(clone: Path, tmp_path: Path) -> None:
    other = pipeline.clone(tmp_path, pipeline.small_params())
    pipeline.run(other, "-m", "pipelines.repro", "--jobs", "1")
    first, second = results(clone), results(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    shutil.rmtree(other)


def test_plain_dvc_gives_the_same_bytes_as_the_warm_process(clone: Path) -> None:
    """`dvc repro` starts a new process for the item; `make repro` forked one that had imported PyTorch before."""
    before = results(clone)
    done = pipeline.run(clone, "-m", "dvc", "repro", "--force", "--single-item", "search_cell@p1-darts-0")
    assert "Running stage 'search_cell@p1-darts-0'" in done.stdout
    assert results(clone) == before


def test_an_item_that_is_no_longer_named_leaves_nothing_behind(clone: Path) -> None:
    params = load_params(clone / "params.yaml")
    leftover = clone / "artifacts/metrics/augment_cell/p1-darts-7/metrics.json"
    leftover.parent.mkdir()
    leftover.write_text("{}")
    kept = results(clone)
    assert remove_leftovers(params, clone / "artifacts") == [leftover.parent]
    assert not leftover.parent.exists()
    assert {name for name in kept if name not in results(clone)} == {str(leftover.relative_to(clone))}


def test_experiments_and_differences_work(clone: Path) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "-A"], [*identity, "commit", "-qm", "run"]):
        subprocess.run(["git", *command], cwd=clone, check=True, capture_output=True)
    parameters = (clone / "params.yaml").read_text()
    pipeline.run(clone, "-m", "dvc", "exp", "run", "-S", "comparison.resamples=500")
    difference = json.loads(pipeline.run(clone, "-m", "dvc", "params", "diff", "--json").stdout)
    assert "comparison.resamples" in json.dumps(difference)
    shown = json.loads(pipeline.run(clone, "-m", "dvc", "metrics", "show", "--json").stdout)
    assert "artifacts/metrics/compare_cells/metrics.json" in json.dumps(shown)
    pipeline.run(clone, "-m", "dvc", "metrics", "diff")
    pipeline.run(clone, "-m", "dvc", "plots", "show", "--out", "plots")
    assert "test_top1" in (clone / "plots" / "index.html").read_text()
    (clone / "params.yaml").write_text(parameters)
    pipeline.run(clone, "-m", "pipelines.repro", "--jobs", "1")


def test_a_standing_champion_goes_to_the_target_where_the_next_run_promotes_none(clone: Path) -> None:
    path = clone / "params.yaml"
    text = path.read_text()
    lenient = text.replace("least_relative_improvement: 0.0", "least_relative_improvement: -99.0")
    lenient = lenient.replace("least_seeds: 2", "least_seeds: 1").replace("least_cells: 5", "least_cells: 2")
    try:
        path.write_text(lenient)
        pipeline.run(clone, "-m", "pipelines.repro")
        first = json.loads((clone / "artifacts/metrics/transfer_cell/metrics.json").read_text())
        assert (first["promoted"], first["origin"]) == (True, "promoted")
        strict = text.replace("if_refused: best", "if_refused: champion")
        strict = re.sub(r"alpha_learning_rate: \S+", "alpha_learning_rate: 0.3", strict)
        path.write_text(strict)
        pipeline.run(clone, "-m", "pipelines.repro")
        promotion = json.loads((clone / "artifacts/promotion/promotion.json").read_text())
        assert promotion["promoted"] is False
        assert first["genotype"] not in {verdict["genotype"] for verdict in promotion["verdicts"]}
        second = json.loads((clone / "artifacts/metrics/transfer_cell/metrics.json").read_text())
        assert (second["promoted"], second["origin"], second["genotype"]) == (True, "champion", first["genotype"])
        assert second["top1_per_seed"] == first["top1_per_seed"]
        assert "of an earlier run" in (clone / "artifacts/report/index.html").read_text()
    finally:
        path.write_text(text)
