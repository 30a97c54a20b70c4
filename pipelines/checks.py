"""What params.yaml must fulfil beyond types and ranges: names, tables, combinations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nasbench.config.component import fields_of
from nasbench.core.errors import ConfigError, nearest
from nasbench.searchers.presets import preset as searcher_preset
from nasbench.selectors.nastransfer import preset
from nasbench.spaces.base import NetworkShape
from nasbench.training.presets import PRESETS

if TYPE_CHECKING:
    from pipelines.params import Params

T = TypeVar("T")
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


def check(params: Params) -> None:
    """Refuse impossible parameters; every kind of problem is looked for before any is reported.

    Raises:
        ConfigError: One problem of each kind, one a line.
    """
    problems: list[str] = []
    for look in (_check_names, _check_components, _check_proxies, _check_matrix, _check_networks, _check_rest):
        try:
            look(params)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))


def section(sections: dict[str, T], name: str, where: str) -> T:
    """Return a named section, or say which there are."""
    if name not in sections:
        raise ConfigError(
            f"{where}: there is no section {name!r}. Known: {', '.join(sorted(sections))}.{nearest(name, sections)}"
        )
    return sections[name]


def with_presets(value: Any, where: str) -> Any:
    """Put a paper's recipe in the place of ``recipe: {preset: NAME, ...}``, and so in ``proxies`` and ``searchers``.

    The other keys override the preset's; the options of a searcher override one by one.
    """
    if not isinstance(value, dict):
        return value
    filled = {key: with_presets(entry, f"{where}.{key}".lstrip(".")) for key, entry in value.items()}
    if "preset" in filled and re.fullmatch(r"proxies\.[^.]+", where):
        return {**preset(str(filled.pop("preset"))).as_params(), **filled}
    if "preset" in filled and re.fullmatch(r"searchers\.[^.]+", where):
        base = searcher_preset(str(filled.pop("preset"))).as_params()
        if filled.get("searcher", base["searcher"]) != base["searcher"]:
            raise ConfigError(f"{where}.searcher: the preset is of {base['searcher']!r}. Leave one of the two out.")
        own = filled.pop("options", {})
        options = {**base["options"], **own} if isinstance(own, dict) else own
        return {**base, **filled, "options": options}
    name = filled.pop("preset", None) if where.endswith("recipe") else None
    if name is None:
        return filled
    if name not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        hint = nearest(str(name), PRESETS)
        raise ConfigError(f"{where}.preset: there is no preset {name!r}. Known: {known}.{hint}")
    base = fields_of(PRESETS[name])
    own = filled.pop("augmentation", {})
    transforms = {**base["augmentation"], **own} if isinstance(own, dict) else own
    return {**base, **filled, "augmentation": transforms}


def _check_names(params: Params) -> None:
    for where, names in (("scorers", params.scorers), ("proxies", params.proxies), ("searchers", params.searchers)):
        for name in names:
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{where}.{name}: a name may hold small letters, digits and underscores only, as it becomes part "
                    f"of file names and of DVC's item names."
                )


def _check_components(params: Params) -> None:
    params.dataset("source"), params.dataset("target"), params.search_space()
    for name in params.scorers:
        params.scorer(name)
    for name in params.proxies:
        params.selector(name)
    for name in params.searchers:
        params.searcher(name).check_space(params.search_space())


def _check_proxies(params: Params) -> None:
    for name, proxy in params.proxies.items():
        where = f"proxies.{name}"
        selector = params.selector(name)
        given = [key for key in ("fraction", "size") if getattr(proxy, key) is not None]
        if selector.name == "whole" and given:
            raise ConfigError(f"{where}.{given[0]}: 'whole' takes every example; leave it out.")
        if len(given) == 2 or not (given or selector.may_take_all):
            raise ConfigError(f"{where}: give exactly one of 'fraction' and 'size'; given: {given or 'none'}.")
        columns = _table_columns(params, proxy.table, f"{where}.table")
        for need in selector.needs:
            if need not in columns:
                raise ConfigError(
                    f"{where}.table: selector {selector.name!r} needs the column {need!r}, which {proxy.table!r} "
                    f"does not have. Name a table scores/<scorer> that makes it."
                )


def _table_columns(params: Params, table: str, where: str) -> tuple[str, ...]:
    if table == "data/source":
        return ()
    allowed = ["data/source", *(f"scores/{name}" for name in params.scorers)]
    if table not in allowed:
        raise ConfigError(f"{where}: {table!r} is not a table. Allowed: {', '.join(allowed)}.{nearest(table, allowed)}")
    return params.scorer(table.removeprefix("scores/")).columns


def _check_matrix(params: Params) -> None:
    matrix = params.search
    for key, known in (("proxies", params.proxies), ("searchers", params.searchers)):
        for name in getattr(matrix, key):
            section(dict(known), name, f"search.{key}")
    lists = (("search.proxies", matrix.proxies), ("search.searchers", matrix.searchers), ("search.seeds", matrix.seeds),
             ("baseline.cells", params.baseline.cells), ("augment.seeds", params.augment.seeds),
             ("transfer.seeds", params.transfer.seeds))  # fmt: skip
    for where, values in lists:
        if not values or len(set(values)) != len(values):
            raise ConfigError(f"{where}: {list(values)} must have at least one entry and none twice.")
    if list(params.baseline.cells) != list(range(len(params.baseline.cells))):
        raise ConfigError(f"baseline.cells: {list(params.baseline.cells)} must be 0, 1, 2, ... without gaps.")
    _check_batches(params)
    for name in matrix.searchers:
        if params.searchers[name].searcher == "random-sampling":
            raise ConfigError("search.searchers: random sampling is the baseline; set baseline.cells instead.")


def _check_batches(params: Params) -> None:
    for proxy, searcher in params.arms:
        size, component = params.proxies[proxy].size, params.searcher(searcher)
        batch = getattr(component, "batch_size", 0)
        if size is not None and batch > size // 2 and not getattr(component, "adapt_batch_size", False):
            raise ConfigError(
                f"searchers.{searcher}.options.batch_size: {batch} is more than half of the {size} examples of proxy "
                f"{proxy!r}. Lower it, enlarge the proxy, or set adapt_batch_size."
            )


def _check_networks(params: Params) -> None:
    space = params.search_space()
    sizes = (("supernet", params.supernet, 0.0), ("augment", params.augment, params.augment.recipe.auxiliary_weight),
             ("transfer", params.transfer, params.transfer.recipe.auxiliary_weight))  # fmt: skip
    for where, size, auxiliary in sizes:
        shape = NetworkShape(
            num_cells=size.num_cells, channels=size.channels, num_classes=2, stem=size.stem, auxiliary=auxiliary > 0
        )
        try:
            space.check_network(shape)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


def _check_rest(params: Params) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", params.study):
        raise ConfigError(f"study: {params.study!r} may hold small letters, digits, '_' and '-' only.")
    if Path(params.repository).is_absolute():
        raise ConfigError(f"repository: {params.repository!r} must be relative to params.yaml.")
    if params.source.label == params.target.label and params.source != params.target:
        raise ConfigError(
            f"target.name: source and target are both called {params.target.label!r}; give one of them a name."
        )
    if params.compute.amp and params.compute.device == "cpu":
        raise ConfigError("compute.amp: mixed precision needs CUDA; set compute.device to cuda, or amp to false.")
    if params.compute.kernels == "compiled" and params.compute.device == "cuda":
        raise ConfigError(
            "compute.kernels: 'compiled' is for a CPU; set compute.device to cpu or auto, or kernels to pytorch."
        )
