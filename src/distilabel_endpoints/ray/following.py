"""A run over workers as observers see it: the coordinator's counts on top of what was done before.

Counts run a moment ahead of the shards: a row is counted when it ends, and is durable when its
block is written. The summary counts the shards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from distilabel_endpoints._store.store import Statistics
from distilabel_endpoints.ray.coordinator import Progress
from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.run_state import RunSnapshot, TokenCount, Waiting
from distilabel_endpoints.runs.tally import Meter

__all__ = ["Following"]


class Following:
    """Folds what workers say into one run's figures."""

    def __init__(self) -> None:
        self.meter = Meter()
        self._before = Statistics()
        self._progress = Progress(counts=(), live=(), stopped=None)

    def begin(self, total: int, before: Statistics) -> None:
        """The input has `total` rows, and this is what is done of them."""
        meter = self.meter
        self._before = before
        meter.total = meter.rows_read = total
        meter.ok = meter.resumed = before.ok
        meter.earlier = TokenCount(
            input_tokens=before.input_tokens, output_tokens=before.output_tokens
        )

    def told(self, progress: Progress) -> None:
        """The coordinator's latest word."""
        self._progress = progress
        meter, counts = self.meter, progress.counts
        meter.ok = self._before.ok + sum(c.ok for c in counts)
        meter.failed = sum(c.failed for c in counts)
        meter.skipped = sum(c.skipped for c in counts)
        meter.input_tokens = sum(c.input_tokens for c in counts)
        meter.output_tokens = sum(c.output_tokens for c in counts)
        meter.answers = sum(c.answers for c in counts)
        meter.truncated = sum(c.truncated for c in counts)

    def snapshot(self) -> RunSnapshot:
        """The run as it is now."""
        live = self._progress.live
        reasons = dict.fromkeys(c.reason for c in live if c.reason)
        waiting = next((c.waiting_for for c in live), None)
        everyone = waiting is not None and all(c.waiting_for for c in live)
        return replace(
            self.meter.snapshot(None),
            in_flight=sum(c.in_flight for c in live),
            limit=sum(c.limit for c in live) if live else None,
            limit_reason=", ".join(reasons) or None,
            retries=self._retries(),
            waiting=Waiting(waiting) if everyone and waiting else None,
        )

    def _retries(self) -> dict[FailureKind, int]:
        total: Counter[FailureKind] = Counter()
        for counts in self._progress.counts:
            total.update(counts.retries)
        return dict(total)
