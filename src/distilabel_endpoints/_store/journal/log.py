"""The durable log of a run's results: what one process that holds the lock does to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from distilabel_endpoints._store.journal.commit import (
    DEFAULT_PACE,
    Committer,
    NoteEnd,
    Pace,
    ignore,
)
from distilabel_endpoints._store.journal.database import Database, Note
from distilabel_endpoints._store.journal.header import Header
from distilabel_endpoints._store.journal.reader import Reader
from distilabel_endpoints._store.journal.record import Record, seal
from distilabel_endpoints._store.journal.recovery import Repair, make_sound
from distilabel_endpoints._store.lock import Lock, hold
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints._store.store import Closing
from distilabel_endpoints.records import Result

__all__ = ["Journal"]


class Journal(Closing):
    """The one writer of the journal beside `output`. Close it, or use it in a `with` block.

    Args:
        output: the file the run writes; the journal is `OUTPUT.journal` beside it.
        spec: the run's fingerprint, field by field, as JSON values. No secret, no prompt.
        lock: the caller's `hold` on this journal; without, it is taken here.
        fresh: begin anew, dropping what is there.
        on_committed: is given the records that have become durable, in the writer's thread, in
            the order they were appended. Must be quick and must not raise.
        pace: when commits start.

    Raises:
        LockedError: another process writes this output.
        FingerprintError: the output was started with another spec, and has rows that are ok.
        DamagedError: what is there is not a journal, or its header is damaged.
        StorageError: the directory or file cannot be used.
    """

    def __init__(
        self,
        output: Path,
        spec: Mapping[str, Any],
        *,
        lock: Lock | None = None,
        fresh: bool = False,
        on_committed: Callable[[list[Record]], object] = ignore,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        self.output = output
        path = journal_path(output)
        with ExitStack() as stack:
            self._lock = lock or stack.enter_context(hold(path))
            self.repair: Repair = make_sound(path, Header.new(spec), fresh=fresh)
            """What had to be dropped or rebuilt before this run could begin."""
            self._database = stack.enter_context(closing(Database(path, writable=True)))
            self._resources = stack.pop_all()
        self._closed = False
        self._committer = Committer(self._commit, on_committed=on_committed, pace=pace)

    @property
    def backlog(self) -> int:
        """Results appended and not yet committed."""
        return self._committer.backlog

    def append(self, result: Result, content_hash: bytes) -> None:
        """Take `result`, from any thread, without waiting for the disk.

        For the same `content_hash` an `ok` result is never replaced, and a `failed` one by any
        later. A result for another content replaces what was there.

        Raises:
            StorageError: an earlier write failed; this result is not stored.
            TypeError: the result holds something that is not a JSON value.
        """
        self._committer.append(seal(result, content_hash))

    def write_note(self, name: str, value: Any, then: NoteEnd = ignore) -> None:
        """Store a small JSON value beside the results, replacing the last one of that name.

        Committed with what was appended before it; `then` is as in `Committer.write_note`.
        """
        self._committer.write_note((name, json.dumps(value).encode()), then)

    def forget_failed(self, start: int) -> None:
        """Drop the failed results from ordinal `start` on. Call it before the first `append`."""
        self._database.discard_failed(start)

    def flush(self) -> None:
        """Block until all that was appended is committed. Raises like `append`."""
        self._committer.flush()

    def reader(self) -> Reader:
        """A reader of this journal, to be closed by the caller. Sees what is committed."""
        return Reader(self.output)

    def close(self) -> None:
        """Commit what waits, end the writer, release the lock.

        Raises:
            StorageError: not all that was appended could be committed.
        """
        if self._closed:
            return
        self._closed = True
        # The lock goes last, whatever the writer raises.
        with self._resources:
            self._committer.close()
            self._database.tidy()

    def _commit(self, records: list[Record], notes: list[Note]) -> None:
        self._database.commit(records, notes)
        self._lock.check()
