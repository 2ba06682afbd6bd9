"""The journal's own thread: takes records from any thread and makes them durable in groups.

Rules
- `append` never waits for the disk. Who appends faster than the disk writes looks at `backlog`.
- A group is what has gathered after 64 records or 50 ms, whichever comes first; a writer that
  fell behind takes all that waits.
- Told to `on_committed` if and only if committed.
- The first error ends it: nothing is written again, and every later call raises that error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from distilabel_endpoints._store.journal.database import Note
from distilabel_endpoints._store.journal.record import Record
from distilabel_endpoints.errors import StorageError

__all__ = ["DEFAULT_PACE", "Committer", "NoteEnd", "Pace", "ignore"]

Commit = Callable[[list[Record], list[Note]], None]
NoteEnd = Callable[[Exception | None], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When a commit starts."""

    # One fsync for all of them: by itself, each record would wait for the disk.
    group: int = 64
    """Records that start a commit."""
    delay: float = 0.05
    """Seconds after the first record that start one."""


DEFAULT_PACE: Final = Pace()


def ignore(_: object) -> None:
    """What is done with news that was not asked for."""


class Committer:
    """Group commit. `commit` is called in one thread only, and not again once it has raised.

    Args:
        commit: makes a group durable or raises `StorageError`.
        on_committed: is given the records of each group, in the order they were appended, in the
            writer's thread. Must be quick and must not raise.
        pace: when groups are due.
    """

    def __init__(
        self,
        commit: Commit,
        *,
        on_committed: Callable[[list[Record]], object] = ignore,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        self._commit = commit
        self._on_committed = on_committed
        self._pace = pace
        self._changed = threading.Condition()
        self._records: list[Record] = []
        self._notes: list[tuple[Note, NoteEnd]] = []
        self._taken: list[tuple[Note, NoteEnd]] = []
        self._appended = self._settled = self._hurried = 0
        self._closing = False
        self._error: Exception | None = None
        # A daemon: an interpreter that ends by an error must not wait for a journal that nobody
        # closes.
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Appended and not yet committed."""
        return self._appended - self._settled

    def append(self, record: Record) -> None:
        """Take `record`. Raises `StorageError` once the writer has failed or was closed."""
        with self._changed:
            self._refuse()
            self._records.append(record)
            self._appended += 1
            # The writer sleeps through the rest: it needs the first, and the one that fills.
            if len(self._records) in {1, self._pace.group}:
                self._changed.notify_all()

    def write_note(self, note: Note, then: NoteEnd = ignore) -> None:
        """Take `note`, which is committed with what was appended before it.

        Args:
            note: its name and value.
            then: called once, from the writer's thread: with None when the note is durable, or with
                the error for which it never will be. Must be quick and must not raise.
        """
        with self._changed:
            self._refuse()
            self._notes.append((note, then))
            self._appended += 1
            self._changed.notify_all()

    def flush(self) -> None:
        """Block until all that was appended so far is committed. Raises like `append`."""
        with self._changed:
            self._refuse()
            goal = self._hurried = self._appended
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._error or self._settled >= goal)
            if self._error:
                raise self._failure(self._error)

    def close(self) -> None:
        """Commit what waits and end the thread. Raises the writer's error, at each call."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._error:
            raise self._failure(self._error)

    def _refuse(self) -> None:
        if self._error:
            raise self._failure(self._error)
        if self._closing:
            raise StorageError("The journal is closed.")

    @staticmethod
    def _failure(error: Exception) -> Exception:
        """A copy to raise: one instance raised by many callers would gather their tracebacks."""
        copy: Exception = RuntimeError("The journal's writer ended unexpectedly.")
        if isinstance(error, StorageError):
            copy = type(error)(*error.args)
        copy.__cause__ = error
        return copy

    def _run(self) -> None:
        try:
            while group := self._next_group():
                records, self._taken = group
                self._commit(records, [note for note, _ in self._taken])
                self._settle(records)
        except Exception as error:  # noqa: BLE001 - a border: raised where the writer is used
            self._fail(error)

    def _next_group(self) -> tuple[list[Record], list[tuple[Note, NoteEnd]]] | None:
        """Wait for a group to be due and take it; `None` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.backlog or self._closing)
            self._changed.wait_for(self._due, timeout=self._pace.delay)
            group = self._records, self._notes
            self._records, self._notes = [], []
            return group if any(group) else None

    def _due(self) -> bool:
        full = len(self._records) >= self._pace.group
        return full or self._hurried > self._settled or self._closing or bool(self._notes)

    def _settle(self, records: list[Record]) -> None:
        if records:
            self._on_committed(records)
        notes, self._taken = self._taken, []
        for _, then in notes:
            then(None)
        with self._changed:
            self._settled += len(records) + len(notes)
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            notes = [*self._taken, *self._notes]
            self._records, self._notes = [], []
            self._changed.notify_all()
        for _, then in notes:
            then(error)
