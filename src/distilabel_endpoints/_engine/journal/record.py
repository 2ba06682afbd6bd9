"""One stored result: the columns of its row, and the checksum that binds them together.

The checksum covers every column, so a record that was moved, mixed with another or altered in a
single bit is told from one that was written. Tokens are sums over the row's requests, 0 where the
server did not count; the payload has the exact figures.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

from distilabel_endpoints._engine.payload import decode, encode
from distilabel_endpoints.records import Result

__all__ = ["Entry", "Record", "intact", "seal"]

Status = Literal["ok", "failed"]

_NUMBERS: Final = struct.Struct("<qBqqq")
_DIGEST_BYTES: Final = 12
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
