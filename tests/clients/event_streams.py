"""Streams as bytes, from the events in them, and the answers that are read from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from distilabel_endpoints._clients.answers import Form
from distilabel_endpoints._clients.streams import Stream
from distilabel_endpoints.records import Answer

Event = dict[str, Any]

CUTS: dict[str, int] = {"at once": 1_000_000, "byte by byte": 1}
"""How a stream arrives: bytes in each piece."""
DONE = b"data: [DONE]\n\n"


def framed(events: Iterable[Event], *, done: bytes = b"") -> bytes:
    """The events as most servers send them."""
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + done


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    """The body, cut."""
    return (body[start : start + size] for start in range(0, len(body), size))


def answer_to(form: Form, arriving: Iterable[bytes]) -> tuple[Answer | None, bytes]:
    """What a stream is read as, and what was left over as no part of it."""
    stream = Stream(form)
    rest = [stream.feed(piece) for piece in arriving if not stream.is_over]
    rest.append(stream.feed(b"", last=True))
    return stream.answer() if stream.is_events else None, b"".join(rest)


def chat_of(cut: str, events: Iterable[Event]) -> Answer | None:
    """The answer of a chat stream that arrives as `cut` says, without an end mark."""
    return answer_to("chat", pieces(framed(events), CUTS[cut]))[0]


def text_of(events: Iterable[Event]) -> Answer | None:
    """The answer of a completions stream."""
    return answer_to("text", [framed(events)])[0]


def delta(index: int = 0, finish: str | None = None, logprobs: Any = None, **said: Any) -> Event:
    """One event of a chat stream with one choice."""
    choice = {"index": index, "delta": said, "finish_reason": finish, "logprobs": logprobs}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def usage(prompt: int, completion: int) -> Event:
    """The last event where usage was asked for: no choices."""
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0}
    return {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": tokens}
