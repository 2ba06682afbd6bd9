"""The model of service: slots, a queue before them, and the time an answer takes.

With a `Latency` each request takes its own time; with a `Throughput` all running requests share
the server's tokens per second, exactly (events, no time steps). Time is the running loop's clock,
so virtual time works. What is refused is decided in `limits.py`.
"""

from __future__ import annotations

import asyncio
from heapq import heapify, heappop, heappush
from itertools import count
from random import Random
from types import TracebackType
from typing import Self

from distilabel_endpoints.testing.endpoint_settings import Latency, Throughput
from distilabel_endpoints.testing.request_log import Entry, RequestLog

__all__ = ["Service", "SharedServer", "Turn"]


class SharedServer:
    """Tokens per second shared equally by whoever runs.

    All running requests have had the same number of tokens since any moment, so one running total
    is enough: a request is done when the total has grown by its own tokens.
    """

    def __init__(self, throughput: Throughput) -> None:
        self._throughput = throughput
        self._total = 0.0
        self._at = 0.0
        self._ends: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None

    async def work(self, tokens: float) -> None:
        """Take part until `tokens` tokens were produced for this request."""
        loop = asyncio.get_running_loop()
        self._advance(loop.time())
        done: asyncio.Future[None] = loop.create_future()
        heappush(self._ends, (self._total + tokens, next(self._order), done))
        self._arm(loop)
        try:
            await done
        finally:
            if done.cancelled():
                self._advance(loop.time())
                self._ends = [end for end in self._ends if end[2] is not done]
                heapify(self._ends)
                self._arm(loop)

    def _each(self) -> float:
        return self._throughput.rate(len(self._ends)) / len(self._ends)

    def _advance(self, now: float) -> None:
        if self._ends:
            self._total += (now - self._at) * self._each()
        self._at = now

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ends:
            wait = max(0.0, self._ends[0][0] - self._total) / self._each()
            self._timer = loop.call_at(self._at + wait, self._finish, loop, self._ends[0][0])

    def _finish(self, loop: asyncio.AbstractEventLoop, end: float) -> None:
        self._advance(loop.time())
        # Rounding must not leave the one we woke for a hair short, forever re-armed.
        self._total = max(self._total, end)
        while self._ends and self._ends[0][0] <= self._total:
            done = heappop(self._ends)[2]
            if not done.done():
                done.set_result(None)
        self._arm(loop)


class Turn:
    """A request's stay in a slot: `async with` waits for one and holds it.

    `spend` lets a share of its service time pass.
    """

    __slots__ = ("_entry", "_seconds", "_service", "_started", "_tokens")

    def __init__(self, service: Service, entry: Entry, tokens: int) -> None:
        self._service = service
        self._entry = entry
        self._tokens = tokens
        self._seconds = 0.0
        self._started = 0.0

    async def __aenter__(self) -> Self:
        service = self._service
        if service.slots is not None:
            await service.slots.acquire()
        self._started = asyncio.get_running_loop().time()
        service.log.begin(self._entry, self._started)
        try:
            if isinstance(service.latency, Latency):
                self._seconds = service.latency.draw(self._tokens, service.rng)
                service.log.serve(self._seconds)
            else:
                await asyncio.sleep(service.latency.prefill)
        except asyncio.CancelledError:
            self._leave()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        if exc_type is None and self._service.server is not None:
            self._service.log.serve(asyncio.get_running_loop().time() - self._started)

    async def spend(self, share: float = 1.0) -> None:
        """Wait for this share of the answer to be generated."""
        if self._service.server is not None:
            await self._service.server.work(self._tokens * share)
        elif self._seconds > 0:
            await asyncio.sleep(self._seconds * share)

    def _leave(self) -> None:
        self._service.log.finish()
        self._service.free()


class Service:
    """Slots and the time spent in them."""

    def __init__(
        self, slots: int | None, latency: Latency | Throughput, *, seed: int, log: RequestLog
    ) -> None:
        self.latency = latency
        self.server = SharedServer(latency) if isinstance(latency, Throughput) else None
        self.slots = None if slots is None else asyncio.Semaphore(slots)
        self._of_each = slots or 0
        self._existing = self._wanted = self._of_each
        self.rng = Random(f"latency {seed}")
        self.log = log

    def scale(self, replicas: int) -> None:
        """Have the slots of that many replicas. Those of one that goes are given up when free."""
        wanted = self._of_each * max(1, replicas)
        while self.slots is not None and self._existing < wanted:
            self._existing += 1
            self.slots.release()
        self._wanted = wanted

    def free(self) -> None:
        """A slot is free again, if it still exists."""
        if self.slots is None:
            return
        if self._existing > self._wanted:
            self._existing -= 1
        else:
            self.slots.release()

    def turn(self, entry: Entry, tokens: int) -> Turn:
        """A slot for a request of that many tokens, in order of arrival."""
        return Turn(self, entry, tokens)
