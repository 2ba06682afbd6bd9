"""`parse_grammar`: what is accepted, what is refused and how; `check`: which answers fit."""

from __future__ import annotations

import datetime as dt
import enum
import json
import subprocess
import sys
import time
import uuid
from typing import Annotated, Any

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, WithJsonSchema

from distilabel_endpoints.errors import SchemaError
from distilabel_endpoints.grammar import Grammar, GrammarFormat, check, parse_grammar
from distilabel_endpoints.grammar.schemas import is_strict, sendable

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


class Pet(BaseModel):
    """A model of the kind users write."""

    model_config = ConfigDict(extra="forbid")

    name: str
    owner: Person | None = None


class Person(BaseModel):
    """Refers to itself through `Pet`."""

    pets: list[Pet] = []


Pet.model_rebuild()


def grammar(schema: Any, fmt: str | None = None) -> Grammar:
    given = {"schema": schema} if fmt is None else {"format": fmt, "schema": schema}
    return parse_grammar(given)


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """An object of these and no other properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        "$defs": {"x": {"type": "string"}},
    }


def refusal(value: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        parse_grammar(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("schema", "fmt"),
    [
        (PERSON, "json"),
        (json.dumps(PERSON), "json"),
        (Pet, "json"),
        (r"\d{4}", "regex"),
        (["yes", "no"], "choice"),
        (("yes", "no"), "choice"),
    ],
)
def test_the_format_follows_from_the_schema(schema: Any, fmt: str) -> None:
    """A mapping, JSON text or model is JSON, a text a regex, a list a choice."""
    assert grammar(schema) == grammar(schema, fmt)
    assert grammar(schema).format is GrammarFormat(fmt)


@pytest.mark.parametrize(
    "value",
    [
        {"name": "person", "strict": True, "schema": PERSON},
        {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}},
        {"type": "json_schema", "name": "person", "strict": True, "schema": PERSON},
        {"type": "json_object", "value": PERSON},
    ],
)
def test_a_response_format_is_its_schema(value: Any) -> None:
    """What is passed to OpenAI or TGI as the response format can be passed as it is."""
    assert parse_grammar(value) == grammar(PERSON)


@pytest.mark.parametrize("schema", [PERSON, r"a\d+", ["b", "a"]])
def test_a_grammar_is_a_value_that_parses_again(schema: Any) -> None:
    """Equal, hashable, and the same after a trip through JSON."""
    one = grammar(schema)
    again = parse_grammar(json.loads(json.dumps(one.as_value())))
    assert again == one
    assert hash(again) == hash(one)
    assert again.canonical == one.canonical
    assert json.loads(one.canonical)["schema"] == schema
    assert parse_grammar(one) is one


def test_the_order_of_properties_is_part_of_the_grammar() -> None:
    """Servers write properties in the schema's order, so another order is another run."""
    ab = grammar({"properties": {"a": {}, "b": {}}})
    ba = grammar({"properties": {"b": {}, "a": {}}})
    assert ab.canonical != ba.canonical
    assert list(ab.schema["properties"]) == ["a", "b"]


def test_a_schema_handed_out_is_not_the_grammars_own() -> None:
    """Changing what `schema` returns changes nothing."""
    one = grammar(PERSON)
    one.schema["type"] = "array"
    assert one.schema == PERSON


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (5, "structured_output: expected"),
        ({"shema": {}}, "structured_output: unknown key 'shema'; did you mean 'schema'?"),
        ({"format": "json"}, "structured_output.schema: missing"),
        ({"format": "jsn", "schema": {}}, "structured_output.format: 'jsn' is not one of"),
        ({"format": "JSON schema", "schema": {}}, "did you mean 'json'?"),
        ({"format": "xyzzy", "schema": {}}, "one of json, regex, choice"),
        ({"format": ["json"], "schema": {}}, "structured_output.format"),
        ({"format": "json", "schema": Pet(name="x")}, "pydantic model class, not Pet"),
        ({"format": "json", "schema": int}, "pydantic model class, not type"),
        ({"format": "json", "schema": "{"}, "not JSON: Expecting property name"),
        ({"format": "json", "schema": "[1]"}, "a JSON schema is an object, not list"),
        ({"format": "json", "schema": {"a": {1, 2}}}, "cannot be written as JSON"),
        ({"format": "json", "schema": {"a": float("nan")}}, "cannot be written as JSON"),
        ({"format": "json", "schema": {"title": "\ud800"}}, "half a surrogate pair"),
        ({"schema": {"properties": {"a": {"type": "txt"}}}}, "invalid at #/properties/a/type"),
        ({"schema": {"$schema": []}}, "$schema must be a URI"),
        ({"schema": {"type": "string", "pattern": "("}}, "invalid at #/pattern"),
        ({"format": "regex", "schema": ""}, "a regex is a pattern that is not empty"),
        ({"format": "regex", "schema": 5}, "a regex is a pattern that is not empty"),
        ({"format": "regex", "schema": "a\0"}, "NUL"),
        ({"schema": "(?=a)b"}, "look-around, including look-ahead"),
        ({"schema": []}, "a choice is a list of texts that is not empty"),
        ({"format": "choice", "schema": "yes"}, "a choice is a list of texts"),
        ({"schema": ["a", ""]}, "choice 1 is not a text, or is empty"),
        ({"schema": ["a", 5]}, "choice 1 is not a text, or is empty"),
        ({"schema": ["a", "b", "a"]}, "each must be distinct"),
        ({"schema": ["a\0"]}, "NUL"),
        ({"schema": ["\udc00"]}, "half a surrogate pair"),
        ({"schema": [str(n) for n in range(1001)]}, "more than 1,000 choices"),
        ({"schema": ["x" * 70_000]}, "65,536 characters"),
    ],
)
def test_a_mistake_is_named_with_its_place(value: Any, says: str) -> None:
    """The message says where and what, and guesses what was meant."""
    assert says in refusal(value)


def test_a_reference_out_of_the_schema_is_refused() -> None:
    """Nothing is fetched, and the message says what to do instead."""
    for reference in ("https://example.com/s.json", "other.json#/a", "file:///etc/passwd"):
        message = refusal({"schema": {"properties": {"a": {"$ref": reference}}}})
        assert reference in message
        assert "'#/$defs/...'" in message


def test_references_inside_the_schema_work() -> None:
    """By pointer, by anchor, to itself, and in older dialects."""
    tree = grammar(
        {
            "$defs": {"leaf": {"$anchor": "leaf", "type": "integer"}},
            "type": "object",
            "properties": {"value": {"$ref": "#leaf"}, "next": {"$ref": "#"}},
        }
    )
    assert check(tree, '{"value": 1, "next": {"value": 2}}') is None
    assert check(tree, '{"next": {"value": "2"}}') == '/next/value breaks "type": "integer"'
    old = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"n": {"type": "null"}},
        "items": {"$ref": "#/definitions/n"},
    }
    assert check(grammar(old), "[null]") is None
    assert check(grammar(old), "[1]") is not None
    assert check(grammar(Pet), '{"name": "a", "owner": {"pets": [{"name": 1}]}}') is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_reference_that_only_leads_back_is_refused(schema: Any) -> None:
    """Such a schema would be followed for ever."""
    assert "only leads back to itself" in refusal({"schema": schema})


def test_a_loop_that_hides_ends() -> None:
    """`allOf` around a reference to itself asks for nothing, and is followed once."""
    assert check(grammar({"allOf": [{"$ref": "#"}]}), "{}") is None


def test_a_dangling_reference_and_an_inner_id_are_refused() -> None:
    """What would fail at the first answer fails at once."""
    assert "names nothing" in refusal({"schema": {"$ref": "#/$defs/missing"}})
    assert "$id inside" in refusal({"schema": {"items": {"$id": "https://example.com/x"}}})


def test_words_of_the_language_may_be_property_names() -> None:
    """A property called `$ref`, `pattern` or `enum` is a property, and so is data in `enum`."""
    names = {name: {"type": "string"} for name in ("$ref", "pattern", "enum", "const", "$id")}
    one = grammar({"properties": names, "enum": [{"$ref": "https://example.com", "pattern": "("}]})
    assert check(one, '{"$ref": "https://example.com", "pattern": "("}') is None
    assert check(one, '{"$ref": 1}') is not None


def test_size_and_depth_of_a_schema_are_bounded() -> None:
    """A huge or a bottomless schema is refused, in whatever form it comes."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"not": deep}
    cyclic: dict[str, Any] = {}
    cyclic["not"] = cyclic
    assert "deeper than 64" in refusal({"schema": deep})
    assert "deeper than 64" in refusal({"schema": '{"not":' * 65 + "{}" + "}" * 65})
    assert "larger than 262,144 bytes" in refusal({"schema": {"title": "x" * 300_000}})
    assert "Circular" in refusal({"schema": cyclic})


DECIMAL: dict[str, Any] = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"},
    ]
}
"""What pydantic 2.11 writes for `Decimal`."""


class Priced(BaseModel):
    """What pydantic writes patterns, formats and combinations for."""

    price: Annotated[float, WithJsonSchema(DECIMAL)]
    at: dt.datetime
    took: dt.timedelta
    key: uuid.UUID
    page: AnyUrl
    where: tuple[float, float]
    names: set[str] = set()
    by_code: dict[Annotated[str, Field(pattern="^[A-Z]{2}$")], int] = {}


FITTING: dict[str, Any] = {
    "price": "1.50",
    "at": "2026-01-01T00:00:00Z",
    "took": "PT1H",
    "key": "0b5c1d9e-6f0a-4c3e-9a51-2f7d8f6f1c11",
    "page": "https://example.com",
    "where": [1.5, 2.0],
    "by_code": {"DE": 1},
}


@pytest.mark.parametrize(
    ("changed", "fits"),
    [
        ({}, True),
        ({"price": 1.5}, True),
        ({"price": "..."}, False),
        ({"price": "1.5e"}, False),
        ({"where": [1.5]}, False),
        ({"names": ["a", "a"]}, False),
        ({"by_code": {"de": 1}}, True),
    ],
)
def test_look_around_in_a_schema_is_checked(changed: dict[str, Any], fits: bool) -> None:
    """Pydantic's pattern for `Decimal` had a look-ahead; answers are held to it."""
    assert (check(grammar(Priced), json.dumps({**FITTING, **changed})) is None) is fits


def test_look_around_is_not_sent() -> None:
    """Engines that constrain refuse a schema with it; the rest of the schema still constrains."""
    sent = json.dumps(sendable(grammar(Priced).text))
    assert "(?!" not in sent
    assert '"^[A-Z]{2}$"' in sent


@pytest.mark.parametrize(
    "around",
    [
        lambda schema: {"name": "x", "strict": True, "schema": schema},
        lambda schema: {"name": "x", "description": "A person.", "schema": schema},
        lambda schema: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        lambda schema: {"type": "json_schema", "name": "x", "strict": True, "schema": schema},
        lambda schema: {"type": "json_object", "value": schema},
    ],
)
def test_a_schema_in_a_response_format_is_taken_out(around: Any) -> None:
    """As a dict and as JSON text, in the forms of OpenAI's two APIs and of TGI."""
    assert grammar(around(PERSON), "json") == grammar(PERSON)
    assert grammar(json.dumps(around(PERSON)), "json") == grammar(PERSON)


def test_a_schema_that_asks_for_nothing_is_a_mistake() -> None:
    """An example instead of a schema would let every answer through."""
    assert "none of its keys (name, age)" in refusal({"schema": {"name": "Ann", "age": 3}})
    assert check(grammar({}), '"anything"') is None
    assert check(grammar({"title": "Anything"}), "1") is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"name": "A", "age": 3}', None),
        (' \n{"name":"A","age":3}\t', None),
        ('{"name": "A", "age": 3.5}', '/age breaks "type": "integer"'),
        ('{"name": "A", "age": -1}', '/age breaks "minimum": 0'),
        ('{"name": "a", "age": 1}', '/name breaks "pattern": "^[A-Z]"'),
        ('{"name": "A"}', 'the answer breaks "required": ["name","age"]'),
        ('{"name": "A", "age": 1, "secret": 2}', 'the answer breaks "additionalProperties": false'),
        ('{"name": "A", "age": 1, "tags": ["x", 7]}', '/tags/1 breaks "type": "string"'),
        ("", "not JSON: Expecting value at character 0"),
        ('{"name": "A", "ag', "not JSON: Unterminated string starting at at character 14"),
        ('{"name": "A", "age": 1} so', "not JSON: Extra data at character 24"),
        ("```json\n{}\n```", "not JSON: Expecting value at character 0"),
        ("[NaN]", "not JSON: holds NaN or Infinity"),
        ("[-Infinity]", "not JSON: holds NaN or Infinity"),
        ("[1e999]", "holds a number too large to read"),
        ("9" * 5000, "holds a number with too many digits"),
    ],
)
def test_a_json_answer_fits_or_the_reason_says_where(answer: str, reason: str | None) -> None:
    """The reason is a pointer and the rule that is broken."""
    assert check(grammar(PERSON), answer) == reason


def test_an_answer_is_never_quoted() -> None:
    """Names that only the answer holds are masked in the pointer."""
    one = grammar({"additionalProperties": {"properties": {"a/b~": {"type": "integer"}}}})
    assert check(one, '{"CANARY": {"a/b~": "CANARY"}}') == '/*/a~1b~0 breaks "type": "integer"'
    long = grammar({"enum": ["x" * 100]})
    assert check(long, '"CANARY"') == 'the answer breaks "enum"'


def test_patterned_and_additional_properties_are_told_apart() -> None:
    """A name is matched against the patterns before it is an additional one."""
    one = grammar(
        {
            "properties": {"id": {"type": "integer"}},
            "patternProperties": {"^x-": {"type": "string"}},
            "additionalProperties": {"type": "boolean"},
        }
    )
    assert check(one, '{"id": 1, "x-a": "s", "b": true}') is None
    assert check(one, '{"x-a": 1}') == '/* breaks "type": "string"'
    assert check(one, '{"b": "s"}') == '/* breaks "type": "boolean"'
    assert check(one, '"not an object"') is None


def test_depth_is_bounded_at_two_hundred_levels() -> None:
    """A hundred thousand brackets are refused before anything recurses; strings do not count."""
    one = grammar({})
    assert check(one, "[" * 200 + "]" * 200) is None
    assert check(one, "[" * 201 + "]" * 201) == "nested deeper than 200 levels"
    assert check(one, "[" * 100_000) == "nested deeper than 200 levels"
    assert check(one, '{"a":' * 100_000) == "nested deeper than 200 levels"
    assert check(one, json.dumps(["[{" * 500, '"[{\\' * 500] * 3)) is None
    assert check(one, json.dumps([[]] * 1000)) is None


def test_a_regex_must_match_the_whole_answer() -> None:
    """No search, no prefix, no trailing newline; and anchors change nothing."""
    for pattern in (r"\d{4}-\d{2}", r"^\d{4}-\d{2}$", r"\A\d{4}-\d{2}\Z"):
        one = grammar(pattern)
        assert check(one, "2024-05") is None
        for answer in ("2024-05\n", " 2024-05", "2024-055", "x", ""):
            assert check(one, answer) == "does not match the pattern"
    assert check(grammar("a|bc"), "ac") == "does not match the pattern"


def test_a_choice_must_be_exact() -> None:
    """Neither whitespace nor case is forgiven."""
    one = grammar(["yes", "no", "née\n"])
    assert [check(one, choice) for choice in one.schema] == [None] * 3
    assert check(one, "Yes") == check(one, "yes ") == "is none of the 3 choices"


@pytest.mark.parametrize(
    "schema",
    ["(a+)+b", "(a|a)*b", {"type": "string", "pattern": "^(a+)+$"}],
    ids=["nested", "ambiguous", "in-a-schema"],
)
def test_a_hostile_pattern_cannot_hang_the_check(schema: Any) -> None:
    """What takes a backtracking engine for ever takes milliseconds."""
    text = "a" * 50_000 + "!"
    one = grammar(schema)
    answer = json.dumps(text) if one.format is GrammarFormat.JSON else text
    started = time.process_time()
    assert check(one, answer) is not None
    assert time.process_time() - started < 2


def test_hostile_property_names_cannot_hang_the_check() -> None:
    """Names are the answer's too."""
    schema: Any = {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}
    answer = json.dumps({"a" * 50_000 + "!": 1})
    started = time.process_time()
    assert check(grammar(schema), answer) is not None
    assert time.process_time() - started < 2


def test_half_a_surrogate_pair_in_an_answer_is_a_mismatch() -> None:
    """JSON may escape what no text can hold; it is a reason, not a crash."""
    assert check(grammar("."), "\ud800") is not None
    assert check(grammar({"type": "string", "pattern": "."}), '"\\ud800"') is not None


def test_pydantic_models_may_hold_what_pydantic_writes() -> None:
    """Enums, unions, dates and nested models come through their own schema."""

    class Colour(enum.Enum):
        RED = "red"

    class Thing(BaseModel):
        colour: Colour
        size: int | None = None

    one = grammar(Thing)
    assert check(one, '{"colour": "red", "size": null}') is None
    assert check(one, '{"colour": "blue"}') == '/colour breaks "enum": ["red"]'


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        ({**PERSON, "required": ["name", "age", "tags"]}, True),
        (PERSON, False),
        ({**PERSON, "additionalProperties": True, "required": ["name", "age", "tags"]}, False),
        ({"type": "array", "items": {}}, False),
        ({"type": "object", "additionalProperties": False}, True),
        ({"type": "object", "additionalProperties": False, "oneOf": []}, False),
        (closed({"a": {"$ref": "#/$defs/x", "description": "d"}}), False),
        (closed({"a": {"$ref": "#/$defs/x"}}), True),
        (closed({"a": {"type": "string", "format": "uri"}}), False),
        (closed({"a": {"type": "string", "format": "date"}}), True),
        (closed({"a": {"type": "string", "default": "x"}}), False),
        (closed({"a": {"type": "array", "uniqueItems": True}}), False),
        (closed({"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}), True),
    ],
)
def test_strict_mode_asks_for_closed_objects(schema: Any, closed: bool) -> None:
    """OpenAI's `strict`: nothing open, nothing optional."""
    assert is_strict(schema) is closed


def test_importing_costs_no_library() -> None:
    """`jsonschema_rs` and `pydantic` load when they are needed."""
    code = (
        "import sys, distilabel_endpoints.grammar; "
        "print(sorted({'jsonschema_rs', 'pydantic_core'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
