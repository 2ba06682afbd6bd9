"""Rows that come only once, kept beside the output so that they can be read again.

A run looks at its input up to three times: to check it, to send it, to write it out. The rows are
written to a file under a temporary name; they replace those of an earlier run only when the run is
found to be one that may start. The file is owner-only, and the caller holds the output's lock.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints._store.place import storage_errors, sync
from distilabel_endpoints.errors import InputError, StorageError
from distilabel_endpoints.rows import RowSource
from distilabel_endpoints.rows.files import FileSource
from distilabel_endpoints.rows.folders import FoundFiles, InputFile, format_of
from distilabel_endpoints.rows.intake import ReadOptions
from distilabel_endpoints.rows.json_text import BadInputError, json_line
from distilabel_endpoints.rows.sources import as_columns

__all__ = [
    "OneTimeInput",
    "drop_kept",
    "is_pipe",
    "open_kept",
    "pipe_once",
    "rows_once",
    "stream_once",
]

_STANDARD_INPUT = "standard input"
_LINES: Final = (None, *((ending, "") for ending in (".jsonl", ".ndjson", ".json")))
"""Formats that the names of pipes ask for whose rows are JSON lines."""


def _kept(output: Path) -> Path:
    """Where the rows of `output` are kept, if they came only once."""
    return output.with_name(f"{output.name}.input.jsonl")


def open_kept(output: Path, *, max_row_bytes: int) -> RowSource | None:
    """The rows that an earlier run kept; `None` if it kept none."""
    path = _kept(output)
    return _source(path, _STANDARD_INPUT, max_row_bytes) if path.exists() else None


class OneTimeInput:
    """Rows that can be taken once. Made by `stream_once` and `rows_once`.

    Args:
        name: what rows say they come from.
        fill: writes the rows as JSON lines.
        max_row_bytes: a larger row is a bad row.
        broken: takes the caller's own `OSError` from `fill`, which is not a fault of this disk.
    """

    def __init__(
        self,
        name: str,
        fill: Callable[[BinaryIO], None],
        *,
        max_row_bytes: int,
        broken: list[OSError] | None = None,
    ) -> None:
        self.name = name
        self._fill = fill
        self._max_row_bytes = max_row_bytes
        self._broken = [] if broken is None else broken

    def take(self, output: Path) -> RowSource:
        """The rows, under a temporary name beside `output`.

        Raises:
            InputError: a row holds what cannot be stored.
            StorageError: the disk is full, gone or failing.
        """
        path = _taken(output)
        try:
            with writing(path) as file:
                self._fill(file)
        except StorageError:
            # `writing` takes any `OSError` for the disk's.
            if self._broken:
                raise self._broken[0] from None
            raise
        return _source(path, self.name, self._max_row_bytes)

    def keep(self, output: Path) -> RowSource:
        """Let the rows that were taken be those of the run on `output`."""
        with storage_errors(output):
            _taken(output).replace(_kept(output))
            # Else a resume after a power cut could find the journal without its rows.
            sync(output.parent)
        return _source(_kept(output), self.name, self._max_row_bytes)

    def drop(self, output: Path) -> None:
        """Remove the rows that were taken and not kept."""
        with suppress(OSError):
            _taken(output).unlink(missing_ok=True)


def drop_kept(output: Path) -> None:
    """Remove what an earlier run on `output` kept."""
    with suppress(OSError):
        _kept(output).unlink(missing_ok=True)


def stream_once(stream: BinaryIO, *, max_row_bytes: int) -> OneTimeInput:
    """The JSON lines of `stream`, byte for byte."""
    return OneTimeInput(
        _STANDARD_INPUT,
        lambda file: shutil.copyfileobj(stream, file, 1 << 20),
        max_row_bytes=max_row_bytes,
    )


def is_pipe(source: str | os.PathLike[str]) -> bool:
    """Whether a path is a named pipe of JSON lines, as `mkfifo` and `<(...)` of a shell make it.

    One whose name asks for another format is none of these.
    """
    path = Path(source)
    return format_of(path) in _LINES and path.is_fifo()


def pipe_once(path: Path, *, max_row_bytes: int) -> OneTimeInput:
    """The JSON lines that come through a named pipe, byte for byte."""

    def fill(file: BinaryIO) -> None:
        with path.open("rb") as pipe:
            shutil.copyfileobj(pipe, file, 1 << 20)

    return OneTimeInput(str(path), fill, max_row_bytes=max_row_bytes)


def rows_once(rows: Iterable[Any], *, max_row_bytes: int) -> OneTimeInput:
    """Mappings from an iterable, as JSON lines. What the iterable raises comes through."""
    broken: list[OSError] = []

    def watched() -> Iterator[Any]:
        try:
            yield from rows
        except OSError as error:
            broken.append(error)
            raise

    def fill(file: BinaryIO) -> None:
        file.writelines(_line(number, row) for number, row in enumerate(watched(), 1))

    name = type(rows).__name__
    return OneTimeInput(name, fill, max_row_bytes=max_row_bytes, broken=broken)


def _line(number: int, row: Any) -> bytes:
    columns = as_columns(row)
    if not isinstance(columns, Mapping):
        raise InputError(
            f"row {number} of the input is a {type(row).__name__}; give mappings of columns, texts "
            "(prompts) or lists of messages"
        )
    try:
        return json_line(columns) + b"\n"
    except BadInputError as error:
        raise InputError(f"row {number} of the input: {error.message}") from None


def _taken(output: Path) -> Path:
    return output.with_name(f"{output.name}.input.new")


def _source(path: Path, name: str, max_row_bytes: int) -> RowSource:
    file = InputFile(path, name, format=".jsonl", alias=name)
    return FileSource(name, FoundFiles((file,)), ReadOptions(max_row_bytes=max_row_bytes))
