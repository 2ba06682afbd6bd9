"""Rows that come only once, kept beside the output so that they can be read again.

A run looks at its input up to three times: to check it, to send it, to write it out. The file is
owner-only and appears whole; only the one writer of an output puts it there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints._store.journal import journal_path
from distilabel_endpoints._store.lock import hold
from distilabel_endpoints.errors import InputError, StorageError
from distilabel_endpoints.rows import RowSource, open_rows
from distilabel_endpoints.rows.json_text import BadInputError, json_line

__all__ = ["spool_path", "spool_rows", "spool_stream"]


def spool_path(output: Path) -> Path:
    """Where the rows of `output` are kept, if they came only once."""
    return output.with_name(f"{output.name}.input.jsonl")


def spool_stream(stream: BinaryIO, output: Path) -> RowSource:
    """The JSON lines of `stream`, byte for byte.

    Raises:
        LockedError: another process writes this output.
        StorageError: the disk is full, gone or failing.
    """
    return _spooled(output, lambda file: shutil.copyfileobj(stream, file, 1 << 20))


def spool_rows(rows: Iterable[Any], output: Path) -> RowSource:
    """Mappings from an iterable, as JSON lines. What the iterable raises comes through.

    Raises:
        InputError: a row holds what cannot be stored.
        LockedError: another process writes this output.
        StorageError: the disk is full, gone or failing.
    """
    broken: list[OSError] = []

    def given() -> Iterator[Any]:
        try:
            yield from rows
        except OSError as error:
            broken.append(error)
            raise

    def fill(file: BinaryIO) -> None:
        file.writelines(_line(number, row) for number, row in enumerate(given()))

    try:
        return _spooled(output, fill)
    except StorageError:
        if broken:  # the caller's own trouble, not this disk's
            raise broken[0] from None
        raise


def _line(number: int, row: Any) -> bytes:
    try:
        return json_line(row) + b"\n"
    except BadInputError as error:
        raise InputError(f"row {number} of the input: {error.message}") from None


def _spooled(output: Path, fill: Callable[[BinaryIO], None]) -> RowSource:
    path = spool_path(output)
    with hold(journal_path(output)), writing(path) as file:
        fill(file)
    return open_rows(path)
