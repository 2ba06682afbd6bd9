"""Ready-made edits of true answers, for `Rewrite` and `Garble`.

Edits of JSON know chat answers, text completions, their stream chunks and TGI's own shape, and
leave alone what they do not know. They change copies.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal

__all__ = [
    "bad_utf8",
    "calls_without_ids",
    "charged",
    "error_body",
    "finished",
    "function_calls",
    "halves",
    "heartbeats",
    "line_ends",
    "marked",
    "no_choices",
    "null_choices",
    "null_content",
    "parts",
    "raw_unicode",
    "spent",
    "surround",
    "tight",
    "truncated_json",
    "unnamed",
    "usage_in",
    "without",
    "wrapped",
]

_TEXT_KEYS = ("content", "text", "generated_text")


def _edited(payload: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    """A copy with `change` applied to every object in it, innermost first."""
    copy = deepcopy(payload)
    pending, objects = [copy], []
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            objects.append(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    for value in reversed(objects):
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


def spent(payload: Any) -> Any:
    """Every token went into thinking that is not shown: no text, and cut off."""
    return finished("length")(null_content(payload))


def unnamed(payload: Any) -> Any:
    """As `spent`, and a whole answer has no message at all: Gemini's OpenAI API."""

    def change(value: dict[str, Any]) -> None:
        if value.get("finish_reason") is not None:
            value.pop("message", None)

    return _edited(spent(payload), change)


def wrapped(name: str) -> Callable[[Any], Any]:
    """An edit: everything is under one more key, `result` for gRPC's gateway and Cloudflare's."""
    return lambda payload: {name: payload}


def parts(payload: Any) -> Any:
    """Every content is a list of parts, as from Mistral or Databricks."""

    def change(value: dict[str, Any]) -> None:
        if isinstance(value.get("content"), str) and "logprob" not in value:
            value["content"] = [{"type": "text", "text": value["content"]}]

    return _edited(payload, change)


def halves() -> Callable[[Any], Any]:
    """An edit: a stream cuts characters beyond U+FFFF in two escaped halves, one an event."""
    kept: dict[Any, str] = {}

    def edit(payload: Any) -> Any:
        def change(value: dict[str, Any]) -> None:
            delta = value.get("delta")
            if isinstance(delta, dict):
                text = kept.pop(key, "") + (delta.get("content") or "")
                units = text.encode("utf-16-le", "surrogatepass")
                whole = units[:-2].decode("utf-16-le", "surrogatepass")
                last = units[-2:].decode("utf-16-le", "surrogatepass")
                if value.get("finish_reason") is None and "\udc00" <= last <= "\udfff":
                    text, kept[key] = whole, last
                delta["content"] = text

        key = payload.get("id") if isinstance(payload, dict) else None
        return _edited(payload, change)

    return edit


def calls_without_ids(payload: Any) -> Any:
    """Tool calls have no ids and no indexes."""

    def change(value: dict[str, Any]) -> None:
        for call in value.get("tool_calls") or ():
            call.pop("id", None)
            call.pop("index", None)

    return _edited(payload, change)


def function_calls(payload: Any) -> Any:
    """A tool call is a function call, as before there were tools."""

    def change(value: dict[str, Any]) -> None:
        if calls := value.pop("tool_calls", None):
            value["function_call"] = calls[0]["function"]

    return _edited(finished("function_call")(payload), change)


def charged(usage: dict[str, Any]) -> Callable[[Any], Any]:
    """An edit: what is added to the count of tokens, such as OpenRouter's `{"cost": 0.002}`."""

    def edit(payload: Any) -> Any:
        counted = payload.get("usage")
        return payload if not counted else {**payload, "usage": {**counted, **usage}}

    return edit


def usage_in(place: Literal["x_groq", "choices"]) -> Callable[[Any], Any]:
    """An edit: the tokens are counted in another place, as Groq or Moonshot do."""

    def edit(payload: Any) -> Any:
        usage = payload.get("usage")
        rest = {name: value for name, value in payload.items() if name != "usage"}
        if place == "x_groq":
            return {**rest, "x_groq": {"id": "req", "usage": usage}}
        choices = payload.get("choices") or [{"index": 0, "delta": {}}]
        return {**rest, "choices": [{**choices[0], "usage": usage}, *choices[1:]]}

    return edit


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


def raw_unicode(body: bytes) -> bytes:
    """Nothing is escaped that need not be: U+2028 and its kin stand as they are."""
    before, brace, after = body.partition(b"{")
    if not brace:
        return body
    value = json.loads(brace + after)
    return before + json.dumps(value, ensure_ascii=False).encode() + b"\n\n" * bool(before)


def line_ends(end: str) -> Callable[[bytes], bytes]:
    """An edit: lines of a stream end with `\\r\\n` or `\\r`."""
    return lambda body: body.replace(b"\n", end.encode())


def heartbeats(body: bytes) -> bytes:
    """What keeps a connection alive stands before each event."""
    if not body.startswith(b"data:"):
        return body
    return b"retry: 1000\n\n: ping\n\ndata: \n\nid: 7\nevent: message\n" + body


def tight(body: bytes) -> bytes:
    """Events have no blank after their colon, and no empty line between them."""
    return body.replace(b"data: ", b"data:").replace(b"\n\n", b"\n")


def marked(body: bytes) -> bytes:
    """A byte order mark before a whole body, and before the event that opens a chat."""
    opens = b'"role"' in body or not body.startswith(b"data:")
    return b"\xef\xbb\xbf" * opens + body
