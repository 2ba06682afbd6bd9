"""Requests that wait for a permit: oldest first, each for the endpoints it may use.

Rules
- Those that an endpoint has failed wait apart from the others, so that they do not hold up others
  for whom that endpoint is good enough.
- A permit that is granted and not used, because its request was cancelled, goes back at once.
- A permit and the money of one attempt are had together or not at all, so that neither is held
  while the other is waited for. Who waits for money holds up no other run.
- One timer, for when time alone will help. One instance belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple

from distilabel_endpoints._engine.in_flight import LeftError, Seat
from distilabel_endpoints._engine.pool import Grant, Member, Pool
from distilabel_endpoints.spending.account import Account, Reservation

__all__ = ["TICK", "RequestQueue"]

TICK: Final = 0.001
"""Event loops do not wait for less, in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A request that wants a permit."""

    number: int
    tokens: int
    seat: Seat
    money: Reservation | None
    future: asyncio.Future[Grant]


class _Lane(NamedTuple):
    """Requests that are served in the order they came."""

    shunned: Member | None
    account: Account | None
    has_begun: bool
    """Whether their rows have sent something: these may use the last of the money."""


class RequestQueue:
    """The queue in front of a pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self._loop = loop
        self._now = loop.time
        self._pool = pool
        self._lanes: dict[_Lane, deque[_Waiter]] = {}
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        """When the timer fires. Kept here, as not every loop's handles know it."""

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    async def acquire(
        self,
        tokens: int,
        seat: Seat,
        shunned: Member | None = None,
        money: Reservation | None = None,
    ) -> Grant:
        """A permit, as soon as there is one and no older request wants it.

        Args:
            tokens: the request's estimated cost.
            seat: of its row.
            shunned: the endpoint that failed it last.
            money: what the attempt reserves of its row's account, if that has one.

        Raises:
            LeftError: the row is to leave, or there will never be enough money for it.
            RunError: the run has ended meanwhile.
        """
        self._number += 1
        future: asyncio.Future[Grant] = self._loop.create_future()
        waiter = _Waiter(self._number, tokens, seat, money, future)
        has_begun = seat.account is not None and seat.began is not None
        lane = _Lane(shunned, seat.account, has_begun)
        # Nobody waits: no turn of the loop for a future that would be done at once.
        if not any(self._lanes.values()):
            grant = self._granted(lane, waiter, self._now())
            if grant is not None:
                return grant
        self._lanes.setdefault(lane, deque()).append(waiter)
        self.pump()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                # Granted and cancelled in the same step: the permit goes back unused.
                self._pool.cancel(future.result(), self._now())
                if seat.account is not None and money is not None:
                    seat.account.release(money)
                self.pump()
            raise

    def pump(self) -> None:
        """Hand permits to those who wait, oldest first, and come back when time will help."""
        now = self._now()
        heads = self._heads()
        while heads and self._serve(heads, now):
            heads = self._heads()
        self._arm(now, heads)

    def _serve(self, heads: list[tuple[_Lane, _Waiter]], now: float) -> bool:
        """One permit for the oldest who can have one, if anybody can."""
        for lane, waiter in heads:
            grant = self._granted(lane, waiter, now)
            if grant is not None:
                self._lanes[lane].popleft()
                waiter.future.set_result(grant)
                return True
        return False

    def _granted(self, lane: _Lane, waiter: _Waiter, now: float) -> Grant | None:
        """A permit, and the money that its attempt reserves."""
        account, seat = lane.account, waiter.seat
        if not _can_pay(lane, waiter):
            return None
        grant = self._pool.acquire(now, waiter.tokens, lane.shunned)
        if grant is None:
            return None
        if account is not None and waiter.money is not None:
            account.reserve(waiter.money)
            if seat.began is None:
                account.row_began()
        seat.began = now if seat.began is None else seat.began
        return grant

    def _heads(self) -> list[tuple[_Lane, _Waiter]]:
        """The first of each lane, oldest first."""
        heads = []
        for lane, waiters in list(self._lanes.items()):
            while waiters and not _is_waiting(lane, waiters[0]):
                waiters.popleft()
            if waiters:
                heads.append((lane, waiters[0]))
            elif lane.account is not None:
                del self._lanes[lane]  # runs come and go
        if len(heads) > 1:
            heads.sort(key=lambda head: head[1].number)
        return heads

    def _arm(self, now: float, heads: list[tuple[_Lane, _Waiter]]) -> None:
        when = None
        heads = [head for head in heads if _can_pay(*head)]  # time brings no money
        if heads:
            shunned = [lane.shunned for lane, _ in heads]
            when = self._pool.next_time(now, heads[0][1].tokens, shunned)
        timer = self._timer
        if timer is not None and (when is None or abs(self._wakes_at - when) > TICK):
            timer.cancel()
            timer = self._timer = None
        if when is not None and timer is None:
            # A time that has come already would make the timer fire again and again in one turn.
            self._wakes_at = max(when, now + TICK)
            self._timer = self._loop.call_at(self._wakes_at, self._pump_later)

    def _pump_later(self) -> None:
        self._timer = None
        self.pump()

    def share(self, ceiling: int | None, pauses: Mapping[str, float]) -> None:
        """Keep to what other processes that send to the same endpoints leave to this one.

        Args:
            ceiling: attempts in flight at most; 0 sends nothing more, None changes nothing.
            pauses: seconds in which an endpoint, by its name, is to be sent nothing.
        """
        now = self._now()
        if ceiling is not None:
            self._pool.ceiling = ceiling
        for member in self._pool.members:
            member.limiter.widen(ceiling or 0, now)
            if pauses.get(member.name, 0.0) > 0.0:
                member.limiter.pause(now + pauses[member.name])
        self.pump()

    def dismiss(self, seats: AbstractSet[Seat]) -> None:
        """Requests of these rows are not sent any more."""
        for waiter in self._waiters():
            if waiter.seat in seats and not waiter.future.done():
                waiter.future.set_exception(LeftError())

    def dissolve(self, error: Callable[[], Exception]) -> None:
        """No request gets a permit any more; each one that waits gets its own error."""
        waiters = list(self._waiters())
        self._lanes.clear()
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_exception(error())

    def _waiters(self) -> Iterator[_Waiter]:
        for lane in self._lanes.values():
            yield from lane

    def close(self) -> None:
        """Wake up no more."""
        if self._timer is not None:
            self._timer.cancel()


def _can_pay(lane: _Lane, waiter: _Waiter) -> bool:
    if lane.account is None or waiter.money is None:
        return True
    return lane.account.fits(waiter.money, has_begun=waiter.seat.began is not None)


def _is_waiting(lane: _Lane, waiter: _Waiter) -> bool:
    """Whether it still waits; if there will never be enough money for it, its row leaves."""
    if waiter.future.done():
        return False
    if lane.account is None or waiter.money is None or lane.account.is_affordable(waiter.money):
        return True
    lane.account.is_exhausted = True
    waiter.future.set_exception(LeftError())
    return False
