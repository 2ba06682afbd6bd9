"""Prompts as people have them: which columns hold the conversation, and in which form.

ShareGPT (`conversations` of `from` and `value`), Alpaca and Dolly (`instruction`, `input` or
`context`, `history`), plain prompts, prompt and completion, messages, also as JSON text. What is
recognised is described in one line; what is not complete is refused with what is missing. Pure:
values in, values out, but for the memory of which columns rows had.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from distilabel_endpoints.errors import ConfigurationError, ConversationError
from distilabel_endpoints.rows.json_text import is_missing, quoted
from distilabel_endpoints.rows.sharegpt import is_turn, messages_of

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
_OTHERS: Final = (
    *("question", "query", "problem", "input", "text", "user", "content", "request", "sentence"),
    *("chat", "dialogue", "dialog", "turns", "contents", "chosen"),
)
"""Columns that are the input in many datasets, to be named by the user; the likeliest first."""
_ASIDE: Final = ("image", "images", "audio", "video", "videos", "tools", "functions", "documents")
"""Columns that a model would have to be given in another way."""
_BESIDE_TEXT: Final = (
    *("input", "context", "history", "question", "passage", "document", "options", "choices"),
    *_ASIDE,
)
"""Columns that belong to the question if they stand beside a prompt."""
_WRAPPERS: Final = ("data", "rows", "examples", "items", "records", "instances", "train", "results")
"""Keys of a JSON object that hold the rows of a dataset."""
_MOST_BESIDE: Final = 4
"""Columns of what is probably one object around all rows, such as its version."""
_PYTHON_LIST: Final = re.compile(r"\s*(array\()?\[\{'(role|content|from|value)': ")
"""What `to_csv` of pandas makes of messages."""
_AS_IT_IS: Final = "if it is what the user says, pass --format prompt (format='prompt')"
_BLANK_LINE: Final = "\n\n"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the columns of an input are read."""

    content: Callable[[Mapping[str, Any]], Any]
    """Text that the user says, or a list of messages, of a row's columns."""
    describe: Callable[[], str | None] = lambda: None
    """What the user should know, if the columns are not simply messages or a prompt."""
    unsent: tuple[str, ...] = ()
    """Columns that look like a part of the question, and are not sent."""
    taken: frozenset[str] = frozenset()
    """Columns that a template puts into what the user says."""


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
    chosen = next((name for name in wanted if name in names), None if names else wanted[0])
    if chosen is None:
        raise _nothing(form, column, wanted, names)
    first = _of_column(form, chosen, names, named=column is not None)
    others = {name: _of_column(form, name, names, named=False) for name in wanted if name != chosen}
    if not others:
        return first
    return _FirstHeld(chosen, first, others).reading()


def _of_column(form: Format, column: str, names: Sequence[str], *, named: bool) -> Reading:
    """The reading of one column; `named` if it is the one that the user named."""
    as_list = column in _LISTS or form in {"messages", "sharegpt"}
    beside = _ASIDE if as_list else _BESIDE_TEXT
    unsent = tuple(name for name in names if name.strip().lower() in beside and name != column)
    if not named and column == "instruction" and form in {"auto", "alpaca"}:
        alpaca = _Alpaca(names)
        unsent = tuple(name for name in unsent if name not in _PARTS)
        return Reading(alpaca.content, alpaca.describe, unsent)
    if form == "prompt":
        return Reading(lambda columns: _text(columns, column), unsent=unsent)
    description = None
    if column in _LISTS[1:] or form == "sharegpt":
        description = f"read as ShareGPT: {column}"
    elif column == "prompt" and "completion" in names:
        description = "read as prompt/completion: prompt (completion is not sent)"
    elif column == "messages" and "tools" in names:
        description = "read as messages (the column tools is not sent: use --param tools=...)"
        unsent = tuple(name for name in unsent if name != "tools")
    return _reading_of(column, description, unsent, as_list=as_list)


class _FirstHeld:
    """Reads a column, and in rows in which it holds nothing the next one that holds something."""

    def __init__(self, column: str, first: Reading, others: Mapping[str, Reading]) -> None:
        self._column = column
        self._first = first
        self._others = others
        self._used: dict[str, None] = {}
        self._unread: dict[str, None] = {}

    def reading(self) -> Reading:
        return Reading(self.content, self.describe, self._first.unsent)

    def content(self, columns: Mapping[str, Any]) -> Any:
        if _holds(columns.get(self._column)):
            self._unread |= {name: None for name in self._others if _holds(columns.get(name))}
            return self._first.content(columns)
        for name, other in self._others.items():
            if _holds(columns.get(name)):
                self._used[name] = None
                return other.content(columns)
        return self._first.content(columns)

    def describe(self) -> str | None:
        parts = [self._first.describe()]
        if self._unread:
            parts.append(f"the input is the column {self._column}, not {', '.join(self._unread)}")
        for name in self._used:
            parts.append(f"rows with nothing in {self._column} are read from {name}")
            parts.append(self._others[name].describe())
        return "; ".join(part for part in parts if part) or None


def _holds(value: Any) -> bool:
    """Whether a cell holds anything to send: not null, not blank, not an empty list."""
    if isinstance(value, str):
        return bool(value) and not value.isspace()
    return not is_missing(value) and not (isinstance(value, list) and not value)


def _reading_of(
    name: str, description: str | None, unsent: tuple[str, ...], *, as_list: bool
) -> Reading:
    """The reading of one column, which remembers whether text in it was JSON of messages."""
    parsed: set[str] = set()

    def content(columns: Mapping[str, Any]) -> Any:
        value = _conversation(columns, name, as_list)
        if not as_list and isinstance(value, list) and isinstance(columns[name], str):
            parsed.add(f"text in {name} that is the JSON of messages is sent as these")
        return value

    def describe() -> str | None:
        return "; ".join([description, *parsed] if description else parsed) or None

    return Reading(content, describe, unsent)


def _refuse_batch(form: Format, names: Sequence[str]) -> None:
    by_columns = {"body", "custom_id"} <= set(names) or {"body", "method", "url"} <= set(names)
    if form == "openai-batch" or by_columns:
        raise ConfigurationError(
            "these are lines of an OpenAI batch file, which `generate` and generate_dataset read "
            "without Ray. To make rows of them: jq -c '.body + {id: .custom_id}' BATCH.jsonl"
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
    inner = next((name for name in names if name.lower() in _WRAPPERS), None)
    if inner is not None and len(names) <= _MOST_BESIDE:
        return ConfigurationError(
            f"no column {tried}; {there}. If the rows are inside {inner}, take them out: "
            f"jq -c '.{inner}[]' FILE. If it is the input, name it: --input-column {inner}"
        )
    likely = _likely(column, wanted, names)
    named = f"--input-column {shlex.quote(likely)}" if likely else "the input column"
    return ConfigurationError(f"no column {tried}; {there}. Name {named}, or give a template")


def _likely(column: str | None, wanted: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that was probably meant: in other letters, misspelt, or of another name."""
    near = difflib.get_close_matches(column or "", names, 1, 0.6)
    folded = {name.strip().lower(): name for name in reversed(names)}
    others = (folded.get(name.lower()) for name in (*wanted, *_OTHERS))
    return next((name for name in (*near, *others) if name is not None), None)


_PARTS: Final = ("history", "input", "context")


class _Alpaca:
    """An instruction and what it is about: `input`, or `context` as Dolly has it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._parts = {name for name in _PARTS if name in names}

    def describe(self) -> str | None:
        parts = [name for name in _PARTS if name in self._parts]
        return f"read as Alpaca: {' + '.join(['instruction', *parts])}" if parts else None

    def content(self, columns: Mapping[str, Any]) -> Any:
        own = {name: columns[name] for name in _PARTS if not is_missing(columns.get(name))}
        if not own:
            return _conversation(columns, "instruction", as_list=False)
        self._parts |= own.keys()  # rows of JSON Lines do not all have the same
        texts = [_text(columns, name) for name in ("instruction", *own) if name != "history"]
        text = _BLANK_LINE.join(part for part in texts if part.strip())
        messages = _turns(own.get("history"))
        return [*messages, {"role": "user", "content": text}] if messages else text


def _turns(history: Any) -> list[dict[str, Any]]:
    """The earlier turns of an Alpaca row: pairs of what was asked and answered."""
    earlier = plain(history) or []
    if isinstance(earlier, str):
        earlier = json_of(earlier) or []
    messages = []
    for turn in earlier if isinstance(earlier, list) else [earlier]:
        if not isinstance(turn, list) or len(turn) != 2:
            raise ConversationError("column 'history' must hold pairs of texts")
        messages += [
            {"role": "user", "content": turn[0]},
            {"role": "assistant", "content": turn[1]},
        ]
    return messages


def _value(columns: Mapping[str, Any], name: str) -> Any:
    try:
        value = columns[name]
    except KeyError:
        raise ConversationError(f"the row has no column {quoted([name])}") from None
    if is_missing(value):
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
        if not as_list and _PYTHON_LIST.match(value):
            raise ConversationError(f"{_as_python(name)}; {_AS_IT_IS}")
        if not as_list and not _looks_listed(value):
            return value
        value = listed(value, name)
    value = _as_list(plain(value))
    if not isinstance(value, list):
        raise ConversationError(
            f"column {quoted([name])} must hold text or a list of messages, "
            f"not {type(value).__name__}{_inside(value)}"
        )
    if any(is_turn(message) for message in value):
        return messages_of(value)
    if any(isinstance(message, Mapping) and "weight" in message for message in value):
        return [_without_weight(message) for message in value]
    return value


def _as_list(value: Any) -> Any:
    """Messages for the lists of their fields, as `datasets` before version 4 had them."""
    if not isinstance(value, Mapping) or not {"role", "from"} & value.keys():
        return value
    lists = [field for field in value.values() if isinstance(field, list)]
    if len(lists) < len(value) or len({len(field) for field in lists}) != 1:
        return value
    return [dict(zip(value, fields, strict=True)) for fields in zip(*lists, strict=True)]


def _inside(value: Any) -> str:
    """What to do about a mapping in place of a conversation, as the end of a sentence."""
    if not isinstance(value, Mapping):
        return ""
    if "role" in value or "from" in value:
        return "; put it into a list: [message]"
    if "messages" in value:
        return "; take the messages out of it"
    if value and all(str(key).isdecimal() for key in value):
        return "; write a DataFrame with to_json(orient='records', lines=True)"
    return ""


def _without_weight(message: Any) -> Any:
    """The message without `weight`, which only fine-tuning knows: servers refuse it."""
    if not isinstance(message, Mapping):
        return message
    return {key: value for key, value in message.items() if key != "weight"}


def _looks_listed(text: str) -> bool:
    """Whether a prompt is the JSON of messages rather than what the user says."""
    if not text.lstrip().startswith("[{"):
        return False
    value = json_of(text)
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        return False
    speak = all("role" in message or "from" in message for message in value)
    return speak and any("content" in message or "value" in message for message in value)


def listed(text: str, name: str) -> Any:
    """The list that is written in `text`, of column `name`.

    Raises:
        ConversationError: It is not the JSON of a list.
    """
    value = json_of(text)
    if isinstance(value, list):
        return value
    if _PYTHON_LIST.match(text):
        raise ConversationError(_as_python(name))
    raise ConversationError(
        f"text in column {name!a} must be the JSON of a list of messages; "
        "for what the user says, name the column prompt"
    )


def _as_python(name: str) -> str:
    return f"text in column {name!a} is Python's form of a list, not JSON; use json.dumps"


def json_of(text: str) -> Any:
    """The value of JSON text; None for what is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


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
