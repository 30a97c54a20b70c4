"""What every registered selector promises."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench.config.component import fields_of, parse
from nasbench.core.errors import ConfigError, ScoreError, SelectionError
from nasbench.core.seeding import generator
from nasbench.core.table import FEATURES, ExampleTable
from nasbench.selectors import SELECTORS
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.histogram import BIN_WIDTHS
from nasbench.selectors.selection import describe, select_proxy

NUM = 300
DRAWING = {
    "random", "cc-rs", "km-or", "k-center", "random-classes", "uniform-classes",
    "entropy-tails-p1", "entropy-tails-p2", "entropy-tails-p3",
}  # fmt: skip
OTHER_FIELDS: dict[str, Any] = {
    "low_entropy_ratio": 0.5,
    "bin_width": 0.1,
    "class_balance": True,
    "num_clusters": 7,
    "metric": "manhattan",
    "standardize": True,
    "init": "random",
    "num_inits": 20,
    "max_iterations": 1,
    "start": "farthest-from-mean",
    "num_classes": 3,
    "min_images": 9,
}
OPPOSITE = {"easy": "hard", "hard": "easy"}


def _other(selector: ProxySelector, field: str) -> Any:
    """Another value of a field than the default."""
    return OPPOSITE[getattr(selector, field)] if field == "keep" else OTHER_FIELDS[field]


def _table(num: int = NUM, seed: int = 0) -> ExampleTable:
    """Scores without ties, and features of unlike scales."""
    rng = np.random.default_rng(seed)
    names = sorted({name for member in SELECTORS.names() for name in SELECTORS.get(member).needs} - {FEATURES})
    return ExampleTable(
        dataset="f" * 32,
        labels=rng.integers(0, 7, num),
        columns={name: np.exp(rng.normal(-4.0, 3.0, num)) for name in names},
        features=(rng.normal(2.0, 1.0, (num, 4)) * [1, 1, 1, 5]).astype(np.float32),
    )


@pytest.fixture(params=SELECTORS.names())
def selector(request: pytest.FixtureRequest) -> ProxySelector:
    """Every selector with its defaults."""
    return SELECTORS.get(request.param)()


def _sizes(selector: ProxySelector) -> tuple[int, ...]:
    return (NUM,) if selector.name == "whole" else (1, 2, 30, NUM - 1, NUM)


def test_every_published_selection_is_there() -> None:
    assert set(SELECTORS.names()) >= {
        "whole", "random", "entropy-top-k", "entropy-bottom-k", "entropy-tails-deterministic", "entropy-tails-p1",
        "entropy-tails-p2", "entropy-tails-p3", "cc-rs", "km-or", "cc-or", "ae", "tl", "forgetting",
        "k-center", "random-classes", "uniform-classes",
    }  # fmt: skip


def test_exactly_k_sorted_unique_rows(selector: ProxySelector) -> None:
    for k in _sizes(selector):
        rows = selector.select(_table(), k, np.random.default_rng(0))
        assert rows.dtype == np.int64
        assert rows.shape == (k,)
        assert np.all(np.diff(rows) > 0)
        assert 0 <= rows[0] <= rows[-1] < NUM


def test_same_seed_same_rows(selector: ProxySelector) -> None:
    k = _sizes(selector)[-2:][0]
    first, again = (select_proxy(selector, _table(), k, 5) for _ in range(2))
    assert np.array_equal(first.indices, again.indices)
    assert first.fingerprint == again.fingerprint


def test_other_seed_other_rows_where_random(selector: ProxySelector) -> None:
    k = NUM if selector.name == "whole" else 30
    rows = {tuple(select_proxy(selector, _table(), k, seed).indices) for seed in range(5)}
    assert len(rows) == (5 if selector.name in DRAWING else 1)


@pytest.mark.parametrize("name", sorted(set(SELECTORS.names()) - DRAWING))
def test_deterministic_selectors_follow_a_permutation(name: str) -> None:
    """Exactly for those that draw nothing; the others in distribution (tests/property/test_selectors_properties.py)."""
    selector = SELECTORS.get(name)()
    table, order = _table(), np.random.default_rng(1).permutation(NUM)
    columns = {name: column[order] for name, column in table.columns.items()}
    assert table.features is not None
    moved = ExampleTable(dataset="", labels=table.labels[order], columns=columns, features=table.features[order])
    balanced = [parse(type(selector), {"class_balance": True})] if "class_balance" in fields_of(selector) else []
    for k in _sizes(selector):
        for version in (selector, *balanced):
            rows = version.select(moved, k, np.random.default_rng(0))
            assert set(order[rows]) == set(version.select(table, k, np.random.default_rng(0)))


@pytest.mark.parametrize("k", [0, -1, NUM + 1])
def test_impossible_size_is_refused(selector: ProxySelector, k: int) -> None:
    with pytest.raises(SelectionError, match=str(k)):
        selector.select(_table(), k, np.random.default_rng(0))


def test_missing_column_is_named(selector: ProxySelector) -> None:
    bare = ExampleTable(dataset="", labels=np.zeros(4, dtype=np.int64))
    if not selector.needs:
        assert len(select_proxy(selector, bare, 4, 0)) == 4
        return
    with pytest.raises(ScoreError, match=selector.needs[0]):
        select_proxy(selector, bare, 2, 0)
    with pytest.raises(ScoreError, match=selector.needs[0]):
        selector.select(bare, 2, np.random.default_rng(0))


BALANCED = [name for name in SELECTORS.names() if "class_balance" in fields_of(SELECTORS.get(name)())]


def test_whatever_orders_by_a_score_can_be_balanced_and_is_not_by_default() -> None:
    assert set(BALANCED) >= {name for name in SELECTORS.names() if set(SELECTORS.get(name).needs) - {FEATURES}}
    assert set(BALANCED) >= {"km-or", "k-center"}
    assert not any(fields_of(SELECTORS.get(name)())["class_balance"] for name in BALANCED)


@pytest.mark.parametrize("name", [*BALANCED, "cc-rs", "cc-or"])
def test_balance_keeps_every_class_at_its_share_within_one_example(name: str) -> None:
    selector = parse(SELECTORS.get(name), {"class_balance": True} if name in BALANCED else {})
    labels = _table().labels
    for k in (1, 2, 30, 61, NUM - 1, NUM):
        rows = selector.select(_table(), k, np.random.default_rng(0))
        assert rows.shape == (k,)
        assert np.all(np.diff(rows) > 0)
        apart = np.bincount(labels[rows], minlength=7) - k * np.bincount(labels, minlength=7) / NUM
        assert np.abs(apart).max() < 1


def test_every_field_changes_the_selection(selector: ProxySelector) -> None:
    for field in dataclasses.fields(selector):  # type: ignore[arg-type]
        other = type(selector)(**{field.name: _other(selector, field.name)})
        assert fields_of(other) != fields_of(selector)
        assert select_proxy(other, _table(), 60, 0).fingerprint != select_proxy(selector, _table(), 60, 0).fingerprint


def test_fields_round_trip_and_unknown_ones_are_refused(selector: ProxySelector) -> None:
    assert parse(type(selector), fields_of(selector)) == selector
    with pytest.raises(ConfigError, match=r"proxies\.p1\.bin_widht"):
        parse(type(selector), {"bin_widht": 0.5}, "proxies.p1")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("entropy-tails-deterministic", {"low_entropy_ratio": 0.0}),
        ("entropy-tails-deterministic", {"low_entropy_ratio": 1.0}),
        ("entropy-tails-p1", {"bin_width": 0.0}),
        ("entropy-tails-p2", {"bin_width": 11.0}),
        ("entropy-tails-p3", {"bin_width": "wide"}),
        ("entropy-tails-p1", {"bin_width": None}),
        ("entropy-tails-p1", {"bin_width": True}),
        ("entropy-top-k", {"class_balance": 1}),
        ("entropy-tails-p1", {"class_balance": "yes"}),
        ("ae", {"keep": "middle"}),
        ("forgetting", {"keep": "both"}),
        ("km-or", {"num_clusters": 0}),
        ("km-or", {"metric": "hamming"}),
        ("km-or", {"init": "first"}),
        ("km-or", {"num_inits": 0}),
        ("km-or", {"max_iterations": 0}),
        ("cc-or", {"metric": "own"}),
        ("k-center", {"start": "first"}),
        ("random-classes", {"num_classes": 0}),
        ("uniform-classes", {"min_images": 0}),
    ],
)
def test_field_out_of_range_is_refused(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        parse(SELECTORS.get(name), fields, "here")


@pytest.mark.parametrize("member", ["p1", "p2", "p3"])
@pytest.mark.parametrize(("preset", "width"), BIN_WIDTHS.items())
def test_a_preset_of_the_bin_width_is_its_number(member: str, preset: str, width: float) -> None:
    kind: Any = SELECTORS.get(f"entropy-tails-{member}")
    named, number = parse(kind, {"bin_width": preset}), parse(kind, {"bin_width": width})
    assert (named.width, number.width) == (width, width)
    assert parse(kind, fields_of(named)) == named == kind(bin_width=preset)
    assert fields_of(named)["bin_width"] == preset
    first, second = (select_proxy(selector, _table(), 60, 0) for selector in (named, number))
    assert np.array_equal(first.indices, second.indices)
    described = describe(_table(), first)["entropy"]
    assert (described, described["bin_width"]) == (describe(_table(), second)["entropy"], width)


@pytest.mark.parametrize("value", [0.0005, 10.5, "wide"])
def test_a_wrong_bin_width_is_told_what_is_allowed(value: float | str) -> None:
    """In one line, although the field is a union."""
    with pytest.raises(ConfigError) as caught:
        parse(SELECTORS.get("entropy-tails-p1"), {"bin_width": value}, "here")
    assert str(caught.value) == (
        f"here.bin_width: {value!r} is not allowed. Allowed: a number from 0.001 to 10 (decades), or a preset: "
        f"'cifar10', 'cifar100', 'svhn', 'imagenet'."
    )
    with pytest.raises(ConfigError, match=r"Did you mean 'imagenet'\?$"):
        parse(SELECTORS.get("entropy-tails-p1"), {"bin_width": "imagnet"}, "here")


def test_proxy_says_who_chose_it(selector: ProxySelector) -> None:
    k = _sizes(selector)[-1]
    proxy = select_proxy(selector, _table(), k, 3)
    assert proxy.selector == {"name": selector.name, **fields_of(selector)}
    assert (proxy.seed, proxy.dataset, proxy.num_examples) == (3, "f" * 32, NUM)
    assert proxy.table == _table().fingerprint != _table(seed=1).fingerprint


def test_selectors_draw_from_streams_of_their_own() -> None:
    draws = {name: generator(0, "select", name).random() for name in SELECTORS.names()}
    assert len(set(draws.values())) == len(draws)


def test_docstring_is_complete(selector: ProxySelector) -> None:
    text = inspect.getdoc(type(selector)) or ""
    wanted = ["Formula:", "Reference:", "Differs from the paper:", "Shape:", "Raises:", "Example:"]
    places = [text.find(word) for word in wanted]
    assert -1 not in places
    assert places == sorted(places)
    for field in dataclasses.fields(selector):  # type: ignore[arg-type]
        assert f"{field.name}:" in text


def test_members_import_no_other_member() -> None:
    folder = Path(inspect.getfile(ProxySelector)).parent
    members = {file.stem for file in folder.glob("*.py") if ".register\n" in file.read_text(encoding="utf-8")}
    for name in members:
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        assert not any(f"nasbench.selectors.{other} " in text for other in members)
