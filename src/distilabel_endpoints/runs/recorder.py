"""Records a run's history while it is in progress: a sample now and then, and each change.

The history is for the report alone. A disk that does not take it costs the history, not the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from distilabel_endpoints._store.history import Change, History, Sample
from distilabel_endpoints.errors import DistilabelError
from distilabel_endpoints.run_state import RunPhase, RunSnapshot
from distilabel_endpoints.served import Served, ServedBy, merged

__all__ = ["Recorder"]

_WRITE_EVERY: Final = 5.0
"""Seconds; each time it is flushed to the disk."""
_SENDING: Final = frozenset({RunPhase.RUNNING, RunPhase.WAITING, RunPhase.DRAINING})


class Recorder:
    """Writes the history of the run on `output`. From any thread.

    Args:
        output: what the run writes; its lock is held from the first row sent to `close`.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._history: History | None = None
        self._closed = False
        self._began_at = time.time()
        self._began = time.monotonic()
        self._written = 0.0
        self._limit: tuple[int | None, str | None] = (None, None)
        self._waiting: str | None = None
        self._earlier: Mapping[ServedBy, Served] = {}
        self._at_start: Mapping[ServedBy, Served] = {}

    def observe(self, snapshot: RunSnapshot) -> None:
        """How the run stands; kept if it is time to."""
        with self._lock:
            if self._closed or (self._history is None and snapshot.phase not in _SENDING):
                return
            history = self._history or self._begin(snapshot)
            at = self._now()
            self._note_changes(history, snapshot, at)
            if history.is_due(at):
                self._sample(history, snapshot, at)
            if at - self._written >= _WRITE_EVERY:
                self._write(history, at)

    def note(self, kind: str, text: str) -> None:
        """Keep a change that no snapshot shows."""
        with self._lock:
            if self._history is not None and not self._closed:
                self._history.note(Change(self._now(), kind, text))

    def close(self, snapshot: RunSnapshot | None = None) -> None:
        """Write the rest, `snapshot` as the last sample. Call it while the lock is held."""
        with self._lock:
            if self._history is not None and not self._closed:
                at = self._now()
                if snapshot is not None:
                    self._sample(self._history, snapshot, at)
                self._write(self._history, at)
            self._closed = True

    def _now(self) -> float:
        """The clock may be set while a run is in progress: it is read once, at the start."""
        return self._began_at + time.monotonic() - self._began

    def _begin(self, snapshot: RunSnapshot) -> History:
        # Started over, the history beside the output is of answers that are gone.
        history = History.read(self._output) if snapshot.resumed else History()
        history.begin(self._now())
        self._earlier = history.served
        # The engine may have answered other runs of this program before.
        self._at_start = snapshot.served
        self._history = history
        return history

    def _note_changes(self, history: History, snapshot: RunSnapshot, at: float) -> None:
        limit = (snapshot.limit, snapshot.limit_reason)
        if limit != self._limit and snapshot.limit is not None:
            before = self._limit[0]
            step = f"{before} to {limit[0]}" if before is not None else f"starts at {limit[0]}"
            history.note(Change(at, "limit", f"{step}: {limit[1]}" if limit[1] else step))
            self._limit = limit
        waiting = snapshot.waiting.text if snapshot.waiting is not None else None
        if waiting != self._waiting:
            history.note(Change(at, "waiting", waiting or "answers again"))
            self._waiting = waiting

    def _sample(self, history: History, snapshot: RunSnapshot, at: float) -> None:
        history.add(
            Sample(
                at=round(at, 2),
                part=len(history.begun) - 1,
                limit=snapshot.limit,
                in_flight=snapshot.in_flight,
                done=snapshot.ok + snapshot.failed,
                failed=snapshot.failed,
                output_tokens=snapshot.run_tokens.output_tokens,
            )
        )
        new = {
            key: served.since(self._at_start[key]) if key in self._at_start else served
            for key, served in snapshot.served.items()
        }
        if new:
            history.served = merged(self._earlier, new)

    def _write(self, history: History, at: float) -> None:
        self._written = at
        # The results are elsewhere: a disk that is full ends the run by the journal, not by this.
        with suppress(DistilabelError):
            history.write(self._output)
