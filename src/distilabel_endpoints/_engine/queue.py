"""Requests that wait for a permit: oldest first, and each where it may go.

Rules
- Those that an endpoint has failed wait apart from the others, so that they hold up nobody for
  whom that endpoint is good enough.
- A permit that is granted and not used, because its request was cancelled, goes back at once.
- One timer, for when time alone will help. One instance belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from distilabel_endpoints._engine.in_flight import LeftError, Seat
from distilabel_endpoints._engine.pool import Grant, Member, Pool

__all__ = ["TICK", "RequestQueue"]

TICK: Final = 0.001
"""Event loops do not wait for less, in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A request that wants a permit."""

    number: int
    tokens: int
    seat: Seat
    future: asyncio.Future[Grant]


class RequestQueue:
    """The queue in front of a pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self._loop = loop
        self._now = loop.time
        self._pool = pool
        self._lanes: dict[Member | None, deque[_Waiter]] = {None: deque()}
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        """When the timer fires. Kept here, as not every loop's handles know it."""

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    async def acquire(self, tokens: int, seat: Seat, shunned: Member | None = None) -> Grant:
        """A permit, as soon as there is one and nobody older wants it.

        Args:
            tokens: the request's estimated cost.
            seat: of its row.
            shunned: the endpoint that failed it last.

        Raises:
            LeftError: the row is to leave.
            RunError: the run has ended meanwhile.
        """
        if not any(self._lanes.values()):
            grant = self._pool.acquire(self._now(), tokens, shunned)
            if grant is not None:
                return grant
        future: asyncio.Future[Grant] = self._loop.create_future()
        self._number += 1
        lane = self._lanes.setdefault(shunned, deque())
        lane.append(_Waiter(self._number, tokens, seat, future))
        self.pump()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                # Granted and cancelled in the same step: the permit goes back unused.
                self._pool.cancel(future.result(), self._now())
                self.pump()
            raise

    def pump(self) -> None:
        """Hand permits to those who wait, oldest first, and come back when time will help."""
        now = self._now()
        heads = self._heads()
        while heads and self._serve(heads, now):
            heads = self._heads()
        self._arm(now, heads)

    def _serve(self, heads: list[tuple[Member | None, _Waiter]], now: float) -> bool:
        """One permit for the oldest who can have one, if anybody can."""
        for shunned, waiter in heads:
            grant = self._pool.acquire(now, waiter.tokens, shunned)
            if grant is not None:
                self._lanes[shunned].popleft()
                waiter.future.set_result(grant)
                return True
        return False

    def _heads(self) -> list[tuple[Member | None, _Waiter]]:
        """The first of each lane, oldest first."""
        heads = []
        for shunned, lane in self._lanes.items():
            while lane and lane[0].future.done():
                lane.popleft()
            if lane:
                heads.append((shunned, lane[0]))
        if len(heads) > 1:
            heads.sort(key=lambda head: head[1].number)
        return heads

    def _arm(self, now: float, heads: list[tuple[Member | None, _Waiter]]) -> None:
        when = None
        if heads:
            shunned = [shunned for shunned, _ in heads]
            when = self._pool.next_time(now, heads[0][1].tokens, shunned)
        timer = self._timer
        if timer is not None and (when is None or abs(self._wakes_at - when) > TICK):
            timer.cancel()
            timer = self._timer = None
        if when is not None and timer is None:
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
            if pauses.get(member.name, 0.0) > 0.0:
                member.limiter.pause(now + pauses[member.name])
        self.pump()

    def dismiss(self, seats: AbstractSet[Seat]) -> None:
        """Requests of these rows are not sent any more."""
        for waiter in self._waiters():
            if waiter.seat in seats and not waiter.future.done():
                waiter.future.set_exception(LeftError())

    def dissolve(self, error: Callable[[], Exception]) -> None:
        """Nobody gets a permit any more; each is told with an error of its own."""
        waiters = list(self._waiters())
        for lane in self._lanes.values():
            lane.clear()
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
