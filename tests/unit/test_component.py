"""A component's fields are its configuration: path, value seen, what is allowed, nearest name, all at once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from nasbench.config.component import component, describe, fields_of, parse
from nasbench.config.load import load_yaml
from nasbench.core.errors import ConfigError, FileReadError
from pipelines.params import Params, Proxy


@component
class Inner:
    """The innermost."""

    size: Annotated[int, Field(ge=1)] = 3
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    kind: Literal["cosine", "step"] = "cosine"

    def __post_init__(self) -> None:
        if self.kind == "step" and self.size > 10:
            raise ConfigError(f"size {self.size} has no effect with kind {self.kind!r}; leave it out.")


@component
class Outer:
    """Takes the innermost in every way that it can stand in params.yaml.

    Reference: nobody, nowhere: a first line
    and a second one.
    Differs from the paper: there is none.
    """

    name: ClassVar[str] = "outer"

    flag: bool = False
    numbers: tuple[int, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    text: str | None = None
    inner: Inner = Inner()
    perhaps: Inner | None = None
    sections: dict[str, Inner] = Field(default_factory=dict)
    perhaps_sections: dict[str, Inner] | None = None
    several: tuple[Inner, ...] = ()


@component
class Child(Outer):
    """Inherits."""

    size_of_child: int
    child: Outer = Outer()


def message(fields, cls=Outer, where=""):
    with pytest.raises(ConfigError) as caught:
        parse(cls, fields, where)
    return str(caught.value)


def test_defaults_and_given_fields():
    assert parse(Outer, {}) == Outer()
    given = parse(Outer, {"inner": {"size": 4, "ratio": 1}, "sections": {"a": {}, "b": {"size": 9}}})
    assert given.inner == Inner(size=4, ratio=1.0)
    assert isinstance(given.inner.ratio, float)
    assert given.sections == {"a": Inner(), "b": Inner(size=9)}


def test_a_component_is_frozen_and_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Inner().size = 4  # type: ignore[misc]
    with pytest.raises((TypeError, ValidationError)):
        Inner(4)  # type: ignore[call-arg, misc]
    with pytest.raises(ValidationError):
        Inner(size=0)


def test_lists_become_tuples_and_whole_numbers_floats():
    given = parse(Outer, {"numbers": [1, 2], "pair": [1, 2]})
    assert (given.numbers, given.pair) == ((1, 2), (1.0, 2.0))
    assert [type(number) for number in given.pair] == [float, float]


@pytest.mark.parametrize(
    ("fields", "path", "seen", "allowed"),
    [
        ({"numbers": [True]}, "numbers.0", "True", "valid integer"),
        ({"numbers": ["1"]}, "numbers.0", "'1'", "valid integer"),
        ({"numbers": [1, 2.0]}, "numbers.1", "2.0", "valid integer"),
        ({"numbers": 1}, "numbers", "1", "valid array"),
        ({"pair": [1.0]}, "pair.1", "", "is missing"),
        ({"pair": ["1", 2]}, "pair.0", "'1'", "valid number"),
        ({"pair": [True, 2]}, "pair.0", "True", "valid number"),
        ({"pair": [float("nan"), 2]}, "pair.0", "nan", "finite number"),
        ({"pair": [0, float("inf")]}, "pair.1", "inf", "finite number"),
        ({"pair": [0, -float("inf")]}, "pair.1", "-inf", "finite number"),
        ({"flag": 1}, "flag", "1", "valid boolean"),
        ({"flag": "true"}, "flag", "'true'", "valid boolean"),
        ({"text": 1}, "text", "1", "valid string"),
        ({"inner": None}, "inner", "None", "object"),
        ({"inner": 3}, "inner", "3", "object"),
        ({"inner": {"size": True}}, "inner.size", "True", "valid integer"),
        ({"inner": {"size": "1"}}, "inner.size", "'1'", "valid integer"),
        ({"inner": {"size": 0}}, "inner.size", "0", "greater than or equal to 1"),
        ({"inner": {"ratio": 1.5}}, "inner.ratio", "1.5", "less than or equal to 1"),
        ({"perhaps": {"ratio": 0}}, "perhaps.ratio", "0", "greater than 0"),
        ({"sections": {"a": {"ratio": float("nan")}}}, "sections.a.ratio", "nan", "finite number"),
        ({"several": [{}, {"size": 0}]}, "several.1.size", "0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(fields, path, seen, allowed):
    said = message(fields)
    assert said.startswith(f"{path}: {seen}")
    assert allowed in said
    assert "\n" not in said
    assert message(fields, where="a.b").startswith(f"a.b.{path}: {seen}")


INNER_FIELDS = "Known here: kind, ratio, size."


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"inner": {"siz": 1}}, "inner"),
        ({"perhaps": {"siz": 1}}, "perhaps"),
        ({"sections": {"p1": {"siz": 1}}}, "sections.p1"),
        ({"sections": {"text": {"siz": 1}}}, "sections.text"),
        ({"sections": {"size": {"siz": 1}}}, "sections.size"),
        ({"perhaps_sections": {"inner": {"siz": 1}}}, "perhaps_sections.inner"),
        ({"several": [{}, {"siz": 1}]}, "several.1"),
    ],
)
def test_an_unknown_key_gets_the_fields_of_its_own_section(fields, path):
    """Also where a section of a mapping has the name of a field."""
    assert message(fields) == f"{path}.siz: unknown key. {INNER_FIELDS} Did you mean 'size'?"
    assert message({"size_of_child": 1, "child": fields}, Child) == (
        f"child.{path}.siz: unknown key. {INNER_FIELDS} Did you mean 'size'?"
    )


def test_an_unknown_key_of_the_whole_and_one_that_is_like_none():
    said = message({"flagg": True}, where="searchers.x")
    assert said.startswith("searchers.x.flagg: unknown key. Known here: flag, inner, numbers, pair,")
    assert said.endswith("Did you mean 'flag'?")
    assert "Did you mean" not in message({"zzzz": 1})
    assert "size_of_child" in message({"size_of_child": 1, "size_of_chidl": 1}, Child)


def test_an_unknown_word_gets_the_nearest_allowed_one():
    said = message({"inner": {"kind": "cosin"}})
    assert said == "inner.kind: 'cosin' is not allowed. Input should be 'cosine' or 'step'. Did you mean 'cosine'?"
    assert "Did you mean" not in message({"inner": {"kind": "zzz"}})


def test_a_missing_field_is_named():
    assert message({}, Child) == "size_of_child: is missing and has no default. Add it."
    assert message({}, Child, "here") == "here.size_of_child: is missing and has no default. Add it."


def test_every_problem_is_listed_a_line_each():
    fields = {"flag": 1, "inner": {"size": 0, "knd": 1}, "sections": {"a": {"ratio": 2}, "b": {"kind": "x"}}, "no": 1}
    paths = [line.split(":")[0] for line in message(fields).splitlines()]
    assert sorted(paths) == ["flag", "inner.knd", "inner.size", "no", "sections.a.ratio", "sections.b.kind"]


IMPOSSIBLE = {"kind": "step", "size": 11}
REASON = "size 11 has no effect with kind 'step'; leave it out."


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"inner": IMPOSSIBLE}, "inner"),
        ({"perhaps": IMPOSSIBLE}, "perhaps"),
        ({"sections": {"a": {}, "b": IMPOSSIBLE}}, "sections.b"),
        ({"perhaps_sections": {"b": IMPOSSIBLE}}, "perhaps_sections.b"),
        ({"several": [{}, IMPOSSIBLE]}, "several.1"),
    ],
)
def test_an_impossible_combination_is_named_with_its_section(fields, path):
    assert message(fields) == f"{path}: {REASON}"
    assert message(fields, where="top") == f"top.{path}: {REASON}"
    assert message({"size_of_child": 1, "child": fields}, Child) == f"child.{path}: {REASON}"
    with pytest.raises(ConfigError):
        Inner(**IMPOSSIBLE)


def test_impossible_combinations_are_listed_together():
    said = message({"inner": IMPOSSIBLE, "sections": {"a": IMPOSSIBLE, "b": {"size": 0}}})
    assert [line.split(":")[0] for line in said.splitlines()] == ["inner", "sections.a", "sections.b.size"]
    assert message(IMPOSSIBLE, Inner) == REASON


@pytest.mark.parametrize("value", [{1, 2}, dt.date(2020, 1, 1), object()])
def test_what_is_not_plain_data_is_refused(value):
    said = message({"text": value}, where="here")
    assert said.startswith("here: holds a value that is not plain data")
    assert type(value).__name__ in said


def test_a_value_that_holds_itself_is_refused():
    ring: list[object] = []
    ring.append(ring)
    assert "not plain data" in message({"numbers": ring})


def test_fields_round_trip_as_plain_json():
    value = Outer(numbers=(1, 2), text="x", perhaps=Inner(size=2), sections={"a": Inner()}, several=(Inner(),))
    plain = fields_of(value)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["several"] == [{"size": 3, "ratio": 0.5, "kind": "cosine"}]
    assert parse(Outer, plain) == value


def test_a_description_has_the_first_line_the_whole_reference_and_the_defaults():
    said = describe(Outer)
    assert said["name"] == "outer"
    assert said["summary"] == "Takes the innermost in every way that it can stand in params.yaml."
    assert said["reference"] == "nobody, nowhere: a first line and a second one."
    assert said["fields"]["pair"] == [0.0, 1.0]
    assert list(said["fields"]) == [field.name for field in dataclasses.fields(Outer)]
    assert describe(Child)["fields"]["size_of_child"] is None
    assert describe(Child)["reference"] == ""


@pytest.mark.parametrize(("section", "name"), [("proxies", "p1"), ("proxies", "table"), ("scorers", "gate")])
def test_params_yaml_knows_the_fields_of_its_named_sections(section, name):
    cls = {"proxies": Proxy}.get(section)
    said = message({section: {name: {"sede": 1}}}, Params).splitlines()
    line = next(line for line in said if line.startswith(f"{section}.{name}.sede: unknown key"))
    assert line.endswith("Did you mean 'seed'?")
    if cls:
        known = ", ".join(sorted(field.name for field in dataclasses.fields(cls)))
        assert f"Known here: {known}." in line


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"a: 1\na: 2\n", ConfigError, "not valid YAML"),
        (b"a: [1\n", ConfigError, "not valid YAML"),
        (b"a: \xff\n", ConfigError, "not valid YAML"),
        (b"a: !!python/object/apply:os.getcwd []\n", ConfigError, "not valid YAML"),
        (b"- a\n", ConfigError, "holds a list; a mapping"),
        (b"", ConfigError, "holds a NoneType; a mapping"),
    ],
)
def test_a_wrong_yaml_file_is_refused(tmp_path, content, error, said):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(error, match=said):
        load_yaml(tmp_path / "params.yaml")


def test_an_absent_yaml_file_is_refused_and_values_are_those_of_yaml_1_2(tmp_path):
    with pytest.raises(FileReadError, match=r"absent\.yaml"):
        load_yaml(tmp_path / "absent.yaml")
    (tmp_path / "params.yaml").write_text("a: no\nb: 1e-3\nc: 010\nd: 1_0\n")
    assert load_yaml(tmp_path / "params.yaml") == {"a": "no", "b": 0.001, "c": 10, "d": 10}
