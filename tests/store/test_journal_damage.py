"""Damaged journals: no crash, no wrong row; what is whole is kept, and the rest is counted."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import BY_HAND, SPEC, failed, hash_of, ok, stored, varied, write

from distilabel_endpoints._store.journal import Journal, Reader, Repair
from distilabel_endpoints._store.journal.pages import cells
from distilabel_endpoints._store.journal.record import Record, intact, seal
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import DamagedError, StorageError
from distilabel_endpoints.records import Result
from fuzzing import examples

PAGE = 4096
ROWS = 60
# Values of a table, as they come back: text as bytes.
VALUES = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=12_000)
    | st.sampled_from([b"", b"x" * PAGE, b"y" * 40_000])
)


@dataclass(frozen=True)
class Sample:
    """A journal in good order, and a place to break copies of it."""

    content: bytes = field(repr=False)
    output: Path

    def resume(self, content: bytes) -> tuple[Repair, dict[int, Result]]:
        """What a resume makes of a journal of these bytes. It must leave a sound one."""
        journal_path(self.output).write_bytes(content)
        with Journal(self.output, SPEC) as journal:
            repair = journal.repair
        found = stored(self.output)
        with Journal(self.output, SPEC) as journal:
            assert journal.repair == Repair()
        assert stored(self.output) == found
        return repair, found

    def check(self, content: bytes, *, header_lost: bool) -> None:
        """No crash, no wrong row, and a refusal only if no header is left."""
        try:
            repair, found = self.resume(content)
        except DamagedError:
            assert header_lost
            return
        assert all(result == varied(ordinal) for ordinal, result in found.items())
        if len(found) < ROWS:
            assert repair.rebuilt or repair.damaged == ROWS - len(found)


@pytest.fixture(scope="module")
def quick_disk() -> Iterator[Path]:
    """A directory in memory where there is one: damage needs no fsync."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        yield Path(place)


@pytest.fixture(scope="module")
def sample(quick_disk: Path) -> Sample:
    """Sixty rows of all sizes."""
    output = quick_disk / "sample.jsonl"
    write(output, map(varied, range(ROWS)))
    return Sample(journal_path(output).read_bytes(), output)


@pytest.fixture(scope="module")
def small(quick_disk: Path) -> Sample:
    """Few rows, on few pages."""
    output = quick_disk / "small.jsonl"
    write(output, map(ok, range(30)))
    return Sample(journal_path(output).read_bytes(), output)


def flipped(content: bytes, flips: Sequence[tuple[int, int]]) -> bytes:
    """`content` with some bytes changed."""
    changed = bytearray(content)
    for offset, mask in flips:
        changed[offset % len(content)] ^= mask
    return bytes(changed)


def hit(content: bytes, flips: Sequence[tuple[int, int]]) -> bool:
    """Whether flips lie in both pages that hold the header."""
    pages = {offset % len(content) // PAGE for offset, _ in flips}
    return {1, 4} <= pages


def test_header_stands_on_two_pages(sample: Sample) -> None:
    """The two copies of the header are pages apart, and neither is in the first."""
    found = [n for n in range(6) if b"some/model" in sample.content[n * PAGE : (n + 1) * PAGE]]
    assert found == [1, 4]


@pytest.mark.promise("R14")
@settings(deadline=None, max_examples=examples(60))
@given(flip=st.tuples(st.integers(0, 2**32), st.integers(1, 255)))
def test_one_flipped_byte(sample: Sample, flip: tuple[int, int]) -> None:
    """One wrong byte anywhere is survived without asking and costs a page's rows at most."""
    repair, found = sample.resume(flipped(sample.content, [flip]))
    assert all(result == varied(ordinal) for ordinal, result in found.items())
    assert len(found) >= ROWS - 12
    assert len(found) == ROWS or repair != Repair()


@pytest.mark.promise("R14")
@settings(deadline=None, max_examples=examples(60))
@given(
    flips=st.lists(
        st.tuples(st.integers(0, 2**32) | st.integers(0, 6 * PAGE), st.integers(1, 255)),
        min_size=2,
        max_size=40,
    )
)
def test_flipped_bytes(sample: Sample, flips: list[tuple[int, int]]) -> None:
    """Any number of wrong bytes: no crash, no wrong row, everything lost is said."""
    header_lost = hit(sample.content, flips)
    sample.check(flipped(sample.content, flips), header_lost=header_lost)


@pytest.mark.promise("R14")
@settings(deadline=None, max_examples=examples(50))
@given(cut=st.integers(0, 2**32))
def test_truncated(sample: Sample, cut: int) -> None:
    """Cut anywhere, the rows before the cut are kept."""
    length = cut % len(sample.content)
    sample.check(sample.content[:length], header_lost=length < 2 * PAGE)


@settings(deadline=None, max_examples=examples(50))
@given(
    start=st.integers(0, 2**32),
    length=st.integers(1, 5 * PAGE),
    filler=st.sampled_from(b"\0\xff\r"),
)
def test_blotted_out(sample: Sample, start: int, length: int, filler: int) -> None:
    """A stretch of zeros or garbage, as a bad sector leaves it, costs what lay there."""
    start %= len(sample.content)
    blot = bytes([filler]) * min(length, len(sample.content) - start)
    content = sample.content[:start] + blot + sample.content[start + len(blot) :]
    sample.check(content, header_lost=start < 2 * PAGE and start + length > 4 * PAGE)


@pytest.mark.promise("R14")
@pytest.mark.prove
def test_every_byte_flipped(small: Sample) -> None:
    """One bit of each byte of a small journal in turn."""
    for offset in range(len(small.content)):
        flip = offset, 1 << offset % 8
        _, found = small.resume(flipped(small.content, [flip]))
        assert all(result == ok(ordinal) for ordinal, result in found.items())


@pytest.mark.promise("R14")
@pytest.mark.prove
def test_every_truncation(small: Sample) -> None:
    """Every length of a small journal in turn."""
    for length in range(2 * PAGE, len(small.content)):
        _, found = small.resume(small.content[:length])
        assert all(result == ok(ordinal) for ordinal, result in found.items())


@pytest.mark.parametrize("page", [0, 2], ids=["first page", "root of the results"])
def test_tree_destroyed(sample: Sample, page: int) -> None:
    """With the tree's root or the file's own header gone, every row is still found."""
    content = bytearray(sample.content)
    content[page * PAGE : (page + 1) * PAGE] = os.urandom(PAGE)
    repair, found = sample.resume(bytes(content))
    assert repair.rebuilt
    assert found == {n: varied(n) for n in range(ROWS)}
    kept = journal_path(sample.output).with_name("sample.jsonl.journal.damaged")
    assert kept.read_bytes() == content
    assert kept.stat().st_mode & 0o777 == 0o600


def test_wrong_answer_is_dropped_and_counted(sample: Sample) -> None:
    """A payload changed in place is one damaged record; its row can be done again."""
    at = sample.content.index('"ä'.encode())
    repair, found = sample.resume(flipped(sample.content, [(at + 3, 0x20)]))
    assert repair == Repair(damaged=1)
    (lost,) = set(range(ROWS)) - set(found)
    with Journal(sample.output, SPEC) as journal:
        journal.append(varied(lost), hash_of(lost))
    assert stored(sample.output) == {n: varied(n) for n in range(ROWS)}


def test_lost_page_is_noticed(sample: Sample) -> None:
    """Rows whose page the tree no longer reaches are found again, though nothing reads wrong."""
    root = 2 * PAGE
    assert sample.content[root] == 5
    changed = bytearray(sample.content)
    pointers = int.from_bytes(changed[root + 3 : root + 5], "big")
    changed[root + 3 : root + 5] = (pointers - 1).to_bytes(2, "big")
    repair, found = sample.resume(bytes(changed))
    assert repair.rebuilt
    assert len(found) == ROWS


def test_schema_that_is_not_text(sample: Sample) -> None:
    """A schema damaged into bytes that are not text is damage like any other."""
    changed = sample.content.replace(b"CREATE TABLE notes", b"CREATE TABL\xdb notes")
    assert changed != sample.content
    repair, found = sample.resume(changed)
    assert repair.rebuilt
    assert len(found) == ROWS


@pytest.mark.parametrize("page", [1, 4])
def test_one_header_is_enough(sample: Sample, page: int) -> None:
    """One damaged copy of the header is restored from the other."""
    at = sample.content.index(b"some/model", page * PAGE)
    sample.resume(flipped(sample.content, [(at, 0x01)]))
    assert journal_path(sample.output).read_bytes().count(b"some/model") == 2


def test_damaged_note(tmp_path: Path) -> None:
    """A note that is not what was written is not a note."""
    output = tmp_path / "out.jsonl"
    with Journal(output, SPEC) as journal:
        journal.write_note("export", "complete")
    path = journal_path(output)
    path.write_bytes(path.read_bytes().replace(b"complete", b"completf"))
    with Reader(output) as reader:
        assert reader.note("export") is None


def test_rebuild_that_fails(sample: Sample) -> None:
    """Where the new file cannot be written, the damaged one stays as it is."""
    path = journal_path(sample.output)
    content = b"\0" * PAGE + sample.content[PAGE:]
    path.write_bytes(content)
    obstacle = path.with_name(path.name + ".new")
    obstacle.mkdir()
    with pytest.raises(StorageError, match=r"journal\.new"):
        Journal(sample.output, SPEC)
    assert path.read_bytes() == content
    obstacle.rmdir()


def test_broken_twice(sample: Sample) -> None:
    """A reader rebuilds once: what breaks again is a disk that cannot be used."""
    path = journal_path(sample.output)
    path.write_bytes(sample.content)
    with Reader(sample.output) as reader:
        path.write_bytes(b"\0" * PAGE + sample.content[PAGE:])
        assert reader.statistics().ok > 0
        path.write_bytes(b"\0" * PAGE + sample.content[PAGE:])
        with pytest.raises(DamagedError):
            reader.statistics()


def test_without_header(sample: Sample) -> None:
    """With both copies gone a resume is refused, and the file is left as it is."""
    content = sample.content.replace(b"some/model", b"same/model")
    path = journal_path(sample.output)
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="--fresh"):
        Journal(sample.output, SPEC)
    with pytest.raises(DamagedError, match="--fresh"):
        Reader(sample.output)
    assert path.read_bytes() == content


def test_nothing_readable_without_header(sample: Sample) -> None:
    """Nor is a broken file rebuilt without one, for a reader or for a run."""
    content = sample.content.replace(b"some/model", b"same/model")
    journal_path(sample.output).write_bytes(b"\0" * PAGE + content[PAGE:])
    for opened in (lambda: Reader(sample.output), lambda: Journal(sample.output, SPEC)):
        with pytest.raises(DamagedError, match="which run it belongs to"):
            opened()


def test_rebuilt_with_precedence(tmp_path: Path) -> None:
    """Where old pages still hold a row's earlier failure, its later success is what is kept."""
    output = tmp_path / "out.jsonl"
    with Journal(output, SPEC, pace=BY_HAND) as journal:
        for make in (failed, ok):
            for ordinal in range(300):
                journal.append(make(ordinal), hash_of(ordinal))
            journal.flush()
    content = bytearray(journal_path(output).read_bytes())
    content[2 * PAGE : 3 * PAGE] = b"\0" * PAGE
    _, found = Sample(bytes(content), output).resume(bytes(content))
    assert found == {n: ok(n) for n in range(300)}


def test_damaged_copy_does_not_shadow(small: Sample) -> None:
    """Where two pages hold a row, one of them damaged, the whole one is kept."""
    content = bytearray(small.content)
    content[2 * PAGE : 3 * PAGE] = b"\0" * PAGE
    at = content.index(b"answer 7")
    content += small.content[at // PAGE * PAGE :]
    content[at : at + 8] = b"answer 8"
    repair, found = small.resume(bytes(content))
    assert repair == Repair(damaged=1, rebuilt=True)
    assert found == {n: ok(n) for n in range(30)}


def test_without_hard_links(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without hard links the rebuilt journal takes the damaged one's place."""

    def link(*_: object, **__: object) -> None:
        raise PermissionError

    kept = journal_path(sample.output).with_name("sample.jsonl.journal.damaged")
    kept.unlink(missing_ok=True)
    monkeypatch.setattr(os, "link", link)
    repair, found = sample.resume(b"\0" * PAGE + sample.content[PAGE:])
    assert repair.rebuilt
    assert len(found) == ROWS
    assert not kept.exists()


def test_other_schema_is_rebuilt(tmp_path: Path) -> None:
    """A trigger or an index somebody added is not run: only what was written is taken over."""
    output = tmp_path / "out.jsonl"
    write(output, map(ok, range(5)))
    with closing(sqlite3.connect(journal_path(output))) as db:
        db.execute("CREATE TRIGGER t AFTER INSERT ON results BEGIN DELETE FROM results; END")
    with Journal(output, SPEC) as journal:
        assert journal.repair == Repair(rebuilt=True)
        journal.append(ok(5), hash_of(5))
    assert stored(output) == {n: ok(n) for n in range(6)}


def test_wal_flag_is_undone(sample: Sample) -> None:
    """The two bytes that switch a database to WAL do not stay switched."""
    _, found = sample.resume(flipped(sample.content, [(18, 3), (19, 3)]))
    assert len(found) == ROWS
    assert journal_path(sample.output).read_bytes()[18:20] == b"\x01\x01"


def test_tree_that_goes_round(sample: Sample) -> None:
    """A reader that does not check the whole file first is not led in circles."""
    broken = sample.output.with_name("round.jsonl")
    write(broken, map(ok, range(2000)))
    path = journal_path(broken)
    content = bytearray(path.read_bytes())
    root = 2 * PAGE
    cell = int.from_bytes(content[root + 12 : root + 14], "big")
    first = content[root + cell : root + cell + 4]
    content[root + 8 : root + 12] = first
    path.write_bytes(content)
    with Reader(broken) as reader:
        assert [record.result for record in reader.results()] == [ok(n) for n in range(2000)]
    path.write_bytes(content)
    with Reader(broken) as reader:
        assert [entry.ordinal for entry in reader.entries()][:2000] != []


@settings(deadline=None, max_examples=examples(40))
@given(rows=st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.tuples(VALUES, VALUES, VALUES)))
def test_pages_are_read_as_sqlite_wrote_them(
    rows: dict[int, tuple[bytes | int | float | None, ...]],
) -> None:
    """The page reader finds each row of any table as SQLite gives it."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "db"
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA page_size = 4096")
            db.execute("BEGIN")
            db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b, c, d)")
            db.executemany(
                "INSERT INTO t VALUES (?, ?, ?, ?)", [(n, *row) for n, row in rows.items()]
            )
            db.execute("COMMIT")
        found = {cell[0]: cell[1][1:] for cell in cells(path) if cell and len(cell[1]) == 4}
    assert found == rows


@settings(deadline=None, max_examples=examples(60))
@given(st.binary(max_size=3 * PAGE), st.integers(0, 2))
def test_pages_of_garbage(garbage: bytes, leaves: int) -> None:
    """Bytes that were never a database are read to the end without an error."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "db"
        content = bytearray(garbage.ljust(3 * PAGE, b"\x81"))
        for leaf in range(leaves + 1):
            content[leaf * PAGE] = 0x0D
        path.write_bytes(content)
        for cell in cells(path):
            assert cell is None or isinstance(cell[0], int)


def leaf(*contents: bytes) -> bytes:
    """A page of a table's rows, their sizes and row ids included in `contents`."""
    page = bytearray(PAGE)
    page[0], page[3:5] = 0x0D, len(contents).to_bytes(2, "big")
    at = PAGE
    for number, content in enumerate(contents):
        at -= len(content)
        page[8 + 2 * number : 10 + 2 * number] = at.to_bytes(2, "big")
        page[at : at + len(content)] = content
    return bytes(page)


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    """Rows that run off their page, or columns that run off their row, spoil no other row."""
    path = tmp_path / "db"
    many = bytes([36, 1, 18, *[8] * 17, *[0] * 17])
    long = b"\x03\x04\x02\x1e\x00"
    path.write_bytes(bytes(PAGE) + leaf(b"\x20\x05", many, long, b"\x02\x07\x02\x09"))
    assert [*cells(path)] == [None, None, None, (7, (1,))]


COLUMNS = range(len(Record._fields))


@pytest.mark.parametrize("column", COLUMNS, ids=Record._fields)
@pytest.mark.parametrize("value", [None, -1, 2, 2**63 - 1, 1.0, "text", b"", b"x" * 99, 2**80])
def test_checksum_covers_every_column(column: int, value: object) -> None:
    """A record with any other value in any column, of whatever type, is not intact."""
    record = seal(ok(1), hash_of(1))
    assert intact(record)
    values: list[object] = [*record]
    values[column] = value
    assert not intact(Record._make(values))


def test_checksum_of_moved_payload() -> None:
    """Two whole records with their payloads swapped are two damaged ones."""
    first, second = (seal(ok(n), hash_of(n)) for n in (1, 2))
    assert not intact(first._replace(payload=second.payload))


def test_long_hash_is_refused() -> None:
    """A content hash longer than the checksum can bind is refused when it is given."""
    with pytest.raises(ValueError, match="key"):
        seal(ok(1), b"x" * 64)


def test_a_rebuild_keeps_what_was_noted(tmp_path: Path) -> None:
    """What a run has spent is not forgotten with a damaged file's structure."""
    output = tmp_path / "out.jsonl"
    with Journal(output, SPEC, pace=BY_HAND) as journal:
        journal.append(ok(0), hash_of(0))
        journal.write_note("spent", {"tokens": 8})
    path = journal_path(output)
    path.write_bytes(flipped(path.read_bytes(), [(20, 0xFF), (30, 0xFF), (100, 0xFF)]))
    with Journal(output, SPEC) as journal:
        assert journal.repair.rebuilt
        with journal.reader() as reader:
            assert reader.note("spent") == {"tokens": 8}


def test_a_rebuild_believes_no_damaged_note(tmp_path: Path) -> None:
    """What a run has spent is rather unknown than wrong; other notes are kept."""
    output = tmp_path / "out.jsonl"
    with Journal(output, SPEC, pace=BY_HAND) as journal:
        journal.write_note("spent", {"tokens": 8})
        journal.write_note("run", {"total": 1})
    path = journal_path(output)
    content = path.read_bytes()
    value = content.index(b'{"tokens"')
    path.write_bytes(flipped(content, [(20, 0xFF), (30, 0xFF), (100, 0xFF), (value + 11, 1)]))
    with Journal(output, SPEC) as journal:
        assert journal.repair.rebuilt
        with journal.reader() as reader:
            assert (reader.note("spent"), reader.note("run")) == (None, {"total": 1})
