"""A whole answer cut into the events of a stream: one token each, usage last if requested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from distilabel_endpoints.testing.texts.replies import Text

__all__ = ["chat_events", "completion_events"]


def chat_events(
    payload: Mapping[str, Any], texts: Sequence[Text], body: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Chunks of a chat answer; choices one after the other."""
    return tuple(_framed("chat.completion.chunk", _chat_chunks, payload, texts, body))


def completion_events(
    payload: Mapping[str, Any], texts: Sequence[Text], body: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Chunks of a text completion."""
    return tuple(_framed("text_completion", _text_chunks, payload, texts, body))


def _framed(
    kind: str,
    cut: Callable[[Mapping[str, Any], Text], Iterator[Any]],
    payload: Mapping[str, Any],
    texts: Sequence[Text],
    body: Mapping[str, Any],
) -> Iterator[Any]:
    head = {name: payload[name] for name in ("id", "created", "model", "system_fingerprint")}
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    for choice, text in zip(payload["choices"], texts, strict=True):
        for chunk in cut(choice, text):
            event = {**head, "object": kind, "choices": [chunk]}
            yield {**event, "usage": None} if usage else event
    if usage:
        yield {**head, "object": kind, "choices": [], "usage": payload["usage"]}


def _chat_chunks(choice: Mapping[str, Any], text: Text) -> Iterator[Any]:
    message, index = choice["message"], choice["index"]
    first: dict[str, Any] = {"role": "assistant", "content": ""}
    for key in ("reasoning", "reasoning_content"):
        if key in message:
            first[key] = message[key]
    yield _chunk(index, first)
    calls = message.get("tool_calls")
    logprobs = (choice.get("logprobs") or {}).get("content")
    for at, token in enumerate(text.tokens):
        seen = None if logprobs is None else {"content": [logprobs[at]]}
        if calls:
            yield _chunk(index, {"tool_calls": [_call_part(calls[0], token, first=at == 0)]}, seen)
        else:
            yield _chunk(index, {"content": token}, seen)
    yield {**_chunk(index, {}), "finish_reason": choice["finish_reason"]}


def _chunk(index: int, delta: Mapping[str, Any], logprobs: Any = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _call_part(call: Mapping[str, Any], token: str, *, first: bool) -> dict[str, Any]:
    if not first:
        return {"index": 0, "function": {"arguments": token}}
    function = {"name": call["function"]["name"], "arguments": token}
    return {"index": 0, "id": call["id"], "type": "function", "function": function}


def _text_chunks(choice: Mapping[str, Any], text: Text) -> Iterator[Any]:
    for token in text.tokens:
        yield {"index": choice["index"], "text": token, "logprobs": None, "finish_reason": None}
    last = {"index": choice["index"], "text": "", "logprobs": choice["logprobs"]}
    yield {**last, "finish_reason": choice["finish_reason"]}
