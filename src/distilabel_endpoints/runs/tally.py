"""Counts what a run does, and takes the snapshots that observers see.

Counters are written by the run's thread and the journal's, and read by the display's; each is one
plain integer, so a reader sees every count a moment late at worst.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from distilabel_endpoints._store.journal import Record
from distilabel_endpoints._store.store import StoreStatistics
from distilabel_endpoints.engine_state import EngineStatistics
from distilabel_endpoints.records import Result
from distilabel_endpoints.run_state import (
    Rates,
    RateWindow,
    RunPhase,
    RunSnapshot,
    TokenCount,
    Waiting,
    estimate_eta,
)
from distilabel_endpoints.runs.finished import FinalCounts

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """The counts of one process's part in a run."""

    started: float = field(default_factory=time.monotonic)
    phase: RunPhase = RunPhase.SCANNING
    on_result: Callable[[Result], None] | None = None
    total: int | None = None
    rows_read: int = 0
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    resumed: int = 0
    duplicate_ids: int = 0
    earlier: TokenCount = field(default_factory=TokenCount)
    input_tokens: int = 0
    output_tokens: int = 0
    answers: int = 0
    truncated: int = 0
    drain_until: float | None = None
    _window: RateWindow = field(default_factory=RateWindow)
    _first_sent: float | None = None
    _waiting_since: tuple[str, float] | None = None

    @property
    def pending(self) -> int:
        """Rows without an end, so far."""
        return (self.total or 0) - self.ok - self.failed - self.skipped

    def recall(self, counts: FinalCounts) -> None:
        """The run was over before this process began."""
        self.total = self.rows_read = counts.total
        self.ok = self.resumed = counts.ok
        self.skipped, self.duplicate_ids = counts.skipped, counts.duplicate_ids
        self.answers, self.truncated = counts.answers, counts.truncated
        self.earlier = TokenCount(
            input_tokens=counts.input_tokens, output_tokens=counts.output_tokens
        )

    def sending(self) -> None:
        """From here on rates are measured."""
        self._first_sent = time.monotonic()
        self.phase = RunPhase.RUNNING

    def appended(self, result: Result) -> None:
        """`result` was handed to the journal."""
        for completion in result.completions:
            if completion is not None:
                self.answers += 1
                self.truncated += completion.finish_reason == "length"
        if self.on_result is not None:
            self.on_result(result)

    def committed(self, records: Iterable[Record]) -> None:
        """These results are durable: only now are their rows done."""
        for record in records:
            self.ok += record.ok
            self.failed += not record.ok
            self.input_tokens += record.input_tokens
            self.output_tokens += record.output_tokens

    def settle(self, stored: StoreStatistics) -> None:
        """What is stored is what counts, if rows are counted before they are durable."""
        self.ok, self.failed = stored.ok, stored.failed
        self.earlier = TokenCount(
            input_tokens=stored.input_tokens - self.input_tokens,
            output_tokens=stored.output_tokens - self.output_tokens,
        )

    def mean(self) -> Rates:
        """Rates since the first request of this process."""
        seconds = time.monotonic() - self._first_sent if self._first_sent is not None else 0.0
        if seconds <= 0:
            return Rates()
        rows = self.ok + self.failed - self.resumed
        return Rates(rows=max(0, rows) / seconds, output_tokens=self.output_tokens / seconds)

    def snapshot(self, engine: EngineStatistics | None) -> RunSnapshot:
        """The run as it is now."""
        now = time.monotonic()
        done = self.ok + self.failed
        self._window.add(now, done, self.output_tokens)
        recent = self._window.rates(now)
        waiting = self._waiting(engine, now)
        pending = None if self.total is None else self.total - done - self.skipped
        return RunSnapshot(
            elapsed=now - self.started,
            phase=RunPhase.WAITING if waiting and self.phase is RunPhase.RUNNING else self.phase,
            total=self.total,
            rows_read=self.rows_read,
            ok=self.ok,
            failed=self.failed,
            skipped=self.skipped,
            resumed=self.resumed,
            in_flight=engine.limiter.in_flight if engine else 0,
            limit=engine.limiter.limit if engine else None,
            limit_reason=engine.limiter.reason if engine else None,
            tokens=TokenCount(input_tokens=self.input_tokens, output_tokens=self.output_tokens),
            run_tokens=self.run_tokens,
            recent=recent,
            mean=self.mean(),
            retries=engine.retries if engine else {},
            served=engine.served if engine else {},
            eta=estimate_eta(pending, recent, waiting=waiting is not None),
            waiting=waiting,
            drain_left=None if self.drain_until is None else max(0.0, self.drain_until - now),
        )

    @property
    def run_tokens(self) -> TokenCount:
        """What all rows cost, those of earlier processes included."""
        return TokenCount(
            input_tokens=self.earlier.input_tokens + self.input_tokens,
            output_tokens=self.earlier.output_tokens + self.output_tokens,
        )

    def _waiting(self, engine: EngineStatistics | None, now: float) -> Waiting | None:
        """What the endpoint makes us wait for, and for how long it has."""
        text = engine.waiting_for if engine is not None else None
        if text is None:
            self._waiting_since = None
            return None
        what, _, _ = text.partition(": ")  # a server's words differ from one time to the next
        if self._waiting_since is None or self._waiting_since[0] != what:
            self._waiting_since = (what, now)
        remaining = engine.pause_left if engine is not None else None
        return Waiting(text, now - self._waiting_since[1], remaining)
