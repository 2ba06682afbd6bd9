"""What is spent, and what is reserved for attempts that are under way. Pure.

Rules
- An attempt reserves the most it may cost before it is sent, and settles at what it did cost.
- Spent plus reserved never exceeds the budget, nor what was made durable before: `cleared`. A
  process that is killed may have spent all of that, and a resume counts it so.
- The oldest attempt goes first, and waits for money that others have reserved; nobody overtakes it.
  Only one that could not be paid even if nothing else cost more is given up.
- The tail: a row that has begun may use all that is left. A row that has not begun leaves a pot,
  as much as the dearest attempt so far, so that those under way can try again or answer at greater
  length; unless no row is under way: then it may use all that is left, too. So with little left,
  fewer and fewer rows are under way, at last one at a time, and the run ends when not even the
  most that one attempt may cost is left.
"""

from __future__ import annotations

from distilabel_endpoints.spending.amounts import Cost
from distilabel_endpoints.spending.budget import Budget

__all__ = ["Ledger"]

_NOTHING = Cost()


class Ledger:
    """The books of one run, or of one worker's part in it.

    Args:
        budget: the most that may be spent, with what was spent before.
        spent: what earlier processes spent.
        is_durable: whether attempts have to wait for `clear`.
    """

    def __init__(self, budget: Budget, spent: Cost = _NOTHING, *, is_durable: bool = False) -> None:
        self.limit = budget.cost
        self.spent = spent
        self.reserved = _NOTHING
        self.pot = _NOTHING
        """Left to rows under way by those that have not begun."""
        self.cleared = spent if is_durable else self.limit
        """Spent plus reserved may grow to this."""
        self.open_rows = 0
        """Rows that have sent something and have not ended."""
        self.unknown = _NOTHING
        """Of `spent`: reservations of attempts whose cost is not known."""

    @property
    def exposure(self) -> Cost:
        """The most that may have been spent when all that is under way has ended."""
        return self.spent.plus(self.reserved)

    def is_affordable(self, cost: Cost) -> bool:
        """Whether it could be paid if nothing that is under way cost anything."""
        return self.spent.plus(cost).within(self.limit)

    def fits(self, cost: Cost, *, has_begun: bool) -> bool:
        """Whether an attempt may be sent now, of a row that has sent one before, or has not."""
        exposure = self.exposure.plus(cost)
        if not exposure.within(self.cleared):
            return False
        pot = _NOTHING if has_begun or not self.open_rows else self.pot
        return exposure.plus(pot).within(self.limit)

    def reserve(self, cost: Cost) -> None:
        """An attempt that `fits` is about to be sent."""
        self.reserved = self.reserved.plus(cost)
        self.pot = self.pot.largest(cost)

    def release(self, cost: Cost) -> None:
        """It was not sent, or the server charges nothing for it."""
        self.reserved = self.reserved.minus(cost)

    def settle(self, reserved: Cost, cost: Cost | None) -> None:
        """It has ended and cost this; None: it is not known, so it cost all that was reserved."""
        self.reserved = self.reserved.minus(reserved)
        if cost is None:
            self.unknown = self.unknown.plus(reserved)
            cost = reserved
        self.spent = self.spent.plus(cost)

    def clear(self, ceiling: Cost) -> None:
        """It is durable that this much may have been spent."""
        self.cleared = ceiling.smallest(self.limit)

    def lower(self, ceiling: Cost) -> None:
        """It is about to become durable that no more than this may have been spent."""
        self.cleared = self.cleared.smallest(ceiling)

    def note(self, ceiling: Cost) -> dict[str, int]:
        """The books, if no more than `ceiling` may be spent before they are noted again."""
        return {
            "tokens": self.spent.tokens,
            "picodollars": self.spent.picodollars,
            "unknown_tokens": self.unknown.tokens,
            "unknown_picodollars": self.unknown.picodollars,
            "most_tokens": ceiling.tokens,
            "most_picodollars": ceiling.picodollars,
        }
