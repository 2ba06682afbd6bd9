"""The rows of one `drive` that were pulled and are not done, and how they leave early.

A row has a seat from when it is pulled to when it is delivered. The tasks that send for it know
their seat, so that a drain can tell rows with an attempt in flight, which may finish, from those
that only wait, which leave at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from dataclasses import dataclass

from distilabel_endpoints.errors import RunError, UserCodeError
from distilabel_endpoints.spending.account import Account

__all__ = ["Drain", "InFlight", "LeftError", "Seat", "current_seat", "take_seat"]


@dataclass(slots=True, eq=False)
class Seat:
    """One row under way."""

    task: asyncio.Task[None] | None = None
    in_flight: int = 0
    leaving: bool = False
    account: Account | None = None
    """What pays for its attempts, if they are counted."""
    began: float | None = None
    """When its first attempt got a permit."""


# Of what is left of a budget's time, this much is for what is in flight at its end, in seconds.
_LONGEST_GRACE = 60.0
_GRACE_SHARE = 0.05


class LeftError(Exception):
    """A row has to leave before its next attempt."""


# The row whose request is being sent; tasks that a row starts inherit it.
_seat: ContextVar[Seat] = ContextVar("_seat")


def take_seat(seat: Seat) -> None:
    """The running task, and those it starts, work for this row."""
    _seat.set(seat)


def current_seat() -> Seat:
    """The row that the running task works for; a request without a row gets its own seat."""
    return _seat.get(None) or Seat()


class InFlight:
    """One `drive`: the rows that were pulled and are not done."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dismiss: Callable[[AbstractSet[Seat]], None],
        account: Account | None = None,
    ) -> None:
        self._loop = loop
        self._dismiss = dismiss
        self._seats: set[Seat] = set()
        self._room: asyncio.Future[None] | None = None
        self._draining = False
        self._account = account
        self._deadline: asyncio.TimerHandle | None = None
        self._pump: Callable[[], None] | None = None
        self.stopped: RunError | UserCodeError | None = None
        self.is_fed = False
        """Whether the last of its rows has been begun."""

    @property
    def over(self) -> bool:
        """No further row is to be begun."""
        is_poor = self._account is not None and self._account.is_exhausted
        return self._draining or is_poor or self.stopped is not None

    async def enter(self, most: Callable[[], int]) -> Seat:
        # Asked anew each time, as the window follows the limit.
        while len(self._seats) >= most() and not self.over:
            self._room = self._loop.create_future()
            await self._room
        seat = Seat(account=self._account)
        self._seats.add(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        self._seats.discard(seat)
        # Its task has a context that has the seat: a circle, and everything the row touched in it.
        seat.task = None
        if seat.account is not None and seat.began is not None:
            seat.account.row_ended()
        self.make_room()
        if self._pump is not None:
            self._pump()  # what it has left may be enough for another row

    def watch_account(self, pump: Callable[[], None]) -> None:
        """Serve the queue when there is money again, and drain when time is nearly over."""
        if self._account is None:
            return
        self._pump = pump
        self._account.on_clear(pump)
        self._account.on_budget.add(self._watch_time)
        self._watch_time()

    def _watch_time(self) -> None:
        """Drain when the account's time is nearly over; also after its budget has changed."""
        assert self._account is not None
        self._forget_time()
        left = self._account.seconds_left
        if left is not None and left <= 0:
            self._time_is_over(0.0)
        elif left is not None:
            grace = min(_LONGEST_GRACE, left * _GRACE_SHARE)
            self._deadline = self._loop.call_later(left - grace, self._time_is_over, grace)

    def _forget_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _time_is_over(self, grace: float) -> None:
        assert self._account is not None
        self._account.is_exhausted = True
        self.drain(grace)

    def close(self) -> None:
        """All rows have left."""
        self._forget_time()
        if self._account is not None:
            self._account.on_budget.discard(self._watch_time)

    def make_room(self) -> None:
        """Look again whether another row may enter."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def drain(self, grace: float) -> None:
        """Rows without an attempt in flight leave now, the others after it or after `grace`."""
        self._draining = True
        for seat in self._seats:
            seat.leaving = True
            if not seat.in_flight and seat.task is not None:
                seat.task.cancel()
        # Of rows with an attempt in flight too: their other generations are not begun any more.
        self._dismiss(self._seats)
        self.make_room()
        self._loop.call_later(grace, self._abandon)

    def _abandon(self) -> None:
        for seat in self._seats:
            if seat.task is not None:
                seat.task.cancel()


class Drain:
    """A way to end one `drive` early, from any thread: nothing new, and an end to what is under
    way. Rows that did not finish are not delivered."""

    def __init__(self) -> None:
        self._in_flight: InFlight | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._grace: float | None = None

    def attach(self, in_flight: InFlight) -> None:
        """Called by `drive`, on its loop."""
        self._in_flight, self._loop = in_flight, asyncio.get_running_loop()
        # The signal may come before the first row is sent.
        if self._grace is not None:
            in_flight.drain(self._grace)

    def begin(self, grace: float) -> None:
        """Send nothing new; what is in flight has `grace` seconds to finish."""
        self._grace = grace
        if self._in_flight is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._in_flight.drain, grace)
