"""Turns a body or a stream into an `Answer`; the same for both client libraries.

What is not an answer is `None` here: `failures.py` then says what it is instead. Nothing here
raises on what a server sent. Whole or streamed in whatever pieces, the same answer comes out:
finish reasons, log probabilities and tool calls have one form whichever server made them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from distilabel.records import Answer, Completion, Usage

__all__ = [
    "collect_chat",
    "collect_generated",
    "collect_text",
    "parse_chat",
    "parse_generated",
    "parse_text",
    "with_headers",
]

Json = dict[str, Any]

# TGI's names, and one of Together's, for what all others call `stop`.
_REASONS: Final[Mapping[str, str]] = {"eos_token": "stop", "stop_sequence": "stop", "eos": "stop"}
# vLLM and SGLang end an aborted generation with these, in a 200: half a text is no answer.
_BROKEN: Final = frozenset({"abort", "error"})
_DEEPEST: Final = 16
"""Levels down to which a chunk, a log probability or a tool call is read."""
_MOST_TOKENS: Final = 10**12
_SCALARS: Final = frozenset({int, float, str, bool, type(None)})
_SAID: Final = ("content", "refusal", "reasoning", "reasoning_content", "tool_calls")


def with_headers(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """`answer` with what the response's headers add: rate limits, the request's id."""
    lower = {name.lower(): value for name, value in headers.items()}
    limits = {name: value for name, value in lower.items() if "ratelimit" in name}
    request_id = lower.get("x-request-id")
    if not limits and request_id is None:
        return answer
    return replace(answer, headers=limits, request_id=request_id)


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
    counted = _count(details.get("generated_tokens"))
    return _answer(
        [
            _completion(
                text=item["generated_text"],
                finish_reason=_reason(details.get("finish_reason")),
                logprobs=_tgi_logprobs(details.get("tokens"), details.get("top_tokens")),
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
    choices = sorted(_objects(loaded.get("choices")), key=_index)
    return _answer(
        map(read, choices),
        usage=_usage(loaded.get("usage")),
        model=_string(loaded.get("model")),
    )


def _answer(
    completions: Iterable[Completion | None], usage: Usage, model: str | None = None
) -> Answer | None:
    """`None` without a completion, or where one of several is not usable."""
    usable = tuple(completions)
    if not usable or None in usable:
        return None
    return Answer(completions=tuple(filter(None, usable)), usage=usage, model=model)


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
        text=text if text is not None else _string(message.get("refusal")),
        finish_reason=_reason(choice.get("finish_reason")),
        logprobs=_logprobs(choice.get("logprobs")),
        reasoning=_string(message.get("reasoning")) or _string(message.get("reasoning_content")),
        tool_calls=map(_tool_call, map(_plain, _objects(message.get("tool_calls")))),
    )


def _text_completion(choice: Json) -> Completion | None:
    return _completion(
        text=_string(choice.get("text")),
        finish_reason=_reason(choice.get("finish_reason")),
        logprobs=_logprobs(choice.get("logprobs")),
    )


def _completion(
    *,
    text: str | None,
    finish_reason: str | None,
    logprobs: Any = None,
    reasoning: str | None = None,
    tool_calls: Iterable[Json] = (),
) -> Completion | None:
    """`None` where nothing was said, or where what was said broke off.

    No text is an answer only beside a tool call, reasoning or a content filter; beside a tool
    call or reasoning an empty text is none.
    """
    calls, reasoning = tuple(tool_calls) or None, reasoning or None
    beside = calls is not None or reasoning is not None
    text = None if beside and not text else text
    silent = text is None and not beside and finish_reason != "content_filter"
    if silent or finish_reason in _BROKEN:
        return None
    return Completion(
        text=text,
        finish_reason=finish_reason,
        logprobs=_of_text(logprobs, finish_reason) or None,
        reasoning=reasoning,
        tool_calls=calls,
    )


def _of_text(logprobs: Any, finish_reason: str | None) -> Any:
    """Without the token that ended it: llama.cpp lists that one only where it does not stream."""
    last = logprobs[-1] if logprobs and finish_reason == "stop" else None
    if isinstance(last, dict) and last.get("token") == "" and not last.get("bytes"):
        return logprobs[:-1]
    return logprobs


def _content(content: Any) -> str | None:
    if not isinstance(content, list):
        return _string(content)
    return "".join(filter(None, (_string(part.get("text")) for part in _objects(content))))


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


def _logprobs(logprobs: Any) -> list[Any] | None:
    """One entry per token, in the form of OpenAI's chat API, which wraps them in an object."""
    if isinstance(logprobs, dict):
        listed = logprobs.get("content")
        logprobs = listed if listed is not None else _zipped_logprobs(logprobs)
    return _plain(logprobs) if isinstance(logprobs, list) else None


def _zipped_logprobs(columns: Json) -> list[Any] | None:
    """The completions API's form, lists that run side by side, as one list."""
    tokens = columns.get("tokens")
    if not isinstance(tokens, list):
        return None
    values, tops = columns.get("token_logprobs"), columns.get("top_logprobs")
    return [
        {
            "token": token,
            "logprob": _at(values, place),
            "top_logprobs": _ranked(_at(tops, place)),
        }
        for place, token in enumerate(tokens)
    ]


def _ranked(top: Any) -> list[Json] | None:
    if not isinstance(top, dict) or not top:
        return None
    return [{"token": token, "logprob": value} for token, value in top.items()]


def _tgi_logprobs(tokens: Any, tops: Any) -> list[Any] | None:
    """TGI's tokens in the same form. Its special tokens are no part of the text."""
    if not isinstance(tokens, list):
        return None
    return [
        _plain(
            {
                **_tgi_token(token),
                "top_logprobs": [_tgi_token(top) for top in _objects(_at(tops, place))] or None,
            }
        )
        for place, token in enumerate(tokens)
        if isinstance(token, dict) and token.get("special") is not True
    ]


def _tgi_token(token: Json) -> Json:
    return {"token": token.get("text"), "logprob": token.get("logprob")}


def _at(values: Any, place: int) -> Any:
    return values[place] if isinstance(values, list) and place < len(values) else None


def _objects(values: Any) -> list[Json]:
    """The objects of a list; anything else is not what was expected there."""
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _index(value: Json) -> int:
    index = value.get("index")
    return index if type(index) is int else 0


def _plain(value: Any, depth: int = 0) -> Any:
    """A library's object or a JSON value as JSON values without nulls, to a bounded depth."""
    if isinstance(value, list):
        if _SCALARS.issuperset(map(type, value)):
            return value
        return [_plain(item, depth + 1) for item in value] if depth < _DEEPEST else None
    fields = value if type(value) is dict else getattr(value, "__dict__", None)
    if fields is None:
        return value
    if depth >= _DEEPEST:
        return None
    fields = {**fields, **(getattr(value, "__pydantic_extra__", None) or {})}
    return {name: _plain(item, depth + 1) for name, item in fields.items() if item is not None}


def _reason(value: Any) -> str | None:
    return (_REASONS.get(value, value) or None) if isinstance(value, str) else None


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def _header_count(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return _count(int(value)) if value.isdecimal() and len(value) <= 15 else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


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
        self.logprobs.extend(_logprobs(choice.get("logprobs")) or ())

    def completion(self) -> Completion | None:
        said = self.text or self.refusal
        calls = sorted(self.tool_calls, key=lambda numbered: numbered[0])
        return _completion(
            text="".join(said) if said else None,
            finish_reason=self.finish_reason,
            logprobs=self.logprobs,
            reasoning="".join(self.reasoning),
            tool_calls=[_tool_call(_plain(call)) for _, call in calls],
        )


@dataclass(slots=True)
class _Stream:
    choices: dict[int, _Gathered] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    model: str | None = None

    def open(self, chunk: Any) -> Iterator[tuple[_Gathered, Json]]:
        """Each choice of a chunk, with what was gathered of it; the last usage told counts."""
        values = _plain(chunk)
        values = values if isinstance(values, dict) else {}
        self.usage = _usage(values["usage"]) if "usage" in values else self.usage
        self.model = _string(values.get("model")) or self.model
        for choice in _objects(values.get("choices")):
            gathered = self.choices.setdefault(_index(choice), _Gathered())
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
        event = _plain(chunk)
        last = event if isinstance(event, dict) else {}
        tokens.append(last.get("token"))
        tops.append(last.get("top_tokens"))
    text, details = last.get("generated_text"), last.get("details")
    if not isinstance(text, str) or not isinstance(details, dict):
        return None
    completion = _completion(
        text=text,
        finish_reason=_reason(details.get("finish_reason")),
        logprobs=_tgi_logprobs(tokens, tops),
    )
    usage = Usage(_count(details.get("input_length")), _count(details.get("generated_tokens")))
    return _answer([completion], usage)


def _add_text(pieces: list[str], piece: Any) -> None:
    if isinstance(piece, str):
        pieces.append(piece)


def _add_delta(gathered: _Gathered, delta: Json) -> None:
    _add_text(gathered.text, delta.get("content"))
    _add_text(gathered.refusal, delta.get("refusal"))
    # vLLM sends both names with the same text while it moves from one to the other.
    _add_text(gathered.reasoning, delta.get("reasoning") or delta.get("reasoning_content"))
    for piece in _objects(delta.get("tool_calls")):
        _add_call(gathered.tool_calls, piece)


def _add_call(calls: list[tuple[int, Json]], piece: Json) -> None:
    """Join a piece to the call it belongs to, or begin a new one."""
    index, function = _index(piece), piece.get("function")
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
