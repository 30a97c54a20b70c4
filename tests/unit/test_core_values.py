"""Seeds, registries, genotypes and proxies; and every way in which their files can be wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nasbench.core.errors import (
    FileReadError,
    GenotypeError,
    ProxyMismatchError,
    UnknownNameError,
    nearest,
)
from nasbench.core.genotype import Cell, Genotype, load_genotype, save_genotype
from nasbench.core.proxy import ProxySet, load_proxy, save_proxy
from nasbench.core.registry import Registry
from nasbench.core.seeding import derive_seed, generator
from nasbench.spaces.darts import CHOSEN, Darts

# ---------------------------------------------------------------------------------------------- seeds and names


def test_seeds_are_of_63_bits_and_differ_by_seed_purpose_and_order():
    seeds = [
        derive_seed(seed, *purpose) for seed in (0, 1) for purpose in ((), ("a",), ("a", "b"), ("b", "a"), ("ab",))
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_never_changes():
    """Written down once: another value would change every result of the project."""
    assert derive_seed(0, "weights") == 7_831_180_306_208_225_803
    assert derive_seed(0, "cell", 1) == derive_seed(0, "cell", "1")


def test_streams_are_repeatable_and_do_not_touch_numpys_global_one():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - that is what must not change
    first, again, other = (generator(seed, "x").random(5) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_the_nearest_name_is_offered_only_where_one_is_near():
    assert nearest("entropi", ["entropy", "random"]) == " Did you mean 'entropy'?"
    assert nearest("xyz", ["entropy", "random"]) == ""
    assert nearest("x", []) == ""


@pytest.fixture
def family(tmp_path, monkeypatch) -> Registry[Any]:
    """A package of two members, of which one defines two, and of machinery that must not be imported."""
    name = f"family_{tmp_path.name.replace('-', '_')}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text(
        f"from nasbench.core.registry import Registry\nTHINGS = Registry('thing', '{name}')\n"
    )
    member = "@THINGS.register\nclass {0}:\n    name = '{1}'\n"
    head = f"from {name} import THINGS\n"
    (package / "b.py").write_text(head + member.format("Blue", "blue"))
    (package / "a.py").write_text(head + member.format("Red", "red") + member.format("Green", "green"))
    (package / "machinery.py").write_text("raise RuntimeError('machinery was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(name).THINGS
    for module in [key for key in sys.modules if key.split(".")[0] == name]:
        del sys.modules[module]


def test_a_family_is_found_by_walking_its_package_but_for_machinery(family):
    assert family.names() == ("blue", "green", "red")
    assert family.get("red").__name__ == "Red"


def test_an_unknown_name_is_refused_with_path_known_names_and_nearest(family):
    with pytest.raises(UnknownNameError) as caught:
        family.get("bleu", "proxies.p1.thing")
    assert str(caught.value) == (
        "proxies.p1.thing: there is no thing 'bleu'. Known: blue, green, red. Did you mean 'blue'?"
    )
    with pytest.raises(UnknownNameError, match=r"^there is no thing 'xxxx'\. Known: blue, green, red\.$"):
        family.get("xxxx")


def test_a_name_is_given_once_and_by_the_class_itself(family):
    class Other:
        name: ClassVar[str] = "red"

    class Nameless(Other):
        pass

    family.names()
    with pytest.raises(UnknownNameError, match=r"'red' is taken by Red"):
        family.register(Other)
    with pytest.raises(UnknownNameError, match=r"Nameless needs a class attribute 'name' of its own"):
        family.register(Nameless)
    assert family.register(family.get("red")) is family.get("red")


# ---------------------------------------------------------------------------------------------------- genotypes

SPACE = Darts()
GENOTYPE = SPACE.sample(np.random.default_rng(0))


def stored(path: Path) -> dict[str, Any]:
    save_genotype(path, GENOTYPE, SPACE.cells(GENOTYPE))
    return json.loads(path.read_text())


def read_checked(path: Path) -> Genotype:
    """Read a genotype as every stage and command does."""
    genotype, cells = load_genotype(path)
    SPACE.check(genotype)
    SPACE.check_cells(genotype, cells)
    return genotype


def test_a_genotype_file_says_everything_and_is_read_again(tmp_path):
    value = stored(tmp_path / "genotype.json")
    assert set(value) == {"space", "genes", "fingerprint", "cells"}
    assert value["fingerprint"] == GENOTYPE.fingerprint
    assert read_checked(tmp_path / "genotype.json") == GENOTYPE
    assert load_genotype(tmp_path / "genotype.json")[1] == SPACE.cells(GENOTYPE)


def test_a_fingerprint_is_of_space_and_genes():
    other = Genotype(space="darts", genes=(*GENOTYPE.genes[:-1], (GENOTYPE.genes[-1] + 1) % 7))
    assert Genotype(space="darts", genes=GENOTYPE.genes).fingerprint == GENOTYPE.fingerprint
    assert len({GENOTYPE.fingerprint, other.fingerprint, Genotype(space="s", genes=GENOTYPE.genes).fingerprint}) == 3


def with_stamp(value: dict[str, Any]) -> dict[str, Any]:
    genotype = Genotype(space=value["space"], genes=tuple(value["genes"]))
    return value | {"fingerprint": genotype.fingerprint}


def change_gene(value: dict[str, Any], gene: int) -> dict[str, Any]:
    return value | {"genes": [value["genes"][0], gene, *value["genes"][2:]]}


def change_edge(value: dict[str, Any], operation: str | None = None, source: int | None = None) -> dict[str, Any]:
    """Change the first edge of the first node of the normal cell."""
    edge = value["cells"]["normal"]["nodes"][0][0]
    edge[:] = [operation or edge[0], edge[1] if source is None else source]
    return value


def change_normal(value: dict[str, Any], **fields: Any) -> dict[str, Any]:
    value["cells"]["normal"] |= fields
    return value


def without_last(value: dict[str, Any]) -> dict[str, Any]:
    return with_stamp(value | {"genes": value["genes"][:-1]})


def nodes(value: dict[str, Any]) -> list[Any]:
    return value["cells"]["normal"]["nodes"]


ALTERED: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "gene": (
        lambda value: change_gene(value, (value["genes"][1] + 1) % 7),
        r"was altered: its genes have fingerprint",
    ),
    "gene and fingerprint": (
        lambda value: with_stamp(change_gene(value, (value["genes"][1] + 1) % 7)),
        r"the readable cells are not those of the genes",
    ),
    "gene out of range": (
        lambda value: with_stamp(change_gene(value, 7)),
        r"gene 7 of 'normal/node2/lower_operation' must lie in 0 to 6",
    ),
    "negative gene": (lambda value: with_stamp(change_gene(value, -1)), r"gene -1 of .* must lie in 0 to 6"),
    "one gene less": (without_last, r"23 genes; space 'darts' has 24 choices"),
    "foreign space": (
        lambda value: with_stamp(value | {"space": "nas-bench-201"}),
        r"of space 'nas-bench-201', not 'darts'",
    ),
    "another operation": (
        lambda value: change_edge(value, CHOSEN[(CHOSEN.index(nodes(value)[0][0][0]) + 1) % 7]),
        r"the readable cells are not those of the genes",
    ),
    "unknown operation": (
        lambda value: change_edge(value, "conv_11x11"),
        r"operation 'conv_11x11'; allowed are max_pool_3x3",
    ),
    "operation none": (lambda value: change_edge(value, "none"), r"operation 'none'; allowed are max_pool_3x3"),
    "edge from a later node": (
        lambda value: change_edge(value, source=4),
        r"node 2 has an edge .* from state 4; allowed are states 0 to 1",
    ),
    "edge from itself": (lambda value: change_edge(value, source=2), r"from state 2; allowed are states 0 to 1"),
    "edge from before": (lambda value: change_edge(value, source=-1), r"from state -1; allowed are states 0 to 1"),
    "two edges from one state": (
        lambda value: change_edge(value, source=nodes(value)[0][1][1]),
        r"node 2 .* two from different states are needed",
    ),
    "three edges": (
        lambda value: change_normal(
            value, nodes=[nodes(value)[0], [*nodes(value)[1], ["skip_connect", 0]], *nodes(value)[2:]]
        ),
        r"node 3 .* two from different states are needed",
    ),
    "a cell less": (
        lambda value: value | {"cells": {"normal": value["cells"]["normal"]}},
        r"the cells are \['normal'\]",
    ),
    "a node less": (
        lambda value: change_normal(value, nodes=nodes(value)[:3], concat=[2, 3, 4]),
        r"the normal cell has 3 nodes",
    ),
    "concat of an input": (
        lambda value: change_normal(value, concat=[1, 2, 3, 4, 5]),
        r"concat .* must name intermediate states from 2 to 5",
    ),
    "concat of three": (lambda value: change_normal(value, concat=[2, 3, 4]), r"concatenates \(2, 3, 4\)"),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_an_altered_genotype_is_refused(tmp_path, kind):
    path = tmp_path / "genotype.json"
    change, said = ALTERED[kind]
    value = change(stored(path))
    assert value != json.loads(path.read_text())
    path.write_text(json.dumps(value))
    with pytest.raises(GenotypeError, match=said):
        read_checked(path)


@pytest.mark.parametrize("key", ["space", "genes", "fingerprint", "cells"])
def test_a_missing_key_of_a_genotype_is_named(tmp_path, key):
    path = tmp_path / "genotype.json"
    value = stored(path)
    del value[key]
    path.write_text(json.dumps(value))
    with pytest.raises(GenotypeError, match=rf"genotype\.json is not a genotype file: '{key}' is missing"):
        load_genotype(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("space", 3),
        ("genes", 5),
        ("genes", "012"),
        ("genes", [0.0] * 24),
        ("genes", [True] * 24),
        ("cells", ["normal"]),
        ("cells", 1),
        ("cells", {"normal": 1}),
        ("cells", {"normal": {"nodes": []}}),
        ("cells", {"normal": {"nodes": [[["skip_connect", 0.5]]], "concat": [2]}}),
        ("cells", {"normal": {"nodes": [[["skip_connect", "0"]]], "concat": [2]}}),
        ("cells", {"normal": {"nodes": [[[None, 0]]], "concat": [2]}}),
        ("cells", {"normal": {"nodes": [[["skip_connect"]]], "concat": [2]}}),
        ("cells", {"normal": {"nodes": [[["skip_connect", 0]]], "concat": []}}),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path, key, value):
    path = tmp_path / "genotype.json"
    whole = stored(path)
    path.write_text(json.dumps(whole | {key: value}))
    with pytest.raises(GenotypeError):
        load_genotype(path)


def test_a_genotype_file_that_is_no_json_or_absent_is_refused(tmp_path):
    (tmp_path / "genotype.json").write_text("normal=[('sep_conv_3x3', 0)]")
    with pytest.raises(FileReadError, match="not valid JSON"):
        load_genotype(tmp_path / "genotype.json")
    with pytest.raises(FileReadError, match="cannot read"):
        load_genotype(tmp_path / "absent.json")


def test_cells_go_through_plain_values_and_back():
    cell = Cell(nodes=((("a", 0), ("b", 1)), (("c", 2),)), concat=(2, 3))
    assert Cell.from_plain(json.loads(json.dumps(cell.to_plain()))) == cell


# ------------------------------------------------------------------------------------------------------ proxies


def proxy(**changes: Any) -> ProxySet:
    fields = {
        "indices": np.array([1, 4, 5, 8, 9, 11], dtype=np.int64),
        "num_examples": 12,
        "dataset": "d" * 32,
        "selector": {"name": "random"},
        "seed": 3,
        "table": "t" * 32,
    }
    return ProxySet(**(fields | changes))


PROXY_FIELDS = ("num_examples", "dataset", "selector", "seed", "table", "fingerprint")


def test_a_proxy_file_from_before_tables_had_fingerprints_is_read(tmp_path):
    save_proxy(tmp_path / "proxy.json", proxy())
    value = json.loads((tmp_path / "proxy.json").read_text())
    assert value.pop("table") == "t" * 32
    (tmp_path / "proxy.json").write_text(json.dumps(value))
    again = load_proxy(tmp_path / "proxy.json")
    assert (again.table, again.fingerprint) == ("", proxy().fingerprint)


def test_a_proxy_file_is_read_again_and_holds_its_details(tmp_path):
    save_proxy(tmp_path / "proxy.json", proxy(), {"classes": [1, 2], "indices": "never this"})
    again = load_proxy(tmp_path / "proxy.json")
    assert again.indices.dtype == np.int64
    assert np.array_equal(again.indices, proxy().indices)
    assert [getattr(again, key) for key in PROXY_FIELDS] == [getattr(proxy(), key) for key in PROXY_FIELDS]
    value = json.loads((tmp_path / "proxy.json").read_text())
    assert value["indices"] == [1, 4, 5, 8, 9, 11]
    assert value["classes"] == [1, 2]
    assert sorted(value["weight_indices"] + value["alpha_indices"]) == value["indices"]


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        ([4, 1], "1 follows 4"),
        ([1, 1, 2], "1 follows 1"),
        ([-1, 2], "they go from -1 to 2"),
        ([3, 12], r"within 0 to 11; they go from 3 to 12"),
        ([], "a list of them is needed"),
        ([[1, 2]], r"shape \(1, 2\)"),
        (5, r"shape \(\)"),
    ],
)
def test_impossible_indices_are_refused(indices, said):
    with pytest.raises(ProxyMismatchError, match=said):
        proxy(indices=np.array(indices, dtype=np.int64))


def test_a_proxy_of_another_dataset_is_refused():
    proxy().check_dataset("d" * 32, 12)
    with pytest.raises(ProxyMismatchError, match=rf"{'d' * 32} with 12 examples, not of {'e' * 32} with 12"):
        proxy().check_dataset("e" * 32, 12)
    with pytest.raises(ProxyMismatchError, match=r"with 12 examples, not of .* with 13"):
        proxy().check_dataset("d" * 32, 13)
    published = proxy(dataset="")
    published.check_dataset("e" * 32, 12)
    with pytest.raises(ProxyMismatchError, match="dataset unknown with 12"):
        published.check_dataset("e" * 32, 11)


def test_halves_are_disjoint_shuffled_and_follow_the_seed_and_the_fraction():
    many = proxy(indices=np.arange(0, 1000, 2), num_examples=1000)
    weights, alphas = many.halves()
    assert len(weights) == len(alphas) == 250
    assert np.array_equal(np.sort(np.concatenate([weights, alphas])), many.indices)
    assert 300 < weights.mean() < 700, "cut in the order of the file instead of shuffled"
    assert np.array_equal(weights, many.halves()[0])
    assert not np.array_equal(weights, proxy(indices=many.indices, num_examples=1000, seed=4).halves()[0])
    assert [len(half) for half in many.halves(0.8)] == [400, 100]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"indices": [1, 4, 5, 8, 9, 10]}, ProxyMismatchError, "was altered"),
        ({"indices": [4, 1, 5, 8, 9, 11]}, ProxyMismatchError, "1 follows 4"),
        ({"indices": [1, 4, 5, 8, 9, 12]}, ProxyMismatchError, "they go from 1 to 12"),
        ({"indices": [1.0, 4, 5, 8, 9, 11]}, FileReadError, "'indices' must be whole numbers"),
        ({"indices": [1.5, 4, 5, 8, 9, 11]}, FileReadError, "'indices' must be whole numbers"),
        ({"indices": [2**70]}, FileReadError, "'indices' must be whole numbers"),
        ({"indices": ["1", "4"]}, FileReadError, "'indices' must be whole numbers"),
        ({"indices": [[1], [2, 3]]}, FileReadError, "not a proxy file"),
        ({"indices": []}, ProxyMismatchError, "a list of them is needed"),
        ({"indices": None}, FileReadError, "not a proxy file"),
        ({"dataset": "e" * 32}, ProxyMismatchError, "was altered"),
        ({"fingerprint": "0" * 32}, ProxyMismatchError, "was altered"),
        ({"seed": 4}, ProxyMismatchError, "seed 4 does not give its weight_indices"),
        ({"alpha_indices": [1, 4, 5]}, ProxyMismatchError, "does not give its weight_indices"),
        ({"num_examples": 11}, ProxyMismatchError, "within 0 to 10"),
        ({"num_examples": "many"}, FileReadError, "not a proxy file"),
        ({"selector": "random"}, FileReadError, "not a proxy file"),
    ],
)
def test_an_altered_proxy_file_is_refused(tmp_path, change, error, said):
    path = tmp_path / "proxy.json"
    save_proxy(path, proxy())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=said):
        load_proxy(path)


@pytest.mark.parametrize(
    "key", ["indices", "num_examples", "dataset", "selector", "seed", "fingerprint", "weight_indices", "alpha_indices"]
)
def test_a_missing_key_of_a_proxy_is_named(tmp_path, key):
    path = tmp_path / "proxy.json"
    save_proxy(path, proxy())
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != key}))
    with pytest.raises(FileReadError, match=rf"not a proxy file \(KeyError: '{key}'\)"):
        load_proxy(path)


def test_values_import_no_framework():
    code = (
        "import sys, nasbench.core.table, nasbench.core.proxy, nasbench.core.genotype, nasbench.core.registry; "
        "print(sorted({'torch', 'pandas', 'pyarrow', 'mlflow', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
