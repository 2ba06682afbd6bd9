"""Prompts as people have them: which columns hold the conversation, and in which form.

ShareGPT (`conversations` of `from` and `value`), Alpaca (`instruction`, `input`, `history`), plain
prompts, prompt and completion, messages, also as JSON text. What is recognised is described in one
line; what is not complete is refused with what is missing. Pure: values in, values out.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from distilabel_endpoints.errors import ConfigurationError, ConversationError
from distilabel_endpoints.rows.json_text import quoted

__all__ = ["FORMATS", "Format", "Reading", "choose_reading", "json_of", "listed", "plain"]

Format = Literal["auto", "messages", "sharegpt", "alpaca", "prompt", "openai-batch"]
FORMATS: Final = get_args(Format)

_LISTS: Final = ("messages", "conversations", "conversation")
"""Columns whose text is the JSON of a list."""
_ORDER: Final = ("messages", "prompt", "instruction", "conversations", "conversation")
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "auto": _ORDER,
    "messages": _LISTS,
    "sharegpt": ("conversations", "conversation", "messages"),
    "alpaca": ("instruction",),
    "prompt": ("prompt", "instruction"),
    "openai-batch": (),
}
_OTHERS: Final = ("question", "query", "problem", "input", "text", "user", "content")
_SPEAKERS: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How the columns of an input are read."""

    content: Callable[[Mapping[str, Any]], Any]
    """Text that the user says, or a list of messages, of a row's columns."""
    description: str | None = None
    """What the user should know, if the columns are not simply messages or a prompt."""


def choose_reading(form: Format, column: str | None, names: Sequence[str]) -> Reading:
    """Settle on the columns that hold the conversation.

    Args:
        form: the format; `auto` recognises it by the columns.
        column: the one that the user named.
        names: the columns that are there; none for an input without rows.

    Raises:
        ConfigurationError: none of them can be the input, or the format is not one we read.
    """
    if form == "openai-batch" or (column is None and form == "auto"):
        _refuse_batch(form, names)
    wanted = _COLUMNS[form] if column is None else (column,)
    found = next((name for name in wanted if name in names), None if names else wanted[0])
    if found is None:
        raise _nothing(form, column, wanted, names)
    if column is None and found == "instruction" and form in {"auto", "alpaca"}:
        return _alpaca(names)
    if form == "prompt":
        return Reading(lambda columns: _text(columns, found))
    description = None
    if found in _LISTS[1:] or form == "sharegpt":
        description = f"read as ShareGPT: {found}"
    elif found == "prompt" and "completion" in names:
        description = "read as prompt/completion: prompt (completion is not sent)"
    elif found == "messages" and "tools" in names:
        description = "read as messages (the column tools is not sent: use --param tools=...)"
    as_list = found in _LISTS or form in {"messages", "sharegpt"}
    return Reading(lambda columns: _conversation(columns, found, as_list), description)


def _refuse_batch(form: Format, names: Sequence[str]) -> None:
    by_columns = {"body", "custom_id"} <= set(names) or {"body", "method", "url"} <= set(names)
    if form == "openai-batch" or by_columns:
        raise ConfigurationError(
            "these are lines of an OpenAI batch file, which `generate` and generate_dataset read "
            "without Ray. For rows of their own: jq -c '.body + {id: .custom_id}' BATCH.jsonl"
        )


def _nothing(
    form: Format, column: str | None, wanted: Sequence[str], names: Sequence[str]
) -> ConfigurationError:
    tried = ", ".join(wanted)
    there = f"the columns are {quoted(names)}"
    if form != "auto" and column is None:
        return ConfigurationError(f"format {form} needs a column {tried}; {there}")
    if set(names) == {"role", "content"}:
        return ConfigurationError(
            "each row is one message; put the messages of a conversation into one row: "
            '{"messages": [...]}'
        )
    near = difflib.get_close_matches(column or "", names, 1, 0.6)
    likely = next((name for name in (*near, *_OTHERS) if name in names), None)
    named = f"--input-column {likely}" if likely else "the input column"
    return ConfigurationError(f"no column {tried}; {there}. Name {named}, or give a template")


def _alpaca(names: Sequence[str]) -> Reading:
    parts = [name for name in ("history", "input") if name in names]
    if not parts:
        return Reading(lambda columns: _conversation(columns, "instruction", as_list=False))
    return Reading(_of_alpaca, f"read as Alpaca: {' + '.join(['instruction', *parts])}")


def _of_alpaca(columns: Mapping[str, Any]) -> Any:
    instruction, more = _text(columns, "instruction"), columns.get("input")
    if more is not None and not isinstance(more, str):
        raise ConversationError(f"column 'input' must hold text, not {type(more).__name__}")
    text = f"{instruction}\n\n{more}" if more and more.strip() else instruction
    earlier = plain(columns.get("history")) or []
    if isinstance(earlier, str):
        earlier = json_of(earlier)
    if not earlier:
        return text
    messages = []
    for turn in earlier if isinstance(earlier, list) else [earlier]:
        if not isinstance(turn, list) or len(turn) != 2:
            raise ConversationError("column 'history' must hold pairs of texts")
        messages += [
            {"role": "user", "content": turn[0]},
            {"role": "assistant", "content": turn[1]},
        ]
    return [*messages, {"role": "user", "content": text}]


def _value(columns: Mapping[str, Any], name: str) -> Any:
    try:
        value = columns[name]
    except KeyError:
        raise ConversationError(f"the row has no column {quoted([name])}") from None
    if value is None:
        raise ConversationError(f"column {quoted([name])} is null")
    return value


def _text(columns: Mapping[str, Any], name: str) -> str:
    value = _value(columns, name)
    if not isinstance(value, str):
        kind = type(value).__name__
        raise ConversationError(f"column {quoted([name])} must hold text, not {kind}")
    return value


def _conversation(columns: Mapping[str, Any], name: str, as_list: bool) -> Any:
    value = _value(columns, name)
    if isinstance(value, str):
        if not as_list and not _looks_listed(value):
            return value
        value = listed(value, name)
    value = plain(value)
    if not isinstance(value, list):
        raise ConversationError(
            f"column {quoted([name])} must hold text or a list of messages, "
            f"not {type(value).__name__}"
        )
    return _of_sharegpt(value) if any(_is_turn(message) for message in value) else value


def _looks_listed(text: str) -> bool:
    """Whether a prompt is the JSON of messages rather than what the user says."""
    if not text.lstrip().startswith("[{"):
        return False
    value = json_of(text)
    return isinstance(value, list) and all(
        isinstance(message, dict) and ("role" in message or _is_turn(message)) for message in value
    )


def listed(text: str, name: str) -> Any:
    """The list that is written in `text`, of column `name`.

    Raises:
        ConversationError: It is not the JSON of a list.
    """
    value = json_of(text)
    if isinstance(value, list):
        return value
    if text.lstrip().startswith("[{'"):
        raise ConversationError(
            f"text in column {name!a} is Python's form of a list, not JSON; use json.dumps"
        )
    raise ConversationError(
        f"text in column {name!a} must be the JSON of a list of messages; "
        "for what the user says, name the column prompt"
    )


def json_of(text: str) -> Any:
    """The value of JSON text; None for what is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_turn(message: Any) -> bool:
    return isinstance(message, Mapping) and "from" in message and "role" not in message


def _of_sharegpt(turns: list[Any]) -> list[dict[str, Any]]:
    messages = []
    for index, turn in enumerate(turns):
        speaker = turn.get("from") if isinstance(turn, Mapping) else None
        role = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            shown = f"{speaker[:20]!a}" if isinstance(speaker, str) else type(speaker).__name__
            raise ConversationError(
                f"conversations[{index}].from must be one of {', '.join(_SPEAKERS)}, not {shown}"
            )
        if not isinstance(turn.get("value"), str):
            raise ConversationError(f"conversations[{index}].value must be text")
        messages.append({"role": role, "content": turn["value"]})
    return messages


def plain(value: Any) -> Any:
    """Lists and dictionaries for what is one: NumPy arrays, tuples, other mappings.

    What holds nothing of the kind is passed on as it is.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        items = [plain(inner) for inner in value]
        same = type(value) is list and all(a is b for a, b in zip(items, value, strict=True))
        return value if same else items
    if isinstance(value, Mapping):
        fields = {key: plain(inner) for key, inner in value.items()}
        same = type(value) is dict and all(value[key] is fields[key] for key in fields)
        return value if same else fields
    return value
