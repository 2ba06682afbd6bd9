"""Rows to conversations: what a row's columns hold (`formats`), and what is added to it.

A template takes all columns instead. A row may bring its own system message, generation parameters
and structured output; columns that only have the names of these can be switched off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from distilabel_endpoints.conversations import Checked, validate_messages, without_nulls
from distilabel_endpoints.errors import ConfigurationError, ConversationError
from distilabel_endpoints.records import Conversation
from distilabel_endpoints.rows.formats import Format, Reading, choose_reading, json_of, plain
from distilabel_endpoints.rows.json_text import is_missing, quoted
from distilabel_endpoints.rows.model import ArrowCells, Row

__all__ = ["STRUCTURED_OUTPUT", "ConversationSpec", "Conversations", "PreparedRow"]

_PARAMETER_COLUMNS: Final = ("parameters", "generation_kwargs")
STRUCTURED_OUTPUT: Final = "structured_output"
_SYSTEM_COLUMNS: Final = ("system", "system_prompt")
_SWITCH_OFF: Final = "if it is data of yours, pass --no-row-settings (row_settings=False)"


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """What one row asks for."""

    messages: Conversation = field(repr=False)
    parameters: Mapping[str, Any] | None = field(default=None, repr=False)
    """The row's own generation parameters, as they stand there."""
    _: KW_ONLY
    structured_output: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def input(self) -> Any:
        """What a planner takes: the conversation, known to be one, and its own constraint."""
        checked = Checked(self.messages)
        return checked if self.structured_output is None else (checked, self.structured_output)


@dataclass(frozen=True, slots=True)
class ConversationSpec:
    """How a row becomes a conversation."""

    input_column: str | None = None
    """`None`: the first of those that the format has."""
    system: str | None = None
    """Put first if the conversation has no system message and the row no `system`."""
    _: KW_ONLY
    template: str | None = None
    """Jinja text over the columns; what it gives is what the user says."""
    format: Format = "auto"
    """In which form the columns hold the conversation; `auto` recognises it by their names."""
    drop_last_assistant: bool = False
    """Leave out assistant messages at the end, as in data that was made for training."""
    row_settings: bool = True
    """Whether a row's `system`, `parameters`, `generation_kwargs`, `structured_output` count."""

    def bind(self, columns: Iterable[str]) -> Conversations:
        """Settle on the columns that are there.

        Raises:
            ConfigurationError: None of them can be the input, or the template is wrong.
        """
        names = tuple(columns)
        if self.row_settings and set(_PARAMETER_COLUMNS) <= set(names):
            both = quoted(_PARAMETER_COLUMNS)
            raise ConfigurationError(f"columns {both} all hold parameters; {_SWITCH_OFF}")
        return Conversations(self, self._reading(names), names)

    def _reading(self, names: tuple[str, ...]) -> Reading:
        if self.template is None:
            return choose_reading(self.format, self.input_column, names)
        if self.input_column is not None or self.format != "auto":
            raise ConfigurationError("give an input column and a format, or a template, not both")
        return _template(self.template, names)


class Conversations:
    """Rows to conversations, with the columns settled. Counts what is worth a remark."""

    def __init__(self, spec: ConversationSpec, reading: Reading, names: tuple[str, ...]) -> None:
        self._spec = spec
        self._reading = reading
        own = (name for name in _SYSTEM_COLUMNS if name not in reading.taken)
        self._systems = tuple(own) if spec.row_settings else ()
        self._system = next((name for name in self._systems if name in names), None)
        self._parameters = _PARAMETER_COLUMNS if spec.row_settings else ()
        self._structured = (STRUCTURED_OUTPUT,) if spec.row_settings else ()
        self._ending = self._with_system = 0

    @property
    def description(self) -> str | None:
        """How the columns are read, in one line; None for simply messages or a prompt."""
        parts = [self._reading.describe()]
        if self._system is not None:
            parts.append(f"the system message is the column {self._system}")
        return "; ".join(part for part in parts if part) or None

    def remarks(self) -> list[str]:
        """What the user should know of the rows that were prepared so far, one sentence each."""
        remarks = [self.description] if self.description else []
        if self._reading.unsent:
            remarks.append(
                f"not sent: the columns {quoted(self._reading.unsent)}; a template can put columns "
                "into the prompt"
            )
        if self._with_system:
            own = "conversation has its" if self._with_system == 1 else "conversations have their"
            remarks.append(
                f"{self._with_system:,} {own} own system message, which is sent instead of "
                f"{'the column ' + self._system if self._system else '--system (system=...)'}"
            )
        if self._ending:
            end = "conversation ends" if self._ending == 1 else "conversations end"
            remarks.append(
                f"{self._ending:,} {end} with the assistant; --drop-last-assistant "
                "(drop_last_assistant=True) leaves that message out"
            )
        return remarks

    def settings(self, row: Row) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The row's own settings, by the columns that hold them.

        Raises:
            ConversationError: A column does not hold a mapping.
        """
        for column in (*self._parameters, *self._structured):
            own = _mapping(row, column)
            if own is not None:
                yield column, own

    def prepare(self, row: Row) -> PreparedRow:
        """What the row asks for. Its messages are passed on as they are if nothing is added.

        Raises:
            ConversationError: The row holds no conversation, or parameters that are none.
        """
        value = self._reading.content(row.columns)
        if isinstance(value, str):
            if not value.strip():
                raise ConversationError("the prompt is empty")
            value = [{"role": "user", "content": value}]
        elif isinstance(row.original, ArrowCells):
            value = [without_nulls(message) for message in value]
        messages = self._cut(validate_messages(value))
        _refuse_blank(messages)
        system = self._system_of(row)
        if system is not None and messages[0]["role"] in {"system", "developer"}:
            self._with_system += messages[0].get("content") != system
        elif system is not None:
            messages = [*validate_messages([{"role": "system", "content": system}]), *messages]
        return PreparedRow(
            messages,
            _first_mapping(row, self._parameters),
            structured_output=_first_mapping(row, self._structured),
        )

    def _cut(self, messages: Conversation) -> Conversation:
        if messages[-1]["role"] != "assistant":
            return messages
        if not self._spec.drop_last_assistant:
            self._ending += 1
            return messages
        kept = len(messages)
        while kept and messages[kept - 1]["role"] == "assistant":
            kept -= 1
        if not kept:
            raise ConversationError("the conversation has only messages of the assistant")
        return messages[:kept]

    def _system_of(self, row: Row) -> str | None:
        for name in self._systems:
            own = row.columns.get(name)
            if is_missing(own):
                continue
            if not isinstance(own, str):
                kind = type(own).__name__
                raise ConversationError(
                    f"column {name!a} must hold text, not {kind}; {_SWITCH_OFF}"
                )
            if own.strip():
                self._system = self._system or name
                return own
        return self._spec.system


def _refuse_blank(messages: Conversation) -> None:
    """A conversation whose last message of the user is blank asks nothing, as an empty prompt."""
    content = messages[-1].get("content")
    if messages[-1]["role"] == "user" and isinstance(content, str) and not content.strip():
        raise ConversationError(f"messages[{len(messages) - 1}].content is empty")


def _template(text: str, names: tuple[str, ...]) -> Reading:
    from distilabel_endpoints.rows.template import PromptTemplate

    template = PromptTemplate(text)
    if names:  # else there are no rows, or none that could be read
        template.check_columns(names)
    return Reading(template.render, taken=template.taken(names))


def _first_mapping(row: Row, columns: tuple[str, ...]) -> Mapping[str, Any] | None:
    """The one mapping that these columns hold."""
    own = [mapping for column in columns if (mapping := _mapping(row, column)) is not None]
    if len(own) > 1:
        raise ConversationError(f"columns {quoted(columns)} both hold parameters; {_SWITCH_OFF}")
    return own[0] if own else None


def _mapping(row: Row, column: str) -> Mapping[str, Any] | None:
    value = row.columns.get(column)
    if is_missing(value) or value == "":
        return None
    if isinstance(value, str):
        value = json_of(value)
    elif isinstance(row.original, ArrowCells):
        value = without_nulls(value)
    else:
        value = plain(value)
    if not isinstance(value, Mapping):
        raise ConversationError(
            f"column {quoted([column])} must hold a mapping or its JSON; {_SWITCH_OFF}"
        )
    return value
