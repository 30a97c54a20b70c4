"""A component is its configuration: a frozen keyword-only dataclass, checked field by field."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from nasbench.core.errors import ConfigError, nearest

T = TypeVar("T")
C = TypeVar("C", bound=type)

_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def component(cls: C) -> C:
    """Make a class a frozen keyword-only dataclass whose fields are checked on construction.

    Ranges are written in the annotation, for example ``Annotated[float, Field(gt=0, le=1)]``; what
    depends on several fields belongs in ``__post_init__``, which raises `ConfigError`.
    """
    return pydantic_dataclass(config=_CONFIG, frozen=True, kw_only=True)(cls)  # type: ignore[call-overload, no-any-return]


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
    current = cls
    for part in location:
        fields = (
            {field.name: field for field in dataclasses.fields(current)} if dataclasses.is_dataclass(current) else {}
        )
        if part in fields:
            current = _dataclass_of(fields[part].type, current)
    return [field.name for field in dataclasses.fields(current)] if dataclasses.is_dataclass(current) else []


def _dataclass_of(annotation: Any, owner: Any) -> Any:

    hints = typing.get_type_hints(owner, include_extras=False)
    for hint in hints.values():
        for candidate in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(candidate) and getattr(candidate, "__name__", "") in str(annotation):
                return candidate
    return None


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
    except TypeError as error:
        raise ConfigError(f"{where or 'parameters'}: holds a value that is not plain data ({error}).") from error
    try:
        return TypeAdapter(cls).validate_json(text)
    except ValidationError as error:
        problems = [_message(cls, dict(problem), where) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def fields_of(value: Any) -> dict[str, Any]:
    """Return a component's fields as plain JSON values."""
    plain: dict[str, Any] = json.loads(TypeAdapter(type(value)).dump_json(value))
    return plain


__all__ = ["component", "fields_of", "parse", "pydantic"]
