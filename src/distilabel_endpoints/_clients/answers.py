"""Turns a body or a stream into an `Answer`; the same for both client libraries.

What is not an answer is `None` here, and one that says nothing has no completions: `failures.py`
then says what it is instead. Nothing here raises on what a server sent. Whole or streamed in
whatever pieces, the same answer comes out: finish reasons, log probabilities and tool calls have
one form whichever server made them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from distilabel_endpoints._clients.fields import Json, count, index_of, objects, plain, string
from distilabel_endpoints._clients.logprobs import chat_logprobs, of_text, tgi_logprobs
from distilabel_endpoints.records import Answer, Completion, Usage

__all__ = [
    "collect_chat",
    "collect_generated",
    "collect_text",
    "parse_chat",
    "parse_generated",
    "parse_text",
    "replaced",
    "with_headers",
]

# TGI's names, and one of Together's, for what all others call `stop`.
_REASONS: Final[Mapping[str, str]] = {"eos_token": "stop", "stop_sequence": "stop", "eos": "stop"}
# vLLM and SGLang end an aborted generation with these, in a 200: half a text is no answer.
_BROKEN: Final = frozenset({"abort", "error"})
_SAID: Final = ("content", "refusal", "reasoning", "reasoning_content", "tool_calls")


def replaced(answer: Answer) -> Answer:
    """`answer` with a mark on each completion that its text was not all UTF-8."""
    marked = (replace(completion, utf8_replaced=True) for completion in answer.completions)
    return replace(answer, completions=tuple(marked))


def with_headers(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """`answer` with what the response's headers say of rate limits."""
    lower = {name.lower(): value for name, value in headers.items()}
    limits = {name: value for name, value in lower.items() if "ratelimit" in name}
    return replace(answer, headers=limits) if limits else answer


def parse_chat(body: bytes) -> Answer | None:
    """`/v1/chat/completions`, not streamed."""
    return _parse_choices(body, _chat_completion)


def parse_text(body: bytes) -> Answer | None:
    """`/v1/completions`, not streamed."""
    return _parse_choices(body, _text_completion)


def parse_generated(body: bytes, headers: Mapping[str, str]) -> Answer | None:
    """TGI's `POST /` and `/generate`, not streamed: one object, or a list of one."""
    loaded = _load(body)
    item = loaded[0] if isinstance(loaded, list) and loaded else loaded
    if not isinstance(item, dict) or not isinstance(item.get("generated_text"), str):
        return None
    details = item.get("details")
    details = details if isinstance(details, dict) else {}
    counted = count(details.get("generated_tokens"))
    return _answer(
        [
            _completion(
                text=item["generated_text"],
                finish_reason=_reason(details.get("finish_reason")),
                logprobs=tgi_logprobs(details.get("tokens"), details.get("top_tokens")),
            )
        ],
        usage=Usage(
            _header_count(headers, "x-prompt-tokens"),
            counted if counted is not None else _header_count(headers, "x-generated-tokens"),
        ),
    )


def _parse_choices(body: bytes, read: Callable[[Json], Completion | None]) -> Answer | None:
    loaded = _load(body)
    if not isinstance(loaded, dict):
        return None
    choices = sorted(objects(loaded.get("choices")), key=index_of)
    return _answer(
        map(read, choices),
        usage=_usage(loaded.get("usage")),
        model=string(loaded.get("model")),
    )


def _answer(
    completions: Iterable[Completion | None], usage: Usage, model: str | None = None
) -> Answer | None:
    """`None` without a completion, or where one of several broke off; where one is silent, an
    answer without completions."""
    whole = tuple(completions)
    if not whole or None in whole:
        return None
    said = tuple(filter(None, whole))
    silent = any(map(_is_silent, said))
    return Answer(completions=() if silent else said, usage=usage, model=model)


def _is_silent(completion: Completion) -> bool:
    """No text is an answer only beside a tool call, reasoning or a content filter."""
    beside = completion.tool_calls is not None or completion.reasoning is not None
    return completion.text is None and not beside and completion.finish_reason != "content_filter"


def _load(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _chat_completion(choice: Json) -> Completion | None:
    message = choice.get("message")
    if not isinstance(message, dict):
        return None
    text = _content(message.get("content"))
    return _completion(
        text=text if text is not None else string(message.get("refusal")),
        finish_reason=_reason(choice.get("finish_reason")),
        logprobs=chat_logprobs(choice.get("logprobs")),
        reasoning=string(message.get("reasoning")) or string(message.get("reasoning_content")),
        tool_calls=map(_tool_call, map(plain, objects(message.get("tool_calls")))),
    )


def _text_completion(choice: Json) -> Completion | None:
    return _completion(
        text=string(choice.get("text")),
        finish_reason=_reason(choice.get("finish_reason")),
        logprobs=chat_logprobs(choice.get("logprobs")),
    )


def _completion(
    *,
    text: str | None,
    finish_reason: str | None,
    logprobs: Any = None,
    reasoning: str | None = None,
    tool_calls: Iterable[Json] = (),
) -> Completion | None:
    """`None` where it broke off. Beside a tool call or reasoning an empty text is none."""
    if finish_reason in _BROKEN:
        return None
    calls, reasoning = tuple(tool_calls) or None, reasoning or None
    beside = calls is not None or reasoning is not None
    text = None if beside and not text else text
    return Completion(
        text=text,
        finish_reason=finish_reason,
        logprobs=of_text(logprobs, finish_reason) or None,
        reasoning=reasoning,
        tool_calls=calls,
    )


def _content(content: Any) -> str | None:
    if not isinstance(content, list):
        return string(content)
    return "".join(filter(None, (string(part.get("text")) for part in objects(content))))


def _tool_call(call: Json) -> Json:
    """A call as OpenAI has it: arguments are JSON text, and its place is its place in the list."""
    function = call.get("function")
    call = {key: value for key, value in call.items() if key != "index"}
    if not isinstance(function, dict):
        return call
    arguments = _arguments(function.get("arguments"))
    return {"type": "function", **call, "function": {**function, "arguments": arguments}}


def _arguments(value: Any) -> str:
    """TGI gives arguments as an object."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _reason(value: Any) -> str | None:
    return (_REASONS.get(value, value) or None) if isinstance(value, str) else None


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    return Usage(count(usage.get("prompt_tokens")), count(usage.get("completion_tokens")))


def _header_count(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return count(int(value)) if value.isdecimal() and len(value) <= 15 else None


@dataclass(slots=True)
class _Gathered:
    """One choice of a stream, while it comes in."""

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    tool_calls: list[tuple[int, Json]] = field(default_factory=list)
    finish_reason: str | None = None

    def end(self, choice: Json) -> None:
        """Note what a chunk may say beside its text."""
        self.finish_reason = _reason(choice.get("finish_reason")) or self.finish_reason
        self.logprobs.extend(chat_logprobs(choice.get("logprobs")) or ())

    def completion(self) -> Completion | None:
        said = self.text or self.refusal
        calls = sorted(self.tool_calls, key=lambda numbered: numbered[0])
        return _completion(
            text="".join(said) if said else None,
            finish_reason=self.finish_reason,
            logprobs=self.logprobs,
            reasoning="".join(self.reasoning),
            tool_calls=[_tool_call(plain(call)) for _, call in calls],
        )


@dataclass(slots=True)
class _Stream:
    choices: dict[int, _Gathered] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    model: str | None = None

    def open(self, chunk: Any) -> Iterator[tuple[_Gathered, Json]]:
        """Each choice of a chunk, with what was gathered of it; the last usage told counts."""
        values = plain(chunk)
        values = values if isinstance(values, dict) else {}
        self.usage = _usage(values["usage"]) if "usage" in values else self.usage
        self.model = string(values.get("model")) or self.model
        for choice in objects(values.get("choices")):
            gathered = self.choices.setdefault(index_of(choice), _Gathered())
            gathered.end(choice)
            yield gathered, choice

    def answer(self) -> Answer | None:
        """`None` unless every choice came to its end: a stream cut short is no answer."""
        gathered = [self.choices[index] for index in sorted(self.choices)]
        if any(choice.finish_reason is None for choice in gathered):
            return None
        return _answer((choice.completion() for choice in gathered), self.usage, self.model)


def _nothing() -> None:
    """For whoever does not listen."""


async def collect_chat(
    chunks: AsyncIterable[Any], heard: Callable[[], None] = _nothing
) -> Answer | None:
    """A streamed chat; `chunks` are either library's chunk objects, which share their names.

    `heard` is called whenever one says something.
    """
    stream = _Stream()
    async for chunk in chunks:
        for gathered, choice in stream.open(chunk):
            delta = choice.get("delta")
            if isinstance(delta, dict):
                _add_delta(gathered, delta)
                if any(map(delta.get, _SAID)):
                    heard()
    return stream.answer()


async def collect_text(
    chunks: AsyncIterable[Any], heard: Callable[[], None] = _nothing
) -> Answer | None:
    """A streamed `/v1/completions`; `heard` is called whenever a chunk says something."""
    stream = _Stream()
    async for chunk in chunks:
        for gathered, choice in stream.open(chunk):
            _add_text(gathered.text, choice.get("text"))
            if choice.get("text"):
                heard()
    return stream.answer()


async def collect_generated(
    chunks: AsyncIterable[Any], heard: Callable[[], None] = _nothing
) -> Answer | None:
    """TGI's stream: one token an event, the last one with the whole text and the details."""
    tokens: list[Any] = []
    tops: list[Any] = []
    last: Json = {}
    async for chunk in chunks:
        heard()
        event = plain(chunk)
        last = event if isinstance(event, dict) else {}
        tokens.append(last.get("token"))
        tops.append(last.get("top_tokens"))
    text, details = last.get("generated_text"), last.get("details")
    if not isinstance(text, str) or not isinstance(details, dict):
        return None
    completion = _completion(
        text=text,
        finish_reason=_reason(details.get("finish_reason")),
        logprobs=tgi_logprobs(tokens, tops),
    )
    usage = Usage(count(details.get("input_length")), count(details.get("generated_tokens")))
    return _answer([completion], usage)


def _add_text(pieces: list[str], piece: Any) -> None:
    if isinstance(piece, str):
        pieces.append(piece)


def _add_delta(gathered: _Gathered, delta: Json) -> None:
    _add_text(gathered.text, delta.get("content"))
    _add_text(gathered.refusal, delta.get("refusal"))
    # vLLM sends both names with the same text while it moves from one to the other.
    _add_text(gathered.reasoning, delta.get("reasoning") or delta.get("reasoning_content"))
    for piece in objects(delta.get("tool_calls")):
        _add_call(gathered.tool_calls, piece)


def _add_call(calls: list[tuple[int, Json]], piece: Json) -> None:
    """Join a piece to the call it belongs to, or begin a new one."""
    index, function = index_of(piece), piece.get("function")
    function = function if isinstance(function, dict) else {}
    call = next((call for place, call in reversed(calls) if place == index), None)
    if call is None or _begins_another(call, piece, function):
        call = {"function": {"name": None, "arguments": ""}}
        calls.append((index, call))
    for key, value in piece.items():
        if key not in {"index", "function"}:
            call[key] = call.get(key) or value
    call["function"]["name"] = call["function"]["name"] or function.get("name")
    call["function"]["arguments"] += _arguments(function.get("arguments"))


def _begins_another(call: Json, piece: Json, function: Json) -> bool:
    """Some servers number every call 0. An id alone is no sign: others draw one per piece."""
    renamed = bool(function.get("name")) and bool(call["function"]["name"])
    return renamed and bool(piece.get("id")) and piece.get("id") != call.get("id")
