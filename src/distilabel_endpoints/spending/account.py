"""A run's ledger as the engine uses it: asks, reserves, settles, and records it.

Rules
- One instance belongs to one run and, while that sends, to the engine's loop.
- What may be spent is durable before it is: `save` is given a note, and `saved` is called when a
  kill can lose it no more. While one is being written no other is begun.
- A process that is killed may have spent all that its last note allows, so that is little more than
  what is reserved: what the next second is likely to need.
- One of several workers may get less than it asks for, as others have the rest (`Grant`). If that
  is too little for its next attempt, it keeps only what it has under way when it asks again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from distilabel_endpoints.records import Answer, Failure, Request
from distilabel_endpoints.run_state import Spent
from distilabel_endpoints.spending.amounts import Cost, Price
from distilabel_endpoints.spending.budget import Budget
from distilabel_endpoints.spending.ledger import Ledger
from distilabel_endpoints.spending.reservation import Bound, cost_of

__all__ = ["Account", "Ask", "Earlier", "Grant", "Reservation", "read_earlier", "spent_of"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A note that is to be made durable, and what depends on the answer."""

    number: int
    note: Mapping[str, Any]
    most: Cost
    """Spent and reserved until the next note, if all of it is granted."""
    least: Cost
    """The same with only the next attempt: less is of no use to one that waits."""
    held: Cost
    """Spent and reserved at most before there is an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one of several workers may spend."""

    most: Cost
    """Spent and reserved together."""
    limit: Cost
    """What that may come to when others settle what they have under way."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier processes of a run have spent, as its last note has it."""

    cost: Cost = _NOTHING
    """At most."""
    unknown: Cost = _NOTHING
    """Of that, what is not known and so counts as it was reserved."""
    seconds: float = 0.0


def read_earlier(note: Mapping[str, Any] | None, price: Price | None = None) -> Earlier:
    """What a run has spent.

    Args:
        note: its last one; None if it has none.
        price: what tokens cost of which the note has no price; each as much as the dearest, on top
            of the dollars that sessions with a price have counted.
    """
    if note is None:
        return Earlier()
    known = Cost(note["tokens"], note["picodollars"])
    most = Cost(note["most_tokens"], note["most_picodollars"])
    unknown = Cost(note["unknown_tokens"], note["unknown_picodollars"]).plus(most.minus(known))
    if price is not None and not note["is_priced"]:
        dearest = max(price.input, price.output)
        most = most.plus(Cost(0, most.tokens * dearest))
        unknown = unknown.plus(Cost(0, unknown.tokens * dearest))
    return Earlier(most, unknown, note["seconds"])


def spent_of(note: Mapping[str, Any]) -> Spent:
    """What a run's note says, for people and programs."""
    earlier = read_earlier(note)
    dollars = unknown = None
    if note["hourly"]:
        dollars, unknown = _time_cost(note["seconds"], note["hourly"]).dollars, 0.0
    elif note["is_priced"]:
        dollars, unknown = earlier.cost.dollars, earlier.unknown.dollars
    return Spent(
        tokens=earlier.cost.tokens,
        unknown_tokens=earlier.unknown.tokens,
        dollars=dollars,
        unknown_dollars=unknown,
        seconds=note["seconds"],
        budget=note["budget"] or None,
    )


def _time_cost(seconds: float, hourly: int) -> Cost:
    """Minutes that were begun are paid."""
    return Cost(0, math.ceil(seconds / 60) * hourly // 60)


class Account:
    """What one run may still spend.

    Args:
        budget: the most, with what earlier processes spent.
        bound: what an attempt may cost.
        earlier: the run's last note; None if it has none.
        clock: seconds, monotonic.
        began: its reading when the run began; default: now.
        hourly: picodollars an hour, if time is paid for and not tokens.
        save: is given a note to make durable, as an `Ask`; calls `saved` on the loop once it is.
            Without it nothing outlives this process.
    """

    def __init__(
        self,
        budget: Budget,
        bound: Bound,
        *,
        clock: Callable[[], float],
        began: float | None = None,
        hourly: int | None = None,
        earlier: Mapping[str, Any] | None = None,
        save: Callable[[Ask], None] | None = None,
    ) -> None:
        self.earlier = read_earlier(earlier, bound.price)
        self.budget = budget
        self.bound = bound
        self._is_gated = save is not None and budget.limits_cost
        self.ledger = Ledger(budget, self.earlier.cost, is_durable=self._is_gated)
        self.ledger.unknown = self.earlier.unknown
        self.is_exhausted = False
        """Whether something was left undone for want of money or time."""
        self.hourly = hourly
        self._clock = clock
        self._began = clock() if began is None else began
        self._save = save
        self._writing: Ask | None = None
        self._noted = self.ledger.spent
        """What may have been spent, by the last note."""
        self._number = 0
        self._is_scarce = False
        """Whether others have what was asked for last."""
        self._written_at, self._written_spent = self._began, self.ledger.spent
        self._largest = Cost()
        self._on_clear: Callable[[], None] = _nothing
        self.on_budget: set[Callable[[], None]] = set()
        """Called when the budget has changed."""

    @property
    def seconds(self) -> float:
        """How long this process and earlier ones have worked on the run."""
        return self.earlier.seconds + self._clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """Until the time of the budget is over; None without one."""
        ends = [] if self.budget.seconds is None else [self.budget.seconds]
        if self.hourly and self.budget.picodollars is not None:
            ends.append(60.0 * (60 * self.budget.picodollars // self.hourly))
        return max(0.0, min(ends) - self.seconds) if ends else None

    def on_clear(self, call: Callable[[], None]) -> None:
        """Call this when attempts that had to wait may be sent."""
        self._on_clear = call

    def change_budget(self, budget: Budget) -> None:
        """From now on this is the most, with all that was spent. What is under way finishes."""
        self.budget = budget
        self._is_gated = self._save is not None and budget.limits_cost
        self.ledger.limit = budget.cost
        if self._is_gated:
            # What was granted ahead was a share of the other budget.
            self.ledger.lower(self.ledger.exposure)
            self._write()
        else:
            self.ledger.cleared = budget.cost
        self.ledger.lower(budget.cost)
        for call in [*self.on_budget]:
            call()
        self._on_clear()

    def reservation(self, request: Request) -> Reservation:
        """What an attempt of this request reserves."""
        tokens = self.bound.tokens(request)
        return Reservation(self.bound.counted.of(*tokens), tokens)

    def fits(self, wanted: Reservation, *, has_begun: bool) -> bool:
        """Whether an attempt may be sent now; if that takes a note, it is written."""
        self._largest = self._largest.largest(wanted.cost)
        if self.ledger.fits(wanted.cost, has_begun=has_begun):
            return True
        exposure = self.ledger.exposure.plus(wanted.cost)
        if exposure.within(self.ledger.limit) and not exposure.within(self.ledger.cleared):
            self._write(exposure)
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
        """It ended so; None: it was given up, and what it cost is not known."""
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

    def note(self, ceiling: Cost | None = None, *, ahead: float = 0.0) -> dict[str, Any]:
        """What a resume and `status` need to know, as JSON values.

        Args:
            ceiling: what may be spent before the next note; default: what is reserved.
            ahead: seconds until then.
        """
        return {
            **self.ledger.note(ceiling or self.ledger.exposure),
            "seconds": self.seconds + ahead,
            "is_priced": self.bound.price is not None,
            "hourly": self.hourly,
            "budget": self.budget.text,
        }

    def spent(self) -> Spent:
        """What the run has spent by now, without what is under way."""
        return spent_of(self.note(self.ledger.spent))

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

    def _write(self, least: Cost | None = None) -> None:
        """Have it made durable that a little more than what is reserved may be spent.

        Args:
            least: what an attempt that waits needs; default: none waits.
        """
        if self._save is None or self._writing is not None:
            return
        exposure = most = self.ledger.exposure
        if self._is_gated:
            most = exposure.plus(self._ahead()).smallest(self.ledger.limit).largest(exposure)
            gives_back = self._is_scarce and least is not None
            self.ledger.lower(exposure if gives_back else most)
        self._ask(self._save, most, least or exposure)

    def _ask(self, save: Callable[[Ask], None], most: Cost, least: Cost) -> None:
        self._number += 1
        self._noted = most
        self._writing = Ask(
            number=self._number,
            note=self.note(most, ahead=_NOTED_EVERY),
            most=most,
            least=least,
            held=self.ledger.cleared if self._is_gated else most,
        )
        self._written_at, self._written_spent = self._clock(), self.ledger.spent
        save(self._writing)

    def saved(self, grant: Grant | None = None) -> None:
        """The note that `save` was given is durable.

        Args:
            grant: what may be spent, if others spend from the same budget; default: as asked.
        """
        assert self._writing is not None
        ask, self._writing = self._writing, None
        if not self._is_gated:
            return
        if grant is not None:
            self._is_scarce = not ask.most.within(grant.most)
            self.ledger.limit = grant.limit
        self.ledger.clear(ask.most if grant is None else grant.most)
        self._on_clear()

    def hear(self, limit: Cost) -> None:
        """How things stand with the others, now and then: this may come to `limit`.

        With nothing under way, what others could use is given back.
        """
        if self._is_gated and limit != self.ledger.limit:
            self.ledger.limit = limit
            self._on_clear()
        if not any(self.ledger.reserved):
            self.note_exactly()

    def note_exactly(self) -> bool:
        """Give back what is not needed, as nothing is under way.

        Returns:
            Whether that is noted; if not, a note is on its way.
        """
        exposure = self.ledger.exposure
        if self._writing is None and self._noted != exposure:
            assert self._save is not None
            if self._is_gated:
                self.ledger.lower(exposure)
            self._ask(self._save, exposure, exposure)
        return self._writing is None

    def _ahead(self) -> Cost:
        """What attempts will need until the next note, by what they needed since the last."""
        seconds = max(self._clock() - self._written_at, _NOTED_EVERY)
        recent = self.ledger.spent.minus(self._written_spent).times(_NOTED_EVERY / seconds)
        least = self._largest.times(_ATTEMPTS_AHEAD)
        return recent.largest(least).largest(self.ledger.reserved.times(_SHARE_AHEAD))


def _nothing() -> None:
    """Nobody waits."""
