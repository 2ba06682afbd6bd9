"""Structured output: what in a body really constrains, per flavor, and text that satisfies it.

A dialect that a flavor does not know constrains nothing, as with the real servers: the answer is
plain words, without an error. TGI alone refuses a response format that it cannot read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from distilabel_endpoints.testing.endpoint_settings import FlavorName
from distilabel_endpoints.testing.texts.gbnf import gbnf_sample
from distilabel_endpoints.testing.texts.regexes import regex_sample
from distilabel_endpoints.testing.texts.schema_instances import schema_instance

__all__ = [
    "Choice",
    "Constraint",
    "Gbnf",
    "JsonObject",
    "JsonSchema",
    "Regex",
    "UnreadableGrammarError",
    "chat_constraint",
    "satisfy",
    "tgi_constraint",
]


class UnreadableGrammarError(ValueError):
    """A response format that the flavor answers with an error."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer is an instance of the schema."""

    schema: Any


@dataclass(frozen=True, slots=True)
class JsonObject:
    """The answer is any JSON object."""


@dataclass(frozen=True, slots=True)
class Regex:
    """The answer matches as a whole."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer is one of these."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gbnf:
    """The answer derives from `root`."""

    grammar: str


Constraint = JsonSchema | JsonObject | Regex | Choice | Gbnf


def satisfy(constraint: Constraint, seed: int) -> str:
    """Text that satisfies the constraint; `seed` chooses among several.

    Raises:
        UnreadableGrammarError: the schema, pattern or grammar is not one.
    """
    try:
        return _satisfying(constraint, seed)
    except (re.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableGrammarError(f"Invalid grammar: {error}") from error


def _satisfying(constraint: Constraint, seed: int) -> str:
    match constraint:
        case JsonSchema(schema):
            return json.dumps(schema_instance(schema, seed), ensure_ascii=False)
        case JsonObject():
            return json.dumps({"answer": f"{seed % 1000}"})
        case Regex(pattern):
            return regex_sample(pattern, seed)
        case Choice(options):
            return options[seed % len(options)]
        case Gbnf(grammar):
            return gbnf_sample(grammar, seed)
        case _:
            assert_never(constraint)


def chat_constraint(flavor: FlavorName, body: Mapping[str, Any]) -> Constraint | None:
    """What constrains the answer to an OpenAI-style body, chat or text.

    Raises:
        UnreadableGrammarError: TGI, and a response format that is not of TGI's kind.
    """
    match flavor:
        case "tgi":
            return tgi_constraint(body.get("response_format"))
        case "vllm":
            return _vllm(body) or _response_format(body)
        case "sglang":
            return _sglang(body) or _response_format(body)
        case "llamacpp":
            return _llamacpp(body) or _response_format(body)
        case "openai":
            return _response_format(body)
        case _:
            assert_never(flavor)


def tgi_constraint(grammar: Any) -> Constraint | None:
    """TGI's own `{"type": ..., "value": ...}`, as `grammar` or as `response_format`."""
    if grammar is None:
        return None
    if not isinstance(grammar, Mapping) or "value" not in grammar:
        raise UnreadableGrammarError("missing field `value`")
    value = grammar["value"]
    match grammar.get("type"):
        case "json" | "json_object":
            return JsonSchema(json.loads(value) if isinstance(value, str) else value)
        case "regex":
            return Regex(str(value))
        case "json_schema":
            return JsonSchema(value.get("schema") if isinstance(value, Mapping) else value)
        case other:
            raise UnreadableGrammarError(f"unknown variant `{other}`")


def _response_format(body: Mapping[str, Any]) -> Constraint | None:
    form = body.get("response_format")
    if not isinstance(form, Mapping):
        return None
    match form.get("type"):
        case "json_schema":
            return JsonSchema((form.get("json_schema") or {}).get("schema") or {})
        case "json_object":
            return JsonObject()
        case _:
            return None


def _named(fields: Mapping[str, Any], names: Mapping[str, str]) -> Constraint | None:
    """The first of the dialect's keys that is set; `names` says which key is which."""
    for kind, key in names.items():
        value = fields.get(key)
        if value is None or value is False:
            continue
        match kind:
            case "schema":
                return JsonSchema(json.loads(value) if isinstance(value, str) else value)
            case "regex":
                return Regex(str(value))
            case "choice":
                return Choice(tuple(str(option) for option in value))
            case "object":
                return JsonObject()
            case _:
                return Gbnf(str(value))
    return None


def _vllm(body: Mapping[str, Any]) -> Constraint | None:
    nested = body.get("structured_outputs")
    if isinstance(nested, Mapping):
        names = {
            "schema": "json",
            "regex": "regex",
            "choice": "choice",
            "gbnf": "grammar",
            "object": "json_object",
        }
        return _named(nested, names)
    names = {
        "schema": "guided_json",
        "regex": "guided_regex",
        "choice": "guided_choice",
        "gbnf": "guided_grammar",
    }
    return _named(body, names)


def _sglang(body: Mapping[str, Any]) -> Constraint | None:
    return _named(body, {"schema": "json_schema", "regex": "regex", "gbnf": "ebnf"})


def _llamacpp(body: Mapping[str, Any]) -> Constraint | None:
    form = body.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "json_object" and "schema" in form:
        return JsonSchema(form["schema"])
    return _named(body, {"schema": "json_schema", "gbnf": "grammar"})
