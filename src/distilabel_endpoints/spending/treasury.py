"""One ledger for several workers: what each of them may spend. Pure.

Rules
- A worker asks for what it has spent and reserved, and for a little ahead. It gets what the others
  leave. What all of them may have spent together never exceeds the budget.
- Nothing is taken back from a worker: it says itself what it no longer holds when it asks again.
- If what is left is not enough for a worker's next attempt, it gets nothing of it. So two workers
  never wait for each other with half of the money each.
- What a worker has reserved may come back, so others wait for it. A worker that is gone has spent
  what it was granted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from distilabel_endpoints.spending.account import Ask, Grant
from distilabel_endpoints.spending.amounts import Cost

__all__ = ["LEASE", "Treasury", "most_of"]

LEASE: Final = 10.0
"""Seconds after which a silent worker is taken for lost."""


@dataclass(slots=True)
class _Worker:
    note: dict[str, Any]
    number: int
    seen: float

    @property
    def spent(self) -> Cost:
        """Without what is reserved."""
        return Cost(self.note["tokens"], self.note["picodollars"])


class Treasury:
    """The books of one job.

    Args:
        limit: the most that all may spend.
        earlier: what earlier jobs of the run have spent.
        notes: the last note of each worker that this job had, if the books are read again.
        now: the clock's reading, in seconds.
    """

    def __init__(
        self,
        limit: Cost,
        earlier: Cost,
        notes: Mapping[str, Mapping[str, Any]],
        now: float = 0.0,
    ) -> None:
        self.limit = limit
        self.earlier = earlier
        self._workers = {
            name: _Worker(dict(note), note["number"], now) for name, note in notes.items()
        }

    @property
    def notes(self) -> dict[str, dict[str, Any]]:
        """The last note of each worker: `most_*` is what it was granted."""
        return {name: {**w.note, "number": w.number} for name, w in self._workers.items()}

    def grant(self, name: str, ask: Ask, now: float) -> Grant:
        """What a worker may have spent and reserved from now on.

        A question that comes late, after a later one of the same worker, changes nothing.
        """
        worker = self._workers.get(name)
        if worker is not None and ask.number < worker.number:
            return self.look(name, now)
        left = self._left_by_others(name)
        granted = ask.held
        if ask.most.within(left):
            granted = ask.most
        elif ask.least.within(left):
            granted = ask.most.smallest(left).largest(ask.held)
        most = {"most_tokens": granted.tokens, "most_picodollars": granted.picodollars}
        self._workers[name] = _Worker({**ask.note, **most}, ask.number, now)
        return Grant(most=granted, limit=self._within_reach(name, now))

    def look(self, name: str, now: float) -> Grant:
        """A worker is still there: what it was granted, and what it may come to."""
        worker = self._workers.get(name)
        if worker is None:
            return Grant(most=Cost(), limit=self._within_reach(name, now))
        worker.seen = now
        return Grant(most=most_of(worker.note), limit=self._within_reach(name, now))

    def _left_by_others(self, name: str) -> Cost:
        left = self.limit.minus(self.earlier)
        for other, worker in self._workers.items():
            if other != name:
                left = left.minus(most_of(worker.note))
        return left

    def _within_reach(self, name: str, now: float) -> Cost:
        """What a worker could have if nothing that others have under way cost anything."""
        left = self.limit.minus(self.earlier)
        for other, worker in self._workers.items():
            if other != name:
                is_lost = now - worker.seen > LEASE
                left = left.minus(most_of(worker.note) if is_lost else worker.spent)
        return left


def most_of(note: Mapping[str, Any]) -> Cost:
    """What may have been spent at most, by a worker's note."""
    return Cost(note["most_tokens"], note["most_picodollars"])
