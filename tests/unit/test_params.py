"""params.yaml is strict: every wrong value is named with its path, what is allowed, and the nearest name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from nasbench.config.load import load_yaml
from nasbench.core.errors import ConfigError, FileReadError
from pipelines.params import load_params

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = load_yaml(ROOT / "params.yaml")


def write(folder: Path, value: dict[str, Any]) -> Path:
    path = folder / "params.yaml"
    with path.open("w", encoding="utf-8") as handle:
        YAML().dump(value, handle)
    return path


def changed(path: str, value: Any) -> dict[str, Any]:
    whole = copy.deepcopy(DEFAULT)
    *parents, last = path.split(".")
    section = whole
    for part in parents:
        section = section[part]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("compute.thread", 2, ["compute.thread", "unknown key", "'threads'"]),
        ("compute.threads", "two", ["compute.threads", "'two'", "integer"]),
        ("compute.threads", 0, ["compute.threads", "0", "greater than or equal to 1"]),
        ("compute", ..., ["compute", "is missing"]),
        ("compute.device", "cdua", ["compute.device", "'cdua'", "'cuda'"]),
        ("source.dataset", "digit", ["source.dataset", "'digit'", "'digits'"]),
        ("source.options", {"test_sizes": 5}, ["source.options.test_sizes", "unknown key", "'test_size'"]),
        ("scorers.resnet20.options.recipe.epoch", 3, ["scorers.resnet20.options.recipe.epoch", "'epochs'"]),
        ("scorers.resnet20.options.model", "resnet21", ["scorers.resnet20", "resnet21", "resnet20"]),
        ("proxies.p1.selector", "entropy-tails-p4", ["proxies.p1.selector", "'entropy-tails-p"]),
        ("proxies.p1.options.bin_widht", 0.5, ["proxies.p1.options.bin_widht", "'bin_width'"]),
        ("proxies.p1.options.bin_width", -1.0, ["proxies.p1.options.bin_width", "-1.0"]),
        ("proxies.p1.fraction", 1.5, ["proxies.p1.fraction", "1.5", "less than or equal to 1"]),
        ("proxies.p1.size", 100, ["proxies.p1", "exactly one of 'fraction' and 'size'"]),
        ("proxies.p1.table", "data/source", ["proxies.p1.table", "needs the column 'entropy'"]),
        ("proxies.p1.table", "scores/resnet56", ["proxies.p1.table", "'scores/resnet20'"]),
        ("proxies.whole.fraction", 0.5, ["proxies.whole.fraction", "leave it out"]),
        ("proxies.P-1", {"selector": "random", "table": "data/source", "size": 5}, ["proxies.P-1", "small letters"]),
        ("search.proxies", ["whole", "rand"], ["search.proxies", "'rand'", "'random'"]),
        ("search.searchers", ["dart"], ["search.searchers", "'darts'"]),
        ("search.seeds", [0, 0], ["search.seeds", "none twice"]),
        ("search.seeds", [], ["search.seeds", "at least one"]),
        ("baseline.cells", [1, 2], ["baseline.cells", "without gaps"]),
        ("searchers.darts.options.order", "third", ["searchers.darts.options.order", "'third'"]),
        ("augment.num_cells", 2, ["augment.num_cells", "2", "greater than or equal to 3"]),
        ("augment.recipe.schedule", "cosin", ["augment.recipe.schedule", "'cosine'"]),
        ("augment.recipe.decay", 0.5, ["decay 0.5 has no effect"]),
        ("compute.amp", True, ["compute.amp", "needs CUDA"]),
        ("compute.kernels", "compild", ["compute.kernels", "'compiled'"]),
        ("compute", {"device": "cuda", "kernels": "compiled"}, ["compute.kernels", "for a CPU"]),
        ("repository", "/somewhere", ["repository", "relative"]),
        ("study", "My Study", ["study", "'My Study'"]),
        ("gate.least_seed", 2, ["gate.least_seed", "'least_seeds'"]),
        ("gate.confidence", 95, ["gate.confidence", "95"]),
        ("space.space", "dart", ["space.space", "'darts'"]),
        ("proxies.random.table", ..., ["proxies.random.table", "is missing"]),
        ("target", {"dataset": "digits", "options": {"test_size": 500}}, ["target.name", "'digits'"]),
        ("proxies.random", {"selector": "random", "table": "data/source", "size": 60}, ["batch_size", "64", "60"]),
        ("augment.recipe", {"preset": "nastransfr"}, ["augment.recipe.preset", "'nastransfer'"]),
        ("proxies.random", {"preset": "imagenet1k-p9", "table": "data/source"}, ["'imagenet1k-p9'", "imagenet1k-p4"]),
        ("proxies.whole.size", 100, ["proxies.whole.size", "takes every example"]),
    ],
)
def test_every_wrong_value_is_named(tmp_path: Path, path: str, value: Any, said: list[str]) -> None:
    whole = changed(path, value)
    with pytest.raises(ConfigError) as caught:
        load_params(write(tmp_path, whole))
    for text in said:
        assert text in str(caught.value), str(caught.value)


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    whole = changed("compute.threads", 0)
    whole["augment"]["channels"] = 0
    with pytest.raises(ConfigError) as caught:
        load_params(write(tmp_path, whole))
    assert "compute.threads" in str(caught.value)
    assert "augment.channels" in str(caught.value)


def test_the_default_parameters_are_right() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.arms == (("whole", "darts"), ("random", "darts"), ("p1", "darts"))
    assert len(params.baseline.cells) >= 5
    assert len(params.search.seeds) == 2
    assert params.proxies["random"].fraction == params.proxies["p1"].fraction


@pytest.mark.parametrize("study", sorted(path.parent.name for path in ROOT.glob("studies/*/params.yaml")))
def test_the_parameters_of_every_study_are_right(study: str) -> None:
    folder = ROOT / "studies" / study
    assert load_params(folder / "params.yaml").study == study
    assert (folder / load_params(folder / "params.yaml").repository).resolve() == ROOT


def test_a_recipe_may_start_from_a_preset(tmp_path: Path) -> None:
    recipe = {"preset": "darts-cifar", "epochs": 20, "augmentation": {"flip": False}}
    chosen = load_params(write(tmp_path, changed("augment.recipe", recipe))).augment.recipe
    assert (chosen.epochs, chosen.augmentation.flip) == (20, False), "what stands beside the preset overrides it"
    assert (chosen.drop_path, chosen.auxiliary_weight, chosen.augmentation.cutout) == (0.2, 0.4, 16)


def test_a_proxy_may_be_one_of_the_papers(tmp_path: Path) -> None:
    proxy = {"preset": "imagenet1k-p4", "table": "data/source", "size": 500}
    chosen = load_params(write(tmp_path, changed("proxies.random", proxy))).proxies["random"]
    assert (chosen.selector, chosen.options, chosen.size) == ("random-classes", {"num_classes": 200}, 500)


def test_a_selector_of_classes_needs_no_size(tmp_path: Path) -> None:
    proxy = {"selector": "random-classes", "table": "data/source", "options": {"num_classes": 3}}
    chosen = load_params(write(tmp_path, changed("proxies.random", proxy))).proxies["random"]
    assert (chosen.size, chosen.fraction) == (None, None)


def test_a_key_that_stands_twice_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("study: a\nstudy: b\n")
    with pytest.raises(ConfigError, match="study"):
        load_params(path)
    path.write_text("study: [\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_params(path)
    path.write_text("- a\n")
    with pytest.raises(ConfigError, match="mapping"):
        load_params(path)
    with pytest.raises(FileReadError, match="cannot read"):
        load_params(tmp_path / "absent.yaml")
