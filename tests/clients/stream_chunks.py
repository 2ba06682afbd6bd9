"""The client libraries' own chunk objects, made from a stream's events by their own classes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from huggingface_hub import ChatCompletionStreamOutput
from openai.types import Completion as TextChunk
from openai.types.chat import ChatCompletionChunk

from distilabel_endpoints._clients.answers import collect_chat, collect_text
from distilabel_endpoints.records import Answer

Event = dict[str, Any]


def openai_chunk(event: Event) -> Any:
    """As `AsyncStream` makes it: nothing is validated."""
    return ChatCompletionChunk.construct(**json.loads(json.dumps(event)))


def openai_text_chunk(event: Event) -> Any:
    return TextChunk.construct(**json.loads(json.dumps(event)))


def hub_chunk(event: Event) -> Any:
    return ChatCompletionStreamOutput.parse_obj_as_instance(json.dumps(event))


CHAT_LIBRARIES: dict[str, Callable[[Event], Any]] = {"hub": hub_chunk, "openai": openai_chunk}


async def _each(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


def chat_of(library: str, events: Iterable[Event]) -> Answer | None:
    """The answer of a chat stream read through `library`."""
    chunks = [CHAT_LIBRARIES[library](event) for event in events]
    return asyncio.run(collect_chat(_each(chunks)))


def text_of(events: Iterable[Event]) -> Answer | None:
    """The answer of a completions stream."""
    return asyncio.run(collect_text(_each([openai_text_chunk(event) for event in events])))


def delta(index: int = 0, finish: str | None = None, logprobs: Any = None, **said: Any) -> Event:
    """One event of a chat stream with one choice."""
    choice = {"index": index, "delta": said, "finish_reason": finish, "logprobs": logprobs}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def usage(prompt: int, completion: int) -> Event:
    """The last event where usage was asked for: no choices."""
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0}
    return {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": tokens}
