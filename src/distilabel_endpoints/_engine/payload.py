"""The bytes a result is stored as: compact JSON in UTF-8, readable with any tool.

Rules. `decode(encode(result)) == result` for every result whose `logprobs` and `tool_calls` are
JSON values. The same result gives the same bytes. Surrogates, which a model's answer may hold
alone or as two halves streamed apart, are kept as they are (`surrogatepass`); an ASCII encoding
would join two halves into another string. Fields at their defaults are left out.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage

__all__ = ["decode", "encode"]


def _plain(value: object) -> dict[str, Any]:
    """What json cannot write itself: mappings other than `dict`."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"A result holds a {type(value).__name__}, which is not a JSON value.")


def _fields(kind: type[Completion | Failure]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.default) for field in dataclasses.fields(kind))


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain)
_COMPLETION = _fields(Completion)
_FAILURE = _fields(Failure)


def encode(result: Result) -> bytes:
    """`result` as bytes. Raises `TypeError` where it holds something that is not JSON."""
    document = {
        "ordinal": result.ordinal,
        "completions": [_sparse(entry, _COMPLETION) for entry in result.completions],
        "failures": [_sparse(entry, _FAILURE) for entry in result.failures],
        "usages": [(usage.input_tokens, usage.output_tokens) for usage in result.usages],
        "attempts": result.attempts,
    }
    return _ENCODER.encode(document).encode("utf-8", "surrogatepass")


def decode(payload: bytes) -> Result:
    """The result `encode` was given. Raises `ValueError` for bytes it did not make."""
    document = json.loads(payload.decode("utf-8", "surrogatepass"))
    return Result(
        ordinal=document["ordinal"],
        completions=tuple(_completion(entry) for entry in document["completions"]),
        failures=tuple(_failure(entry) for entry in document["failures"]),
        usages=tuple(Usage(*tokens) for tokens in document["usages"]),
        attempts=document["attempts"],
    )


def _sparse(
    value: Completion | Failure | None, fields: tuple[tuple[str, Any], ...]
) -> dict[str, Any] | None:
    if value is None:
        return None
    return {name: held for name, default in fields if (held := getattr(value, name)) != default}


def _completion(entry: dict[str, Any] | None) -> Completion | None:
    if entry is None:
        return None
    if "tool_calls" in entry:
        entry["tool_calls"] = tuple(entry["tool_calls"])
    return Completion(**entry)


def _failure(entry: dict[str, Any] | None) -> Failure | None:
    if entry is None:
        return None
    entry["kind"] = FailureKind(entry["kind"])
    return Failure(**entry)
