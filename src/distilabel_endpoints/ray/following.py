"""A run over workers as observers see it: the coordinator's counts on top of what was done before.

Counts run a moment ahead of the shards: a row is counted when it ends, and is durable when its
block is written. The summary counts the shards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from distilabel_endpoints._store.store import StoreStatistics
from distilabel_endpoints.ray.coordinator import JobProgress
from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.run_state import RunSnapshot, TokenCount, Waiting
from distilabel_endpoints.runs.tally import Tally
from distilabel_endpoints.served import merged

__all__ = ["Following"]


class Following:
    """Folds what workers say into one run's figures.

    Args:
        tally: of the run.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._before = StoreStatistics()
        self._progress = JobProgress(counts=(), live=(), stopped=None)

    def begin(self, total: int, before: StoreStatistics) -> None:
        """The input has `total` rows, and this is what is done of them."""
        tally = self.tally
        self._before = before
        tally.total = tally.rows_read = total
        tally.ok = tally.resumed = before.ok
        tally.earlier = TokenCount(
            input_tokens=before.input_tokens, output_tokens=before.output_tokens
        )

    def update(self, progress: JobProgress) -> None:
        """The coordinator's latest word."""
        self._progress = progress
        tally, counts = self.tally, progress.counts
        tally.ok = self._before.ok + sum(c.ok for c in counts)
        tally.failed = sum(c.failed for c in counts)
        tally.skipped = sum(c.skipped for c in counts)
        tally.input_tokens = sum(c.input_tokens for c in counts)
        tally.output_tokens = sum(c.output_tokens for c in counts)
        tally.answers = sum(c.answers for c in counts)
        tally.truncated = sum(c.truncated for c in counts)

    @property
    def is_heard(self) -> bool:
        """Whether a worker reports."""
        return bool(self._progress.live)

    def snapshot(self) -> RunSnapshot:
        """The run as it is now."""
        live = self._progress.live
        reasons = dict.fromkeys(c.reason for c in live if c.reason)
        waiting = next((c.waiting_for for c in live), None)
        everyone = waiting is not None and all(c.waiting_for for c in live)
        return replace(
            self.tally.snapshot(None),
            in_flight=sum(c.in_flight for c in live),
            limit=sum(c.limit for c in live) if live else None,
            limit_reason=", ".join(reasons) or None,
            retries=self._retries(),
            served=merged(*(c.served for c in self._progress.counts)),
            waiting=Waiting(waiting) if everyone and waiting else None,
        )

    def _retries(self) -> dict[FailureKind, int]:
        total: Counter[FailureKind] = Counter()
        for counts in self._progress.counts:
            total.update(counts.retries)
        return dict(total)
