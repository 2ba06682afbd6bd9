"""Rows that come only once, kept beside the output so that they can be read again.

A run looks at its input up to three times: to check it, to send it, to write it out.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from distilabel.errors import StorageError
from distilabel.rows import RowSource, open_rows
from distilabel.rows.jsontext import json_line

__all__ = ["spool_path", "spool_rows", "spool_stream"]


def spool_path(output: Path) -> Path:
    """Where the rows of `output` are kept, if they came only once."""
    return output.with_name(f"{output.name}.input.jsonl")


def spool_stream(stream: BinaryIO, output: Path) -> RowSource:
    """The JSON lines of `stream`, byte for byte."""
    path = spool_path(output)
    with _private(path) as file:
        shutil.copyfileobj(stream, file, 1 << 20)
    return open_rows(path)


def spool_rows(rows: Any, output: Path) -> RowSource:
    """Mappings from an iterable, as JSON lines."""
    path = spool_path(output)
    with _private(path) as file:
        for row in rows:
            file.write(json_line(row) + b"\n")
    return open_rows(path)


def _private(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        return os.fdopen(os.open(path, flags, 0o600), "wb")
    except OSError as error:
        raise StorageError(error.errno or 0, f"cannot write: {error.strerror}", str(path)) from None
