"""The rows of files, one file after the other, each read as its name and its beginning say.

A `.json` file holds one array of objects; JSON Lines under that name, and an array under `.jsonl`,
are read as such. Each line of a `.txt` file that is not blank is a prompt.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.rows.arrow import (
    pyarrow,
    table_count,
    table_rows,
    table_schema,
    unified,
)
from distilabel_endpoints.rows.compression import open_input, reading
from distilabel_endpoints.rows.csv_rows import read_csv
from distilabel_endpoints.rows.folders import TABLES, FoundFiles, InputFile, would_find
from distilabel_endpoints.rows.intake import Intake, ReadOptions
from distilabel_endpoints.rows.json_text import BadInputError, columns_of, json_line, quoted
from distilabel_endpoints.rows.lines import (
    BLANK,
    BOM,
    CHUNK,
    Frame,
    Oversize,
    frame_array,
    frame_lines,
)
from distilabel_endpoints.rows.model import BadRow, FileIdentity, Place, Row, RowSource, Skip
from distilabel_endpoints.rows.recognition import (
    Dialect,
    refuse_json,
    refuse_old_line_ends,
    refuse_other_bytes,
    refuse_other_content,
    refuse_spread_object,
    sniff_dialect,
)

__all__ = ["FileSource"]

_DELIMITED: Final = (".csv", ".tsv")
_UNNESTED: Final = (*_DELIMITED, ".txt")
_MOST_HEADS: Final = 16
"""Files whose beginning is read for `notes`."""


class FileSource(RowSource):
    """The rows of files, one file after the other."""

    def __init__(self, name: str, files: FoundFiles, options: ReadOptions) -> None:
        self._name = name
        self._files = files.files
        self._found = files
        self._options = options
        self.identity = tuple(_identity(file.path) for file in self._files)

    def describe(self) -> str:
        return self._name

    def would_read(self, path: Path) -> bool:
        return would_find(self._name, path)

    @cached_property
    def _schema(self) -> Any:
        if any(file.format not in TABLES for file in self._files):
            return None
        schemas = []
        for file in self._files:
            with reading(file.path, file.alias):
                _refuse_disguised(file)
                schemas.append((file.path, table_schema(file.path)))
        whole = unified(schemas)
        for name, value in self._files[0].partition.items():
            if name not in whole.names:
                kind = [file.partition[name] for file in self._files] + [value]
                whole = whole.append(_partition_field(name, kind))
        self._schemas = schemas
        return whole

    @property
    def schema(self) -> Any:
        return self._schema

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What of a folder is not read, how CSV fields are separated, which types were widened."""
        notes = list(self._found.notes)
        for file in self._files[:_MOST_HEADS]:
            with reading(file.path, file.alias):
                _refuse_disguised(file)
                if file.format not in TABLES and (note := _note_of(file)):
                    notes.append(f"{file.name}: {note}")
        if self._schema is not None:
            notes += _widened(self._schema, self._schemas)
        notes += self._padded()
        return tuple(notes)

    def _padded(self) -> list[str]:
        """A sentence if rows get columns that their file, or its folder's name, does not have."""
        lacking = [name for name, value in self._everywhere() if value is None]
        for _, schema in self._schemas if self._schema is not None else ():
            named = self._files[0].partition
            lacking += [n for n in self._schema.names if n not in schema.names and n not in named]
        if not lacking:
            return []
        names = quoted(dict.fromkeys(lacking))
        return [f"null stands for {names} in rows of files that do not have them"]

    def _everywhere(self) -> Iterator[tuple[str, Any]]:
        for file in self._files:
            yield from file.partition.items()

    @property
    def count_hint(self) -> int | None:
        if self._schema is None:
            return None
        total = 0
        for file in self._files:
            with reading(file.path, file.alias):
                count = table_count(file.path)
            if count is None:
                return None
            total += count
        return total

    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        intake = Intake(self._options, skip)
        _ = self._schema  # its errors name their own files
        for file in self._files:
            with reading(file.path, file.alias):
                yield from self._rows(file, intake)

    def _rows(self, file: InputFile, intake: Intake) -> Iterator[Row | BadRow]:
        _refuse_disguised(file)
        if file.format in TABLES:
            schema = self._schema if self._schema is not None else table_schema(file.path)
            yield from table_rows(file.path, schema, intake, file.name, file.partition)
            return
        with open_input(file.path, file.compression) as stream:
            yield from _text_rows(cast("io.BufferedReader", stream), file, intake)


def _refuse_disguised(file: InputFile) -> None:
    """Refuse a table or a compressed file that is not one; a clone without its data is common."""
    ending = file.compression or file.format
    if ending in TABLES or file.compression:
        with file.path.open("rb") as raw:
            refuse_other_bytes(raw.read(512), ending)


def _text_rows(
    stream: io.BufferedReader, file: InputFile, intake: Intake
) -> Iterator[Row | BadRow]:
    head = stream.peek(CHUNK)
    refuse_other_content(head)
    cap = intake.options.max_row_bytes
    if file.format in _UNNESTED:
        refuse_json(head, file.format)
        refuse_old_line_ends(head)
    if file.format in _DELIMITED:
        dialect = sniff_dialect(head, tabs=file.format == ".tsv")
        return read_csv(stream, intake, file.name, dialect, file.partition)
    if file.format == ".txt":
        return _prompts(frame_lines(stream, cap), file, intake)
    if _opens_array(head):
        frames = frame_array(stream, cap)
    else:
        refuse_spread_object(head)
        refuse_old_line_ends(head)
        frames = _lines_of_json(stream, cap) if file.format == ".json" else frame_lines(stream, cap)
    return intake.frames(_extended(frames, file), file.name)


def _extended(frames: Iterator[Frame], file: InputFile) -> Iterator[Frame]:
    """The frames with the columns that the file's folders give, for each row that has none such."""
    if not file.partition:
        yield from frames
        return
    for line, offset, raw in frames:
        if isinstance(raw, Oversize):
            yield line, offset, raw
            continue
        try:
            columns = columns_of(raw)
        except BadInputError:
            yield line, offset, raw
            continue
        added = {name: value for name, value in file.partition.items() if name not in columns}
        comma = b", " if columns and added else b""
        yield line, offset, raw[:-1] + comma + json_line(added)[1:]


def _prompts(frames: Iterator[Frame], file: InputFile, intake: Intake) -> Iterator[Row | BadRow]:
    """Each line as a row with one column, `prompt`."""
    for line, offset, raw in frames:
        place = Place(file.name, line, offset)
        if isinstance(raw, Oversize):
            text = raw.head.decode(errors="replace").strip()
            row: Row | BadRow | None = intake.oversize(raw, place, {"prompt": text})
        else:
            row = intake.text({**file.partition}, raw, place)
        if row is not None:
            yield row


def _note_of(file: InputFile) -> str | None:
    """What the user should know of how a text file is read."""
    with open_input(file.path, file.compression) as stream:
        head = cast("io.BufferedReader", stream).peek(CHUNK)
    if file.format in _DELIMITED:
        dialect = sniff_dialect(head, tabs=file.format == ".tsv")
        expected = Dialect("\t") if file.format == ".tsv" else Dialect()
        return None if dialect == expected else dialect.note
    if file.format in {".jsonl", ".ndjson"} and _opens_array(head):
        return "read as one JSON array"
    return None


def _partition_field(name: str, values: list[Any]) -> Any:
    pa = pyarrow("a Parquet file")
    known = [value for value in values if value is not None]
    whole = all(isinstance(value, int) for value in known)
    return pa.field(name, pa.int64() if known and whole else pa.string())


def _widened(whole: Any, schemas: list[tuple[Path, Any]]) -> list[str]:
    """A sentence if columns have other types than in their file."""
    pa = pyarrow("a Parquet file")
    changed = [
        field.name
        for _, schema in schemas
        for field in schema
        if whole.field(field.name).type != field.type and not pa.types.is_null(field.type)
    ]
    if not changed:
        return []
    names = quoted(dict.fromkeys(changed))
    return [f"the files do not store column {names} alike; the wider type holds all of them"]


def _identity(path: Path) -> FileIdentity:
    with reading(path):
        return FileIdentity.of(path)


def _opens_array(head: bytes) -> bool:
    """Whether the first byte that is not blank is `[`."""
    return head.removeprefix(BOM).lstrip(BLANK).startswith(b"[")


def _lines_of_json(stream: BinaryIO, cap: int) -> Iterator[Frame]:
    """JSON Lines under the name `.json`.

    Raises:
        InputError: The first line is not an object, so the file is something else.
    """
    frames = frame_lines(stream, cap)
    first = next(frames, None)
    if first is None:
        return iter(())
    if not isinstance(first[2], Oversize):
        try:
            columns_of(first[2])
        except BadInputError as error:
            raise InputError(
                "a .json file holds an array of objects, or one object on each line (rows "
                f"inside an object: jq -c '.data[]'); line {first[0]}: {error.message}"
            ) from None
    return itertools.chain([first], frames)
