"""Check that a value is a conversation that can be sent, and say which part of it is not.

A conversation is a list of messages, each a mapping with a `role` and a `content`, as the chat
APIs have it. System messages come first. Content is text, or a list of parts (`text`, `image_url`,
`input_audio`, ...); an assistant's message with `tool_calls` may have none. Other keys of a message
are passed on, but for those that are null: Arrow gives every message the keys of its siblings, and
servers refuse them. Nothing else is changed, and no message's text enters an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from distilabel_endpoints.errors import ConversationError
from distilabel_endpoints.records import Conversation

__all__ = ["ROLES", "Checked", "checked_text", "validate_messages", "without_nulls"]

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_LEADING: Final = frozenset({"system", "developer"})
_KNOWN: Final = frozenset(ROLES)
_LONGEST_PLACE: Final = 4000


@dataclass(frozen=True, slots=True)
class Checked:
    """A conversation that was validated. Whoever is given one need not do it again."""

    messages: Conversation


def validate_messages(messages: Any) -> Conversation:
    """The conversation without null keys: the same object, if it has none.

    Raises:
        ConversationError: It is not one. The message names the place: `messages[2].content`.
            Its `reason` is `input_surrogate` for text that UTF-8 cannot encode, else `input`.
    """
    if not isinstance(messages, list):
        if hasattr(messages, "tolist"):  # a NumPy array, as pandas reads Parquet
            return validate_messages(messages.tolist())
        raise ConversationError(
            f"messages must be a list of messages, not {_name(messages)}{_one_less(messages)}"
        )
    if not messages:
        raise ConversationError("messages must hold at least one message")
    leading, has_nulls = True, False
    for index, message in enumerate(messages):
        role = _role(message, index)
        if role not in _LEADING:
            leading = False
        elif not leading:
            raise ConversationError(
                f"messages[{index}].role must not be {role}: those messages come first"
            )
        content = message.get("content")
        if isinstance(content, str) and len(message) == 2 and role != "tool":
            # The common message: a role and its text, and nothing else.
            if not content.isascii():
                _check_encodable(content, f"messages[{index}].content")
        else:
            _check_message(message, role, content, f"messages[{index}]")
            has_nulls = has_nulls or _has_nulls(message)
    if has_nulls:
        # What a tool is called with is a value in which null means something.
        messages = [without_nulls(message, whole=_ARGUMENTS) for message in messages]
    return cast("Conversation", messages)


def _one_less(value: Any) -> str:
    """The hint for a list of messages where a list of conversations belongs."""
    if isinstance(value, Mapping) and "role" in value:
        return "; several conversations are a list of lists: [messages]"
    return ""


def _role(message: Any, index: int) -> str:
    if type(message) is not dict and not isinstance(message, Mapping):
        raise ConversationError(f"messages[{index}] must be a mapping, not {_name(message)}")
    role = message.get("role")
    if not isinstance(role, str) or role not in _KNOWN:
        raise ConversationError(
            f"messages[{index}].role must be one of {', '.join(ROLES)}, not {_shown(role)}"
            f"{_hint(message, role)}"
        )
    return role


_OLD_CALLS: Final = "; function_call and the role function are an old form: write tool_calls, tool"


def _hint(message: Mapping[str, Any], role: Any) -> str:
    """What to do about a message whose role is not known, as the end of a sentence."""
    if role == "function":
        return _OLD_CALLS
    if role is None and "role" not in message:
        keys = ", ".join(f"{str(key)[:40]!a}" for key in list(message)[:8])
        return f"; its keys are {keys or 'none'}"
    return ""


_ARGUMENTS: Final = frozenset({"arguments"})


def without_nulls(value: Any, *, whole: frozenset[str] = frozenset()) -> Any:
    """Without the keys that an Arrow struct has only because another row has them.

    Args:
        value: any JSON value. A null `content` stays: templates ask for it.
        whole: keys whose values are kept as they are.
    """
    if isinstance(value, Mapping):
        return {
            key: inner if key in whole else without_nulls(inner, whole=whole)
            for key, inner in value.items()
            if inner is not None or key == "content"
        }
    if isinstance(value, list):
        return [without_nulls(inner, whole=whole) for inner in value]
    return value


def _has_nulls(message: Mapping[str, Any]) -> bool:
    """Whether a message, one of its parts or of its tool calls has a key that is null."""
    content, calls = message.get("content"), message.get("tool_calls")
    parts = [*content] if isinstance(content, list) else []
    inner = [call.get("function") for call in calls] if calls else []
    return any(
        entry is None and key != "content"
        for mapping in (message, *parts, *(calls or ()), *inner)
        for key, entry in mapping.items()
    )


def checked_text(text: str) -> str:
    """The same text, known to be a prompt that can be sent.

    Raises:
        ConversationError: it is empty, or UTF-8 cannot encode it.
    """
    if not text:
        raise ConversationError("a prompt must hold at least one character")
    _check_encodable(text, "the prompt")
    return text


def _check_message(message: Mapping[str, Any], role: str, content: Any, place: str) -> None:
    calls = message.get("tool_calls")
    if calls is not None:
        if role != "assistant":
            raise ConversationError(f"{place}.tool_calls belongs to an assistant's message only")
        _check_calls(calls, f"{place}.tool_calls")
    if isinstance(content, list):
        _check_parts(content, f"{place}.content")
    elif content is None:
        if not calls:
            raise ConversationError(
                f"{place}.content must be text or a list of parts, not "
                + ("null" if "content" in message else "missing")
                + (_OLD_CALLS if message.get("function_call") else "")
            )
    elif not isinstance(content, str):
        raise ConversationError(
            f"{place}.content must be text or a list of parts, not {_name(content)}"
        )
    if role == "tool":
        call = message.get("tool_call_id")
        if not isinstance(call, str) or not call:
            raise ConversationError(f"{place}.tool_call_id must name the call that is answered")
    _check_text(message, place)


def _check_calls(calls: Any, place: str) -> None:
    if not isinstance(calls, list) or not calls:
        raise ConversationError(f"{place} must be a list with at least one call")
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ConversationError(f"{place}[{index}].function.name must be text")


_PART_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "image_url": ("url",),
    "video_url": ("url",),
    "audio_url": ("url",),
    "input_audio": ("data", "format"),
    "file": (),
    "refusal": (),
}
"""Parts and the fields they must have. OpenAI takes `file` and `refusal`; vLLM and SGLang take
`video_url` and `audio_url`. Another kind is passed on if it has a key of the same name."""


def _check_parts(parts: list[Any], place: str) -> None:
    if not parts:
        raise ConversationError(f"{place} must hold at least one part")
    for index, part in enumerate(parts):
        at = f"{place}[{index}]"
        if not isinstance(part, Mapping):
            raise ConversationError(f"{at} must be a mapping, not {_name(part)}")
        kind = part.get("type")
        if kind == "text":
            if not isinstance(part.get("text"), str):
                raise ConversationError(f"{at}.text must be text, not {_name(part.get('text'))}")
            continue
        inner = part.get(kind) if isinstance(kind, str) else None
        fields = _PART_FIELDS.get(kind, ()) if isinstance(kind, str) else ()
        if inner is None and not fields:
            raise ConversationError(
                f"{at}.type must be one of text, {', '.join(_PART_FIELDS)}, or name a key of the "
                f"part, not {_shown(kind)}"
            )
        for field in fields:
            if not isinstance(inner, Mapping) or not isinstance(inner.get(field), str):
                raise ConversationError(f"{at}.{kind}.{field} must be text")


def _check_text(value: Any, place: str) -> None:
    """Refuse text that UTF-8 cannot encode, anywhere below `value`."""
    pending: list[tuple[str, Any]] = [(place, value)]
    while pending:
        place, value = pending.pop()
        if len(place) > _LONGEST_PLACE:
            raise ConversationError(f"{place[:80]}... is nested too deeply")
        if isinstance(value, str):
            if not value.isascii():
                _check_encodable(value, place)
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise ConversationError(f"{place} has a key that is not text")
                _check_encodable(key, f"a key of {place}")
                shown = key if key.isidentifier() else f"{key[:40]!a}"
                pending.append((f"{place}.{shown}", inner))
        elif isinstance(value, list | tuple):
            pending += [(f"{place}[{index}]", inner) for index, inner in enumerate(value)]


def _check_encodable(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        refusal = ConversationError(
            f"{place} holds a lone surrogate at character {error.start}, which UTF-8 cannot encode"
        )
        refusal.reason = "input_surrogate"
        raise refusal from None


def _name(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _shown(value: Any) -> str:
    """A short name as it is; anything else only by its type, for it may be a prompt."""
    short = isinstance(value, str) and len(value) <= 20 and value.isidentifier()
    return f"{value!a}" if short else _name(value)
