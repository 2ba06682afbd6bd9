"""One stored result: the columns of its row, and the checksum that binds them together.

The checksum covers every column, so a record that was moved, mixed with another or altered in a
single bit is distinguished from one that was written. Tokens are sums over the row's requests, 0 if
the server did not count; the payload has the exact figures.

The bytes a result is stored as: compact JSON in UTF-8, readable with any tool.

Rules. `decode(encode(result)) == result` for every result whose `logprobs` and `tool_calls` are
JSON values. The same result gives the same bytes. Surrogates, which a model's answer may hold
alone or as two halves streamed apart, are kept as they are (`surrogatepass`); an ASCII encoding
would join two halves into another string. Fields at their defaults are left out.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage

__all__ = [
    "Entry",
    "Record",
    "decode",
    "decode_failures",
    "encode",
    "encode_failures",
    "intact",
    "seal",
]


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
    """`result` as bytes. Raises `TypeError` if it holds something that is not JSON."""
    document = {
        "ordinal": result.ordinal,
        "completions": [_sparse(entry, _COMPLETION) for entry in result.completions],
        "failures": [_sparse(entry, _FAILURE) for entry in result.failures],
        "usages": [_tokens(usage) for usage in result.usages],
        "attempts": result.attempts,
    }
    return _ENCODER.encode(document).encode("utf-8", "surrogatepass")


def _tokens(usage: Usage) -> tuple[int | None, ...]:
    counted = (usage.input_tokens, usage.output_tokens)
    return counted if usage.reasoning_tokens is None else (*counted, usage.reasoning_tokens)


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


def encode_failures(failures: Sequence[Failure | None]) -> str:
    """A failed row's `failures`, for a store without records: all but the answers refused."""
    wordless = [failure and dataclasses.replace(failure, text=None) for failure in failures]
    return _ENCODER.encode([_sparse(failure, _FAILURE) for failure in wordless])


def decode_failures(text: str) -> tuple[Failure | None, ...]:
    """What `encode_failures` was given. Raises `ValueError` for text it did not make."""
    document = json.loads(text)
    if not isinstance(document, list) or not any(document):
        raise ValueError("not the failures of a row")
    return tuple(_failure(entry) for entry in document)


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


Status = Literal["ok", "failed"]

# 33 bytes; with a content hash of at most 31 that is the longest key of blake2b, 64.
_NUMBERS: Final = struct.Struct("<qBqqq")
_DIGEST_BYTES: Final = 12
# Sums over 2**25 rows still fit SQLite's signed 64 bits.
_MOST_TOKENS: Final = 2**38


class Entry(NamedTuple):
    """What a resume needs to know of a stored result."""

    ordinal: int
    ok: int
    content_hash: bytes


class Record(NamedTuple):
    """A stored result, in the order of the table's columns: the row SQLite reads and writes."""

    ordinal: int
    ok: int
    content_hash: bytes
    attempts: int
    input_tokens: int
    output_tokens: int
    checksum: bytes
    payload: bytes

    @property
    def status(self) -> Status:
        """How the row ended."""
        return "ok" if self.ok else "failed"

    @property
    def result(self) -> Result:
        """The result itself, decoded at each call."""
        return decode(self.payload)


def seal(result: Result, content_hash: bytes) -> Record:
    """The record of `result`, whose input row has `content_hash` (at most 31 bytes)."""
    payload = encode(result)
    ok = int(result.status == "ok")
    costs = (
        result.attempts,
        _bounded(sum(usage.input_tokens or 0 for usage in result.usages)),
        _bounded(sum(usage.output_tokens or 0 for usage in result.usages)),
    )
    # The columns are the key of the hash: then they are covered without being joined to the
    # payload.
    key = _NUMBERS.pack(result.ordinal, ok, *costs) + content_hash
    checksum = blake2b(payload, digest_size=_DIGEST_BYTES, key=key).digest()
    return Record(result.ordinal, ok, content_hash, *costs, checksum, payload)


def intact(record: Record) -> bool:
    """Whether every column is what was written. Takes any values SQLite may return."""
    ordinal, ok, content_hash, attempts, input_tokens, output_tokens, checksum, payload = record
    try:
        key = _NUMBERS.pack(ordinal, ok, attempts, input_tokens, output_tokens) + content_hash
        return blake2b(payload, digest_size=_DIGEST_BYTES, key=key).digest() == checksum
    except (struct.error, TypeError, ValueError):
        return False


def _bounded(tokens: int) -> int:
    """A count a server made up must not overflow the sum of ten million of them."""
    return min(max(tokens, 0), _MOST_TOKENS)
