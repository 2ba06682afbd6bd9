"""Turns as ShareGPT has them: `from` and `value`, and what tools answered.

The words for who speaks differ between data sets; case does not matter. A `function_call` is the
assistant's, and what a tool says after it answers the call that is still open. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from distilabel_endpoints.errors import ConversationError
from distilabel_endpoints.rows.json_text import quoted

__all__ = ["is_turn", "messages_of"]

_SPEAKERS: Final = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
    "function_call": "call",
    "tool_call": "call",
    "observation": "tool",
    "tool": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}


def is_turn(message: Any) -> bool:
    """Whether a message names its speaker or its text as ShareGPT does."""
    return isinstance(message, Mapping) and (
        ("from" in message and "role" not in message)
        or ("value" in message and "content" not in message)
    )


def messages_of(turns: list[Any]) -> list[dict[str, Any]]:
    """The messages that the turns of a conversation are.

    Raises:
        ConversationError: A speaker is not known, text is missing, or a tool answers no call.
    """
    messages: list[dict[str, Any]] = []
    waiting: list[str] = []
    for index, turn in enumerate(turns):
        role, text = _role(turn, index), _text(turn, index)
        if role == "call":
            calls = _calls(text, index)
            waiting += [call["id"] for call in calls]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        elif role == "tool":
            if not waiting:
                raise ConversationError(
                    f"conversations[{index}] is a tool's answer, but no function_call before it "
                    "waits for one; tools in the text of a turn are not read"
                )
            messages.append({"role": "tool", "tool_call_id": waiting.pop(0), "content": text})
        else:
            messages.append({"role": role, "content": text})
    return messages


def _role(turn: Any, index: int) -> str:
    speaker = turn.get("from", turn.get("role")) if isinstance(turn, Mapping) else None
    role = _SPEAKERS.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        shown = f"{speaker[:20]!a}" if isinstance(speaker, str) else type(speaker).__name__
        raise ConversationError(
            f"conversations[{index}].from must be one of {', '.join(_SPEAKERS)}, not {shown}"
        )
    return role


def _text(turn: Mapping[str, Any], index: int) -> str:
    text = turn["value"] if "value" in turn else turn.get("content")
    if not isinstance(text, str):
        raise ConversationError(
            f"conversations[{index}].value must be text; the keys of the turn are {quoted(turn)}"
        )
    return text


def _calls(text: str, index: int) -> list[dict[str, Any]]:
    """The calls that a turn of a model makes: JSON of one, or of a list."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    calls = []
    for n, call in enumerate(value if isinstance(value, list) else [value]):
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise ConversationError(
                f"conversations[{index}].value must be the JSON of a call, with name and arguments"
            )
        stated = call.get("arguments", {})
        arguments = stated if isinstance(stated, str) else json.dumps(stated, ensure_ascii=False)
        function = {"name": call["name"], "arguments": arguments}
        calls.append({"id": f"call_{index}_{n}", "type": "function", "function": function})
    return calls
