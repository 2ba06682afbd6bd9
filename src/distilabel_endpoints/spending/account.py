"""A run's ledger as the engine uses it: asks, reserves, settles, and has it written down.

Rules
- One instance belongs to one run and, while that sends, to the engine's loop.
- What may be spent is durable before it is: `save` is given a note, and `saved` is called when a
  kill can lose it no more. While one is being written no other is begun.
- A process that is killed may have spent all that its last note allows, so that is little more than
  what is reserved: what the next second is likely to need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from distilabel_endpoints.records import Answer, Failure, Request
from distilabel_endpoints.spending.amounts import Cost
from distilabel_endpoints.spending.budget import Budget
from distilabel_endpoints.spending.ledger import Ledger
from distilabel_endpoints.spending.reservation import Bound, cost_of

__all__ = ["Account", "Reservation", "Spent", "read_spent"]

_NOTED_EVERY: Final = 1.0
"""Seconds between two notes, if money for the next attempts does not run out before."""
_NOTHING: Final = Cost()
_ATTEMPTS_AHEAD: Final = 4
_SHARE_AHEAD: Final = 0.25


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one attempt has reserved."""

    cost: Cost
    tokens: tuple[int, int]
    """In and out."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has spent, as its last note has it."""

    cost: Cost = _NOTHING
    """At most."""
    unknown: Cost = _NOTHING
    """Of that, what nobody knows, so that it counts as it was reserved."""
    seconds: float = 0.0


def read_spent(note: Mapping[str, Any] | None) -> Spent:
    """What a run has spent, from its last note; None: it has none."""
    if note is None:
        return Spent()
    known = Cost(note["tokens"], note["picodollars"])
    most = Cost(note["most_tokens"], note["most_picodollars"])
    unknown = Cost(note["unknown_tokens"], note["unknown_picodollars"])
    return Spent(most, unknown.plus(most.minus(known)), note["seconds"])


class Account:
    """What one run may still spend.

    Args:
        budget: the most, with what earlier processes spent.
        bound: what an attempt may cost.
        earlier: the run's last note; None if it has none.
        clock: seconds, monotonic.
        save: is given a note to make durable; calls `saved` on the loop once it is. Without it
            nothing outlives this process.
    """

    def __init__(
        self,
        budget: Budget,
        bound: Bound,
        *,
        clock: Callable[[], float],
        earlier: Mapping[str, Any] | None = None,
        save: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.earlier = read_spent(earlier)
        self.budget = budget
        self.bound = bound
        self._is_gated = save is not None and budget.limits_cost
        self.ledger = Ledger(budget, self.earlier.cost, is_durable=self._is_gated)
        self.ledger.unknown = self.earlier.unknown
        self.is_exhausted = False
        """Whether something was left undone for want of money or time."""
        self._clock = clock
        self._began = clock()
        self._save = save
        self._writing: Cost | None = None
        self._written_at, self._written_spent = self._began, self.ledger.spent
        self._largest = Cost()
        self._on_clear: Callable[[], None] = _nothing

    @property
    def seconds(self) -> float:
        """How long this process and earlier ones have worked on the run."""
        return self.earlier.seconds + self._clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """Until the time of the budget is over; None without one."""
        if self.budget.seconds is None:
            return None
        return max(0.0, self.budget.seconds - self.seconds)

    def on_clear(self, call: Callable[[], None]) -> None:
        """Call this when attempts that had to wait may be sent."""
        self._on_clear = call

    def reservation(self, request: Request) -> Reservation:
        """What an attempt of this request reserves."""
        tokens = self.bound.tokens(request)
        return Reservation(self.bound.price.of(*tokens), tokens)

    def fits(self, wanted: Reservation, *, has_begun: bool) -> bool:
        """Whether an attempt may be sent now; if that takes a note, it is written."""
        self._largest = self._largest.largest(wanted.cost)
        if self.ledger.fits(wanted.cost, has_begun=has_begun):
            return True
        exposure = self.ledger.exposure.plus(wanted.cost)
        if exposure.within(self.ledger.limit) and not exposure.within(self.ledger.cleared):
            self._write()
        return False

    def is_affordable(self, wanted: Reservation) -> bool:
        """Whether waiting may help."""
        return self.ledger.is_affordable(wanted.cost)

    def reserve(self, wanted: Reservation) -> None:
        """An attempt is about to be sent."""
        self.ledger.reserve(wanted.cost)
        self._write_in_time()

    def release(self, reserved: Reservation) -> None:
        """It was not sent."""
        self.ledger.release(reserved.cost)

    def settle(self, reserved: Reservation, outcome: Answer | Failure | None) -> None:
        """It ended so; None: it was given up, and nobody knows what it cost."""
        cost = None
        if outcome is not None:
            cost = cost_of(outcome, reserved.tokens, self.bound.price)
        self.ledger.settle(reserved.cost, cost)
        self._write_in_time()

    def row_began(self) -> None:
        """A row sends its first attempt."""
        self.ledger.open_rows += 1

    def row_ended(self) -> None:
        """A row that had begun is done, or left."""
        self.ledger.open_rows -= 1

    def closing_note(self) -> dict[str, Any]:
        """The last note of a process in which nothing is under way any more."""
        return self.ledger.note(self.ledger.exposure, self.seconds)

    def _write_in_time(self) -> None:
        if self._save is None or self._writing is not None:
            return
        if self._clock() - self._written_at >= _NOTED_EVERY or self._is_short():
            self._write()

    def _is_short(self) -> bool:
        """Whether attempts would soon have to wait for a note."""
        if not self._is_gated:
            return False
        soon = self.ledger.exposure.plus(self._ahead().times(0.5)).smallest(self.ledger.limit)
        return not soon.within(self.ledger.cleared)

    def _write(self) -> None:
        """Have it made durable that a little more than what is reserved may be spent."""
        if self._save is None or self._writing is not None:
            return
        ceiling = self.ledger.exposure
        if self._is_gated:
            ceiling = ceiling.plus(self._ahead()).smallest(self.ledger.limit)
            self.ledger.lower(ceiling)
        self._writing = ceiling
        self._save(self.ledger.note(ceiling, self.seconds + _NOTED_EVERY))
        self._written_at, self._written_spent = self._clock(), self.ledger.spent

    def saved(self) -> None:
        """The note that `save` was given is durable."""
        assert self._writing is not None
        ceiling, self._writing = self._writing, None
        if self._is_gated:
            self.ledger.clear(ceiling)
            self._on_clear()

    def _ahead(self) -> Cost:
        """What attempts will need until the next note, by what they needed since the last."""
        seconds = max(self._clock() - self._written_at, _NOTED_EVERY)
        recent = self.ledger.spent.minus(self._written_spent).times(_NOTED_EVERY / seconds)
        least = self._largest.times(_ATTEMPTS_AHEAD)
        return recent.largest(least).largest(self.ledger.reserved.times(_SHARE_AHEAD))


def _nothing() -> None:
    """Nobody waits."""
