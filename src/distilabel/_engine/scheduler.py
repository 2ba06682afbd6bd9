"""Requests in, outcomes out: the only place that sends.

Rules
- A permit spans one attempt, never a wait; permits out = permits in, whatever happens.
- Only here is anything retried. A waiting request is a future in a queue or a heap.
- Rows are pulled at most a window ahead of what is done.
- The first failure that condemns the run stops new attempts; those in flight are waited for.
- A refusal that may be everybody's is held back until another row's success or refusal settles
  whose it is, so that no row is filed for a failure of the whole run.
- One instance belongs to one event loop. Nothing here blocks.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TypeVar

from distilabel._engine.flight import Drain, Flight, LeftError, Seat, current_seat, take_seat
from distilabel._engine.limiter import Limiter, LimiterStatistics, Permit
from distilabel._engine.retry import GiveUp, RetryPolicy, Stop, Tries
from distilabel.errors import RunError, run_error
from distilabel.records import Answer, Client, Failure, FailureKind, Request

__all__ = ["EngineStatistics", "Scheduler", "each"]

T = TypeVar("T")
R = TypeVar("R")

# Enough rows in play for the systemic rule to see a run's worth of refusals before it files one.
_LEAST_WINDOW = 32
# Event loops do not wait for less.
_TICK = 0.001
# A pause that a person should be told of, in seconds.
_NOTICED = 3.0
_AWAY = {
    "starting": "the endpoint is starting",
    "paused": "the endpoint is paused",
    "refused": "nothing listens there",
    "dns": "the host's name does not resolve",
}
_OVERLOAD_SIGNS = frozenset(
    {
        "timeout",
        "first_token_timeout",
        "token_timeout",
        "gateway_timeout",
        "generation_failed",
        "reset",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatistics:
    """What the engine is doing, at one instant."""

    limiter: LimiterStatistics
    waiting: int
    """Requests that wait for a permit."""
    delayed: int
    """Requests that wait out a backoff."""
    succeeded: int
    retries: Mapping[FailureKind, int]
    """Attempts that were repeated, by what went wrong."""
    waiting_for: str | None
    """What the endpoint makes every request wait for, in a few words."""
    pause_left: float | None
    """Seconds until that is over, where it is known."""
    last_failure: Failure | None
    """The newest failure that made a request wait."""


class Scheduler:
    """One per target: everything sent to it, from whatever thread or loop, goes through here.

    Args:
        client: where attempts go. Owned: `aclose` closes it.
        limiter: says when an attempt may start.
        policy: says what follows a failure.
        attempt_timeout: seconds for one attempt.
    """

    def __init__(
        self, client: Client, *, limiter: Limiter, policy: RetryPolicy, attempt_timeout: float
    ) -> None:
        self._client = client
        self._limiter = limiter
        self._policy = policy
        self._timeout = attempt_timeout
        self.loop = asyncio.get_running_loop()
        """The loop everything here belongs to."""
        self._now = self.loop.time
        self._waiting: deque[_Waiter] = deque()
        self._delayed: list[tuple[float, int, asyncio.Future[None]]] = []
        self._suspects: list[asyncio.Future[None]] = []
        self._sequence = 0
        self._active = 0
        self._pump_timer: asyncio.TimerHandle | None = None
        self._delay_timer: asyncio.TimerHandle | None = None
        self._stopped: Failure | None = None
        self._last_failure: Failure | None = None
        self.choices_limit: int | None = None
        """The most completions one request was seen to bring, once the server fell short."""

    async def drive(
        self,
        rows: AsyncIterable[T] | Iterable[T],
        work: Callable[[T], Awaitable[R]],
        deliver: Callable[[R], None],
        drain: Drain | None = None,
    ) -> None:
        """Do `work` for every row, as many at once as the limit feeds, and deliver each result.

        Args:
            rows: pulled at most `window` ahead of what is delivered.
            work: sends through `complete`.
            deliver: called once a row, as it finishes, in no particular order.
            drain: ends the drive early.

        Raises:
            RunError: no row can be answered; what was in flight has been delivered.
        """
        flight = Flight(self.loop, self._dismiss)
        if drain is not None:
            drain.attach(flight)

        async def one(row: T, seat: Seat) -> None:
            take_seat(seat)
            try:
                deliver(await work(row))
            except RunError as error:
                flight.stopped = flight.stopped or error
            except LeftError:
                pass  # left undone on purpose
            except asyncio.CancelledError:
                if not seat.leaving:
                    raise
            finally:
                flight.leave(seat)

        async with asyncio.TaskGroup() as group:
            async for row in each(rows):
                seat = await flight.enter(lambda: self.window)
                if flight.over:
                    break
                seat.task = group.create_task(one(row, seat))
        if flight.stopped is not None:
            raise flight.stopped

    async def complete(self, request: Request) -> Answer | Failure:
        """Send `request` until it is answered or has failed for good.

        Raises:
            RunError: no request can be answered; this one has not failed.
        """
        tries = Tries(request.ordinal)
        self._active += 1
        try:
            return await self._complete(request, tries)
        finally:
            self._active -= 1
            self._settle_suspects()
            if not self._active:
                self._stopped = None

    async def _complete(self, request: Request, tries: Tries) -> Answer | Failure:
        while True:
            outcome, elapsed = await self._attempt(request)
            if isinstance(outcome, Answer):
                self._pump()
                return outcome
            decision = self._policy.decide(outcome, tries, now=self._now(), elapsed=elapsed)
            if isinstance(decision, Stop):
                self._stop(decision.failure)
                raise run_error(decision.failure)
            self._pump()
            if isinstance(decision, GiveUp):
                if decision.suspect:
                    await self._suspect()
                return decision.failure
            self._last_failure = outcome
            if decision.stream:
                request = replace(request, stream=True)
            if decision.delay > 0:
                await self._delay(decision.delay)

    async def _attempt(self, request: Request) -> tuple[Answer | Failure, float]:
        """One try. The caller hands the freed permit on, once it knows whether the run goes on."""
        seat = current_seat()
        permit = await self._acquire(request.max_new_tokens or 0, seat)
        started = self._now()
        outcome: Answer | Failure
        seat.in_flight += 1
        try:
            async with asyncio.timeout(self._timeout):
                outcome = await self._client.complete(request)
        except TimeoutError:
            outcome = _timed_out(self._timeout)
        except BaseException:
            self._limiter.cancel(permit, self._now())
            self._pump()
            raise
        finally:
            seat.in_flight -= 1
        now = self._now()
        return self._record(permit, outcome, now, now - started), now - started

    def _record(
        self, permit: Permit, outcome: Answer | Failure, now: float, elapsed: float
    ) -> Answer | Failure:
        """Tell limiter and policy how the attempt ended; give the outcome back in context."""
        if isinstance(outcome, Answer):
            usage = outcome.usage
            self._limiter.succeed(
                permit, now, output_tokens=usage.output_tokens, input_tokens=usage.input_tokens
            )
            if outcome.headers:
                self._limiter.rate_headers(outcome.headers, now)
            self._policy.succeeded(now)
            self._clear_suspects()
            return outcome
        failure = self._policy.in_context(outcome, now=now, elapsed=elapsed)
        if failure.kind is FailureKind.THROTTLE:
            self._limiter.push_back(permit, now, retry_after=failure.retry_after)
        elif failure.kind is FailureKind.UNAVAILABLE:
            self._limiter.unavailable(permit, now, retry_after=failure.retry_after)
        else:
            self._limiter.fail(permit, now, timed_out=failure.code in _OVERLOAD_SIGNS)
        return failure

    async def _acquire(self, tokens: int, seat: Seat) -> Permit:
        self._refuse(seat)
        if not self._waiting:
            permit = self._limiter.acquire(self._now(), tokens)
            if permit is not None:
                return permit
        future: asyncio.Future[Permit] = self.loop.create_future()
        self._waiting.append(_Waiter(tokens, seat, future))
        self._pump()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                # Granted and cancelled in the same step: the permit goes back unused.
                self._limiter.cancel(future.result(), self._now())
                self._pump()
            raise

    def _refuse(self, seat: Seat) -> None:
        """Nothing more is begun for a run that has ended, or a row that is to leave."""
        if self._stopped is not None:
            raise run_error(self._stopped)
        if seat.leaving:
            raise LeftError

    def _dismiss(self, seats: AbstractSet[Seat]) -> None:
        """Requests of these rows that wait for a permit are not sent any more."""
        for waiter in self._waiting:
            if waiter.seat in seats and not waiter.future.done():
                waiter.future.set_exception(LeftError())

    def _pump(self) -> None:
        """Hand permits to those who wait, oldest first, and come back when time will help."""
        now = self._now()
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.future.done():
                permit = self._limiter.acquire(now, waiter.tokens)
                if permit is None:
                    break
                waiter.future.set_result(permit)
            self._waiting.popleft()
        self._arm_pump(now)

    def _arm_pump(self, now: float) -> None:
        when = self._limiter.next_time(now) if self._waiting else None
        timer = self._pump_timer
        if timer is not None and (when is None or abs(timer.when() - when) > _TICK):
            timer.cancel()
            timer = self._pump_timer = None
        if when is not None and timer is None:
            self._pump_timer = self.loop.call_at(max(when, now + _TICK), self._pump_later)

    def _pump_later(self) -> None:
        self._pump_timer = None
        self._pump()

    async def _delay(self, seconds: float) -> None:
        self._refuse(current_seat())
        future: asyncio.Future[None] = self.loop.create_future()
        self._sequence += 1
        heapq.heappush(self._delayed, (self._now() + seconds, self._sequence, future))
        self._wake_delayed()
        await future

    def _wake_delayed(self) -> None:
        now = self._now()
        while self._delayed and (self._delayed[0][0] <= now + _TICK or self._delayed[0][2].done()):
            future = heapq.heappop(self._delayed)[2]
            if not future.done():
                future.set_result(None)
        if self._delay_timer is not None:
            self._delay_timer.cancel()
            self._delay_timer = None
        if self._delayed:
            self._delay_timer = self.loop.call_at(self._delayed[0][0], self._wake_delayed)

    async def _suspect(self) -> None:
        """Hold a refusal back until it is clear that it is this row's own."""
        self._refuse(current_seat())
        future: asyncio.Future[None] = self.loop.create_future()
        self._suspects.append(future)
        self._settle_suspects()
        await future

    def _settle_suspects(self) -> None:
        """With nothing else under way, no further evidence will come."""
        if self._suspects and len(self._suspects) >= self._active:
            self._clear_suspects()

    def _clear_suspects(self) -> None:
        suspects, self._suspects = self._suspects, []
        for future in suspects:
            if not future.done():
                future.set_result(None)

    def _stop(self, failure: Failure) -> None:
        """Everything that waits is told; what is in flight runs to its end."""
        self._stopped = failure
        waiting: list[asyncio.Future[Permit] | asyncio.Future[None]] = [
            *(waiter.future for waiter in self._waiting),
            *(future for _, _, future in self._delayed),
            *self._suspects,
        ]
        self._waiting.clear()
        self._delayed.clear()
        self._suspects.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(run_error(failure))

    @property
    def window(self) -> int:
        """How many rows `drive` has pulled and not delivered, at most, as of now."""
        return max(_LEAST_WINDOW, self._limiter.window)

    def statistics(self) -> EngineStatistics:
        """A snapshot; cheap enough to take several times a second."""
        limiter = self._limiter.statistics(self._now())
        pause = (limiter.gate_until or 0.0) - self._now()
        return EngineStatistics(
            limiter=limiter,
            waiting=len(self._waiting),
            delayed=len(self._delayed),
            succeeded=self._policy.successes,
            retries=dict(self._policy.retries),
            last_failure=self._last_failure,
            waiting_for=_waiting_for(limiter, self._last_failure, pause),
            pause_left=pause if pause > _NOTICED else None,
        )

    async def aclose(self) -> None:
        """Close the client. Nothing may be under way."""
        for timer in (self._pump_timer, self._delay_timer):
            if timer is not None:
                timer.cancel()
        await self._client.aclose()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A request that wants a permit."""

    tokens: int
    seat: Seat
    future: asyncio.Future[Permit]


async def each(rows: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T]:
    """Any iterable as an async one."""
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


def _waiting_for(limiter: LimiterStatistics, failure: Failure | None, pause: float) -> str | None:
    """What every request waits for just now, where it is more than a moment."""
    if limiter.breaker != "closed":
        return _AWAY.get((failure and failure.code) or "", "the endpoint does not answer")
    return "the server asks for a pause" if pause > _NOTICED else None


def _timed_out(seconds: float) -> Failure:
    return Failure(
        kind=FailureKind.TRANSIENT,
        code="timeout",
        message=f"no complete answer within {seconds:.0f} s",
        hint="Raise timeout, lower max_new_tokens, or set max_concurrency.",
    )
