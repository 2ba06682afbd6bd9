"""The SQLite file. Nothing else in the project touches sqlite3.

Rules
- Rollback journal, never WAL: WAL needs memory shared between processes, which a network file
  system cannot give. PERSIST, because with `synchronous=FULL` its commit ends in an fsync (that of
  DELETE ends in an unlink that a power cut can undo) and no file is made or removed per commit.
- A reader's connection is read-only in the file too. One that could write would play a rollback
  journal back into whatever file it has open, even after another was put in its place.
- A statement that reads is finished before its chunk is handed out, so that a reader holds
  SQLite's lock for milliseconds and a writer waits for it, never fails on it.
- Text and types in a damaged file are not what the schema says: text comes back as bytes, and
  what the values are is for `record.intact` to decide.
- Every error leaves as `DamagedError` (the content) or `StorageError` (the disk).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from sys import getsizeof
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from distilabel_endpoints._store.journal.header import Header, is_sealed, sealed
from distilabel_endpoints._store.journal.record import Entry, Record
from distilabel_endpoints._store.place import beside, create_private, identity, sync
from distilabel_endpoints.errors import DamagedError, StorageError

__all__ = [
    "LAST_ORDINAL",
    "Database",
    "Note",
    "Totals",
    "UnfinishedError",
    "fill",
    "rollback_journal",
]

LAST_ORDINAL: Final = 2**63 - 1

# As SQLite's default, and as `pages.py` expects when it reads a damaged file.
_PAGE_BYTES: Final = 4096
# Rows are read and written in order: few pages are come back to.
_SMALL_CACHE: Final = "PRAGMA cache_size = -512"
# "dlej" in ASCII: `file` and we recognise a journal by it.
_APPLICATION_ID: Final = 0x646C656A
# A backup or a virus scanner may hold the file for a while.
_BUSY_SECONDS: Final = 30.0
_CHUNK_ENTRIES: Final = 4096
_CHUNK_RECORDS: Final = 1024
_CHUNK_BYTES: Final = 4 * 1024 * 1024

_RESULTS: Final = (
    "CREATE TABLE results (ordinal INTEGER PRIMARY KEY, ok INTEGER, content_hash BLOB,"
    " attempts INTEGER, input_tokens INTEGER, output_tokens INTEGER, checksum BLOB, payload BLOB)"
)
# The header stands twice, in tables whose only pages are apart: one bad page takes one.
_SCHEMA: Final = (
    ("header", "CREATE TABLE header (value BLOB, checksum BLOB)"),
    ("results", _RESULTS),
    ("notes", "CREATE TABLE notes (name TEXT, value BLOB, checksum BLOB)"),
    ("header_copy", "CREATE TABLE header_copy (value BLOB, checksum BLOB)"),
)
_READ_HEADERS: Final = (
    "SELECT value, checksum FROM header",
    "SELECT value, checksum FROM header_copy",
)
_WRITE_HEADERS: Final = (
    ("DELETE FROM header", "INSERT INTO header VALUES (?, ?)"),
    ("DELETE FROM header_copy", "INSERT INTO header_copy VALUES (?, ?)"),
)
_ENTRIES: Final = (
    "SELECT ordinal, ok, content_hash FROM results"
    " WHERE ordinal >= ? AND ordinal < ? ORDER BY ordinal LIMIT ?"
)
_RECORDS: Final = (
    "SELECT * FROM results WHERE ordinal >= ? AND ordinal < ? ORDER BY ordinal LIMIT ?"
)
_FAILED: Final = (
    "SELECT * FROM results WHERE ordinal >= ? AND ordinal < ? AND ok = 0 ORDER BY ordinal LIMIT ?"
)
_TOTALS: Final = (
    "SELECT coalesce(sum(ok <> 0), 0), coalesce(sum(ok = 0), 0), coalesce(sum(attempts), 0),"
    " coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) FROM results"
    " WHERE ordinal < ?"
)
# For one and the same input row: `ok` beats `failed`, and the first `ok` stays.
_UPSERT: Final = (
    "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (ordinal) DO UPDATE SET"
    " ok = excluded.ok, content_hash = excluded.content_hash, attempts = excluded.attempts,"
    " input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,"
    " checksum = excluded.checksum, payload = excluded.payload"
    " WHERE results.ok = 0 OR results.content_hash <> excluded.content_hash"
)
_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
)

Note = tuple[str, bytes]
"""A name and a JSON document."""

# What `_make` does, four times as fast: this is most of what reading a row costs.
_as_entry: Final = partial(tuple.__new__, Entry)
_as_record: Final = partial(tuple.__new__, Record)


class Totals(NamedTuple):
    """Sums over every stored result."""

    ok: int
    failed: int
    attempts: int
    input_tokens: int
    output_tokens: int


class UnfinishedError(StorageError):
    """A writer died in a commit, and a connection that may only read cannot undo it."""


class Database:
    """One connection to a journal. Used by one thread at a time."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._identity = identity(path)
        if self._identity is None:
            raise StorageError(f"There is no journal at {path}.")
        with _translated(path):
            self._db = _connect(path, "rw" if writable else "ro")
            try:
                # A foreign or damaged journal: its schema must not call functions, and a bad page
                # is an error instead of rows that look right.
                self._db.execute("PRAGMA trusted_schema = OFF")
                self._db.execute("PRAGMA cell_size_check = ON")
                if writable:
                    self._prepare_to_write()
                self._check_place()
            except BaseException:
                self._db.close()
                raise

    def _prepare_to_write(self) -> None:
        """The first access that may write: it also undoes what a dead writer left half done."""
        # Not WAL: it needs shared memory, which network file systems do not have. PERSIST keeps the
        # rollback journal's file, so that a commit changes no folder.
        self._db.execute("PRAGMA journal_mode = PERSIST").fetchall()
        # Durable before `on_committed`: NORMAL may lose the last commits in a power cut.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(_SMALL_CACHE)

    def in_place(self) -> bool:
        """Whether the file of that name is still the one that was opened."""
        return identity(self.path) == self._identity

    def check(self) -> None:
        """Raise `DamagedError` unless the file a writer opened is built as it should be."""
        with _translated(self.path):
            names = ("page_size", "auto_vacuum", "encoding", "application_id", "journal_mode")
            built = [self._one(f"PRAGMA {name}") for name in names]
            schema = self._db.execute("SELECT name, sql FROM sqlite_master ORDER BY rowid")
            tables = [(os.fsdecode(name), os.fsdecode(sql)) for name, sql in schema]
            sound = self._one("PRAGMA quick_check(1)")
        if built != [_PAGE_BYTES, 0, b"UTF-8", _APPLICATION_ID, b"persist"] or tables != [*_SCHEMA]:
            raise DamagedError(f"{self.path} is not built like a journal.")
        if sound != b"ok":
            raise DamagedError(f"{self.path} is damaged: {os.fsdecode(sound)}.")

    def headers(self) -> list[Header | None]:
        """Both copies of the header, `None` for one that is not what was written."""
        with _translated(self.path):
            copies = [self._db.execute(sql).fetchall() for sql in _READ_HEADERS]
            self._db.execute(_SMALL_CACHE)
        return [Header.decode(*rows[0]) if len(rows) == 1 else None for rows in copies]

    def write_header(self, header: Header) -> None:
        """Put `header` in both its places."""
        with self._transaction():
            _insert_header(self._db, header)

    def commit(self, records: Iterable[Record], notes: Iterable[Note] = ()) -> None:
        """Make `records` and `notes` durable, all or none.

        Raises:
            StorageError: it cannot be known to have been written; the store is not to be used
                again. Also if the file was deleted or replaced under its name.
        """
        self._check_place()
        with self._transaction():
            self._db.executemany(_UPSERT, records)
            _insert_notes(self._db, notes)
        self._check_place()

    def discard(self, ordinals: Iterable[int]) -> None:
        """Forget these results."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM results WHERE ordinal = ?", ((ordinal,) for ordinal in ordinals)
            )

    def discard_failed(self, start: int) -> None:
        """Forget the failed results from ordinal `start` on."""
        with self._transaction():
            self._db.execute("DELETE FROM results WHERE ordinal >= ? AND ok = 0", (start,))

    def note(self, name: str) -> bytes | None:
        """The document `commit` was given under `name`, if it is still what was written."""
        with _translated(self.path):
            cursor = self._db.execute("SELECT value, checksum FROM notes WHERE name = ?", (name,))
            rows = cursor.fetchall()
        for value, checksum in rows:
            if is_sealed(value, checksum):
                return value
        return None

    def entries(self, start: int, stop: int = LAST_ORDINAL) -> list[Entry]:
        """The next few thousand entries from ordinal `start` up to, not including, `stop`."""
        with _translated(self.path):
            rows = self._db.execute(_ENTRIES, (start, stop, _CHUNK_ENTRIES)).fetchall()
        if rows and rows[-1][0] < start:
            raise self._out_of_order()
        return [*map(_as_entry, rows)]

    def records(
        self, start: int, stop: int = LAST_ORDINAL, *, failed_only: bool = False
    ) -> list[Record]:
        """The next records likewise, as many as fit a few megabytes and at least one."""
        rows: list[tuple[Any, ...]] = []
        room = _CHUNK_BYTES
        sql, bounds = _FAILED if failed_only else _RECORDS, (start, stop, _CHUNK_RECORDS)
        with _translated(self.path), closing(self._db.execute(sql, bounds)) as cursor:
            for row in cursor:
                if row[0] < start:
                    raise self._out_of_order()
                start = row[0] + 1
                rows.append(row)
                room -= getsizeof(row[-1])
                if room < 0:
                    break
        return [*map(_as_record, rows)]

    def totals(self, stop: int = LAST_ORDINAL) -> Totals:
        """Sums over the results before ordinal `stop`, in one pass."""
        with _translated(self.path):
            return Totals._make(self._db.execute(_TOTALS, (stop,)).fetchone())

    def last(self) -> int:
        """The highest ordinal, -1 if there is none."""
        with _translated(self.path):
            return int(self._one("SELECT coalesce(max(ordinal), -1) FROM results"))

    def close(self) -> None:
        """Close the connection; what was not committed is rolled back."""
        with _translated(self.path):
            self._db.close()

    def tidy(self) -> None:
        """Remove the empty rollback journal. The last thing a writer does."""
        with _translated(self.path):
            self._one("PRAGMA journal_mode = DELETE")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _translated(self.path):
            # The write lock at once: a transaction that begins as a reader can fail to become a
            # writer.
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")

    def _one(self, sql: str) -> Any:
        row = self._db.execute(sql).fetchone()
        return row[0] if row else None

    def _out_of_order(self) -> DamagedError:
        """A damaged tree can answer rows twice, or again and again for ever."""
        return DamagedError(f"{self.path} is damaged: its results are out of order.")

    def _check_place(self) -> None:
        """Writes to a deleted file succeed, and are lost."""
        if not self.in_place():
            raise StorageError(
                f"{self.path} was deleted or replaced while it was in use. "
                "What was committed there is in the file that was taken away."
            )


def fill(path: Path, header: Header, records: Iterable[Record], notes: Iterable[Note] = ()) -> None:
    """Make a journal at `path`, where nothing reads yet, and make it durable.

    A crash leaves an incomplete file: give it its final name only afterwards.
    """
    create_private(path)
    with _translated(path), closing(_connect(path, "rw")) as db:
        for setting in (
            f"page_size = {_PAGE_BYTES}",
            f"application_id = {_APPLICATION_ID}",
            # Nobody reads it before it is renamed, and then it has been synced as a whole.
            "journal_mode = OFF",
            "synchronous = OFF",
        ):
            db.execute(f"PRAGMA {setting}")
        db.execute("BEGIN IMMEDIATE")
        for _, statement in _SCHEMA:
            db.execute(statement)
        _insert_header(db, header)
        db.executemany(_UPSERT, records)
        _insert_notes(db, notes)
        db.execute("COMMIT")
    sync(path)


def rollback_journal(path: Path) -> Path:
    """SQLite's own file beside the journal: left by a crash, it undoes what was half written."""
    return beside(path, "-journal")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # As a URI, for `mode`: without it, SQLite makes a file that is not there. Quoted, as `?` and
    # `#` may be part of a name.
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
    db = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
    )
    # Text of a damaged file may not be UTF-8, and would raise where a checksum should decide.
    db.text_factory = bytes
    return db


def _insert_header(db: sqlite3.Connection, header: Header) -> None:
    for delete, insert in _WRITE_HEADERS:
        db.execute(delete)
        db.execute(insert, header.encode())


def _insert_notes(db: sqlite3.Connection, notes: Iterable[Note]) -> None:
    for name, value in notes:
        db.execute("DELETE FROM notes WHERE name = ?", (name,))
        db.execute("INSERT INTO notes VALUES (?, ?, ?)", (name, value, sealed(value)))


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        # SQLite quotes a damaged schema in its message, and sqlite3 cannot decode the quotation.
        raise DamagedError(f"{path} is damaged: its schema is not text.") from error
    except sqlite3.Error as error:
        # Misuse by us has no code of SQLite: that is a defect, and is raised as it is.
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise
        if code == sqlite3.SQLITE_READONLY_ROLLBACK:
            raise UnfinishedError(f"{path}: its last writer was stopped in a commit.") from error
        # Extended codes have the primary one in their last byte:
        # https://www.sqlite.org/rescode.html
        primary = code & 0xFF
        if primary in _DAMAGE:
            raise DamagedError(f"{path} is damaged: {error}.") from error
        hint = {
            sqlite3.SQLITE_FULL: " Free some space.",
            sqlite3.SQLITE_BUSY: f" Another program held it for {_BUSY_SECONDS:.0f} seconds.",
        }.get(primary, "")
        raise StorageError(
            f"{path}: {error} ({error.sqlite_errorname}).{hint} "
            "What was committed is safe; run the same command again to resume."
        ) from error
