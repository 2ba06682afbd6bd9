"""How a job's limit is divided among its workers, and the pauses that hold for all.

Rules
- The shares handed out, and what workers still hold of larger ones, never exceed the ceiling: one
  grows only after another has confirmed that it shrank.
- Shares follow what workers could use. What a worker's own limit leaves unused after a refusal is
  given to no other.
- A worker that has not reported for a lease's length is gone, and its share is free again. One that
  gets no answer for half of that sends nothing more.
- With fewer permits than workers, they take turns.
- Pure: clock readings are arguments, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LEASE", "SILENCE", "Share", "Shares", "WorkerReport"]

LEASE: Final = 10.0
"""Seconds after which a silent worker's share is given to others."""
SILENCE: Final = LEASE / 2
"""Seconds without an answer after which a worker sends nothing more."""
_TURN: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """What a worker says of itself."""

    holding: int
    """At most this many attempts may be in flight there until it gets the answer."""
    demand: int
    """Attempts that it has in flight, and that wait."""
    pauses: Mapping[str, float] = field(default_factory=dict)
    """Seconds for which a server has asked this worker itself to wait, by the endpoint's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a worker is to keep to from now on."""

    ceiling: int | None
    """Attempts in flight; None if the job has no ceiling."""
    pauses: Mapping[str, float]
    answered_before: int = 0
    """Rows that earlier jobs of the run had answers to."""
    answered_by_others: int = 0
    """Rows that other workers of this job have answered."""
    drain: float | None = None
    """The job ends: nothing new is sent, and what is in flight has this many seconds."""


@dataclass(slots=True)
class _Worker:
    granted: int = 0
    holding: int = 0
    demand: int = 0
    seen: float = 0.0

    @property
    def used(self) -> int:
        """What it may have in flight, whatever was lost on the way."""
        return max(self.granted, self.holding)


class Shares:
    """The shares of one job.

    Args:
        ceiling: attempts in flight at most, of all workers together; None for no such limit.
        grows_at: until then nobody gets more than it holds: for a ledger that was lost and is made
            anew while workers still send.
    """

    def __init__(self, ceiling: int | None, *, grows_at: float = 0.0) -> None:
        self.ceiling = ceiling
        self._grows_at = grows_at
        self._workers: dict[str, _Worker] = {}
        self._paused_until: dict[str, float] = {}

    @property
    def used(self) -> int:
        """What all workers may have in flight just now."""
        return sum(worker.used for worker in self._workers.values())

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._workers)

    def report(self, name: str, report: WorkerReport, now: float) -> Share:
        """Take note of a worker's report, and say what it may do from now on."""
        self._forget(now)
        worker = self._workers.setdefault(name, _Worker())
        worker.holding, worker.demand, worker.seen = report.holding, report.demand, now
        for endpoint, seconds in report.pauses.items():
            until = max(self._paused_until.get(endpoint, 0.0), now + seconds)
            self._paused_until[endpoint] = until
        pauses = {e: until - now for e, until in self._paused_until.items() if until > now}
        if self.ceiling is None:
            return Share(ceiling=None, pauses=pauses)
        others = self.used - worker.used
        wanted = worker.holding if now < self._grows_at else self._targets(now)[name]
        worker.granted = max(0, min(wanted, self.ceiling - others))
        return Share(ceiling=worker.granted, pauses=pauses)

    def _forget(self, now: float) -> None:
        gone = [name for name, worker in self._workers.items() if now - worker.seen > LEASE]
        for name in gone:
            del self._workers[name]

    def _targets(self, now: float) -> dict[str, int]:
        """What each should have: one for all, then by demand, then what is left, evenly."""
        assert self.ceiling is not None
        names = sorted(self._workers)
        if self.ceiling < len(names):
            first = int(now / _TURN) * self.ceiling % len(names)
            chosen = [names[(first + n) % len(names)] for n in range(self.ceiling)]
            return {name: int(name in chosen) for name in names}
        targets = dict.fromkeys(names, 1)
        left = self.ceiling - len(names)
        # The least hungry first: what these leave is divided among those who can use it.
        hungry = sorted(names, key=lambda name: (self._workers[name].demand, name))
        for index, name in enumerate(hungry):
            part = min(max(self._workers[name].demand - 1, 0), left // (len(hungry) - index))
            targets[name] += part
            left -= part
        for index, name in enumerate(hungry):
            part = left // (len(hungry) - index)
            targets[name] += part
            left -= part
        return targets
