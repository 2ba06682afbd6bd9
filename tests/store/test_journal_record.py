"""The bytes of a result: exact both ways, and the same each time."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints._store.journal.record import (
    decode,
    decode_failures,
    encode,
    encode_failures,
)
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage

ANY_TEXT = st.text(st.characters(exclude_categories=()))
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
MAYBE_TEXT = st.none() | ANY_TEXT
COMPLETIONS = st.builds(
    Completion,
    text=MAYBE_TEXT,
    finish_reason=MAYBE_TEXT,
    logprobs=JSON_VALUES,
    reasoning=MAYBE_TEXT,
    tool_calls=st.none()
    | st.lists(st.dictionaries(ANY_TEXT, JSON_VALUES, max_size=2), max_size=2).map(tuple),
)
FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    message=ANY_TEXT,
    status=st.none() | st.integers(100, 599),
    code=MAYBE_TEXT,
    retry_after=st.none() | st.floats(allow_nan=False),
    retryable=st.booleans(),
    request_id=MAYBE_TEXT,
    attempts=st.integers(0, 9),
    hint=MAYBE_TEXT,
    text=MAYBE_TEXT,
)
TOKENS = st.none() | st.integers()
RESULTS = st.builds(
    Result,
    ordinal=st.integers(0, 2**63 - 1),
    completions=st.lists(st.none() | COMPLETIONS, max_size=3).map(tuple),
    failures=st.lists(st.none() | FAILURES, max_size=3).map(tuple),
    usages=st.lists(st.builds(Usage, TOKENS, TOKENS), max_size=3).map(tuple),
    attempts=st.integers(0, 2**31),
)


def answer(text: str) -> Result:
    return Result(ordinal=1, completions=(Completion(text=text),), failures=(None,))


@settings(deadline=None)
@given(RESULTS)
def test_round_trip(result: Result) -> None:
    """What is decoded equals what was encoded, whatever a model or a server put in it."""
    assert decode(encode(result)) == result


@settings(deadline=None)
@given(RESULTS)
def test_same_bytes(result: Result) -> None:
    """The bytes are a function of the result: encoding what was decoded gives them again."""
    payload = encode(result)
    assert encode(decode(payload)) == payload


@pytest.mark.parametrize(
    "text",
    ["", "\0", "a\0b", "\ud83d", "\udc80x", "\ud83d\ude00", "😀", "\x7f\x80\u2028", "é" * 500_000],
    ids=["empty", "nul", "nul inside", "high", "low", "halves", "whole", "controls", "1 MB"],
)
def test_awkward_texts(text: str) -> None:
    """NUL, lone surrogates and megabytes survive; two halves of a pair stay two."""
    assert decode(encode(answer(text))).completions[0] == Completion(text=text)


def test_halves_differ_from_whole() -> None:
    """A pair of surrogates streamed apart is not the character they would make together."""
    assert encode(answer("\ud83d\ude00")) != encode(answer("😀"))


def test_readable() -> None:
    """A person finds kind, status and message of a failed row in plain JSON, defaults left out."""
    failure = Failure(kind=FailureKind.ROW, message="too long", status=400)
    document = json.loads(encode(Result(ordinal=4, completions=(None,), failures=(failure,))))
    assert document["failures"] == [{"kind": "row", "message": "too long", "status": 400}]
    assert document["completions"] == [None]


def test_every_field_is_kept() -> None:
    """A field added to a record is stored without a change here."""
    full = Completion(
        text="t", finish_reason="f", logprobs=[1], reasoning="r", tool_calls=({},),
        utf8_replaced=True, provider="p", distribution={"yes": 1.0},
    )  # fmt: skip
    (entry,) = json.loads(encode(Result(ordinal=0, completions=(full,), failures=(None,))))[
        "completions"
    ]
    assert set(entry) == {field.name for field in fields(Completion)}


def test_mappings() -> None:
    """Tool calls may be any mapping, not only a dict."""
    call = MappingProxyType({"name": "f"})
    result = Result(
        ordinal=0, completions=(Completion(text=None, tool_calls=(call,)),), failures=()
    )
    (completion,) = decode(encode(result)).completions
    assert completion is not None
    assert completion.tool_calls == ({"name": "f"},)


def test_refuses_what_is_not_json() -> None:
    """A value JSON cannot hold is an error where it is given, naming its type only."""
    result = Result(ordinal=0, completions=(Completion(text="", logprobs=object()),), failures=())
    with pytest.raises(TypeError, match="object"):
        encode(result)


def test_failures_without_a_record() -> None:
    """A row's failures come back as they were, but for the answers that were refused."""
    failure = Failure(kind=FailureKind.CONTENT, code="no_json", message="cut off", text="{")
    text = encode_failures([failure, None])
    assert decode_failures(text) == (replace(failure, text=None), None)


@pytest.mark.parametrize("text", ["{}", "[]", "[null]", "1", "no JSON"])
def test_what_is_not_the_failures_of_a_row(text: str) -> None:
    """It is refused: a row that failed has at least one."""
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own, or ours
        decode_failures(text)
