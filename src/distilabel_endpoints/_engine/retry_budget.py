"""Retries for which there is no credit: they wait here until something is answered again.

Rules
- Retries follow successes: each answer lets the two oldest continue, so that after an outage they
  come back as fast as they are answered. Only those that failed before its attempt began: answers
  that were on their way when an outage began say nothing about it.
- Those that may continue by themselves after a time, as few are left, all continue at an answer.
- With no answer at all one of them is let go as a probe, one at a time and further and further
  apart: an outage is asked about, not hammered.
- A request that is let go gets no message: its next attempt shows what becomes of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["RetryBudget"]

_RELEASED: Final = 2
_FIRST_WAIT: Final = 1.0
_GROWTH: Final = 1.6
_LONGEST_WAIT: Final = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    who: object
    future: asyncio.Future[None]
    since: float
    is_timed: bool
    """Whether it continues after a time, answer or not."""

    def release(self) -> bool:
        """Let it continue; whether it still waited."""
        if self.future.done():
            return False
        self.future.set_result(None)
        return True


class RetryBudget:
    """The requests of one scheduler that wait for a sign of life. Call it on its loop.

    Args:
        loop: the scheduler's.
        on_wait: called when one more waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_wait: Callable[[], object]) -> None:
        self._loop = loop
        self._on_wait = on_wait
        self._waiting: deque[_Waiter] = deque()
        self._probe: object = None
        self._wait = _FIRST_WAIT
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def wait(self, who: object, at_most: float | None = None) -> None:
        """Until `who` may be tried again.

        Args:
            who: a request's history or the like, by which `ended` knows it again.
            at_most: seconds, after which it continues without an answer, too.
        """
        waiter = _Waiter(who, self._loop.create_future(), self._loop.time(), at_most is not None)
        timer = None if at_most is None else self._loop.call_later(at_most, waiter.release)
        self._waiting.append(waiter)
        self._arm()
        self._on_wait()
        try:
            await waiter.future
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def answered(self, began: float) -> None:
        """An attempt was answered that began at this reading of the loop's clock."""
        # Oldest first: if this one failed after that attempt began, so did all others.
        if not self._waiting or self._waiting[0].since > began:
            return
        self._wait = _FIRST_WAIT
        self._let_go(lambda waiter: waiter.is_timed and waiter.since <= began)
        for _ in range(_RELEASED):
            if self._waiting and self._waiting[0].since <= began:
                self._release()

    def ended(self, who: object) -> None:
        """An attempt of `who` is over. If it was the probe, another may follow."""
        if self._probe is who:
            self._probe = None
            self._arm()

    def let_go(self) -> None:
        """Whoever waits for nothing but an answer continues."""
        self._let_go(lambda waiter: not waiter.is_timed)

    def _let_go(self, who: Callable[[_Waiter], bool]) -> None:
        for waiter in [waiter for waiter in self._waiting if who(waiter)]:
            self._waiting.remove(waiter)
            waiter.release()

    def clear(self) -> list[asyncio.Future[None]]:
        """Whoever waits, for the caller to inform; nobody waits here any more."""
        waiting = [waiter.future for waiter in self._waiting]
        self._waiting.clear()
        self._disarm()
        return waiting

    def _release(self) -> object:
        while self._waiting:
            waiter = self._waiting.popleft()
            if waiter.release():
                return waiter.who
        return None

    def _arm(self) -> None:
        if self._waiting and self._timer is None and self._probe is None:
            self._timer = self._loop.call_later(self._wait, self._send_probe)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send_probe(self) -> None:
        self._timer = None
        self._wait = min(self._wait * _GROWTH, _LONGEST_WAIT)
        self._probe = self._release()
