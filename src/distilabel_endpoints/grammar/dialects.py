"""What really constrains each server, on each route: one table.

The entries are what the servers' own request types read: TGI's `GrammarType`, vLLM's (>= 0.11)
`structured_outputs`, SGLang's `regex`/`json_schema`, llama.cpp's `json_schema` and
`grammar`, OpenAI's `response_format`. A field some server ignores is not an entry for it.
huggingface_hub rewrites a `json_schema` response format to TGI's for every URL, so on `HUB_CHAT` it
is sent `as_written`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from distilabel_endpoints.grammar.as_written import as_written
from distilabel_endpoints.grammar.patterns import (
    choices_to_gbnf,
    choices_to_regex,
    pattern_to_gbnf,
    unanchored,
)
from distilabel_endpoints.grammar.schemas import is_strict, sendable, title
from distilabel_endpoints.grammar.values import Grammar, GrammarFormat
from distilabel_endpoints.records import Route, Server

__all__ = ["constrain"]


Fields = dict[str, Any]
Dialect = Callable[[Grammar], Fields | None]


def constrain(grammar: Grammar, server: Server, route: Route) -> Mapping[str, Any] | None:
    """Keyword arguments for the client's method that make the server follow the grammar.

    `{"grammar": ...}` for `HUB_TEXT`, else `{"extra_body": {...}}`. `None`: this server cannot
    hold this format on this route, or is not known to; answers can then only be checked.
    """
    dialect = _TABLE.get((server, route), _NOTHING).get(grammar.format)
    fields = dialect(grammar) if dialect else None
    if fields is None:
        return None
    return fields if route is Route.HUB_TEXT else {"extra_body": fields}


def _regex(grammar: Grammar) -> str:
    """The pattern, or the choices as a pattern."""
    if grammar.format is GrammarFormat.CHOICE:
        return choices_to_regex(grammar.schema)
    return unanchored(grammar.text)


def _json_schema(grammar: Grammar, *, strict: bool) -> Fields:
    schema = sendable(grammar.text)
    named = {"name": title(schema), "schema": schema, "strict": strict}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _standard(grammar: Grammar) -> Fields:
    """OpenAI's own; servers that constrain every schema want `strict` true."""
    return _json_schema(grammar, strict=True)


def _cautious(grammar: Grammar) -> Fields:
    """OpenAI takes `strict` for a part of JSON Schema only, and refuses it for the rest."""
    return _json_schema(grammar, strict=is_strict(sendable(grammar.text)))


def _standard_on_hub(grammar: Grammar) -> Fields:
    return {"response_format": as_written(_standard(grammar)["response_format"])}


def _cautious_on_hub(grammar: Grammar) -> Fields:
    return {"response_format": as_written(_cautious(grammar)["response_format"])}


def _tgi_json(grammar: Grammar) -> Fields:
    return {"response_format": {"type": "json_object", "value": sendable(grammar.text)}}


def _tgi_regex(grammar: Grammar) -> Fields:
    return {"response_format": {"type": "regex", "value": _regex(grammar)}}


def _tgi_text_json(grammar: Grammar) -> Fields:
    return {"grammar": {"type": "json", "value": sendable(grammar.text)}}


def _tgi_text_regex(grammar: Grammar) -> Fields:
    return {"grammar": {"type": "regex", "value": _regex(grammar)}}


def _vllm(grammar: Grammar) -> Fields:
    value = grammar.schema if grammar.format is GrammarFormat.CHOICE else _regex(grammar)
    return {"structured_outputs": {str(grammar.format): value}}


def _sglang_text(grammar: Grammar) -> Fields:
    """On completions the schema is a separate field, as text."""
    return {"json_schema": grammar.text}


def _sglang_regex(grammar: Grammar) -> Fields:
    return {"regex": _regex(grammar)}


def _llamacpp_json(grammar: Grammar) -> Fields:
    """Read on chat and on completions; the latter ignores `response_format`."""
    return {"json_schema": sendable(grammar.text)}


def _llamacpp_choice(grammar: Grammar) -> Fields:
    return {"grammar": choices_to_gbnf(grammar.schema)}


def _llamacpp_regex(grammar: Grammar) -> Fields | None:
    gbnf = pattern_to_gbnf(grammar.text)
    return None if gbnf is None else {"grammar": gbnf}


def _row(
    json: Dialect, regex: Dialect | None = None, choice: Dialect | None = None
) -> Mapping[GrammarFormat, Dialect]:
    choice = choice or regex
    row = {GrammarFormat.JSON: json, GrammarFormat.REGEX: regex, GrammarFormat.CHOICE: choice}
    return MappingProxyType({key: dialect for key, dialect in row.items() if dialect})


_NOTHING: Final[Mapping[GrammarFormat, Dialect]] = MappingProxyType({})
_LLAMACPP: Final = _row(_llamacpp_json, _llamacpp_regex, _llamacpp_choice)
_TABLE: Final[Mapping[tuple[Server, Route], Mapping[GrammarFormat, Dialect]]] = MappingProxyType(
    {
        (Server.TGI, Route.HUB_CHAT): _row(_tgi_json, _tgi_regex),
        (Server.TGI, Route.HUB_TEXT): _row(_tgi_text_json, _tgi_text_regex),
        (Server.TGI, Route.OPENAI_CHAT): _row(_tgi_json, _tgi_regex),
        (Server.VLLM, Route.HUB_CHAT): _row(_standard_on_hub, _vllm),
        (Server.VLLM, Route.OPENAI_CHAT): _row(_standard, _vllm),
        (Server.VLLM, Route.OPENAI_TEXT): _row(_standard, _vllm),
        (Server.SGLANG, Route.HUB_CHAT): _row(_standard_on_hub, _sglang_regex),
        (Server.SGLANG, Route.OPENAI_CHAT): _row(_standard, _sglang_regex),
        (Server.SGLANG, Route.OPENAI_TEXT): _row(_sglang_text, _sglang_regex),
        (Server.LLAMACPP, Route.HUB_CHAT): _LLAMACPP,
        (Server.LLAMACPP, Route.OPENAI_CHAT): _LLAMACPP,
        (Server.LLAMACPP, Route.OPENAI_TEXT): _LLAMACPP,
        (Server.OPENAI, Route.HUB_CHAT): _row(_cautious_on_hub),
        (Server.OPENAI, Route.OPENAI_CHAT): _row(_cautious),
        (Server.ROUTER, Route.HUB_CHAT): _row(_cautious),
        (Server.ROUTER, Route.OPENAI_CHAT): _row(_cautious),
        (Server.UNKNOWN, Route.HUB_CHAT): _row(_cautious_on_hub),
        (Server.UNKNOWN, Route.OPENAI_CHAT): _row(_cautious),
    }
)
