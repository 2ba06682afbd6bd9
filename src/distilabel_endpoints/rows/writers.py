"""Rows and their results as text: JSON Lines and CSV; and what every writer offers.

JSON Lines copies a row's own JSON text if it came as such, so its columns stay as they were to the
byte. What JSON has no type for is written as `json_text` says. In our columns empty text stands for
"nothing to report": who loads the file takes a column's type from its first rows, and a column
that is null there and text later does not load. CSV has only text: null is empty, nested values are
JSON text, and every other cell is written as it is unless formulas are to be escaped.
"""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows.columns import OutputColumn, OutputColumns, cell_text
from distilabel_endpoints.rows.csv_rows import escape_formula
from distilabel_endpoints.rows.json_text import (
    json_line,
    json_text,
    json_value,
    quoted,
    valid_text,
)
from distilabel_endpoints.rows.model import BadRow, Row

__all__ = ["CsvWriter", "JsonArrayWriter", "JsonlWriter", "ResultWriter"]


class ResultWriter(ABC):
    """Takes rows in output order. Same rows and results, same bytes."""

    notes: tuple[str, ...] = ()
    """What the user should know about the conversion, one sentence each."""

    @abstractmethod
    def write(self, row: Row | BadRow, result: Result) -> None:
        """Add one row. A bad row whose columns could not be read has none but ours.

        Raises:
            ConfigurationError: The row has a column with the name of one of ours.
            InputError: The row is not one of the source the writer was opened for.
        """

    @abstractmethod
    def close(self) -> None:
        """Write what is still held and the format's tail."""

    @abstractmethod
    def discard(self) -> None:
        """Let go of the file without finishing it."""


class JsonlWriter(ResultWriter):
    """One JSON object on each line."""

    def __init__(self, file: Any, columns: OutputColumns) -> None:
        self._file = file
        self._columns = columns
        self._reserved = frozenset(columns.names)
        self._optional = [column for column in columns if column.optional]

    def write(self, row: Row | BadRow, result: Result) -> None:
        self._file.write(self._object(row, result) + b"\n")

    def _object(self, row: Row | BadRow, result: Result) -> bytes:
        ours = self._columns.values(result)
        for column in self._optional:
            ours[column.name] = _never_null(column, ours[column.name], self._columns)
        return _joined(self._row(row), json_line(ours))

    def _row(self, row: Row | BadRow) -> bytes:
        if not self._reserved.isdisjoint(row.columns):
            self._columns.refuse_clash(row.columns)
        if isinstance(row, Row) and isinstance(row.original, bytes):
            # Line breaks in JSON text stand between its tokens, never in a string.
            return row.original.replace(b"\r", b" ").replace(b"\n", b" ")
        return json_line(row.columns)

    def close(self) -> None:
        """Nothing is held back."""

    discard = close


class JsonArrayWriter(JsonlWriter):
    """One JSON array, with an object on each line."""

    _before = b"[\n"

    def write(self, row: Row | BadRow, result: Result) -> None:
        self._file.write(self._before + self._object(row, result))
        self._before = b",\n"

    def close(self) -> None:
        """Close the array."""
        self._file.write(b"\n]\n" if self._before == b",\n" else b"[]\n")

    def discard(self) -> None:
        """Nothing is held back."""


def _never_null(column: OutputColumn, value: Any, columns: OutputColumns) -> Any:
    text = cell_text(column, value)
    if not column.many:
        return text or ""
    return [entry or "" for entry in text or [""] * columns.num_generations]


def _joined(first: bytes, second: bytes) -> bytes:
    """The JSON text of one object with the members of two."""
    members = first[:-1].rstrip()
    return members + (b"" if members == b"{" else b", ") + second[1:]


class CsvWriter(ResultWriter):
    """RFC 4180, with a header row; also with tabs between the fields."""

    def __init__(
        self, file: Any, names: tuple[str, ...], columns: OutputColumns, *, delimiter: str = ","
    ) -> None:
        columns.refuse_clash(names)
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text, delimiter=delimiter, lineterminator="\r\n")
        self._names = names
        self._known = frozenset(names)
        self._columns = columns
        self._escape = columns.escape_formulas
        self._nul = False
        self._lacking: dict[str, None] = {}
        self._csv.writerow([self._cell(name) for name in (*names, *columns.names)])

    def write(self, row: Row | BadRow, result: Result) -> None:
        if not self._known.issuperset(row.columns):
            raise InputError(f"{row.source}: a column appeared since the input was looked through")
        if len(row.columns) < len(self._names) and isinstance(row, Row):
            self._lacking |= dict.fromkeys(name for name in self._names if name not in row.columns)
        values = [row.columns.get(name) for name in self._names]
        values += self._columns.values(result).values()
        self._csv.writerow([self._cell(value) for value in values])

    def _cell(self, value: Any) -> str:
        match value:
            case None:
                return ""
            case bool():
                return "true" if value else "false"
            case int() | float() | Decimal():
                return str(value)
            case str():
                text = value
            case list() | tuple() | Mapping():
                text = json_text(value)
            case _:
                plain = json_value(value)
                text = plain if isinstance(plain, str) else json_text(plain)
        self._nul = self._nul or "\0" in text
        return valid_text(escape_formula(text) if self._escape else text)

    def close(self) -> None:
        self._text.detach()
        notes = []
        if self._lacking:
            lacking = quoted(self._lacking)
            notes.append(f"an empty cell stands for {lacking} in rows that do not have them")
        if self._nul:
            notes.append("some cells hold NUL characters, which many CSV readers do not take")
        self.notes = tuple(notes)

    def discard(self) -> None:
        with suppress(OSError, ValueError):
            self._text.detach()
