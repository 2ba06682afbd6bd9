"""Properties of grammars over generated schemas, answers, patterns and choices."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from distilabel_endpoints.grammar import Grammar, check, parse_grammar
from distilabel_endpoints.grammar.patterns import (
    PatternError,
    choices_to_gbnf,
    choices_to_regex,
    matcher,
    pattern_to_gbnf,
    unanchored,
)
from distilabel_endpoints.grammar.strict_json import read_json
from fuzzing import examples

NAMES = st.text("abcxyz-_ é", min_size=1, max_size=5)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
CHOICES = st.lists(TEXTS.filter(bool), min_size=1, max_size=8, unique=True)

Pair = tuple[dict[str, Any], Any]


def patient(count: int) -> settings:
    """So many examples, however slow the machine is."""
    return settings(
        max_examples=examples(count), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


def objects(pairs: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    """A closed object schema with all properties required, and an instance."""

    def build(members: dict[str, Pair]) -> Pair:
        schema = {
            "type": "object",
            "properties": {name: pair[0] for name, pair in members.items()},
            "required": list(members),
            "additionalProperties": False,
        }
        return schema, {name: pair[1] for name, pair in members.items()}

    return st.dictionaries(NAMES, pairs, min_size=1, max_size=4).map(build)


def leaves() -> st.SearchStrategy[Pair]:
    """A schema of one scalar type, and an instance."""
    whole = st.integers(-(2**60), 2**60)
    return st.one_of(
        whole.map(lambda n: ({"type": "integer"}, n)),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda x: ({"type": "number"}, x)),
        TEXTS.map(lambda text: ({"type": "string", "maxLength": len(text)}, text)),
        st.booleans().map(lambda yes: ({"type": "boolean"}, yes)),
        st.just(({"const": None}, None)),
        CHOICES.map(lambda texts: ({"enum": texts}, texts[-1])),
    )


def grown(pairs: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    """Objects and arrays of smaller pairs."""
    arrays = st.tuples(pairs, st.integers(1, 3)).map(
        lambda drawn: (
            {"type": "array", "items": drawn[0][0], "minItems": drawn[1]},
            [drawn[0][1]] * drawn[1],
        )
    )
    return objects(pairs) | arrays


DOCUMENTS = objects(st.recursive(leaves(), grown, max_leaves=8))


def json_grammar(schema: Any) -> Grammar:
    return parse_grammar({"format": "json", "schema": schema})


@patient(60)
@given(DOCUMENTS, st.sampled_from([None, 2]))
def test_an_instance_of_its_schema_fits(pair: Pair, indent: int | None) -> None:
    """However it is spaced, and whether the schema came as a dict or as text."""
    schema, instance = pair
    answer = json.dumps(instance, indent=indent, ensure_ascii=indent is None)
    assert check(json_grammar(schema), answer) is None
    assert check(json_grammar(json.dumps(schema)), f"\n {answer} ") is None
    assert parse_grammar(json_grammar(schema).as_value()) == json_grammar(schema)


@patient(60)
@given(DOCUMENTS, st.data())
def test_a_changed_instance_does_not_fit(pair: Pair, data: st.DataObject) -> None:
    """A property missing, added or of another type, and an answer cut short."""
    schema, instance = pair
    name = data.draw(st.sampled_from(sorted(instance)))
    grammar = json_grammar(schema)
    missing = {key: value for key, value in instance.items() if key != name}
    added = {**instance, "another one": 1}
    for changed in (missing, added, {**instance, name: {"CANARY": 1}}, [instance]):
        reason = check(grammar, json.dumps(changed))
        assert reason is not None
        assert "CANARY" not in reason
    answer = json.dumps(instance)
    cut = data.draw(st.integers(0, len(answer) - 1))
    assert check(grammar, answer[:cut]) is not None


def outcome(text: str, depth: int) -> tuple[str | None, Any]:
    """The reason `read_json` gives, or the value it reads."""
    try:
        return None, read_json(text, depth)
    except ValueError as exc:
        return str(exc), None


def is_json(text: str) -> bool:
    """Does Python's own reader take it, NaN and the like left aside?"""
    try:
        json.loads(text, parse_constant=int)
    except ValueError:
        return False
    return True


@patient(60)
@given(st.text(max_size=60) | st.text('{}[]":,\\ 1eE-+.ntfNI', max_size=60), st.integers(0, 5))
def test_reading_json_is_json_loads_with_limits(text: str, depth: int) -> None:
    """The same value, or a reason."""
    reason, value = outcome(text, depth)
    if reason is None:
        assert value == json.loads(text)
        assert levels(value) <= depth
    elif reason.startswith("not JSON"):
        assert not is_json(text)
    else:
        assert reason.startswith(("nested deeper than", "holds a number too"))


def levels(value: Any) -> int:
    """How deep a JSON value is nested."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return max(map(levels, inner), default=0) + isinstance(value, dict | list)


@patient(60)
@given(st.recursive(st.none() | TEXTS, lambda v: st.lists(v) | st.dictionaries(TEXTS, v)))
def test_depth_is_counted_outside_strings(value: Any) -> None:
    """Exactly the depth of the value is enough."""
    text = json.dumps(value)
    assert read_json(text, levels(value)) == value
    if levels(value):
        with pytest.raises(ValueError, match="nested deeper"):
            read_json(text, levels(value) - 1)


LETTERS = ["a", "b", "-", "é", "😀", "}", '"', " ", "\n", r"\n", r"\.", r"\x41", r"\u00e9"]
CLASSES = [".", r"\d", r"\W", r"\s", "[a-c]", "[^a]", r"[\w-]", r"[^\d\s]", "[é-ü😀-😃]"]
ATOMS = st.sampled_from([*LETTERS, *CLASSES, "[.$]", r"[\S]", r"[\]\[^]"])
QUANTIFIERS = st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}", "*?", "+?", "{0}"])


def composed(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Bigger patterns of smaller ones."""
    groups = parts.map("({})".format) | parts.map("(?:{})".format)
    return st.one_of(
        st.lists(parts, min_size=2, max_size=3).map("".join),
        st.lists(parts, min_size=2, max_size=3).map("|".join).map("({})".format),
        st.tuples(groups | ATOMS, QUANTIFIERS).map("".join),
        groups,
    )


PATTERNS = st.recursive(ATOMS, composed, max_leaves=5)


def gbnf_as_regex(gbnf: str) -> str:
    """A one-rule GBNF grammar as a Python pattern: an independent reading of the syntax."""
    tokens = re.findall(r'"[^"]*"|\[[^\]]*\]|[|()*+?]|\{[\d,]+\}', gbnf.removeprefix("root ::= "))
    written = []
    for token in tokens:
        if token[0] == '"':
            # A GBNF literal holds nothing but letters, digits and hexadecimal escapes.
            assert re.fullmatch(r'"([A-Za-z0-9]|\\(x..|u....|U........))*"', token)
            written.append(token[1:-1])
        else:
            written.append("(?:" if token == "(" else token)
    return "".join(written)


def agree(pattern: str, text: str) -> bool:
    """The one verdict of Python, of Rust, and of Rust on what is sent; GBNF has ASCII classes."""
    wanted = re.fullmatch(pattern, text) is not None
    assert matcher(pattern)(text) is wanted
    assert matcher(unanchored(pattern))(text) is wanted
    gbnf = pattern_to_gbnf(pattern)
    if gbnf is not None:
        narrow = re.fullmatch(pattern, text, re.ASCII) is not None
        assert (re.fullmatch(gbnf_as_regex(gbnf), text) is not None) is narrow
    return wanted


@patient(150)
@given(PATTERNS, st.sampled_from(["{}", "^{}$", r"\A{}\Z", "^(?:{})$", "(?i){}"]), st.data())
def test_every_spelling_of_a_pattern_is_the_same_language(
    bare: str, around: str, data: st.DataObject
) -> None:
    """Texts of the language, and texts near it, get one verdict."""
    pattern = around.format(bare)
    inside = data.draw(st.from_regex(re.compile(pattern), fullmatch=True))
    assume(len(inside) <= 8)  # Python's engine, which judges here, backtracks exponentially
    # Of other letters and digits, Python's and Rust's Unicode tables count different ones.
    # Python's `\s` has four control characters more than the regex crate's (and ECMA-262's).
    assume(set(inside) <= {*map(chr, range(128)), *"éü😀😃"} - {*"\x1c\x1d\x1e\x1f"})
    assert agree(pattern, inside)
    assert check(parse_grammar({"format": "regex", "schema": f"^(?:{bare})$"}), inside) is None or (
        around == "(?i){}"
    )
    near = data.draw(st.text(st.sampled_from([*"ab-é😀.1 A\n", *inside]), max_size=4))
    agree(pattern, near)
    agree(pattern, inside + near)


@patient(400)
@given(st.text(r"ab1\.^$*+?()[]{}|-dwsDxu,:P<>=!&~_", max_size=12), st.text("ab1-^.", max_size=4))
def test_what_is_sent_to_llamacpp_is_what_is_checked(pattern: str, text: str) -> None:
    """No pattern becomes a grammar of another language than the one that answers are checked by."""
    gbnf = pattern_to_gbnf(pattern)
    try:
        accepts = matcher(pattern)
    except PatternError:
        return
    assert matcher(unanchored(pattern))(text) is accepts(text)
    if gbnf is not None:
        assert (re.fullmatch(gbnf_as_regex(gbnf), text) is not None) is accepts(text)


@patient(200)
@given(CHOICES, TEXTS)
def test_choices_survive_every_syntax(choices: list[str], other: str) -> None:
    """Whatever Unicode they hold, the alternations match them and nothing else."""
    grammar = parse_grammar({"format": "choice", "schema": choices})
    regex, gbnf = choices_to_regex(choices), gbnf_as_regex(choices_to_gbnf(choices))
    for text in [*choices, other, choices[0] + other]:
        wanted = text in choices
        assert (check(grammar, text) is None) is wanted
        assert matcher(regex)(text) is wanted
        assert (re.fullmatch(regex, text) is not None) is wanted
        assert (re.fullmatch(gbnf, text) is not None) is wanted
