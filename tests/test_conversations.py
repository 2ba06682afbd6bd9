"""`validate_messages`: what is a conversation, and how what is not is named."""

from __future__ import annotations

import copy
import timeit
from collections import UserDict
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints.conversations import ROLES, validate_messages
from distilabel_endpoints.errors import ConversationError

USER = {"role": "user", "content": "hi"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": "é\0\N{GRINNING FACE}"}],
        [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, USER],
        [USER, {"role": "assistant", "content": "yes"}, USER],
        [USER, {"role": "assistant", "content": "prefill"}],
        [{"role": "user", "content": [{"type": "text", "text": "what?"}, IMAGE, AUDIO]}],
        [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "http://v"}}]}],
        [{"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": "http://a"}}]}],
        [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}],
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [{"role": "user", "content": [{"type": "image", "image": "http://i"}]}],
        [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [USER, {"role": "assistant", "tool_calls": [CALL]}],
        [{"role": "tool", "content": "4", "tool_call_id": "1"}],
        [UserDict(USER)],
    ],
)
def test_conversations_are_passed_on(messages: Any) -> None:
    """The very object comes back, unchanged."""
    before = copy.deepcopy(messages)
    assert validate_messages(messages) is messages
    assert messages == before


NULLS = {"name": None, "tool_calls": None, "tool_call_id": None, "audio": None}
FUNCTION: dict[str, Any] = {"name": "f", "arguments": {"unit": None}}
CALLED = {"id": "1", "type": "function", "function": FUNCTION}


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ({**USER, **NULLS}, USER),
        (
            {"role": "user", "content": [
                {"type": "text", "text": "hi", "image_url": None},
                {**IMAGE, "text": None, "image_url": {"url": "http://i", "detail": None}},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "http://i"}},
            ]},
        ),
        (
            {"role": "assistant", "content": None, "name": None, "tool_calls": [
                {**CALLED, "index": None, "function": {**FUNCTION, "strict": None}}]},
            {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        ),
        ({**UserDict(USER), "name": None}, USER),
    ],
)  # fmt: skip
def test_null_keys_are_left_out(message: Any, sent: Any) -> None:
    """Arrow gives a message the keys of its siblings; a null content and a call's own stay."""
    given = [USER, message]
    before = copy.deepcopy(given)
    assert validate_messages(given) == [USER, sent]
    assert given == before


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "messages must be a list of messages, not null"),
        ("hi", "messages must be a list of messages, not str"),
        (USER, "messages must be a list of messages, not dict"),
        ((USER,), "messages must be a list of messages, not tuple"),
        ([], "messages must hold at least one message"),
        ([USER, "hi"], "messages[1] must be a mapping, not str"),
        (
            [{"content": "x"}],
            "messages[0].role must be one of system, developer, user, assistant, tool, not null",
        ),
        (
            [{"role": "human", "content": "x"}],
            "messages[0].role must be one of system, developer, user, assistant, tool, not 'human'",
        ),
        ([{"role": "a canary!", "content": "x"}], "tool, not str"),
        ([{"role": ["user"], "content": "x"}], "tool, not list"),
        (
            [USER, {"role": "system", "content": "x"}],
            "messages[1].role must not be system: those messages come first",
        ),
        ([USER, {"role": "developer", "content": "x"}], "messages[1].role must not be developer"),
        ([{"role": "user"}], "messages[0].content must be text or a list of parts, not missing"),
        (
            [{"role": "user", "content": None}],
            "messages[0].content must be text or a list of parts, not null",
        ),
        (
            [{"role": "user", "content": 7}],
            "messages[0].content must be text or a list of parts, not int",
        ),
        (
            [{"role": "user", "content": {"a": 1}}],
            "messages[0].content must be text or a list of parts, not dict",
        ),
        ([{"role": "assistant", "content": None}], "messages[0].content must be text"),
        (
            [{"role": "assistant", "content": None, "tool_calls": []}],
            "messages[0].tool_calls must be a list with at least one",
        ),
        (
            [{"role": "assistant", "content": None, "tool_calls": ["x"]}],
            "messages[0].tool_calls[0].function.name must be text",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}],
            "messages[0].tool_calls[0].function.name must be text",
        ),
        (
            [{"role": "user", "content": "x", "tool_calls": [CALL]}],
            "messages[0].tool_calls belongs to an assistant's message",
        ),
        ([{"role": "tool", "content": "4"}], "messages[0].tool_call_id must name the call"),
        ([{"role": "tool", "content": "é", "tool_call_id": ""}], "messages[0].tool_call_id must"),
        ([{"role": "user", "content": []}], "messages[0].content must hold at least one part"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0] must be a mapping, not str"),
        (
            [{"role": "user", "content": [{"text": "x"}]}],
            "input_audio, file, refusal, or name a key of the part, not null",
        ),
        ([{"role": "user", "content": [{"type": "video"}]}], "not 'video'"),
        ([{"role": "user", "content": [{"type": []}]}], "not list"),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            "messages[0].content[0].text must be text, not null",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x"}]}],
            "messages[0].content[0].image_url.url must be text",
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}],
            "messages[0].content[0].input_audio.format must be text",
        ),
        ([USER | {1: 2}], "messages[0] has a key that is not text"),
    ],
)
def test_the_wrong_part_is_named(messages: Any, message: str) -> None:
    """The error says which message and field, what was expected, and what is there."""
    with pytest.raises(ConversationError) as caught:
        validate_messages(messages)
    assert message in str(caught.value)
    assert caught.value.reason == "input"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (
            {"role": "user", "content": "ab\ud800"},
            "messages[0].content holds a lone surrogate at character 2",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "\udfff"}]},
            "messages[0].content[0].text holds a lone surrogate at character 0",
        ),
        ({"role": "user", "content": "x", "name": "\ud800"}, "messages[0].name holds"),
        ({"role": "user", "content": "x", "\ud800": 1}, "a key of messages[0] holds"),
        ({"role": "user", "content": "x", "a b": ["\ud800"]}, "messages[0].'a b'[0] holds"),
        (
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "f", "arguments": "\ud800"}}],
            },
            "messages[0].tool_calls[0].function.arguments holds",
        ),
    ],
)
def test_lone_surrogates_are_found(message: Any, place: str) -> None:
    """Text that UTF-8 cannot encode is found wherever it is, with its position."""
    with pytest.raises(ConversationError) as caught:
        validate_messages([message])
    assert place in str(caught.value)
    assert caught.value.reason == "input_surrogate"
    assert copy.copy(caught.value).reason == "input_surrogate"


def test_bottomless_messages_end() -> None:
    """A message that holds itself is an error, not an endless check."""
    message: dict[str, Any] = {"role": "user", "content": "x"}
    message["extra"] = message
    with pytest.raises(ConversationError, match="nested too deeply"):
        validate_messages([message])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
messages_like = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from([*ROLES, "human"]) | json_values,
            "content": json_values,
            "tool_calls": json_values,
            "tool_call_id": json_values,
        },
    )
    | json_values,
    max_size=3,
)


@given(messages_like | json_values)
def test_anything_is_accepted_or_refused(value: Any) -> None:
    """Any JSON is a conversation that UTF-8 can carry, or a conversation error."""
    with suppress(ConversationError):
        assert validate_messages(value) is value


def test_a_short_conversation_is_checked_quickly() -> None:
    """One message costs little: far below what sending it costs."""
    messages = [USER]
    assert min(timeit.repeat(lambda: validate_messages(messages), number=1000, repeat=5)) < 0.02


def test_conversations_of_pandas() -> None:
    """Lists in Parquet come as NumPy arrays: they are the list that they hold."""
    array = np.empty(1, dtype=object)
    array[0] = USER
    assert validate_messages(array) == [USER]
    with pytest.raises(ConversationError, match="not float"):
        validate_messages(np.float64(1))


def test_one_conversation_where_several_belong() -> None:
    """The commonest mistake of a first call has its own hint."""
    with pytest.raises(ConversationError, match=r"not dict; several conversations.*\[messages\]"):
        validate_messages(USER)
