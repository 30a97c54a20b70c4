"""Every command's help, and those that train nothing: list, cost, draw, relocate."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click import Group
from counted import without_values

from nasbench.cli import cli
from nasbench.core.genotype import Genotype, save_genotype
from nasbench.selectors import SELECTORS
from nasbench.spaces import SPACES

COMMANDS = ("augment", "cost", "document", "draw", "list", "relocate", "score", "search", "select", "tune-proxy")


def test_the_commands() -> None:
    assert isinstance(cli, Group)
    assert tuple(sorted(cli.commands)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(nasbench, command):
    done = nasbench(f"{command} --help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: nasbench {command}")
    assert "--json" in done.out
    assert cli.commands[command].help in " ".join(done.out.split())
    assert nasbench(f"{command} -h") == done


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_refused(nasbench, command):
    done = nasbench(f"{command} --no-such-option 1")
    assert done.code == 2
    assert "No such option" in done.err


def test_the_installed_command_in_a_process_of_its_own(tmp_path):
    """Exit codes and streams for real; listing and refusing import no framework, so they are quick."""
    call = [sys.executable, "-m", "nasbench"]
    listed = subprocess.run([*call, "list", "--json"], capture_output=True, text=True, check=False)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert set(json.loads(listed.stdout)) == {"datasets", "scorers", "selectors", "searchers", "spaces"}
    wrong = [*call, "select", "--scores", "absent.tsv", "--selector", "randm", "--size", "3", "--out", "p.json"]
    done = subprocess.run(wrong, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("UnknownNameError: there is no selector 'randm'.")
    assert done.stderr.rstrip().endswith("Did you mean 'random'?")
    assert list(tmp_path.iterdir()) == []


def test_list_shows_every_family_with_members_summaries_and_defaults(nasbench):
    done = nasbench("list")
    for family in ("datasets", "scorers", "selectors", "searchers", "spaces"):
        assert re.search(rf"^{family}$", done.out, re.MULTILINE)
    assert re.search(r"^  random  +Take k examples at random", done.out, re.MULTILINE)
    assert "      bin_width: 0.5\n" in done.out


def test_list_of_one_family_as_json(nasbench):
    listed = nasbench("list selectors --json").json
    assert list(listed) == ["selectors"]
    assert tuple(member["name"] for member in listed["selectors"]) == SELECTORS.names()
    p1 = next(member for member in listed["selectors"] if member["name"] == "entropy-tails-p1")
    assert p1["fields"] == {"bin_width": 0.5, "class_balance": False}
    assert "arXiv:2106.04784" in p1["reference"]
    searchers = {member["name"]: member["fields"] for member in nasbench("list searchers --json").json["searchers"]}
    assert (searchers["darts"]["epochs"], searchers["darts"]["order"]) == (50, "first")
    assert searchers["random-sampling"] == {}


def test_list_of_an_unknown_family_is_refused(nasbench):
    done = nasbench("list selector")
    assert done.code == 2
    assert "'selectors'" in done.err


@pytest.fixture
def _sizes_only() -> Iterator[None]:
    """The golden test of costs shows that the counts are those of networks with values."""
    with without_values():
        yield


@pytest.mark.usefixtures("_sizes_only")
@pytest.mark.parametrize(
    ("line", "params", "millions"),
    [
        # facts/differentiable_search.md, section 10, columns "C10 20x36", "IN 14x48" and "C100 20x36"; the golden
        # test of costs has them all, here they show that every option reaches the network and what the defaults are.
        ("--genotype DARTS_V2 --classes 100 --image-size 32", 3_401_272, None),
        (
            "--genotype DARTS_V2 --cells 14 --channels 48 --classes 1000 --image-size 224 --stem imagenet",
            4_718_752,
            "529.91",
        ),
        ("--genotype PC_DARTS_cifar --json", 3_634_678, "556.67"),
        ("--genotype cifar10_DARTS_proxy_histo1_10p", 3_803_158, "597.84"),
    ],
)
def test_cost_of_published_genotypes(nasbench, line, params, millions):
    done = nasbench(f"cost {line}")
    assert (done.code, done.json["params"]) == (0, params)
    if millions:
        assert f"{done.json['macs'] / 1e6:.2f}" == millions


@pytest.mark.usefixtures("_sizes_only")
def test_cost_of_a_genotype_file_is_that_of_its_cells(nasbench, darts_v2):
    of_file = nasbench("cost --genotype {file} --cells 8 --channels 16", file=darts_v2).json
    of_name = nasbench("cost --genotype DARTS_V2 --cells 8 --channels 16").json
    assert of_file.pop("genotype") == str(darts_v2)
    assert of_name.pop("genotype") == "DARTS_V2"
    assert of_file == of_name


@pytest.mark.usefixtures("_sizes_only")
def test_every_option_of_cost_matters(nasbench):
    base = "cost --genotype DARTS_V2 --cells 5 --channels 8"
    plain = nasbench(base).json
    for option in ("--classes 20", "--in-channels 1", "--stem imagenet", "--channels 12", "--cells 6"):
        other = nasbench(f"{base} {option}").json
        assert (other["params"], other["macs"]) != (plain["params"], plain["macs"]), option
    larger = nasbench(f"{base} --image-size 64").json
    assert (larger["params"], larger["macs"] > 3 * plain["macs"]) == (plain["params"], True)


def test_an_unknown_genotype_is_refused_with_the_nearest(refused):
    said = refused("cost --genotype DARTS_V3")
    assert "there are no published cells 'DARTS_V3'" in said
    assert re.search(r"Did you mean 'DARTS_V[12]'\?", said)
    assert "there is no genotype file cells.json" in refused("cost --genotype cells.json")
    assert "there is no genotype file a/DARTS_V2" in refused("cost --genotype a/DARTS_V2")


@pytest.mark.parametrize("command", ["cost --genotype {g}", "draw --genotype {g} --out {out}"])
def test_an_altered_genotype_file_is_refused(refused, darts_v2, tmp_path, command):
    path = darts_v2
    value = json.loads(path.read_text())
    value["cells"]["normal"]["nodes"][0][0] = ["skip_connect", 0]
    path.write_text(json.dumps(value))
    assert "GenotypeError: the readable cells are not those" in refused(command, g=path, out=tmp_path / "g.svg")
    value["cells"]["normal"]["nodes"][0][0][1] = 7
    path.write_text(json.dumps(value))
    assert "from state 7; allowed are states 0 to 1" in refused(command, g=path, out=tmp_path / "g.svg")
    path.write_text("{}")
    assert "'space' is missing" in refused(command, g=path, out=tmp_path / "g.svg")


def test_a_genotype_of_an_unknown_space_is_refused(refused, tmp_path):
    save_genotype(tmp_path / "g.json", Genotype(space="dart", genes=(0,)), {})
    said = refused("cost --genotype {g}", g=tmp_path / "g.json")
    assert "there is no search space 'dart'. Known: " in said
    assert "Did you mean 'darts'?" in said


@pytest.mark.parametrize("option", ["--cells 2", "--channels 0", "--classes 1", "--image-size 0", "--stem imagnet"])
def test_impossible_sizes_are_refused(nasbench, option):
    assert nasbench(f"cost --genotype DARTS_V2 {option}").code == 2


def test_draw_writes_the_same_picture_of_a_file_as_of_its_name(nasbench, darts_v2, tmp_path):
    done = nasbench("draw --genotype DARTS_V2 --out {out} --json", out=tmp_path / "a.svg")
    assert (done.code, done.json) == (0, {"out": str(tmp_path / "a.svg")})
    assert nasbench("draw --genotype {g} --out {out}", g=darts_v2, out=tmp_path / "b.svg").code == 0
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn.startswith("<svg")
    assert "dil_conv_3x3" in drawn
    assert "DARTS_V2" in drawn
    counts = [path.read_text().count("sep_conv_3x3") for path in (tmp_path / "a.svg", tmp_path / "b.svg")]
    assert counts[0] == counts[1] > 0


def test_wrong_drawings_are_refused(refused, tmp_path):
    assert "Did you mean 'GDAS_V1'?" in refused("draw --genotype GDAS_V2 --out {out}", out=tmp_path / "a.svg")
    (tmp_path / "file").write_text("x")
    assert "cannot write" in refused("draw --genotype GDAS_V1 --out {out}", out=tmp_path / "file" / "a.svg")


def test_relocate_without_a_store_is_refused(refused, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "there is no" in refused("relocate --root {root}", root=tmp_path)


SEARCHES = Path(__file__).resolve().parents[3] / "studies/gradient_searchers/cells"


def test_draw_shows_many_genotypes_searches_and_heat_maps(nasbench, darts_v2, tmp_path):
    files = sorted(SEARCHES.glob("*/genotype.json"))
    several = " ".join(f"--genotype {file}" for file in files)
    done = nasbench(f"draw {several} --out {{out}}", out=tmp_path / "pies.svg")
    assert (done.code, done.err) == (0, "")
    assert "nor_conv_3x3" in (tmp_path / "pies.svg").read_text()
    twice = nasbench("draw --genotype {g} --genotype {g} --out {out} --json", g=darts_v2, out=tmp_path / "d.svg")
    assert [Path(name).name for name in json.loads(twice.out)["out"]] == ["d-normal.svg", "d-reduce.svg"]
    trajectories = [file.with_name("trajectory.json") for file in files]
    assert nasbench("draw --trajectory {t} --out {out}", t=trajectories[0], out=tmp_path / "heat.svg").code == 0
    assert "softmax(alpha)" in (tmp_path / "heat.svg").read_text()
    every = " ".join(f"--trajectory {file}" for file in trajectories)
    assert nasbench(f"draw {every} --out {{out}}", out=tmp_path / "alarm.svg").code == 0
    assert all(file.parent.name in (tmp_path / "alarm.svg").read_text() for file in files)


def test_draw_names_rows_that_are_no_edges(nasbench, tmp_path):
    space = SPACES.get("nats-bench-size")()
    for seed in (0, 1):
        genotype = space.sample(np.random.default_rng(seed))
        save_genotype(tmp_path / f"{seed}.json", genotype, space.cells(genotype))
    line = "draw --genotype {a} --genotype {b} --out {out}"
    done = nasbench(line, a=tmp_path / "0.json", b=tmp_path / "1.json", out=tmp_path / "pies.svg")
    assert (done.code, done.err) == (0, "")
    drawn = (tmp_path / "pies.svg").read_text()
    assert all(f">layer{number}<" in drawn for number in range(5))
    assert ">distribution of widths<" in drawn
    assert "0 to 2" not in drawn


@pytest.mark.parametrize(("given", "code", "said"), [
    ("", 2, "either --genotype or --trajectory"),
    ("--genotype DARTS_V2 --trajectory {t}", 2, "either --genotype or --trajectory"),
    ("--genotype {g} --genotype {d}", 1, "of the spaces darts, nas-bench-201"),
    ("--trajectory {d}", 1, "is no trajectory of a search"),
])  # fmt: skip
def test_draw_refuses_what_it_cannot_draw(nasbench, darts_v2, tmp_path, given, code, said):
    folder = SEARCHES / "gdas"
    line = f"draw {given} --out {{out}}"
    done = nasbench(line, t=folder / "trajectory.json", d=darts_v2, g=folder / "genotype.json", out=tmp_path / "x.svg")
    assert done.code == code
    assert said in done.err
    assert not (tmp_path / "x.svg").exists()
