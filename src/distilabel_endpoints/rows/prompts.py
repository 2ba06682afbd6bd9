"""Rows to conversations: which column holds the prompt, and what stands around it.

The input column is `messages`, else `prompt`, else `instruction`; a template takes all columns
instead. In a column named `messages` text is the JSON of a list; in any other, text is what the
user says. A row may bring its own generation parameters and structured output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from distilabel_endpoints.conversations import validate_messages, without_nulls
from distilabel_endpoints.errors import ConfigurationError, ConversationError
from distilabel_endpoints.records import Conversation
from distilabel_endpoints.rows.json_text import quoted
from distilabel_endpoints.rows.model import ArrowCells, Row

__all__ = ["ConversationSpec", "Conversations", "PreparedRow"]

_INPUT_COLUMNS = ("messages", "prompt", "instruction")
_PARAMETER_COLUMNS = ("parameters", "generation_kwargs")


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """What one row asks for."""

    messages: Conversation = field(repr=False)
    parameters: Mapping[str, Any] | None = field(default=None, repr=False)
    """The row's own generation parameters, as they stand there."""
    _: KW_ONLY
    structured_output: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ConversationSpec:
    """How a row becomes a conversation."""

    input_column: str | None = None
    """`None`: the first of `messages`, `prompt`, `instruction` that is there."""
    system: str | None = None
    """Put first where the conversation has no system message of its own."""
    _: KW_ONLY
    template: str | None = None
    """Jinja text over the columns; what it gives is what the user says."""
    parameter_columns: tuple[str, ...] = _PARAMETER_COLUMNS
    """Where a row keeps its own parameters: a mapping, or JSON text of one. Empty: nowhere."""
    structured_output_column: str | None = "structured_output"
    """Where a row keeps its own structured output, in the same form. `None`: nowhere."""

    def bind(self, columns: Iterable[str]) -> Conversations:
        """Settle on the columns that are there.

        Raises:
            ConfigurationError: None of them can be the input, or the template is wrong.
        """
        names = tuple(columns)
        found = [name for name in self.parameter_columns if name in names]
        if len(found) > 1:
            raise ConfigurationError(f"columns {quoted(found)} all hold parameters; name one")
        return Conversations(self, self._source(names), found[0] if found else None)

    def _source(self, names: tuple[str, ...]) -> Callable[[Row], Any]:
        if self.template is not None:
            if self.input_column is not None:
                raise ConfigurationError("give an input column or a template, not both")
            return _template(self.template, names)
        wanted = _INPUT_COLUMNS if self.input_column is None else (self.input_column,)
        column = next((name for name in wanted if name in names), None)
        if not names:  # no rows, or none with a column: each row will say so
            column = wanted[0]
        if column is None:
            tried = ", ".join(wanted)
            raise ConfigurationError(
                f"no column {tried}; the columns are {quoted(names)}. "
                "Name one as the input column, or give a template"
            )
        return _column(column)


class Conversations:
    """Rows to conversations, with the columns settled."""

    def __init__(
        self, spec: ConversationSpec, source: Callable[[Row], Any], parameters: str | None
    ) -> None:
        self._spec = spec
        self._source = source
        self._parameters = parameters

    def prepare(self, row: Row) -> PreparedRow:
        """What the row asks for. Its messages are passed on as they are where nothing is added.

        Raises:
            ConversationError: The row holds no conversation, or parameters that are none.
        """
        value = self._source(row)
        if isinstance(value, str):
            value = [{"role": "user", "content": value}]
        elif isinstance(row.original, ArrowCells) and isinstance(value, list):
            value = [without_nulls(message) for message in value]
        messages = validate_messages(value)
        system = self._spec.system
        if system is not None and messages[0]["role"] not in {"system", "developer"}:
            messages = [{"role": "system", "content": system}, *messages]
        return PreparedRow(
            messages,
            _mapping(row, self._parameters),
            structured_output=_mapping(row, self._spec.structured_output_column),
        )


def _template(text: str, names: tuple[str, ...]) -> Callable[[Row], str]:
    from distilabel_endpoints.rows.template import PromptTemplate

    template = PromptTemplate(text)
    if names:  # else there are no rows, or none that could be read
        template.check_columns(names)
    return lambda row: template.render(row.columns)


def _column(name: str) -> Callable[[Row], Any]:
    def content(row: Row) -> Any:
        try:
            value = row.columns[name]
        except KeyError:
            raise ConversationError(f"the row has no column {quoted([name])}") from None
        if value is None:
            raise ConversationError(f"column {quoted([name])} is null")
        if isinstance(value, str):
            return _listed(value) if name == "messages" else value
        if not isinstance(row.original, bytes):
            value = plain(value)
        if not isinstance(value, list):
            raise ConversationError(
                f"column {quoted([name])} must hold text or a list of messages, "
                f"not {type(value).__name__}"
            )
        return value

    return content


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


def _listed(text: str) -> list[Any]:
    value = _json(text)
    if not isinstance(value, list):
        raise ConversationError(
            "text in column 'messages' must be the JSON of a list of messages; "
            "for what the user says, name the column prompt"
        )
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mapping(row: Row, column: str | None) -> Mapping[str, Any] | None:
    value = None if column is None else row.columns.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = _json(value)
    elif isinstance(row.original, ArrowCells):
        value = without_nulls(value)
    if not isinstance(value, Mapping):
        raise ConversationError(f"column {quoted([str(column)])} must hold a mapping or its JSON")
    return value
