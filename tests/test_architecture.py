"""The judge of the house's rules: who may import whom, what is heavy, what is never written.

Every rule is a function from modules to complaints. It is run on the real tree, and on a small wrong tree which
it must complain of, so that no rule can fall asleep.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 350

LAYERS = (
    {"core"},
    {"config"},
    {"spaces", "models", "selectors", "training", "datasets", "analysis", "tracking"},
    {"searchers", "scorers"},
    {"tuning"},
    {"cli", "__main__", "pipelines"},
)
"""From the lowest up; a part may import what stands lower, and itself."""

EXCEPTIONS = {
    ("nasbench.__main__", "nasbench.cli"),
    ("nasbench.training.augment", "nasbench.spaces.base"),
    ("nasbench.training", "nasbench.datasets.base"),
    ("nasbench.training", "nasbench.tracking.tracker"),
}
"""(who, what) between siblings: ``python -m nasbench`` is the command line; a training takes images, tells a
tracker, and builds a network from a genotype."""

FAMILIES = ("datasets", "scorers", "searchers", "selectors", "spaces")
HOMES = {
    "mlflow": ("nasbench.tracking.",),
    "timm": ("nasbench.models.timm_zoo",),
    "optuna": ("nasbench.tuning.", "nasbench.searchers."),
    "matplotlib": ("nasbench.analysis.plots",),
    "dvc": (),
}
"""Framework -> the only modules of the library that may import it, at any depth of a function."""

HEAVY = {"torch", "torchvision", "timm", "mlflow", "pandas", "sklearn", "matplotlib", "optuna", "mlxtend", "scipy"}
LISTING_LEAVES_OUT = (*sorted(HEAVY), "PIL", "pyarrow")
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


@dataclass(frozen=True)
class Import:
    """One imported module: its dotted name, its line, and whether importing the importer already imports it."""

    name: str
    line: int
    at_top: bool


@dataclass(frozen=True)
class Module:
    """A source file by its dotted name."""

    name: str
    text: str
    known: frozenset[str] = frozenset()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(_imports(self.tree, self.known, at_top=True))

    @property
    def part(self) -> str:
        """The name that stands in LAYERS."""
        words = self.name.split(".")
        return words[0] if words[0] != "nasbench" or len(words) == 1 else words[1]

    @property
    def is_member(self) -> bool:
        """Whether it registers a component of a family."""
        classes = [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]
        return any(
            ast.unparse(decorator).endswith(".register") for node in classes for decorator in node.decorator_list
        )


def _imports(node: ast.AST, known: frozenset[str], *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"relative import in line {child.lineno}"
            base = child.module or ""
            for alias in child.names:  # `from package import module` imports the module
                full = f"{base}.{alias.name}"
                yield Import(full if full in known else base, child.lineno, at_top)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield from _imports(ast.Module([part], []), known, at_top=False)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), known, at_top=at_top)
        else:
            deeper = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, known, at_top=at_top and not deeper)


def modules_of(sources: Mapping[str, str]) -> list[Module]:
    return [Module(name, text, frozenset(sources)) for name, text in sorted(sources.items())]


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    sources = {}
    for package in ("nasbench", "pipelines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            words = path.relative_to(ROOT).with_suffix("").parts
            sources[".".join(words[:-1] if words[-1] == "__init__" else words)] = path.read_text(encoding="utf-8")
    assert len(sources) > 40
    return modules_of(sources)


Rule = Callable[[list[Module]], list[str]]


def _within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def _layer(part: str) -> int | None:
    return next((number for number, parts in enumerate(LAYERS) if part in parts), None)


def imports_point_down(modules: list[Module]) -> list[str]:
    """Parts import lower parts only; siblings do not import each other, save for the named exceptions."""
    complaints = []
    for module in modules:
        if module.name == "nasbench":
            continue
        here = _layer(module.part)
        if here is None:
            complaints.append(f"{module.name} belongs to no layer")
            continue
        for found in module.imports:
            target = Module(found.name, "")
            if found.name.partition(".")[0] not in {"nasbench", "pipelines"} or target.part in {
                module.part,
                "nasbench",
            }:
                continue
            there = _layer(target.part)
            excepted = any(_within(module.name, who) and _within(found.name, what) for who, what in EXCEPTIONS)
            if (there is None or there >= here) and not excepted:
                complaints.append(f"{module.name}:{found.line} imports {found.name}")
    return complaints


def members_stand_alone(modules: list[Module]) -> list[str]:
    """A member of a family imports no other member of it."""
    members = {module.name: module.part for module in modules if module.part in FAMILIES and module.is_member}
    return [
        f"{module.name}:{found.line} imports the member {found.name}"
        for module in modules
        if module.name in members
        for found in module.imports
        if members.get(found.name) == module.part and found.name != module.name
    ]


def frameworks_stay_at_home(modules: list[Module]) -> list[str]:
    """MLflow, timm, Optuna, Matplotlib and DVC are imported in their places only."""
    return [
        f"{module.name}:{found.line} imports {found.name}"
        for module in modules
        for found in module.imports
        for framework, homes in HOMES.items()
        if _within(found.name, framework)
        and not (module.part == "pipelines" and framework == "dvc")
        and not any(module.name.startswith(home) for home in homes)
    ]


def selectors_and_analysis_need_no_torch(modules: list[Module]) -> list[str]:
    """Not even inside a function."""
    return [
        f"{module.name}:{found.line} imports {found.name}"
        for module in modules
        if module.part in {"selectors", "analysis"}
        for found in module.imports
        if found.name.partition(".")[0] in {"torch", "torchvision", "timm"}
    ]


def members_are_light(modules: list[Module]) -> list[str]:
    """Members import heavy frameworks only inside their methods; so do pipelines' stages and the command line."""
    return [
        f"{module.name}:{found.line} imports {found.name} at the top"
        for module in modules
        if (module.part in FAMILIES and (module.is_member or module.name.endswith(".base")))
        or module.part in {"core", "config", "cli", "__main__", "pipelines", "tracking"}
        for found in module.imports
        if found.at_top and found.name.partition(".")[0] in HEAVY
    ]


def files_are_short(modules: list[Module]) -> list[str]:
    """A longer file means that a noun is missing."""
    lengths = {module.name: len(module.text.splitlines()) for module in modules}
    return [f"{name} has {lines} lines; at most {MAX_LINES}" for name, lines in lengths.items() if lines > MAX_LINES]


def nothing_unsafe_or_sloppy(modules: list[Module]) -> list[str]:
    """No print, assert, eval, exec, pickle, bare except, shell, and no loading of pickled weights or arrays."""
    return [
        f"{module.name}:{node.lineno} {complaint}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.expr | ast.stmt | ast.ExceptHandler) and (complaint := _sloppy(node))
    ]


def _sloppy(node: ast.AST) -> str:
    if isinstance(node, ast.Assert):
        return "asserts"
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        return "has a bare except"
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        return next((f"imports {name}" for name in names if name.partition(".")[0] in FORBIDDEN_MODULES), "")
    return _bad_call(node) if isinstance(node, ast.Call) else ""


def _bad_call(node: ast.Call) -> str:
    name = ast.unparse(node.func)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if name in {"print", "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load"}:
        return f"calls {name}"
    if name == "torch.load" and given.get("weights_only") != "True":
        return "calls torch.load without weights_only=True"
    if name in {"np.load", "numpy.load"} and given.get("allow_pickle") != "False":
        return "calls np.load without allow_pickle=False"
    return f"calls {name} with a shell" if given.get("shell", "False") != "False" else ""


RULES: tuple[Rule, ...] = (
    imports_point_down,
    members_stand_alone,
    frameworks_stay_at_home,
    selectors_and_analysis_need_no_torch,
    members_are_light,
    files_are_short,
    nothing_unsafe_or_sloppy,
)

MEMBER = "from nasbench.selectors import SELECTORS\n@SELECTORS.register\n@component\nclass A:\n    pass\n"
TWO = {"nasbench.selectors.a": MEMBER, "nasbench.selectors.b": MEMBER}
LATE = "if TYPE_CHECKING:\n    import torch\ndef f():\n    import torch"
HARMLESS = "model.eval()\ntorch.load(f, weights_only=True)\nclick.echo('print(1)')"
WRONG: tuple[tuple[Rule, dict[str, str]], ...] = (
    (imports_point_down, {"nasbench.core.a": "from nasbench.config import component"}),
    (imports_point_down, {"nasbench.spaces.a": "def f():\n    import nasbench.training.trainer"}),
    (imports_point_down, {"nasbench.tracking.a": "from nasbench.searchers.base import Searcher"}),
    (imports_point_down, {"nasbench.searchers.a": "from nasbench.scorers import SCORERS"}),
    (imports_point_down, {"nasbench.training.trainer": "from nasbench.spaces.base import SearchSpace"}),
    (imports_point_down, {"nasbench.training.trainer": "from nasbench.datasets.prepared import load_prepared"}),
    (imports_point_down, {"nasbench.cli": "from pipelines.stage import run_stage"}),
    (imports_point_down, {"nasbench.helpers": ""}),
    (members_stand_alone, TWO | {"nasbench.selectors.b": MEMBER + "import nasbench.selectors.a"}),
    (members_stand_alone, TWO | {"nasbench.selectors.b": "from nasbench.selectors import a\n" + MEMBER}),
    (frameworks_stay_at_home, {"pipelines.a": "import mlflow"}),
    (frameworks_stay_at_home, {"nasbench.models.zoo": "def f():\n    from timm import create_model"}),
    (frameworks_stay_at_home, {"nasbench.tracking.a": "import dvc.api"}),
    (frameworks_stay_at_home, {"nasbench.analysis.draw": "from matplotlib.figure import Figure"}),
    (frameworks_stay_at_home, {"nasbench.spaces.a": "import optuna"}),
    (selectors_and_analysis_need_no_torch, {"nasbench.analysis.a": "def f():\n    import torch"}),
    (members_are_light, {"nasbench.selectors.a": MEMBER + "import pandas as pd"}),
    (members_are_light, {"nasbench.tracking.a": "try:\n    import mlflow\nexcept ImportError:\n    mlflow = None"}),
    (files_are_short, {"nasbench.core.a": "x = 1\n" * (MAX_LINES + 1)}),
    *(
        (nothing_unsafe_or_sloppy, {"nasbench.core.a": text})
        for text in (
            "print(1)", "assert x", "eval('1')", "exec('1')", "import pickle", "from pickle import loads",
            "try:\n    f()\nexcept:\n    g()", "torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f)",
            "subprocess.run('ls', shell=True)", "os.system('ls')",
        )
    ),
)  # fmt: skip

RIGHT: tuple[tuple[Rule, dict[str, str]], ...] = (
    (imports_point_down, {"nasbench.searchers.a": "import nasbench.spaces.base\nfrom nasbench.core import files"}),
    (imports_point_down, {"nasbench.training.trainer": "from nasbench.tracking.tracker import Tracker"}),
    (imports_point_down, {"pipelines.a": "import pipelines.b\nfrom nasbench import core"}),
    (members_stand_alone, TWO),
    (members_stand_alone, {"nasbench.selectors.a": MEMBER + "from nasbench.selectors.base import ProxySelector"}),
    (members_are_light, {"nasbench.selectors.a": MEMBER + LATE}),
    (nothing_unsafe_or_sloppy, {"nasbench.core.a": HARMLESS}),
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rules_are_kept(rule, modules):
    assert rule(modules) == []


@pytest.mark.parametrize(("rule", "sources"), WRONG)
def test_every_rule_finds_what_breaks_it(rule, sources):
    assert len(rule(modules_of(sources))) == 1


@pytest.mark.parametrize(("rule", "sources"), RIGHT)
def test_no_rule_complains_of_what_is_right(rule, sources):
    assert rule(modules_of(sources)) == []


def test_every_rule_has_a_wrong_tree():
    assert {rule for rule, _ in WRONG} == set(RULES)


def test_every_exception_is_used(modules):
    used = {
        (who, what)
        for module in modules
        for found in module.imports
        for who, what in EXCEPTIONS
        if _within(module.name, who) and _within(found.name, what)
    }
    assert used == EXCEPTIONS


def loaded_by(programs: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the frameworks that each of some programs imports, one after the other in one fresh process."""
    probe = (
        "import json, sys\nfound, before = {}, set()\n"
        "for name, program in json.load(sys.stdin).items():\n"
        "    exec(program, {})\n"
        f"    now = set({LISTING_LEAVES_OUT!r}) & set(sys.modules)\n"
        "    found[name], before = sorted(now - before), now\n"
        "sys.stdout.write(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True, input=json.dumps(programs)
    )
    return {name: set(loaded) for name, loaded in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def loaded(modules: list[Module]) -> dict[str, set[str]]:
    """What listing each family imports, and then opening the modules of the tracker and of the stages."""
    listing = {
        family: f"from nasbench.{family} import {family.upper()}\nassert {family.upper()}.names(), {family!r}"
        for family in FAMILIES
    }
    names = [module.name for module in modules if module.part == "tracking" or module.name == "pipelines.stage"]
    return loaded_by({**listing, "tracking": "import " + ", ".join(names)})


@pytest.mark.parametrize("family", FAMILIES)
def test_listing_a_family_imports_no_framework(loaded, family):
    assert loaded[family] == set()


def test_opening_the_tracker_s_modules_and_the_stages_imports_no_framework(loaded):
    assert loaded["tracking"] == set()


def test_selectors_and_analysis_really_run_without_torch(modules):
    names = [module.name for module in modules if module.part in {"selectors", "analysis"}]
    blocked = "import sys\nsys.modules['torch'] = sys.modules['torchvision'] = None\n"
    program = blocked + "import " + ", ".join(names) + "\ndel sys.modules['torch'], sys.modules['torchvision']"
    assert not loaded_by({"all": program})["all"] & {"torch", "torchvision", "timm", "mlflow"}


def test_the_probe_of_loaded_frameworks_works():
    assert loaded_by({"first": "import mlxtend, json", "second": "import PIL"}) == {
        "first": {"mlxtend"},
        "second": {"PIL"},
    }
