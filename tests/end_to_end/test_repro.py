"""The whole pipeline, small: run, run again, change one thing at a time."""

from __future__ import annotations

import json
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines import repro
from pipelines.leftovers import remove_leftovers
from pipelines.params import load_params

sys.path.insert(0, str(Path(__file__).parent))
import pipeline
from pipeline import query, results, statuses

NUM_ITEMS = 19
"""prepare 2, scorer 2, proxies 2, searches 2, sampling 1, augment 2 + 2, compare, promote, transfer 2 + 1, report."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the pipeline has run once; its output is kept in repro.log."""
    return pipeline.first_run(tmp_path_factory)[0]


def test_it_ends_with_the_table_and_the_paths(clone: Path) -> None:
    log = (clone / "repro.log").read_text()
    table = log[log.index("Source: digits") :]
    assert re.search(r"p1 +entropy-tails-p1 +darts +48 of 97 +\d+\.\d\d", table)
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
    assert pipeline.promotion(clone)["promoted"] is False


def test_the_transferred_cell_is_the_chosen_one(clone: Path) -> None:
    transfer = pipeline.metrics(clone, "transfer_cell")
    assert transfer["genotype"] == pipeline.promotion(clone)["transfer"]["genotype"]
    assert transfer["origin"] == "best"
    assert transfer["promoted"] is False
    assert "relative_improvement" in transfer


def test_a_second_run_does_nothing(clone: Path) -> None:
    before = results(clone)
    done = pipeline.run(clone, "-m", "pipelines.repro", "--jobs", "2")
    assert "Nothing has changed." in done.stdout
    assert results(clone) == before
    assert len(query(clone, "select run_uuid from runs")) == NUM_ITEMS


PARAMETERS = {
    ("margin: 0.0", "margin: 0.5"): {"promote_cell"},
    ("bin_width: 0.25", "bin_width: 0.5"): {"select_proxy@p1", "promote_cell"},
    ("alpha_learning_rate: ", "alpha_learning_rate: 1"): {
        "search_cell@random-darts-0",
        "search_cell@p1-darts-0",
        "promote_cell",
    },
    ("if_refused: best", "if_refused: nothing"): {"promote_cell"},
    ("study: small", "study: other"): set[str](),
}
"""(What is in params.yaml, what is written instead) -> what runs again, beside the report, which shows params.yaml."""

CODE = ("nasbench/selectors/entropy_tails.py", '"""', '# changed\n"""')
NOTHING = ("params.yaml", "study: small", "study: small")


@pytest.fixture(scope="module")
def stale(clone: Path) -> dict[tuple[str, str, str], set[str]]:
    """What DVC would run again after each edit, which is taken back before the next; the last one changes nothing."""
    edits = [*(("params.yaml", before, after) for before, after in PARAMETERS), CODE, NOTHING]
    return dict(zip(edits, statuses(clone, edits), strict=True))


@pytest.mark.parametrize(("before", "after"), PARAMETERS)
def test_a_parameter_reruns_exactly_what_depends_on_it(
    stale: dict[tuple[str, str, str], set[str]], before: str, after: str
) -> None:
    assert stale["params.yaml", before, after] == PARAMETERS[before, after] | {"make_report"}


def test_changed_code_reruns_what_uses_it(stale: dict[tuple[str, str, str], set[str]]) -> None:
    assert stale[CODE] == {"select_proxy@random", "select_proxy@p1"}
    assert stale[NOTHING] == set(), "the code is as it was, and so is params.yaml after the changes above"


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


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_job_leaves_the_order_to_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    """The second clone in test_second_clone.py was made by the command that ``--jobs 1`` comes to."""
    monkeypatch.chdir(tmp_path)
    params, begun, stale = load_params(pipeline.ROOT / "params.yaml"), list[tuple[str, ...]](), iter([True, False])
    monkeypatch.setattr(repro, "WarmStart", lambda: nullcontext(SimpleNamespace(environment={})))
    monkeypatch.setattr(repro, "stale", lambda: next(stale))
    monkeypatch.setattr(repro, "run_dvc", lambda *arguments: begun.append(arguments))
    repro.reproduce(params, jobs)
    alone = {("repro", "--single-item", item) for item in repro.items(params)}
    assert set(begun) == ({("repro",)} if jobs == 1 else alone)
    assert len(begun) == len(set(begun))
