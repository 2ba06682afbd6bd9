"""The values that routes answer with. They hold no socket and know no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Generated", "Outcome", "Reply", "encode", "json_reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, ready to send."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """An answer that takes the service time of its tokens.

    `payload` is the JSON value of the whole answer; with `events`, those are sent instead, one
    JSON value each, and `done` after them.
    """

    payload: Any
    tokens: int
    prompt_tokens: int
    events: tuple[Any, ...] | None = None
    event_prefix: bytes = b"data: "
    done: bytes = b"data: [DONE]\n\n"
    headers: Mapping[str, str] = field(default_factory=dict)


Outcome = Reply | Generated

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def encode(payload: Any) -> bytes:
    """JSON without spaces, lone surrogates and all."""
    return _ENCODER.encode(payload).encode()


def json_reply(status: int, payload: Any, **headers: str) -> Reply:
    """A JSON answer; underscores in header names become hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, encode(payload), headers=named)
