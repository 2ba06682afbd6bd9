"""Ready-made edits of true answers, for `Rewrite` and `Garble`.

Edits of JSON know chat answers, text completions, their stream chunks and TGI's own shape, and
leave alone what they do not know. They change copies.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

__all__ = [
    "bad_utf8",
    "error_body",
    "finished",
    "no_choices",
    "null_choices",
    "null_content",
    "surround",
    "truncated_json",
    "without",
]

_TEXT_KEYS = ("content", "text", "generated_text")


def _edited(payload: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    """A copy with `change` applied to every object in it, innermost first."""
    copy = deepcopy(payload)
    pending, found = [copy], []
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            found.append(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    for value in reversed(found):
        change(value)
    return copy


def no_choices(payload: Any) -> Any:
    """`choices` is an empty list."""
    return {**payload, "choices": []} if "choices" in payload else payload


def null_choices(payload: Any) -> Any:
    """`choices` is null."""
    return {**payload, "choices": None} if "choices" in payload else payload


def null_content(payload: Any) -> Any:
    """Every text is null, as from a model that only called a tool, without the call."""

    def change(value: dict[str, Any]) -> None:
        for key in _TEXT_KEYS:
            if key in value:
                value[key] = None

    return _edited(payload, change)


def finished(reason: str) -> Callable[[Any], Any]:
    """An edit: every finish reason that is set becomes `reason`."""

    def change(value: dict[str, Any]) -> None:
        if value.get("finish_reason") is not None:
            value["finish_reason"] = reason

    return lambda payload: _edited(payload, change)


def without(*names: str) -> Callable[[Any], Any]:
    """An edit: these keys of the outermost object are missing (`usage`, for one)."""
    return lambda payload: {name: value for name, value in payload.items() if name not in names}


def error_body(code: str | int, message: str = "Rate limit reached") -> Callable[[Any], Any]:
    """An edit: an error object under status 200."""
    return lambda _: {"error": {"message": message, "type": "error", "code": code}}


def truncated_json(body: bytes) -> bytes:
    """The first two thirds of the body, announced as the whole."""
    return body[: len(body) * 2 // 3]


def bad_utf8(body: bytes) -> bytes:
    """A byte that is not UTF-8 in front of every text of the answer."""
    for key in _TEXT_KEYS:
        name = json.dumps(key).encode()
        for glue in (b": ", b":"):
            body = body.replace(name + glue + b'"', name + glue + b'"\xff')
    return body


def surround(before: str = "", after: str = "") -> Callable[[bytes], bytes]:
    """An edit: garbage around the body."""
    return lambda body: before.encode() + body + after.encode()
