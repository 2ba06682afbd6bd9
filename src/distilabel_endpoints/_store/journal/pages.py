"""What a damaged SQLite file still holds: every row of every leaf page, whatever else is broken.

A row is found by its page alone, without the tree above it, so a bad byte costs the rows it lies
in and no others. Nothing here trusts a number it reads, and nothing here says that a row is right:
that is for the row's checksum. Format: https://www.sqlite.org/fileformat2.html sections 1.6, 2.1.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["Cell", "cells"]

Value = bytes | int | float | None
Cell = tuple[int, tuple[Value, ...]]
"""A row id and its columns; text comes as bytes."""

_PAGE: Final = 4096
_TABLE_LEAF: Final = 0x0D
_FILE_HEADER: Final = 100
_MOST_COLUMNS: Final = 16
_MOST_LOCAL: Final = _PAGE - 35
_LEAST_LOCAL: Final = (_PAGE - 12) * 32 // 255 - 23
_PER_OVERFLOW_PAGE: Final = _PAGE - 4
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

ReadPage = Callable[[int], bytes]


def cells(path: Path) -> Iterator[Cell | None]:
    """Every row of the file's table leaves in page order, `None` for one that cannot be read.

    Rows that were deleted may come too.
    """
    with path.open("rb") as file:

        def read_page(number: int) -> bytes:
            return os.pread(file.fileno(), _PAGE, (number - 1) * _PAGE).ljust(_PAGE, b"\0")

        pages = os.fstat(file.fileno()).st_size // _PAGE + 1
        for number in range(1, pages + 1):
            yield from _leaf(read_page(number), _FILE_HEADER if number == 1 else 0, read_page)


def _leaf(page: bytes, start: int, read_page: ReadPage) -> Iterator[Cell | None]:
    if page[start] != _TABLE_LEAF:
        return
    (rows,) = struct.unpack_from(">H", page, start + 3)
    for position in range(start + 8, min(start + 8 + 2 * rows, _PAGE - 1), 2):
        (at,) = struct.unpack_from(">H", page, position)
        try:
            yield _cell(page, at, read_page)
        except (IndexError, ValueError, struct.error):
            yield None


def _cell(page: bytes, at: int, read_page: ReadPage) -> Cell:
    size, at = _varint(page, at)
    row_id, at = _varint(page, at)
    local = _local_bytes(size)
    content = page[at : at + local]
    if local < size:
        (following,) = struct.unpack_from(">I", page, at + local)
        content += _overflow(following, size - local, read_page)
    if len(content) != size:
        raise ValueError("the row is cut short")
    signed = row_id - 2**64 if row_id >= 2**63 else row_id
    return signed, tuple(_columns(content))


def _local_bytes(size: int) -> int:
    """How much of a row stands in its leaf; the rest is in overflow pages."""
    if size <= _MOST_LOCAL:
        return size
    fitting = _LEAST_LOCAL + (size - _LEAST_LOCAL) % _PER_OVERFLOW_PAGE
    return fitting if fitting <= _MOST_LOCAL else _LEAST_LOCAL


def _overflow(number: int, size: int, read_page: ReadPage) -> bytes:
    parts = []
    while size > 0:
        page = read_page(number) if number else b""
        if not any(page):
            raise ValueError("the chain of overflow pages ends early")
        (number,) = struct.unpack_from(">I", page)
        parts.append(page[4 : 4 + size])
        size -= len(parts[-1])
    return b"".join(parts)


def _columns(content: bytes) -> Iterator[Value]:
    kinds = []
    header, at = _varint(content, 0)
    while at < header:
        kind, at = _varint(content, at)
        kinds.append(kind)
        if len(kinds) > _MOST_COLUMNS:
            raise ValueError("more columns than any table has")
    for kind in kinds:
        size = _column_bytes(kind)
        if at + size > len(content):
            raise ValueError("a column is longer than its row")
        yield _value(kind, content[at : at + size])
        at += size


def _column_bytes(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return 8 if kind == 7 else _INTEGER_BYTES.get(kind, 0)


def _value(kind: int, content: bytes) -> Value:
    if kind >= 12:
        return content
    if kind in _INTEGER_BYTES:
        return int.from_bytes(content, "big", signed=True)
    if kind == 7:
        return float(struct.unpack(">d", content)[0])
    return {8: 0, 9: 1}.get(kind)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, seven bits each, eight in the ninth; and where it ends."""
    value = 0
    for end in range(at + 1, at + 9):
        byte = content[end - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, end
    return value << 8 | content[at + 8], at + 9
