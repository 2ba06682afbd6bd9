"""`Grammar`: a constraint on the output, parsed from what users write.

    structured_output={"format": "json", "schema": a dict, JSON text or a pydantic model class}
    structured_output={"format": "regex", "schema": r"[A-Z]{2}-\\d{4}"}
    structured_output={"format": "choice", "schema": ["yes", "no"]}

Without `format` it follows from the schema: a list is a choice, a mapping or a model is JSON, a
text is a regex unless it is a JSON object. Whatever cannot be enforced is refused here, at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, assert_never

from distilabel_endpoints.errors import SchemaError
from distilabel_endpoints.grammar.patterns import PatternError, matcher
from distilabel_endpoints.grammar.schemas import WHERE, read_schema, unwrapped
from distilabel_endpoints.grammar.strict_json import compact

__all__ = ["Grammar", "GrammarFormat", "parse_grammar"]

MAX_CHOICES: Final = 1000
MAX_CHOICES_LENGTH: Final = 65_536
_KEYS: Final = ("format", "schema")


class GrammarFormat(StrEnum):
    """What kind of text is asked for."""

    JSON = "json"
    REGEX = "regex"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Grammar:
    """A valid constraint. Equal grammars ask for the same text in the same order of keys.

    `text` is the schema or the list of choices as compact JSON, or the pattern as it was given.
    """

    format: GrammarFormat
    text: str

    @property
    def schema(self) -> Any:
        """What was asked for, as JSON values: a new dict, a new list, or the pattern."""
        return self.text if self.format is GrammarFormat.REGEX else json.loads(self.text)

    def as_value(self) -> dict[str, Any]:
        """`{"format": ..., "schema": ...}`: JSON values that parse into this grammar again."""
        return {"format": str(self.format), "schema": self.schema}

    @property
    def canonical(self) -> str:
        """One text for equal grammars, for fingerprints: compact JSON in the given key order."""
        return compact(self.as_value())


def parse_grammar(value: Any) -> Grammar:
    """Parse `structured_output`: `{"format": ..., "schema": ...}`, or a `Grammar` already.

    A `response_format` of OpenAI's is its schema.

    Raises:
        SchemaError: naming the place, what is wrong there and how to fix it.
    """
    if isinstance(value, Grammar):
        return value
    if not isinstance(value, Mapping):
        raise SchemaError(
            f"structured_output: expected {{'format': ..., 'schema': ...}}, "
            f"not {type(value).__name__}"
        )
    if not value.keys() <= set(_KEYS):
        whole = dict(value)
        inner = unwrapped(whole)
        value = whole if inner is whole else {"format": "json", "schema": inner}
    for key in value:
        if key not in _KEYS:
            raise SchemaError(f"structured_output: unknown key {key!r}{_nearest(key, _KEYS)}")
    schema = value.get("schema")
    if schema is None:
        raise SchemaError(f"{WHERE}: missing; give a JSON schema, a pattern or a list of choices")
    match grammar_format := _format(value.get("format"), schema):
        case GrammarFormat.JSON:
            text = read_schema(schema)
        case GrammarFormat.REGEX:
            text = _read_regex(schema)
        case GrammarFormat.CHOICE:
            text = compact(_read_choices(schema))
        case _:
            assert_never(grammar_format)
    return Grammar(grammar_format, text)


def _format(format_name: Any, schema: Any) -> GrammarFormat:
    if format_name is None:
        return _inferred(schema)
    names = [str(name) for name in GrammarFormat]
    if format_name in names:
        return GrammarFormat(format_name)
    raise SchemaError(
        f"structured_output.format: {format_name!r} is not one of {', '.join(names)}"
        f"{_nearest(format_name, names)}"
    )


def _inferred(schema: Any) -> GrammarFormat:
    if isinstance(schema, str):
        # A pattern cannot start with a brace, so nothing is ambiguous.
        return GrammarFormat.JSON if schema.lstrip().startswith("{") else GrammarFormat.REGEX
    if isinstance(schema, list | tuple):
        return GrammarFormat.CHOICE
    return GrammarFormat.JSON


def _nearest(name: Any, names: tuple[str, ...] | list[str]) -> str:
    near = get_close_matches(str(name).lower(), names, n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""


def _read_regex(pattern: Any) -> str:
    if not isinstance(pattern, str) or not pattern:
        raise SchemaError(f"{WHERE}: a regex is a pattern that is not empty")
    _check_text(pattern)
    try:
        matcher(pattern)
    except PatternError as exc:
        raise SchemaError(
            f"{WHERE}: answers cannot be checked against the pattern: {exc}. Leave out look-around "
            "and back-references."
        ) from None
    return pattern


def _read_choices(choices: Any) -> list[str]:
    if not isinstance(choices, list | tuple) or not choices:
        raise SchemaError(f"{WHERE}: a choice is a list of texts that is not empty")
    for position, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice:
            raise SchemaError(f"{WHERE}: choice {position} is not a text, or is empty")
        _check_text(choice)
    if len(set(choices)) < len(choices):
        raise SchemaError(f"{WHERE}: a choice is given twice; each must be distinct")
    if len(choices) > MAX_CHOICES or sum(map(len, choices)) > MAX_CHOICES_LENGTH:
        raise SchemaError(
            f"{WHERE}: more than {MAX_CHOICES:,} choices, or {MAX_CHOICES_LENGTH:,} characters "
            f"in all"
        )
    return list(choices)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise SchemaError(f"{WHERE}: holds a NUL character, which no server can be held to")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SchemaError(f"{WHERE}: holds half a surrogate pair; write real characters") from None
