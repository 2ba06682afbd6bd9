"""Standard input that can be read again: what goes by is kept in a file.

The first pass reads ahead of nothing: a line is kept and handed on as it comes. Later passes read
the file, then go on with the stream where the file ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from distilabel_endpoints.errors import StorageError
from distilabel_endpoints.rows.intake import Intake, ReadOptions
from distilabel_endpoints.rows.lines import frame_lines
from distilabel_endpoints.rows.model import BadRow, Row, RowSource, Skip

__all__ = ["SpooledSource"]


class _Spool:
    """The stream, and the file with all that has come from it."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        try:
            with suppress(FileNotFoundError):
                path.unlink()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(path, flags, 0o600), "r+b")
        except OSError as error:
            raise self._failed(error) from error
        self._size = 0

    def lines(self) -> _Lines:
        return _Lines(self)

    def pull(self, limit: int) -> bytes:
        """The next piece of the stream, kept."""
        piece = self._stream.readline(limit)
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.write(piece)
        except OSError as error:
            raise self._failed(error) from error
        self._size += len(piece)
        return piece

    def kept(self, position: int, limit: int) -> bytes:
        """What is kept from `position` on, to the end of its line; empty at the end."""
        if position >= self._size:
            return b""
        try:
            self._file.seek(position)
            return self._file.readline(limit)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StorageError:
        reason = f"cannot keep standard input: {error.strerror}"
        return StorageError(error.errno or 0, reason, str(self._path))

    def close(self) -> None:
        self._file.close()


class _Lines:
    """One pass: `readline` from the start."""

    def __init__(self, spool: _Spool) -> None:
        self._spool = spool
        self._position = 0

    def readline(self, limit: int) -> bytes:
        piece = self._spool.kept(self._position, limit)
        if not piece.endswith(b"\n") and len(piece) < limit:
            piece += self._spool.pull(limit - len(piece))
        self._position += len(piece)
        return piece


class SpooledSource(RowSource):
    """JSON Lines from a stream, kept in `path` so that each pass starts from the first row."""

    def __init__(self, name: str, stream: BinaryIO, path: Path, options: ReadOptions) -> None:
        self._name = name
        self._options = options
        self._spool = _Spool(stream, path)

    def describe(self) -> str:
        return self._name

    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        lines: Any = self._spool.lines()
        frames = frame_lines(cast("BinaryIO", lines), self._options.max_row_bytes)
        return Intake(self._options, skip).frames(frames, self._name)

    def close(self) -> None:
        """Close the file; it stays, for whoever made its name to remove."""
        self._spool.close()
