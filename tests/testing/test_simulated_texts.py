"""The texts: deterministic, cut where asked, and satisfying what constrains them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from distilabel_endpoints.testing import AnswerRequest, Lengths, Settings
from distilabel_endpoints.testing.answer_request import content_text, request_key
from distilabel_endpoints.testing.texts.gbnf import gbnf_sample
from distilabel_endpoints.testing.texts.grammars import (
    Choice,
    Gbnf,
    JsonObject,
    JsonSchema,
    Regex,
    UnreadableGrammarError,
    satisfy,
)
from distilabel_endpoints.testing.texts.regexes import regex_sample
from distilabel_endpoints.testing.texts.replies import Text, count_tokens, logprob, write
from distilabel_endpoints.testing.texts.schema_instances import schema_instance

SETTINGS = Settings()


def answer_request(content: str = "hello", **parameters: Any) -> AnswerRequest:
    """A prompt with its key."""
    key = request_key(content, parameters, 0)
    return AnswerRequest(
        prompt=content, parameters=parameters, key=key, seed=parameters.get("seed")
    )


def wrote(content: str = "hello", *, limit: int | None = None, **parameters: Any) -> Text:
    """The answer to a prompt under default settings."""
    return write(answer_request(content, **parameters), SETTINGS, limit=limit)


def test_same_request_same_text() -> None:
    """What is asked twice is answered the same twice."""
    assert wrote("a", seed=1) == wrote("a", seed=1)


@pytest.mark.parametrize(
    "other",
    [{"content": "b"}, {"seed": 2}, {"temperature": 0.5}, {"seed": None}],
    ids=str,
)
def test_other_request_other_text(other: dict[str, Any]) -> None:
    """Another prompt, seed or sampling parameter gives another text."""
    assert wrote(**{"content": "a", "seed": 1, **other}).text != wrote("a", seed=1).text


@pytest.mark.parametrize("name", ["model", "n", "stream", "max_tokens", "stop", "logprobs", "user"])
def test_what_is_not_sampling_does_not_change_the_text(name: str) -> None:
    """The same text whatever the model is called and however the answer is sent."""
    assert wrote("a", **{name: 7}).text == wrote("a").text


def test_endpoint_seed_changes_every_text() -> None:
    """Two endpoints of different seeds answer differently."""
    assert request_key("a", {}, 0) != request_key("a", {}, 1)


def test_indexes_give_different_answers() -> None:
    """The n answers to one request differ."""
    texts = {write(replace(answer_request(), index=i), SETTINGS, limit=None).text for i in range(5)}
    assert len(texts) == 5


@settings(deadline=None)
@given(st.text(), st.integers(0, 40))
def test_limit_is_kept_and_marked(content: str, limit: int) -> None:
    """At most `max_tokens` tokens, and marked as cut exactly if there were more."""
    whole, cut = wrote(content), wrote(content, limit=limit)
    assert cut.tokens == whole.tokens[:limit]
    assert cut.text == "".join(cut.tokens)
    assert cut.length == (len(whole.tokens) > limit)


def test_stop_ends_the_text_before_its_first_mark() -> None:
    """The earliest stop sequence cuts, and is left out unless the flavor keeps it."""
    whole = write(
        answer_request(), replace(SETTINGS, lengths=Lengths(8, spread="constant")), limit=None
    )
    marks = (whole.tokens[5].strip(), whole.tokens[2].strip())
    settings = replace(SETTINGS, lengths=Lengths(8, spread="constant"))
    cut = write(answer_request(), settings, limit=None, stop=marks)
    kept = write(answer_request(), settings, limit=None, stop=marks, keep_stop=True)
    assert cut.text == "".join(whole.tokens[:2]) + " "
    assert cut.stop == marks[1]
    assert not cut.length
    assert kept.text == cut.text + marks[1]


def test_reply_writes_instead() -> None:
    """A `reply` function gets what was asked and gives the text."""
    settings = Settings(reply=lambda seen: f"{seen.text} {seen.seed} {seen.index}")
    text = write(answer_request("two words", seed=3), settings, limit=None)
    assert text.text == "two words 3 0"
    assert text.tokens == ("two", " words", " 3", " 0")


@settings(deadline=None)
@given(st.text())
def test_tokens_make_up_the_text(reply: str) -> None:
    """Joined tokens are the text, whatever a reply function wrote."""
    text = write(answer_request(), Settings(reply=lambda _: reply), limit=None)
    assert "".join(text.tokens) == text.text == reply


@pytest.mark.parametrize("spread", ["constant", "exponential", "uniform", "lognormal"])
def test_lengths_have_their_mean(spread: Any) -> None:
    """The mean over all quantiles is the mean that was asked for, to a few percent."""
    lengths = Lengths(200, spread=spread)
    drawn = [lengths.tokens((i + 0.5) / 4000) for i in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(200, rel=0.03)


def test_lengths_shift_when_told() -> None:
    """From its second on, a change sets the mean."""
    lengths = Lengths(10, spread="constant", changes=((100, 20), (200, 30)))
    assert [lengths.tokens(0.5, now) for now in (0, 99.9, 100, 250)] == [10, 10, 20, 30]


def test_prompt_tokens_are_words() -> None:
    """Words are counted, and nothing counts as one."""
    assert [count_tokens(text) for text in ("a b  c", "", " ")] == [3, 1, 1]


def test_logprobs_are_log_probabilities() -> None:
    """Never positive, and lower by rank."""
    assert 0 > logprob("word") > logprob("word", 1)


def test_content_text_reads_parts() -> None:
    """Text of a string, of text parts, of nothing."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert [content_text(value) for value in ("x", parts, None)] == ["x", "ab", ""]


def test_asked_text_joins_messages() -> None:
    """A conversation's text is its contents, a line each."""
    messages = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
    assert AnswerRequest(messages=messages).text == "s\nu"


class _Address(BaseModel):
    street: str = Field(min_length=3, max_length=20)
    code: str = Field(pattern=r"^[0-9]{5}$")


class _Person(BaseModel):
    name: str
    age: int = Field(ge=18, lt=100)
    height: float = Field(gt=0, le=2.5)
    tags: list[str] = Field(min_length=2, max_length=3)
    address: _Address
    friends: list[_Person] = []
    nickname: str | None
    kind: str = Field(json_schema_extra={"enum": ["a", "b"]})


SCHEMAS: list[Any] = [
    _Person.model_json_schema(),
    {"type": "object", "properties": {"a": {"const": 3}}, "required": ["a"]},
    {"enum": [1, "two", None]},
    {"type": "array", "items": {"type": "integer", "multipleOf": 5}, "minItems": 4},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 12},
    {"prefixItems": [{"type": "integer"}, {"type": "boolean"}], "minItems": 3},
    {"type": "number", "exclusiveMinimum": 3, "exclusiveMaximum": 3.5},
    {"type": "integer", "maximum": -5},
    {"type": "integer", "minimum": 7, "maximum": 7},
    {"type": ["null", "string"]},
    {"type": ["null"]},
    {"type": "string", "minLength": 30, "maxLength": 31},
    {"type": "string", "format": "date-time"},
    {"type": "boolean"},
    {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
    {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 3}]},
    {"oneOf": [{"type": "string", "pattern": "^x+$"}, {"type": "integer"}]},
    {
        "allOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ],
        "type": "object",
    },
    {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    },
    {"properties": {"a/b": {"$ref": "#/definitions/x~1y"}}, "definitions": {"x/y": {"const": 1}}},
    {},
    True,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:50])
@pytest.mark.parametrize("seed", range(8))
def test_schema_instances_are_valid(schema: Any, seed: int) -> None:
    """Instances validate, whatever the seed."""
    instance = schema_instance(schema, seed)
    jsonschema_rs.validate(schema, instance)
    json.dumps(instance)


@pytest.mark.parametrize("end", [{"type": "null"}, {"type": "string"}])
def test_recursive_schemas_end(end: Any) -> None:
    """A required property that may be the schema itself or something else is ended by the other."""
    node = {
        "type": "object",
        "required": ["v", "next"],
        "properties": {
            "v": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#/$defs/N"}, end]},
        },
    }
    schema = {"$defs": {"N": node}, "$ref": "#/$defs/N"}
    jsonschema_rs.validate(schema, schema_instance(schema, 1))


_LEAF = st.one_of(
    st.builds(lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span},
              st.integers(-1000, 1000), st.integers(0, 50)),
    st.builds(lambda low, span: {"type": "string", "minLength": low, "maxLength": low + span},
              st.integers(0, 30), st.integers(0, 10)),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low}, st.integers(-9, 9)),
    st.builds(lambda options: {"enum": options}, st.lists(st.integers(), min_size=1)),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
)  # fmt: skip
_SCHEMA = st.recursive(
    _LEAF,
    lambda inner: st.one_of(
        st.builds(lambda items, n: {"type": "array", "items": items, "minItems": n},
                  inner, st.integers(0, 3)),
        st.builds(lambda fields: {"type": "object", "properties": fields, "required": list(fields),
                                  "additionalProperties": False},
                  st.dictionaries(st.text("abc", min_size=1), inner, max_size=4)),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None)
@given(_SCHEMA, st.integers(0, 2**64 - 1))
def test_schema_instances_are_valid_for_any_schema(schema: Any, seed: int) -> None:
    """Instances of drawn schemas validate."""
    jsonschema_rs.validate(schema, schema_instance(schema, seed))


PATTERNS = [
    r"abc",
    r"^[A-Z]{2}\d{4}$",
    r"(yes|no|maybe)",
    r"[^a-z]x?",
    r"\w+@\w+\.(com|org)",
    r"(a)(b)\2\1",
    r"(?P<q>['\"]).*?(?P=q)",
    r"a{3,}b{0}c*",
    r"[^\d\s]\S\D\W.",
    r"(?:ab|cd)+",
    r"(?i:Hello)",
    r"(?>x+)y",
    r"[\w-]{5}",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("seed", range(5))
def test_regex_samples_match(pattern: str, seed: int) -> None:
    """Samples match as a whole."""
    assert re.fullmatch(pattern, regex_sample(pattern, seed))


def test_regex_samples_use_the_whole_set() -> None:
    """Every character of a set comes up, for some seed."""
    assert {regex_sample("[a-cx]", seed) for seed in range(60)} == set("abcx")
    assert {regex_sample("[^a-z]", seed).isalpha() for seed in range(60)} == {True, False}


def test_optional_values_are_given() -> None:
    """Of null and something, something; optional properties, as long as it is not too deep."""
    assert schema_instance({"anyOf": [{"type": "null"}, {"const": 3}]}) == 3
    node: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    instance = schema_instance({"$ref": "#/$defs/node", "$defs": {"node": node}})
    depth = 0
    while instance:
        instance, depth = instance["next"], depth + 1
    assert depth == 5


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(?<!x)a"])
def test_regex_sample_refuses_look_arounds(pattern: str) -> None:
    """A look-around is refused, not answered wrongly."""
    with pytest.raises(ValueError, match="no sample"):
        regex_sample(pattern)


GRAMMARS = [
    ('root ::= "yes" | "no"', r"yes|no"),
    (
        'root ::= greeting " " name\ngreeting ::= "hi"+\nname ::= [A-Z] [a-z]{2,4}',
        r"hi [A-Z][a-z]{2}",
    ),
    (
        'root ::= "{" pair ("," pair)* "}" # pairs\npair ::= "\\"k\\":" [0-9]',
        r'\{"k":\d(,"k":\d)*\}',
    ),
    ('root ::= list\nlist ::= "x" | "(" list ")"', r"\(*x\)*"),
    (r'root ::= "\x41" "\n"? .', "A\nx"),
    ('root ::= "a"{3} "b"{0,1} ("c" | "d")?', "aaab[cd]"),
]


@pytest.mark.parametrize(("grammar", "pattern"), GRAMMARS)
@pytest.mark.parametrize("seed", range(5))
def test_gbnf_samples_derive_from_root(grammar: str, pattern: str, seed: int) -> None:
    """Samples are of the grammar's language."""
    assert re.fullmatch(pattern, gbnf_sample(grammar, seed))


@pytest.mark.parametrize(
    "grammar",
    ["", "root ::= missing", "root ::= @", 'root ::= ("a"', "root ::= root"],
)
def test_gbnf_refuses_what_is_no_grammar(grammar: str) -> None:
    """No text comes from a text that is not a grammar."""
    with pytest.raises(ValueError, match=r"grammar|rule"):
        gbnf_sample(grammar)


@pytest.mark.parametrize(
    ("constraint", "fits"),
    [
        (JsonSchema({"type": "integer"}), lambda text: isinstance(json.loads(text), int)),
        (JsonObject(), lambda text: isinstance(json.loads(text), dict)),
        (Regex("[ab]{4}"), lambda text: re.fullmatch("[ab]{4}", text)),
        (Choice(("left", "right")), lambda text: text in ("left", "right")),
        (Gbnf('root ::= "z"'), lambda text: text == "z"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_satisfy_serves_every_constraint(constraint: Any, fits: Any) -> None:
    """Each kind of constraint gets a text that fits it."""
    for seed in range(5):
        assert fits(satisfy(constraint, seed))


@pytest.mark.parametrize(
    "constraint",
    [
        Regex("("),
        Regex("(?=a)"),
        Gbnf("?"),
        JsonSchema({"$ref": "#/none"}),
        JsonSchema({"enum": []}),
    ],
    ids=str,
)
def test_satisfy_says_what_cannot_be_read(constraint: Any) -> None:
    """A broken constraint is one error, whatever is broken about it."""
    with pytest.raises(UnreadableGrammarError):
        satisfy(constraint, 0)


def test_constrained_text_is_cut_like_any_other() -> None:
    """`max_tokens` cuts a constrained answer too, as servers do."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 9}
    text = write(answer_request(), SETTINGS, limit=3, constraint=JsonSchema(schema))
    assert text.length
    assert len(text.tokens) == 3
