"""Reading rows from pages alone: every border of SQLite's format, and what SQLite never writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from journals import SPEC, failed, ok, stored, write

from distilabel_endpoints._store.journal import Journal, Repair
from distilabel_endpoints._store.journal.pages import Cell, cells
from distilabel_endpoints._store.place import journal_path

PAGE = 4096


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output nothing was written for."""
    return tmp_path / "out.jsonl"


@pytest.fixture
def path(output: Path) -> Path:
    """Where its journal is to lie."""
    return journal_path(output)


def leaf(*rows: bytes, start: int = 0) -> bytes:
    """A page of a table's rows; each row with its size and row id."""
    page, at = bytearray(PAGE), PAGE
    page[start], page[start + 3 : start + 5] = 0x0D, len(rows).to_bytes(2, "big")
    for number, row in enumerate(rows):
        at -= len(row)
        pointer = start + 8 + 2 * number
        page[pointer : pointer + 2] = at.to_bytes(2, "big")
        page[at : at + len(row)] = row
    return bytes(page)


def row(row_id: int, *kinds: int, content: bytes = b"") -> bytes:
    """A short row of columns of these kinds."""
    body = bytes([1 + len(kinds), *kinds]) + content
    return bytes([len(body), row_id]) + body


NUMBERS = {1: b"\xff", 2: b"\xff\x7f", 3: b"\x80" + bytes(2), 4: b"\x7f" + bytes(3)}
LONG = b"\xbf\x00\x01\x03\xfe\x06" + b"a" * 3969
"""A row of 8,064 bytes: a column of 8,061, of which the last 4,092 fill a page of their own."""
LONGER = b"\xde\x7c\x01\x04\x81\xbd\x7c" + b"a" * 3968
"""And one of 12,156, whose last two parts fill a page each."""
ODD_PAGES: dict[str, tuple[bytes, list[Cell | None]]] = {
    "first-page": (leaf(row(1, 9), start=100), [(1, (1,))]),
    "second-page": (bytes(PAGE) + leaf(row(1, 8), row(2, 0)), [(1, (0,)), (2, (None,))]),
    "integers": (
        bytes(PAGE) + leaf(row(5, 1, 2, 3, 4, content=b"".join(NUMBERS.values()))),
        [(5, (-1, -129, -(2**23), 0x7F000000))],
    ),
    "large-integers": (
        bytes(PAGE) + leaf(row(5, 5, 6, content=b"\x80" + bytes(5) + b"\x7f" + bytes(7))),
        [(5, (-(2**47), 0x7F << 56))],
    ),
    "float": (bytes(PAGE) + leaf(row(5, 7, content=b"\xbf\xf8" + bytes(6))), [(5, (-1.5,))]),
    "reserved": (bytes(PAGE) + leaf(row(5, 10, 11)), [(5, (None, None))]),
    "texts": (
        bytes(PAGE) + leaf(row(5, 12, 13, 14, 17, content=b"abc")),
        [(5, (b"", b"", b"a", b"bc"))],
    ),
    "most-columns": (bytes(PAGE) + leaf(row(1, *[9] * 16), row(2, *[9] * 17)),
                     [(1, (1,) * 16), None]),
    "negative-row-id": (bytes(PAGE) + leaf(b"\x02" + b"\xff" * 9 + b"\x02\x09"), [(-1, (1,))]),
    "highest-row-id": (bytes(PAGE) + leaf(b"\x02\xbf" + b"\xff" * 8 + b"\x02\x09"),
                       [(2**63 - 1, (1,))]),
    "lowest-row-id": (bytes(PAGE) + leaf(b"\x02\xc0" + b"\x80" * 7 + b"\x00\x02\x09"),
                      [(-(2**63), (1,))]),
    "short-by-one": (bytes(PAGE) + leaf(b"\x03\x01\x02\x09"), [None]),
    "column-cut": (bytes(PAGE) + leaf(row(1, 2, content=b"x")), [None]),
    "chain-off-the-end": (bytes(PAGE) + leaf(LONG + b"\0\0\0\x09"), [None]),
    "chain-that-ends": (bytes(PAGE) + leaf(LONG + bytes(4)), [None]),
    "chain-far-off": (bytes(PAGE) + leaf(LONG + b"\xff" * 4), [None]),
    "chain": (
        bytes(PAGE) + leaf(LONG + b"\0\0\0\x03") + b"\0\0\0\x09" + b"z" * (PAGE - 4),
        [(1, (b"a" * 3969 + b"z" * 4092,))],
    ),
    "longer-chain": (
        bytes(PAGE) + leaf(LONGER + b"\0\0\0\x04") + bytes(PAGE)
        + b"\0\0\0\x05" + b"y" * (PAGE - 4) + bytes(4) + b"z" * (PAGE - 4),
        [(1, (b"a" * 3968 + b"y" * 4092 + b"z" * 4092,))],
    ),
    "longer-chain-far-off": (
        bytes(PAGE) + leaf(LONGER + b"\0\0\0\x03") + b"\xff" * 4 + b"y" * (PAGE - 4), [None],
    ),
    "pointer-off-the-page": (
        bytes(PAGE) + b"\x0d\0\0\0\x02\0\0\0\xff\xf0\x10\0".ljust(PAGE - 16, b"\0")
        + row(7, 9).ljust(16, b"\0"), [None, None],
    ),
    "broken-off": (bytes(PAGE) + (leaf()[:3] + b"\0\1\0\0\0\0\x20").ljust(32, b"\0")
                   + row(7, 9), [(7, (1,))]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "rows"), ODD_PAGES.values(), ids=ODD_PAGES)
def test_a_page_is_read_to_the_letter(path: Path, content: bytes, rows: list[Cell | None]) -> None:
    """Each kind of column, each form of a row id, and every way in which a row can end early."""
    path.write_bytes(content)
    assert [*cells(path)] == rows


def test_a_page_has_no_more_rows_than_fit(path: Path) -> None:
    """Whatever it says; a place in it for a row's pointer is read to its last byte."""
    page = (b"\x0d\0\0\xff\xff" + bytes(PAGE))[: PAGE - 2] + b"\xff\xff"
    path.write_bytes(bytes(PAGE) + page)
    found = [*cells(path)]
    assert len(found) == (PAGE - 8) // 2
    assert found[-1] is None


def test_rows_around_a_pages_size_are_read_as_sqlite_wrote_them(path: Path) -> None:
    """Where a row begins to overflow, and where its last overflow page is just full."""
    borders = [around + n for around in (488, 4060, 4580, 8150, 8672) for n in range(-9, 10)]
    blobs = {n: bytes([1 + n % 255]) * n for n in borders}
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
        db.executemany("INSERT INTO t VALUES (?, ?)", blobs.items())
        db.commit()
    found = {cell[0]: cell[1] for cell in cells(path) if cell and len(cell[1]) == 2}
    assert found == {n: (None, blob) for n, blob in blobs.items()}


def test_rows_that_are_no_results_are_no_loss(output: Path, path: Path) -> None:
    """Rows of any other number of columns, or with an ordinal of their own, are passed over."""
    write(output, [ok(0)])
    strange = leaf(row(3, 0, 9), row(4, *[9] * 8), row(5, *[0] * 9), row(6))
    path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:] + strange)
    with Journal(output, SPEC) as journal:
        assert journal.repair == Repair(rebuilt=True)
    assert stored(output) == {0: ok(0)}


def test_a_journals_pages_hold_its_schema_headers_and_rows(output: Path, path: Path) -> None:
    """Nothing else, and nothing twice."""
    write(output, [ok(4), failed(9)])
    found = [cell for cell in cells(path) if cell is not None]
    tables = [(b"table", name) for name in (b"header", b"results", b"notes", b"header_copy")]
    assert [cell[1][:2] for cell in found if len(cell[1]) == 5] == tables
    assert [cell[0] for cell in found if len(cell[1]) == 8] == [4, 9]
    assert [cell[0] for cell in found if len(cell[1]) == 2] == [1, 1]
    assert len(found) == 8
