"""A component is its configuration: a frozen keyword-only dataclass, checked field by field."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from nasbench.core.errors import ConfigError, nearest

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])

_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def component(cls: C) -> C:
    """Make a class a frozen keyword-only dataclass whose fields are checked on construction.

    Ranges are written in the annotation, for example ``Annotated[float, Field(gt=0, le=1)]``; what
    depends on several fields belongs in ``__post_init__``, which raises `ConfigError`.
    """
    made: Any = pydantic_dataclass(config=_CONFIG, frozen=True, kw_only=True)(cls)
    return cast("C", made)


def _message(cls: Any, problem: Mapping[str, Any], where: str) -> str:
    location = ".".join(str(part) for part in problem["loc"])
    path = ".".join(part for part in (where, location) if part) or "parameters"
    kind = problem["type"]
    if kind in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = _known_fields(cls, problem["loc"][:-1])
        word = str(problem["loc"][-1])
        return f"{path}: unknown key. Known here: {', '.join(sorted(known))}.{nearest(word, known)}"
    if kind in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return f"{path}: is missing and has no default. Add it."
    seen = problem["input"]
    allowed = str(problem["msg"])
    expected = str(problem.get("ctx", {}).get("expected", ""))
    hint = (
        nearest(str(seen), [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]) if expected else ""
    )
    return f"{path}: {seen!r} is not allowed. {allowed}.{hint}"


def _known_fields(cls: Any, location: tuple[Any, ...]) -> list[str]:
    """Return the field names of the dataclass found at a location inside ``cls``."""
    for part in location:
        cls = _hint_at(cls, part)
    sections = (option for option in _options(cls) if dataclasses.is_dataclass(option))
    return [field.name for section in sections for field in dataclasses.fields(section)]


def _options(hint: Any) -> list[Any]:
    """Return what an annotation allows: ``Annotated`` taken off, the members of a union apart."""
    if typing.get_origin(hint) is Annotated:
        return _options(typing.get_args(hint)[0])
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return [option for member in typing.get_args(hint) for option in _options(member)]
    return [hint]


def _hint_at(hint: Any, part: Any) -> Any:
    """Return the annotation of a field, a mapping's value or a list's item under the annotation, or None."""
    for option in _options(hint):
        arguments = typing.get_args(option)
        if dataclasses.is_dataclass(option):
            found = typing.get_type_hints(option, include_extras=True).get(part)
        elif isinstance(part, int):
            found = arguments[0] if arguments else None
        else:
            found = arguments[-1] if arguments else None
        if found is not None:
            return found
    return None


def _nested(hint: Any, value: Any, path: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield path, class and fields of the nearest components inside a plain value."""
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for part, child in children:
        inner, place = _hint_at(hint, part), f"{path}.{part}" if path else str(part)
        section = next((option for option in _options(inner) if dataclasses.is_dataclass(option)), None)
        if section is not None and isinstance(child, Mapping):
            yield place, section, child
        elif inner is not None:
            yield from _nested(inner, child, place)


def _problems(where: str, cls: Any, fields: Mapping[str, Any]) -> str:
    try:
        parse(cls, fields, where)
    except ConfigError as error:
        return str(error)
    return ""


def parse(cls: type[T], fields: Mapping[str, Any], where: str = "") -> T:
    """Build a component from plain values, as they come out of params.yaml or a JSON file.

    Args:
        cls: A class made with `component`.
        fields: Its fields by name; lists become tuples, whole numbers may stand for floats.
        where: Path of the section, put in front of the field's name in messages.

    Raises:
        ConfigError: Lists every problem, one a line, with path, value seen, what is allowed, nearest name.

    Example:
        >>> from nasbench.selectors.whole import Whole
        >>> parse(Whole, {})
        Whole()
    """
    try:
        text = json.dumps(dict(fields), allow_nan=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where or 'parameters'}: holds a value that is not plain data ({error}). "
            f"Use numbers, text, true or false, lists and mappings only."
        ) from error
    try:
        return TypeAdapter(cls).validate_json(text)
    except ValidationError as error:
        problems = [_message(cls, dict(problem), where) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from error
    except ConfigError as error:  # fields that cannot go together; say in which section, if in an inner one
        inner = [problem for found in _nested(cls, fields, where) if (problem := _problems(*found))]
        raise ConfigError("\n".join(inner) or (f"{where}: {error}" if where else str(error))) from error


def fields_of(value: Any) -> dict[str, Any]:
    """Return a component's fields as plain JSON values."""
    plain: dict[str, Any] = json.loads(TypeAdapter(type(value)).dump_json(value))
    return plain


def describe(cls: Any) -> dict[str, Any]:
    """Return what a listing says of a registered component.

    Args:
        cls: A class made with `component`, with a ``name`` and a docstring.

    Returns:
        ``name``, ``summary`` (first line of the docstring), ``reference`` (its ``Reference:``, or empty) and
        ``fields`` (name -> default; None for all where one field has no default).

    Example:
        >>> from nasbench.selectors.whole import Whole
        >>> describe(Whole)["summary"]
        'Take every example: the reference that a proxy is compared with.'
    """
    text = inspect.getdoc(cls) or ""
    reference = re.search(r"^Reference:(.*?)(?=^Differs from the paper:|^$|\Z)", text, re.MULTILINE | re.DOTALL)
    try:
        defaults = fields_of(cls())
    except ValidationError:
        defaults = {}
    return {
        "name": cls.name,
        "summary": text.partition("\n")[0],
        "reference": " ".join(reference[1].split()) if reference else "",
        "fields": {field.name: defaults.get(field.name) for field in dataclasses.fields(cls)},
    }


__all__ = ["component", "describe", "fields_of", "parse"]
