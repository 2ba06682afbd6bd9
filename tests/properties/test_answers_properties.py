"""Answers: streamed or not the same, and nothing a server sends makes reading raise."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints._clients.answers import Form, parse_chat, parse_generated, parse_text
from distilabel_endpoints._clients.streams import Stream, StreamError
from distilabel_endpoints._store.journal.record import decode, encode
from distilabel_endpoints.records import Answer, Result
from fuzzing import examples

TEXT = st.text(max_size=12)
LOGPROB = st.floats(max_value=0, min_value=-50)
TOP = st.fixed_dictionaries({"token": TEXT, "logprob": LOGPROB})
ENTRY = st.fixed_dictionaries(
    {
        "token": TEXT,
        "logprob": LOGPROB,
        "bytes": st.none() | st.lists(st.integers(0, 255), max_size=3),
        "top_logprobs": st.lists(TOP, max_size=2),
    }
)
FUNCTION = st.fixed_dictionaries({"name": st.text(min_size=1, max_size=5), "arguments": TEXT})
CALL = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=5), "type": st.just("function"), "function": FUNCTION}
)
CHOICE = st.fixed_dictionaries(
    {
        "content": st.none() | TEXT,
        "reasoning": st.none() | TEXT,
        "tool_calls": st.none() | st.lists(CALL, max_size=2),
        "logprobs": st.none() | st.lists(ENTRY, max_size=3),
        "finish_reason": st.sampled_from(["stop", "length", "tool_calls", "eos_token", "abort"]),
    }
)
Choice = dict[str, Any]


def whole(choices: list[Choice], usage: Any) -> bytes:
    """The body that is not streamed."""
    told = [
        {
            "index": index,
            "message": {name: said[name] for name in ("content", "reasoning", "tool_calls")},
            "logprobs": None if said["logprobs"] is None else {"content": said["logprobs"]},
            "finish_reason": said["finish_reason"],
        }
        for index, said in enumerate(choices)
    ]
    return json.dumps({"model": "m", "choices": told, "usage": usage}).encode()


def cut(draw: st.DrawFn, text: str) -> list[str]:
    """`text` in pieces, at least one, some of which may be empty."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def call_pieces(draw: st.DrawFn, place: int, call: Any) -> list[Any]:
    first, *rest = cut(draw, call["function"]["arguments"])
    head = {**call, "index": place, "function": {**call["function"], "arguments": first}}
    return [head, *({"index": place, "function": {"arguments": piece}} for piece in rest)]


def deltas(draw: st.DrawFn, said: Choice) -> list[Choice]:
    """One choice as the choices of the events that bring it."""
    told: list[Choice] = [{"delta": {"role": "assistant"}}]
    for name in ("reasoning", "content"):
        if said[name] is not None:
            told += [{"delta": {name: piece}} for piece in cut(draw, said[name])]
    for place, call in enumerate(said["tool_calls"] or ()):
        told += [{"delta": {"tool_calls": [p]}} for p in call_pieces(draw, place, call)]
    told += [{"delta": {}, "logprobs": {"content": [entry]}} for entry in said["logprobs"] or ()]
    return [*told, {"delta": {}, "finish_reason": said["finish_reason"]}]


@st.composite
def streamed(draw: st.DrawFn) -> tuple[bytes, list[Any]]:
    """A body, and the events that say the same, choices interleaved at will."""
    choices = draw(st.lists(CHOICE, min_size=1, max_size=3))
    usage = draw(st.sampled_from([None, {"prompt_tokens": 3, "completion_tokens": 5}]))
    queues = [[{"index": i, **d} for d in deltas(draw, said)] for i, said in enumerate(choices)]
    events: list[dict[str, Any]] = []
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        events.append({"model": "m", "choices": [queue.pop(0)]})
    events.append({"choices": [], "usage": usage})
    return whole(choices, usage), events


def read(body: bytes, cuts: Iterable[int] = ()) -> Answer | None:
    """The stream's answer, whatever pieces it comes in."""
    stream = Stream("chat")
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(places):
        assert stream.feed(body[start:end]) == b""
    assert stream.feed(b"", last=True) == b""
    return stream.answer()


LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
BETWEEN = st.sampled_from(
    [b"", b": still here", b"id: 7", b"retry: 1000", b"event: message", b"data:", b"data: ping"]
)


@st.composite
def framings(draw: st.DrawFn, events: list[Any]) -> bytes:
    """The events as bytes: any line ends, anything that is not an event between them."""
    end, escaped = draw(LINE_ENDS), draw(st.booleans())
    lines = [draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))]
    for event in events:
        data = json.dumps(event, ensure_ascii=escaped).encode()
        lines += [draw(BETWEEN) + end, draw(st.sampled_from([b"data: ", b"data:"])) + data, end]
        lines += draw(st.sampled_from([[end], []]))
    return b"".join([*lines, end])


@settings(deadline=None, max_examples=examples(150))
@given(st.data(), streamed(), st.lists(st.integers(0, 10_000), max_size=5))
def test_streamed_in_any_split_equals_whole(
    data: st.DataObject, case: tuple[bytes, list[Any]], cuts: list[int]
) -> None:
    """However events are cut, interleaved, framed and sent: the same answer, or none as well."""
    body, events = case
    assert read(data.draw(framings(events)), cuts) == parse_chat(body)


NAMES = st.sampled_from(
    [
        "choices", "index", "message", "delta", "content", "text", "reasoning", "refusal",
        "reasoning_content", "tool_calls", "id", "function", "arguments", "name", "logprobs",
        "top_logprobs", "tokens", "token_logprobs", "token", "logprob", "finish_reason", "usage",
        "prompt_tokens", "completion_tokens", "model", "generated_text", "details", "special",
        "generated_tokens", "top_tokens", "error", "result", "data", "response", "body", "value",
        "finishReason",
    ]
)  # fmt: skip
TEXTS = st.text(max_size=4) | st.sampled_from(
    ["choices", "{choices", '{"choices": [{}]}', "\ud800"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)
OBJECTS = st.lists(st.dictionaries(NAMES, JSON, max_size=5), max_size=3)
LIKELY = st.fixed_dictionaries({"choices": OBJECTS | JSON, "usage": JSON, "details": JSON})


def storable(answer: Answer | None) -> None:
    """What was read can be written to the journal and read back."""
    if answer is None:
        return
    completions = answer.completions
    failures = (None,) * len(completions)
    result = Result(ordinal=0, completions=completions, failures=failures, usages=(answer.usage,))
    assert encode(decode(encode(result))) == encode(result)


@settings(deadline=None, max_examples=examples(200))
@given(JSON | LIKELY, st.dictionaries(st.just("x-prompt-tokens"), st.text(max_size=5)))
def test_no_json_makes_reading_raise(value: Any, headers: dict[str, str]) -> None:
    """Any JSON is an answer that can be stored, or none."""
    body = json.dumps(value).encode()
    for answer in (parse_chat(body), parse_text(body), parse_generated(body, headers)):
        storable(answer)


@settings(deadline=None, max_examples=examples(100))
@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise(body: bytes) -> None:
    """Any bytes at all."""
    for answer in (parse_chat(body), parse_text(body), parse_generated(body, {})):
        storable(answer)


@settings(deadline=None, max_examples=examples(100))
@given(st.lists(LIKELY | JSON, max_size=3), st.sampled_from(get_args(Form)))
def test_no_event_makes_gathering_raise(events: list[Any], form: Form) -> None:
    """Any JSON in an event is an answer, an error that is reported, or nothing."""
    stream = Stream(form)
    stream.feed_all(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events))
    with suppress(StreamError, ValueError):
        storable(stream.answer())


@settings(deadline=None, max_examples=examples(100))
@given(st.binary(max_size=200), st.sampled_from(get_args(Form)))
def test_no_bytes_make_a_stream_raise(body: bytes, form: Form) -> None:
    """Any bytes at all, as events or as what they begin like; nothing is lost that is neither."""
    stream = Stream(form)
    rest = stream.feed(body) + stream.feed(b"", last=True)
    assert rest == (b"" if stream.is_events else body)
    stream.feed_all(body)
    with suppress(StreamError, ValueError):
        storable(stream.answer())
