"""Reading a journal, its own run's or another's, while it is written or at rest.

Rules
- Memory is bounded by a chunk, whatever the number of rows.
- No lock is held between chunks, so neither side waits longer than a chunk or a commit takes.
- A record that fails its checksum is never handed out. A broken file is rebuilt once, if no run
  is writing it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from distilabel_endpoints._store.journal.database import LAST_ORDINAL, Database, UnfinishedError
from distilabel_endpoints._store.journal.header import Header, unreadable
from distilabel_endpoints._store.journal.record import Entry, Record, intact
from distilabel_endpoints._store.journal.recovery import repair
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints._store.store import Closing, StoreStatistics
from distilabel_endpoints.errors import DamagedError, LockedError, StorageError
from distilabel_endpoints.records import Result
from distilabel_endpoints.run_state import FailureGroup, FailureTally

__all__ = ["NOTHING_STORED", "Reader", "Replay", "RowStatus", "StoreStatistics"]

T = TypeVar("T")


class RowStatus(StrEnum):
    """What a journal knows of an input row."""

    ABSENT = "absent"
    OK = "ok"
    FAILED = "failed"
    CHANGED = "changed"
    """The row that has an `ok` result under this ordinal was another. A failed one may change."""


class Reader(Closing):
    """Opens the journal beside `output`; never blocks its writer.

    Raises:
        StorageError: there is none, or it cannot be read.
        DamagedError: it is broken and cannot be rebuilt now.
    """

    def __init__(self, output: Path) -> None:
        self._path = journal_path(output)
        self._database = Database(self._path, writable=False)
        self._repaired = False
        self.damaged = 0
        """Records left out of `results` so far because they failed their checksum."""
        try:
            self.header: Header = self._read_header()
            """The run's spec, and when and by what it was begun."""
        except BaseException:
            self.close()
            raise

    def note(self, name: str) -> Any:
        """The JSON value last committed under `name`; `None` if there is none."""
        document = self._sound(lambda database: database.note(name))
        return None if document is None else json.loads(document)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Ordinal, status and content hash of every result from `start` on, in order.

        Only the structure they are read through is checked, not the checksums.
        """
        while entries := self._entries(start):
            yield from entries
            start = entries[-1].ordinal + 1

    def result(self, ordinal: int) -> Result | None:
        """The intact result of one row; `None` if there is none."""
        return next((record.result for record in self.results(ordinal, ordinal + 1)), None)

    def results(self, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        """Every intact result with `start <= ordinal < stop`, in order."""
        end = LAST_ORDINAL if stop is None else stop
        return self._records(start, end, failed_only=False)

    def statistics(self, stop: int | None = None) -> StoreStatistics:
        """Counts and sums over the rows before ordinal `stop`, and the failed ones by reason."""
        end = LAST_ORDINAL if stop is None else stop
        totals = self._sound(lambda database: database.totals(end))
        return StoreStatistics(
            ok=totals.ok,
            failed=totals.failed,
            attempts=totals.attempts,
            input_tokens=totals.input_tokens,
            output_tokens=totals.output_tokens,
            failures=self._failures(end) if totals.failed else (),
        )

    def replay(self) -> Replay:
        """What is done, to be asked row by row."""
        return Replay(self._entries, self._sound(lambda database: database.last()))

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _entries(self, start: int) -> list[Entry]:
        return self._sound(lambda database: database.entries(start))

    def _records(self, start: int, stop: int, *, failed_only: bool) -> Iterator[Record]:
        def chunk(database: Database) -> list[Record]:
            return database.records(start, stop, failed_only=failed_only)

        while records := self._sound(chunk):
            for record in records:
                if intact(record):
                    yield record
                else:
                    self.damaged += 1
            start = records[-1].ordinal + 1

    def _failures(self, stop: int) -> tuple[FailureGroup, ...]:
        tally = FailureTally()
        for record in self._records(0, stop, failed_only=True):
            tally.add(next(filter(None, record.result.failures)), record.ordinal)
        return tally.groups()

    def _read_header(self) -> Header:
        headers = self._recovering(lambda database: database.headers())
        for header in filter(None, headers):
            return header
        raise unreadable(self._path)

    def _sound(self, read: Callable[[Database], T]) -> T:
        """`read` from a file that is whole and still this run's."""
        if not self._database.in_place():
            self._reopen()
            if self._read_header() != self.header:
                raise StorageError(f"{self._path} was started over by another run. Start over.")
        return self._recovering(read)

    def _recovering(self, read: Callable[[Database], T]) -> T:
        try:
            return read(self._database)
        except UnfinishedError:
            # A connection that may write undoes the half-written commit when it opens the file.
            Database(self._path, writable=True).close()
        except DamagedError as error:
            if self._repaired:
                raise
            self._repaired = True
            self._rebuild(error)
        return read(self._database)

    def _rebuild(self, damage: DamagedError) -> None:
        try:
            repair(self._path)
        except LockedError as error:
            raise DamagedError(
                f"{damage} {error} The next run on this output rebuilds it and keeps what is whole."
            ) from damage
        self._reopen()

    def _reopen(self) -> None:
        self._database.close()
        self._database = Database(self._path, writable=False)


class Replay:
    """Answers for each input row, asked in order, what is stored for it.

    A chunk of entries is read ahead, so what this run itself appends may not be seen. Reading one
    may wait for a commit under way.
    """

    def __init__(self, read: Callable[[int], list[Entry]], last: int) -> None:
        self._read = read
        self._last = last
        self._entries: dict[int, Entry] = {}
        self._covered = range(0)

    def find(self, ordinal: int, content_hash: bytes) -> RowStatus:
        """How the row `ordinal`, whose content has `content_hash`, stands."""
        if ordinal > self._last:
            return RowStatus.ABSENT
        if ordinal not in self._covered:
            self._load(ordinal)
        entry = self._entries.get(ordinal)
        if entry is None:
            return RowStatus.ABSENT
        _, ok, stored_hash = entry
        if stored_hash != content_hash:
            return RowStatus.CHANGED if ok else RowStatus.ABSENT
        return RowStatus.OK if ok else RowStatus.FAILED

    def _load(self, ordinal: int) -> None:
        entries = self._read(ordinal)
        self._entries = {entry[0]: entry for entry in entries}
        end = entries[-1].ordinal if entries else self._last
        self._covered = range(ordinal, end + 1)


NOTHING_STORED = Replay(lambda _: [], -1)
"""For a run that starts over."""
