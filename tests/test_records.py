"""The values that cross module borders."""

from __future__ import annotations

import pickle  # noqa: TID251 - values cross processes by pickling
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints import records
from distilabel_endpoints.records import (
    MESSAGE_LIMIT,
    Answer,
    Completion,
    Failure,
    FailureKind,
    Request,
    Result,
    Usage,
)

FAILURE = Failure(kind=FailureKind.ROW, message="too long", status=400, code="bad_request")
COMPLETION = Completion(text="private text", tool_calls=({"id": "1"},))
VALUES: list[Any] = [
    FAILURE,
    COMPLETION,
    Usage(1, 2),
    Answer(completions=(COMPLETION,), headers={"x-ratelimit-limit": "1"}),
    Request(ordinal=3, messages=[{"role": "user", "content": "private prompt"}], options={"a": 1}),
    Request(ordinal=3, prompt="private prompt"),
    Result(ordinal=3, completions=(None,), failures=(FAILURE,)),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen_and_travel(value: Any) -> None:
    """No field can be changed or added, and a copy through pickle is equal."""
    assert not hasattr(value, "__dict__")
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, 5)
    assert pickle.loads(pickle.dumps(value)) == value


def test_a_request_shows_no_prompt() -> None:
    """Neither messages nor a rendered prompt nor options stand in a repr."""
    for value in VALUES:
        assert "private prompt" not in repr(value)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Failure(kind=FailureKind.ROW, message="m"), "row: m"),
        (Failure(kind=FailureKind.ROW, message="m", status=400), "row 400: m"),
        (Failure(kind=FailureKind.THROTTLE, message="m", status=429, attempts=3),
         "throttle 429: m (after 3 attempts)"),
        (Failure(kind=FailureKind.RUN, message="m", status=401, hint="Set HF_TOKEN."),
         "run 401: m Hint: Set HF_TOKEN."),
        (Failure(kind=FailureKind.CONTENT, message="m", text="private text"), "content: m"),
    ],
)  # fmt: skip
def test_a_failure_describes_itself_in_a_line(failure: Failure, said: str) -> None:
    """Kind, status, words, attempts and hint; never the text that was refused."""
    assert failure.describe() == said
    assert "private" not in repr(failure)


def test_a_failure_after_more_attempts_is_otherwise_the_same() -> None:
    """Only the count changes, and the first is left as it was."""
    later = FAILURE.after(4)
    assert (later.attempts, FAILURE.attempts) == (4, 1)
    assert replace(later, attempts=1) == FAILURE


@given(st.text(max_size=3000))
def test_a_message_is_never_longer_than_its_limit(text: str) -> None:
    """A longer one is cut and says so; a shorter one is kept."""
    message = Failure(kind=FailureKind.ROW, message=text).message
    assert len(message) <= MESSAGE_LIMIT
    assert message == text or (message.endswith("…") and text.startswith(message[:-1]))


@pytest.mark.parametrize("length", [MESSAGE_LIMIT - 1, MESSAGE_LIMIT, MESSAGE_LIMIT + 1, 10**6])
def test_the_limit_is_exact(length: int) -> None:
    """The last message that fits is kept whole."""
    message = Failure(kind=FailureKind.ROW, message="x" * length).message
    assert len(message) == min(length, MESSAGE_LIMIT)
    assert message.endswith("…") is (length > MESSAGE_LIMIT)


@pytest.mark.parametrize(
    ("failures", "status"),
    [((), "ok"), ((None,), "ok"), ((None, None), "ok"), ((None, FAILURE), "failed"),
     ((FAILURE,), "failed")],
)  # fmt: skip
def test_a_row_failed_as_soon_as_one_generation_did(
    failures: tuple[Failure | None, ...], status: str
) -> None:
    """All generations, or failed."""
    completions = tuple(COMPLETION if failure is None else None for failure in failures)
    assert Result(ordinal=0, completions=completions, failures=failures).status == status


def test_every_kind_says_what_it_means_as_a_word() -> None:
    """Kinds, servers and routes read as plain words wherever they are shown or stored."""
    assert f"{FailureKind.BAD_RESPONSE}" == "bad_response"
    for kind in (records.FailureKind, records.Server, records.Route):
        assert all(str(member) == member.value == member.name.lower() for member in kind)


def test_what_is_public_is_listed() -> None:
    """Everything this module defines and does not hide is in `__all__`."""
    own = {
        name
        for name, value in vars(records).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == records.__name__
    }
    assert own <= set(records.__all__)
