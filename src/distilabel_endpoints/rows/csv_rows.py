"""CSV: UTF-8, a header row, double quotes, line breaks inside quotes; the delimiter is given.

Every field is text; nothing is guessed to be a number or a date. A row with another number of
fields than the header, or with a broken quote, is a bad row; reading continues on the next line.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, Final

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.rows.intake import Intake, hashed
from distilabel_endpoints.rows.json_text import IF_LATIN_1, BadInputError, json_text, quoted
from distilabel_endpoints.rows.lines import BOM, CHUNK, Oversize, Weight
from distilabel_endpoints.rows.model import BadReason, BadRow, Place, Row
from distilabel_endpoints.rows.recognition import Dialect, names_delimiter

__all__ = ["escape_formula", "read_csv"]

# What a spreadsheet would run, also behind apostrophes: taking one away always undoes escaping.
_FORMULA = re.compile(r"'*[=+\-@\t\r\0]")
_PROOF: Final = 20
"""Lines that are looked at to tell an unclosed quote from a long text."""


def escape_formula(text: str) -> str:
    """`text` with an apostrophe before what a spreadsheet would take for a formula."""
    return "'" + text if _FORMULA.match(text) else text


class _OverlongError(Exception):
    """The record is larger than the cap; its rest has not been read."""

    def __str__(self) -> str:
        return "a quote is not closed"


def _reason(error: Exception) -> str:
    if "new-line character" in str(error):  # whose text asks a programmer for another mode
        return (
            "a carriage return stands outside quotes; if lines end with it, convert them: "
            "tr '\\r' '\\n'"
        )
    return str(error)


class _Lines:
    """Physical lines for `csv.reader`, and what the record that is being read is made of."""

    def __init__(self, stream: BinaryIO, cap: int) -> None:
        self._stream = stream
        self._cap = cap
        self._again: deque[bytes] = deque()
        self._next_line = 1
        self._next_offset = 0
        self.begin()

    def begin(self) -> None:
        self.record: list[bytes] = []
        self.size = 0
        self.broken = False
        self.line = self._next_line
        self.offset = self._next_offset

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._read(self._cap + 2)
        if not raw:
            raise StopIteration
        self._next_line += 1
        self._next_offset += len(raw)
        self.record.append(raw)
        self.size += len(raw)
        if self.size > self._cap + 2 or (len(raw) == self._cap + 2 and not raw.endswith(b"\n")):
            raise _OverlongError
        if self.offset == 0 and len(self.record) == 1:
            raw = raw.removeprefix(BOM)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.broken = True
            return raw.decode(errors="replace")

    def _read(self, most: int) -> bytes:
        return self._again.popleft() if self._again else self._stream.readline(most)

    def return_all_but_first(self) -> None:
        """Let the record end with its first line: the others are read again."""
        first, *others = self.record
        self._again.extendleft(reversed(others))
        self.record = [first]
        self._next_line = self.line + 1
        self._next_offset = self.offset + len(first)

    def skip_record(self) -> Weight:
        """Read on to the end of an overlong record without holding it."""
        weight = Weight()
        quotes = 0
        while True:
            for piece in self.record:
                quotes += piece.count(b'"')
                weight.add(piece)
            at_end = self.record[-1].endswith(b"\n")
            if at_end and quotes % 2 == 0:
                return weight
            piece = self._read(CHUNK)
            if not piece:
                return weight
            self._next_line += at_end
            self._next_offset += len(piece)
            self.record = [piece]


class _Table:
    """The records of one CSV file, each a `Row` or a `BadRow`."""

    def __init__(
        self,
        stream: BinaryIO,
        intake: Intake,
        file: str,
        dialect: Dialect,
        constants: Mapping[str, Any],
    ) -> None:
        self._lines = _Lines(stream, intake.options.max_row_bytes)
        self._dialect = dialect
        self._records = dialect.reader(self._lines)
        self._constants = constants
        self._intake = intake
        self._file = file
        self._header: list[str] = []
        self._key = b""

    def rows(self) -> Iterator[Row | BadRow]:
        # Its default of 131,072 characters is the whole process's, so it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), self._intake.options.max_row_bytes))
        if not self._read_header():
            return
        while True:
            self._lines.begin()
            row: Row | BadRow | None
            try:
                fields = next(self._records, None)
            except (csv.Error, _OverlongError) as error:
                row = self._refused(error)
            else:
                if fields is None:
                    return
                row = self._row(fields) if fields else None
            if row is not None:
                yield row

    def _read_header(self) -> bool:
        try:
            header = next((f for f in self._records if f and not names_delimiter(f)), None)
        except (csv.Error, _OverlongError) as error:
            raise InputError(f"line 1: the header row is not CSV: {_reason(error)}") from None
        if header is None:
            return False
        if self._lines.broken:
            raise InputError(f"line 1: the header row is not UTF-8{IF_LATIN_1}")
        twice = {name for name in header if header.count(name) > 1}
        if twice:
            raise InputError(
                f"line 1: column names appear twice: {quoted(sorted(twice))}; "
                "give each column its own name"
            )
        self._header = header
        constants = json_text(self._constants) if self._constants else ""
        self._key = hashed(("\0".join(header) + constants).encode())
        return True

    def _row(self, fields: list[str]) -> Row | BadRow | None:
        lines, intake = self._lines, self._intake
        raw = b"".join(lines.record).rstrip(b"\r\n")
        digest = hashed(raw, self._key)
        message = ""
        columns = self._columns(fields)
        if len(raw) > intake.options.max_row_bytes:
            return intake.oversize(Oversize(len(raw), digest), self._place(), columns)
        if lines.broken:
            message = f"not UTF-8{IF_LATIN_1}"
        elif len(fields) != len(self._header):
            message = self._miscounted(len(fields))
        if message:
            refusal = BadInputError(BadReason.INPUT, message)
            return intake.bad(refusal, digest, self._place(), columns=columns)
        return intake.columns(columns, digest, self._place())

    def _miscounted(self, count: int) -> str:
        """What is wrong with a row that has `count` fields."""
        many = count > len(self._header)
        more = "; text with a delimiter in it must be in quotes" if many else ""
        return f"{count} field{'s' * (count != 1)}, but the header has {len(self._header)}{more}"

    def _columns(self, fields: list[str]) -> dict[str, Any]:
        return {**self._constants, **dict(zip(self._header, fields, strict=False))}

    def _refused(self, error: Exception) -> BadRow | None:
        lines, place = self._lines, self._place()
        is_overlong = isinstance(error, _OverlongError) and not self._holds_rows()
        if lines.record and not is_overlong:
            # A quote that was never closed costs its line, and not the rows behind it.
            lines.return_all_but_first()
            self._records = self._dialect.reader(lines)
        text = b"".join(lines.record).decode(errors="replace")
        fields: list[str] = []
        with suppress(csv.Error):
            fields = next(self._dialect.reader(io.StringIO(text, newline=""), strict=False), fields)
        columns = self._columns(fields)
        if is_overlong:
            return self._intake.oversize(lines.skip_record().oversize(), place, columns)
        digest = hashed(b"".join(lines.record).rstrip(b"\r\n"), self._key)
        refusal = BadInputError(BadReason.INPUT, f"not CSV: {_reason(error)}")
        return self._intake.bad(refusal, digest, place, columns=columns)

    def _holds_rows(self) -> bool:
        """Whether the lines behind a record's first one are records, which a quote has taken in."""
        behind = [raw.decode(errors="replace") for raw in self._lines.record[1 : 1 + _PROOF]]
        try:
            counts = {len(fields) for fields in self._dialect.reader(behind) if fields}
        except csv.Error:
            return False
        return counts == {len(self._header)} and len(self._header) > 1

    def _place(self) -> Place:
        return Place(self._file, self._lines.line, self._lines.offset)


def read_csv(
    stream: BinaryIO,
    intake: Intake,
    file: str,
    dialect: Dialect,
    constants: Mapping[str, Any],
) -> Iterator[Row | BadRow]:
    """The rows of a CSV file.

    Args:
        stream: its bytes.
        intake: what counts the rows.
        file: what they say they come from.
        dialect: how its fields are separated.
        constants: columns that have one value in the whole file.

    Raises:
        InputError: The header row is broken.
    """
    return _Table(stream, intake, file, dialect, constants).rows()
