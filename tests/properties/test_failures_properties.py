"""Classifying: never raises, never grows, never tells a secret or a prompt."""

from __future__ import annotations

import html
import json
import unicodedata
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints._clients.failures import classify, retry_after
from distilabel_endpoints._clients.transport import Exchange, WireFault
from distilabel_endpoints.records import MESSAGE_LIMIT, Failure, FailureKind, Request
from fuzzing import examples

TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
TOKEN = "hf_CANARYabc123XYZ"
PROMPT = (
    'Tell the old ferryman that "the lantern" is under the third stone, past the café\'s\nwall.'
)
ASKED = Request(ordinal=0, messages=[{"role": "user", "content": PROMPT}])

ECHO = st.sampled_from([PROMPT, repr(PROMPT), json.dumps(PROMPT), html.escape(PROMPT), TOKEN])
WORDS = st.one_of(st.text(max_size=20), ECHO, st.sampled_from(["Bearer ", "rate limit", "<html>"]))
SAID = st.lists(WORDS, max_size=4).map("".join)
NAMES = st.sampled_from(["error", "message", "detail", "msg", "code", "status", "type", "input"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SAID,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
BODIES = (
    st.binary(max_size=60)
    | SAID.map(lambda text: text.encode(errors="replace"))
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.just(b'{"error":' * 900)
    | st.integers(1, 900).map(lambda deep: b'{"error":' * deep + b'"x"' + b"}" * deep)
)
VALUES = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["retry-after", "retry-after-ms", "date", "location", "x-should-retry", "x-request-id",
         "content-type"]
    ),
    VALUES | st.just(f"https://{TOKEN}@h/{TOKEN}") | st.just("Wed, 21 Oct 2026 07:28:00 GMT"),
)  # fmt: skip
ERRORS = st.none() | st.builds(ValueError, SAID) | st.builds(KeyError, SAID)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    status = draw(st.none() | st.integers(100, 999) | st.sampled_from([200, 400, 429, 503]))
    told = httpx2.Headers(
        [(name.encode(), value.encode("latin-1")) for name, value in draw(HEADERS).items()]
    )
    body = draw(st.none() | BODIES)
    response = None if body is None else httpx2.Response(status or 200, headers=told, content=body)
    fault = draw(st.none() | st.none() | st.sampled_from(WireFault))
    return Exchange(status=status, headers=told, response=response, fault=fault, detail=draw(SAID))


def shared_run(one: str, other: str, length: int) -> bool:
    pieces = {one[at : at + length] for at in range(len(one) - length + 1)}
    return any(other[at : at + length] in pieces for at in range(len(other) - length + 1))


def drives_a_terminal(character: str) -> bool:
    """Controls, halves of characters, separators of lines, and what turns the direction."""
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in TURNS


def is_sound(failure: Failure) -> None:
    shown = f"{failure.message} {failure.request_id} {failure!r} {failure.describe()}"
    assert len(failure.message) <= MESSAGE_LIMIT
    assert not any(map(drives_a_terminal, failure.message))
    assert TOKEN not in shown
    assert not shared_run(" ".join(PROMPT.split()), failure.message, 24)
    assert failure.retry_after is None or failure.retry_after >= 0
    assert isinstance(failure.kind, FailureKind)


@settings(deadline=None, max_examples=examples(300))
@given(exchanges(), ERRORS)
def test_every_exchange_is_classified(exchange: Exchange, error: Exception | None) -> None:
    """Whatever status, headers, body and fault: one sound failure, and no exception."""
    is_sound(classify(exchange, ASKED, error))


@settings(deadline=None, max_examples=examples(100))
@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text()))
def test_no_header_makes_reading_a_wait_raise(headers: dict[str, str]) -> None:
    """A wait is a number of seconds that can be waited, or none."""
    seconds = retry_after(headers)
    assert seconds is None or 0 <= seconds <= 30 * 86_400


@pytest.mark.promise("S2")
@settings(deadline=None, max_examples=examples(200))
@given(st.text(min_size=8, max_size=120), st.data())
def test_no_way_of_echoing_brings_a_prompt_back(prompt: str, data: Any) -> None:
    """Any prompt, echoed in any of these ways and cut anywhere, leaves no long run behind."""
    echo = data.draw(st.sampled_from([str, repr, json.dumps, html.escape, ascii]))(prompt)
    start = data.draw(st.integers(0, len(echo)))
    said = f"bad value {echo[start : data.draw(st.integers(start, len(echo)))]} given"
    failure = classify(
        Exchange(status=400, response=httpx2.Response(400, content=said.encode(errors="replace"))),
        Request(ordinal=0, prompt=prompt),
    )
    plain = " ".join(prompt.split())
    assert not shared_run(plain, failure.message, 24)
