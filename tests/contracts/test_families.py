"""What every member of every family promises, whatever it does.

The rules of the docstring are one function from a class to complaints. It is run on every member, and on wrong
members which it must complain of, so that no rule can fall asleep.
"""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field, ValidationError

from nasbench.config.component import component, describe, fields_of, parse
from nasbench.core.errors import ConfigError
from nasbench.datasets import DATASETS, DatasetSpec
from nasbench.scorers import SCORERS, ExampleScorer
from nasbench.searchers import SEARCHERS, Searcher
from nasbench.selectors import SELECTORS, ProxySelector
from nasbench.spaces import SPACES, SearchSpace

FAMILIES: dict[str, tuple[Any, type]] = {
    "datasets": (DATASETS, DatasetSpec),
    "scorers": (SCORERS, ExampleScorer),
    "searchers": (SEARCHERS, Searcher),
    "selectors": (SELECTORS, ProxySelector),
    "spaces": (SPACES, SearchSpace),
}
MEMBERS = [(family, registry.get(name)) for family, (registry, _) in FAMILIES.items() for name in registry.names()]
every_member = pytest.mark.parametrize(
    ("family", "cls"), MEMBERS, ids=[f"{family}-{cls.name}" for family, cls in MEMBERS]
)
SECTIONS = ("Formula:", "Reference:", "Differs from the paper:", "Attributes:", "Shape:", "Raises:", "Example:")
"""In this order; a dataset has no formula, and attributes are for what has fields."""


def complaints(family: str, cls: Any) -> list[str]:
    """Return what is wrong with a member's docstring."""
    text = inspect.cleandoc(cls.__doc__ or "")
    lines = text.splitlines() or [""]
    found = []
    if not re.fullmatch(r"\S.{9,118}\.", lines[0]) or (len(lines) > 1 and lines[1]):
        found.append(f"summary {lines[0]!r}: one line that ends with a full stop, then an empty one")
    needed = [name for name in SECTIONS if (family, name) != ("datasets", "Formula:")]
    if not dataclasses.fields(cls):
        needed.remove("Attributes:")
    places = [text.find(f"\n{name}") for name in needed]
    found += [f"{name} is missing" for name, place in zip(needed, places, strict=True) if place < 0]
    if sorted(place for place in places if place >= 0) != [place for place in places if place >= 0]:
        found.append(f"sections stand in another order than {', '.join(needed)}")
    if not re.search(r"(?:arXiv:\d{4}\.\d{5}|doi:|\b(?:19|20)\d\d\b|torchvision)", describe(cls)["reference"]):
        found.append("the reference names no arXiv id, doi or year")
    documented = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__)
    found += [
        f"field {field.name} is not documented"
        for field in dataclasses.fields(cls)
        if not re.search(rf"^ +{field.name}: \S", documented, re.MULTILINE)
    ]
    if ">>>" not in text.partition("Example:")[2]:
        found.append("the example does nothing")
    return found


@every_member
def test_docstring_says_what_where_from_and_what_differs(family, cls):
    assert complaints(family, cls) == []


@component
class Undocumented:
    """Take nothing"""

    size: Annotated[int, Field(ge=1)] = 1


@component
class WellDocumented:
    """Take nothing from anything.

    Formula: D' = {}.
    Reference: nobody, 2020, arXiv:2001.00001, equation 1.
    Differs from the paper: nothing known.

    Attributes:
        size: How many of nothing.

    Shape: nothing -> nothing.
    Raises: nothing of its own.

    Example:
        >>> 1 + 1
        2
    """

    size: Annotated[int, Field(ge=1)] = 1


def with_docstring(change: Callable[[str], str]) -> Any:
    fields = {"__doc__": change(WellDocumented.__doc__ or ""), "__annotations__": {"size": int}, "size": 1}
    return component(type("Changed", (), fields | {"name": "changed"}))


WellDocumented.name = Undocumented.name = "x"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("anything.", "anything"), "summary"),
        (lambda text: text.replace("anything.\n", "anything.\nMore.", 1), "summary"),
        (lambda text: text.replace("Reference:", "See"), "Reference: is missing"),
        (lambda text: text.replace("2020, arXiv:2001.00001", "somewhere"), "names no arXiv id"),
        (lambda text: text.replace("Differs from the paper: nothing known.", ""), "Differs from the paper: is missing"),
        (lambda text: text.replace("size: How", "How"), "field size is not documented"),
        (lambda text: text.replace(">>> 1 + 1", "none"), "the example does nothing"),
        (
            lambda text: text.replace("Shape:", "#").replace("Raises:", "Shape:").replace("#", "Raises:"),
            "another order",
        ),
    ],
)
def test_every_rule_complains_of_a_wrong_member(change, said):
    assert complaints("selectors", with_docstring(lambda text: text)) == []
    found = complaints("selectors", with_docstring(change))
    assert any(said in complaint for complaint in found), found


def test_a_member_without_documentation_breaks_nearly_every_rule():
    assert len(complaints("selectors", Undocumented)) >= len(SECTIONS)
    assert complaints("selectors", WellDocumented) == []


@every_member
def test_the_example_runs(family, cls):
    module = importlib.import_module(cls.__module__)
    tests = doctest.DocTestFinder(recurse=False).find(cls, cls.__qualname__, module=module)
    assert len(tests) == 1
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(tests[0])
    assert (result.failed, result.attempted > 0) == (0, True)


@every_member
def test_a_member_is_of_its_family_and_named_in_kebab_case(family, cls):
    registry, base = FAMILIES[family]
    assert issubclass(cls, base)
    assert not inspect.isabstract(cls)
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cls.name)
    assert registry.get(cls.name) is cls
    assert cls.__module__.startswith(f"{registry.package}.")
    assert vars(cls)["name"] == cls.name


@pytest.mark.parametrize("family", FAMILIES)
def test_no_member_was_forgotten(family):
    """Every class that could be built is registered, also where its module lacks the decorator."""
    registry, base = FAMILIES[family]
    package = importlib.import_module(registry.package)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{registry.package}.{module.name}")
    waiting, found = [base], set()
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("nasbench.") and not inspect.isabstract(cls):
            found.add(cls)
    registered = {registry.get(name) for name in registry.names()}
    shared = {cls for cls in found - registered if any(cls in member.__mro__ for member in registered)}
    assert found - shared == registered
    assert registered


@every_member
def test_a_member_is_frozen_and_keyword_only(family, cls):
    value = cls()
    for field in dataclasses.fields(cls):
        assert field.kw_only
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, getattr(value, field.name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.something_new = 1
    with pytest.raises((TypeError, ValidationError)):
        cls(1)


@every_member
def test_defaults_round_trip_and_equal_members_are_equal(family, cls):
    plain = fields_of(cls())
    assert set(plain) == {field.name for field in dataclasses.fields(cls)}
    assert parse(cls, plain) == cls() == parse(cls, {})
    assert describe(cls)["fields"] == plain


@every_member
def test_an_unknown_field_is_refused_with_its_path_and_what_is_known(family, cls):
    with pytest.raises(ConfigError) as caught:
        parse(cls, {"no_such_field": 1}, f"{family}.x.options")
    known = ", ".join(sorted(field.name for field in dataclasses.fields(cls)))
    assert str(caught.value).startswith(f"{family}.x.options.no_such_field: unknown key. Known here: {known}.")


@every_member
def test_no_field_takes_a_value_of_no_kind(family, cls):
    """A field of type Any would swallow whatever stands in params.yaml."""
    for field in dataclasses.fields(cls):
        with pytest.raises(ConfigError, match=rf"^here\.{field.name}\b"):
            parse(cls, {field.name: {"no": {"such": "value"}}}, "here")


class Taken(ProxySelector):
    name: ClassVar[str] = "random"


def test_a_name_is_not_given_twice():
    with pytest.raises(ConfigError, match="is taken by RandomSubset"):
        SELECTORS.register(Taken)
