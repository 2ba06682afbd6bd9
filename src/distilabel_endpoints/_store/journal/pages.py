"""What a damaged SQLite file still holds: every row of every leaf page, whatever else is broken.

A row is found by its page alone, without the tree above it, so a bad byte costs the rows it lies
in and no others. No number that is read here is trusted, and no row is taken to be right: that is
for its checksum. Format: https://www.sqlite.org/fileformat2.html sections 1.6, 2.1.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

__all__ = ["Cell", "cells"]

Value = bytes | int | float | None
Cell = tuple[int, tuple[Value, ...]]
"""A row id and its columns; text comes as bytes."""

_PAGE: Final = 4096
# The type byte of a leaf page of a table; those of indexes and inner pages hold no rows.
_TABLE_LEAF: Final = 0x0D
# The widest table has eight: more means that the bytes are not a row.
_MOST_COLUMNS: Final = 16
# How much of a row stands in its leaf before the rest goes to overflow pages: section 1.6.
_MOST_LOCAL, _LEAST_LOCAL = _PAGE - 35, (_PAGE - 12) * 32 // 255 - 23
# Of a column, by its kind; kinds beyond are texts. Section 2.1.
_BYTES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)


def cells(path: Path) -> Iterator[Cell | None]:
    """Every row of the file's table leaves in page order, `None` for one that cannot be read.

    Rows that were deleted may come too.
    """
    with path.open("rb") as file:
        page_of = partial(_page, file.fileno())
        # Not only whole pages: a file that was cut may end in a part of one.
        for number in range(1, os.fstat(file.fileno()).st_size // _PAGE + 2):
            leaf, start = page_of(number), 100 if number == 1 else 0  # after the file's header
            rows = int.from_bytes(leaf[start + 3 : start + 5]) if leaf[start] == _TABLE_LEAF else 0
            for at in range(start + 8, min(start + 8 + 2 * rows, _PAGE - 1), 2):
                try:
                    yield _cell(leaf, int.from_bytes(leaf[at : at + 2]), page_of)
                except (IndexError, ValueError):
                    yield None


def _page(file: int, number: int) -> bytes:
    return os.pread(file, _PAGE, (number - 1) * _PAGE).ljust(_PAGE, b"\0") if number else b""


def _cell(leaf: bytes, at: int, page_of: Callable[[int], bytes]) -> Cell:
    size, at = _varint(leaf, at)
    row_id, at = _varint(leaf, at)
    fitting = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (_PAGE - 4)
    local = size if size <= _MOST_LOCAL else fitting if fitting <= _MOST_LOCAL else _LEAST_LOCAL
    content, following = bytearray(leaf[at : at + local]), leaf[at + local : at + local + 4]
    while len(content) < size and any(page := page_of(int.from_bytes(following))):
        content += page[4 : 4 + size - len(content)]
        following = page[:4]
    if len(content) != size:
        raise ValueError("the row is cut short")
    # Nine bytes hold 64 bits, which are a signed number.
    return row_id - 2**64 if row_id >= 2**63 else row_id, tuple(_columns(bytes(content)))


def _columns(content: bytes) -> Iterator[Value]:
    header, at = _varint(content, 0)
    kinds: list[int] = []
    while at < header:
        kind, at = _varint(content, at)
        kinds.append(kind)
        if len(kinds) > _MOST_COLUMNS:
            raise ValueError("more columns than any table has")
    for kind in kinds:
        end = at + (_BYTES[kind] if kind < len(_BYTES) else (kind - len(_BYTES)) // 2)
        if end > len(content):
            raise ValueError("a column is longer than its row")
        yield _value(kind, content[at:end])
        at = end


def _value(kind: int, cell: bytes) -> Value:
    if kind >= len(_BYTES):
        return cell
    if kind == 7:
        return float(struct.unpack(">d", cell)[0])
    # 8 and 9 are the numbers 0 and 1 themselves, without a byte; 0 is null.
    return int.from_bytes(cell, signed=True) if _BYTES[kind] else {8: 0, 9: 1}.get(kind)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, seven bits each, eight in the ninth; and where it ends."""
    value = 0
    for end in range(at + 1, at + 9):
        value = value << 7 | content[end - 1] & 0x7F
        if content[end - 1] < 0x80:
            return value, end
    return value << 8 | content[at + 8], at + 9
