"""Retries for which there is no credit: they wait here until something is answered again.

Rules
- Retries follow successes: each answer lets the two oldest continue, so that after an outage they
  come back as fast as they are answered. Only those that failed before its attempt began: answers
  that were on their way when an outage began say nothing about it.
- With no answer at all one of them is let go as a probe, one at a time and further and further
  apart: an outage is asked about, not hammered.
- A request that is let go gets no message: its next attempt shows what becomes of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["RetryBudget"]

_RELEASED: Final = 2
_FIRST_WAIT: Final = 1.0
_GROWTH: Final = 1.6
_LONGEST_WAIT: Final = 15.0


class RetryBudget:
    """The requests of one scheduler that wait for a sign of life. Call it on its loop.

    Args:
        loop: the scheduler's.
        tell: called when one more waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[], object]) -> None:
        self._loop = loop
        self._tell = tell
        self._waiting: deque[tuple[object, asyncio.Future[None], float]] = deque()
        self._probe: object = None
        self._wait = _FIRST_WAIT
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def wait(self, who: object) -> None:
        """Until `who`, a request's history or the like, may be tried again."""
        future: asyncio.Future[None] = self._loop.create_future()
        entry = (who, future, self._loop.time())
        self._waiting.append(entry)
        self._arm()
        self._tell()
        try:
            await future
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def answered(self, began: float) -> None:
        """An attempt was answered that began at this reading of the loop's clock."""
        if not self._waiting or self._waiting[0][2] > began:
            return
        self._wait = _FIRST_WAIT
        for _ in range(_RELEASED):
            if self._waiting and self._waiting[0][2] <= began:
                self._release()

    def ended(self, who: object) -> None:
        """An attempt of `who` is over. If it was the probe, another may follow."""
        if self._probe is who:
            self._probe = None
            self._arm()

    def let_go(self) -> None:
        """Whoever waits continues."""
        while self._waiting:
            self._release()

    def clear(self) -> list[asyncio.Future[None]]:
        """Whoever waits, for the caller to inform; nobody waits here any more."""
        waiting = [future for _, future, _ in self._waiting]
        self._waiting.clear()
        self._disarm()
        return waiting

    def _release(self) -> object:
        while self._waiting:
            who, future, _ = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return who
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
