"""Requests in, outcomes out: the only place that sends.

Rules
- A permit spans one attempt, never a wait; permits out = permits in, whatever happens.
- Which endpoint takes an attempt is the `pool`'s choice; a request that one failed goes to another.
- Only here is anything retried. A waiting request is a future in a queue or a heap.
- Rows are pulled at most a window ahead of what is done.
- The first failure that ends the run stops new attempts; those in flight are waited for.
- A refusal that may be everybody's is held back until another row's success or refusal settles
  whose it is, so that no row is recorded as failed for a failure of the whole run, and no run ends
  for what one row was refused.
- One instance belongs to one event loop. Nothing here blocks.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any, TypeVar

from distilabel_endpoints._engine.evidence import Tries, is_telling
from distilabel_endpoints._engine.in_flight import (
    Drain,
    InFlight,
    LeftError,
    Seat,
    current_seat,
    take_seat,
)
from distilabel_endpoints._engine.pool import Grant, Member, Pool
from distilabel_endpoints._engine.queue import TICK, RequestQueue
from distilabel_endpoints._engine.retry import Defer, GiveUp, Hold, Retry, Stop
from distilabel_endpoints._engine.retry_budget import RetryBudget
from distilabel_endpoints.engine_state import EngineStatistics, LimiterStatistics
from distilabel_endpoints.errors import RunError, UserCodeError, run_error
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request
from distilabel_endpoints.served import Served, ServedBy
from distilabel_endpoints.spending.account import Account

__all__ = ["Scheduler", "each"]

T = TypeVar("T")
R = TypeVar("R")

# Enough rows in play for the systemic rule to see a run's worth of refusals before one is recorded
# as failed.
_LEAST_WINDOW = 32
# How long a refusal waits for rows that are to come to show whose it is, in seconds.
_ROWS_TO_COME = 2.0
# A pause that should be reported to a person, in seconds.
_NOTICED = 3.0
# Of a server's words, in characters.
_WORDS = 120
# Endpoints and providers that are counted apart: a server could name a new one each time.
_MOST_SERVED = 64
_AWAY = {
    "starting": "the endpoint is starting",
    "paused": "the endpoint is paused",
    "refused": "nothing listens there",
    "dns": "the host's name does not resolve",
}


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A refusal that is held back."""

    member: Member
    since: float
    """Answers to what was sent until then say nothing."""
    answered: asyncio.Future[bool]

    def settle(self, *, answered: bool) -> None:
        if not self.answered.done():
            self.answered.set_result(answered)


class Scheduler:
    """One per target: everything sent to it, from whatever thread or loop, goes through here.

    Args:
        pool: the endpoints, and when which of them may be sent an attempt. The clients are owned:
            `aclose` closes them.
        attempt_timeout: seconds for one attempt.
    """

    def __init__(self, pool: Pool, *, attempt_timeout: float) -> None:
        self._pool = pool
        self._timeout = attempt_timeout
        self.loop = asyncio.get_running_loop()
        """The loop everything here belongs to."""
        self._now = self.loop.time
        self._queue = RequestQueue(self.loop, pool)
        self.share = self._queue.share
        """Keeps to what other processes leave of the endpoints; see `RequestQueue.share`."""
        self._delayed: list[tuple[float, int, asyncio.Future[None]]] = []
        self._suspects: list[_Suspect] = []
        self._settle_timer: asyncio.TimerHandle | None = None
        self._retry_budget = RetryBudget(self.loop, self._make_room)
        self._served: dict[ServedBy, Served] = {}
        self._drives: set[InFlight] = set()
        self._sequence = 0
        self._active = 0
        self._delay_timer: asyncio.TimerHandle | None = None
        self._stopped: Failure | None = None
        self._last_failure: Failure | None = None
        self.choices_limit: int | None = None
        """The most completions one request was seen to bring, once the server fell short."""
        self.formats: dict[str, bool] = {}
        """Formats of structured output, and whether every whole answer so far had them."""

    async def drive(
        self,
        rows: AsyncIterable[T] | Iterable[T],
        work: Callable[[T], Awaitable[R]],
        deliver: Callable[[R], None],
        drain: Drain | None = None,
        account: Account | None = None,
    ) -> None:
        """Do `work` for every row, as many at once as the limit feeds, and deliver each result.

        Args:
            rows: pulled at most `window` ahead of what is delivered.
            work: sends through `complete`.
            deliver: called once a row, as it finishes, in no particular order.
            drain: ends the drive early.
            account: pays for the attempts. The drive ends early when it cannot pay for more.

        Raises:
            RunError: no row can be answered; what was in flight has been delivered.
        """
        in_flight = InFlight(self.loop, self._queue.dismiss, account)
        if drain is not None:
            drain.attach(in_flight)

        async def one(row: T, seat: Seat) -> None:
            take_seat(seat)
            try:
                deliver(await work(row))
            except (RunError, UserCodeError) as error:
                # The first one says why: the others follow from it.
                in_flight.stopped = in_flight.stopped or error
            except LeftError:
                pass  # left undone on purpose
            except asyncio.CancelledError:
                if not seat.leaving:
                    raise
            finally:
                in_flight.leave(seat)

        in_flight.watch_account(self._queue.pump)
        self._drives.add(in_flight)
        try:
            async with asyncio.TaskGroup() as group, aclosing(each(rows)) as source:
                async for row in source:
                    seat = await in_flight.enter(lambda: self.window)
                    if in_flight.over:
                        break
                    seat.task = group.create_task(one(row, seat))
                # From here on nothing else can show whose a refusal is that is held back.
                in_flight.is_fed = True
                self._settle_suspects()
        finally:
            self._drives.discard(in_flight)
            in_flight.close()
        if in_flight.stopped is not None:
            raise in_flight.stopped

    def note_answered(self, before: int, by_others: int = 0) -> None:
        """Rows of the same work that earlier processes had answers to, and other processes have
        now. If the few that are left are refused, it is about them, and no resumed run is to stop
        at the same row for ever."""
        self._pool.history.note_answered(before, by_others)

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
            self._retry_budget.ended(tries)
            # Those that are left may have waited for what this one shows.
            self._settle_suspects()
            # It outlives a run: the next one may find the key replaced, or the endpoint back.
            if not self._active:
                self._stopped = None
                self._pool.history.rested()

    async def _complete(self, request: Request, tries: Tries) -> Answer | Failure:
        shunned: Member | None = None
        while True:
            member, outcome, elapsed = await self._attempt(request, shunned)
            self._retry_budget.ended(tries)
            if isinstance(outcome, Answer):
                self._retry_budget.answered(self._now() - elapsed)
                self._queue.pump()
                return outcome
            decision = await self._verdict(member, outcome, tries, elapsed)
            if isinstance(decision, GiveUp):
                if decision.suspect:
                    await self._suspect(member)
                return decision.failure
            self._last_failure = outcome
            if isinstance(decision, Retry) and decision.alone:
                member.limiter.pause(self._now() + decision.delay)
            shunned = self._pool.other_than(member)
            if decision.stream or decision.lenient:
                stream, lenient = decision.stream, decision.lenient
                request = replace(
                    request, stream=request.stream or stream, lenient=request.lenient or lenient
                )
            if isinstance(decision, Defer):
                self._refuse(current_seat())
                await self._retry_budget.wait(tries)
            elif decision.or_answered:
                self._refuse(current_seat())
                await self._retry_budget.wait(tries, decision.delay)
            elif decision.delay > 0:
                await self._delay(decision.delay)

    async def _verdict(
        self, member: Member, outcome: Failure, tries: Tries, elapsed: float
    ) -> Retry | Defer | GiveUp:
        """What follows a failure. The freed permit is handed on if the run continues."""
        decision = member.policy.decide(
            outcome, tries, now=self._now(), elapsed=elapsed, left=self._left
        )
        if not isinstance(decision, Stop):
            if member.policy.spares_none:
                self._retry_budget.let_go()
            self._queue.pump()
        if isinstance(decision, Hold):
            self._last_failure = outcome
            answered = await self._suspect(member, since=self._now())
            decision = member.policy.settled(decision.failure, tries, answered=answered)
        if isinstance(decision, Stop):
            failure = self._pool.blame(member, decision.failure)
            self._stop(failure)
            raise run_error(failure)
        return decision

    async def _attempt(
        self, request: Request, shunned: Member | None
    ) -> tuple[Member, Answer | Failure, float]:
        """One try. The caller hands the freed permit on once it knows whether the run continues."""
        seat = current_seat()
        self._refuse(seat)
        account = seat.account
        money = None if account is None else account.reservation(request)
        grant = await self._queue.acquire(request.max_new_tokens or 0, seat, shunned, money)
        member = grant.member
        started = self._now()
        outcome: Answer | Failure
        seat.in_flight += 1
        try:
            async with asyncio.timeout(self._timeout):
                outcome = await member.client.complete(member.request(request))
        except TimeoutError:
            outcome = _timed_out(self._timeout)
        except BaseException:
            # Cancelled. What the server did of it is not known, so all that was reserved counts as
            # spent.
            self._pool.cancel(grant, self._now())
            if account is not None and money is not None:
                account.settle(money, None)
            self._queue.pump()
            raise
        finally:
            seat.in_flight -= 1
        if account is not None and money is not None:
            account.settle(money, outcome)
        now = self._now()
        return member, self._record(grant, outcome, now, now - started), now - started

    def _record(
        self, grant: Grant, outcome: Answer | Failure, now: float, elapsed: float
    ) -> Answer | Failure:
        outcome = self._pool.record(grant, outcome, now, elapsed)
        if isinstance(outcome, Answer):
            self._count(grant.member, outcome, elapsed)
            self._clear_suspects(grant.member, grant.permit.dispatched_at)
        return outcome

    def _count(self, member: Member, answer: Answer, elapsed: float) -> None:
        key = (member.name, answer.provider or "")
        served = self._served.get(key)
        if served is None:
            if len(self._served) >= _MOST_SERVED:
                key = (member.name, "others")
            served = self._served.setdefault(key, Served())
        served.add(answer, elapsed)

    def _refuse(self, seat: Seat) -> None:
        """Nothing more is begun for a run that has ended, or a row that is to leave."""
        if self._stopped is not None:
            raise run_error(self._stopped)
        if seat.leaving:
            raise LeftError

    @property
    def _left(self) -> int | None:
        """How many requests are under way, if no more are to come."""
        return self._active if all(in_flight.is_fed for in_flight in self._drives) else None

    def _make_room(self) -> None:
        """While retries wait for a sign of life, other rows may show whether there is one."""
        for in_flight in self._drives:
            in_flight.make_room()

    async def _delay(self, seconds: float) -> None:
        self._refuse(current_seat())
        future: asyncio.Future[None] = self.loop.create_future()
        self._sequence += 1
        # The sequence number keeps the heap from comparing futures.
        heapq.heappush(self._delayed, (self._now() + seconds, self._sequence, future))
        self._wake_delayed()
        await future

    def _wake_delayed(self) -> None:
        now = self._now()
        # Those that are done are of rows that were cancelled. A timer may fire a little early.
        while self._delayed and (self._delayed[0][0] <= now + TICK or self._delayed[0][2].done()):
            future = heapq.heappop(self._delayed)[2]
            if not future.done():
                future.set_result(None)
        if self._delay_timer is not None:
            self._delay_timer.cancel()
            self._delay_timer = None
        if self._delayed:
            self._delay_timer = self.loop.call_at(self._delayed[0][0], self._wake_delayed)

    async def _suspect(self, member: Member, *, since: float = -math.inf) -> bool:
        """Hold a refusal back until it is clear that it is this row's own.

        Returns:
            Whether the endpoint has answered another request, sent after `since`; if not, nothing
            else is under way.
        """
        self._refuse(current_seat())
        suspect = _Suspect(member, since, self.loop.create_future())
        self._suspects.append(suspect)
        self._settle_suspects()
        return await suspect.answered

    def _settle_suspects(self) -> None:
        """With nothing else under way, no further evidence will come: soon, if rows are to come."""
        if not self._suspects or len(self._suspects) < self._active:
            return
        if self._left is not None:
            self._settle_all()
            return
        # Those without a `since` look like a row's own: they need not wait for rows to come.
        waiting = [suspect for suspect in self._suspects if suspect.since > -math.inf]
        for suspect in self._suspects:
            if suspect not in waiting:
                suspect.settle(answered=False)
        self._suspects = waiting
        if waiting and self._settle_timer is None:
            # Whoever feeds the rows may wait for the result of this one.
            self._settle_timer = self.loop.call_later(_ROWS_TO_COME, self._settle_late)

    def _settle_late(self) -> None:
        self._settle_timer = None
        if len(self._suspects) >= self._active:
            self._settle_all()

    def _settle_all(self) -> None:
        suspects, self._suspects = self._suspects, []
        for suspect in suspects:
            suspect.settle(answered=False)

    def _clear_suspects(self, member: Member, began: float) -> None:
        """What another endpoint answers says nothing about the refusals of this one."""
        suspects, self._suspects = self._suspects, []
        for suspect in suspects:
            if suspect.member is member and suspect.since < began:
                suspect.settle(answered=True)
            else:
                self._suspects.append(suspect)

    def _stop(self, failure: Failure) -> None:
        """Everything that waits is informed; what is in flight runs to its end."""
        self._stopped = failure
        self._queue.dissolve(lambda: run_error(failure))
        suspects, self._suspects = self._suspects, []
        waiting: list[asyncio.Future[Any]] = [
            *(future for _, _, future in self._delayed),
            *(suspect.answered for suspect in suspects),
            *self._retry_budget.clear(),
        ]
        self._delayed.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(run_error(failure))

    @property
    def most(self) -> int:
        """How many attempts the user allows in flight, at all endpoints together."""
        if self._pool.ceiling is not None:
            return self._pool.ceiling
        return max(member.limiter.most for member in self._pool.members)

    @property
    def window(self) -> int:
        """How many rows `drive` has pulled and not delivered, at most, as of now."""
        window = max(_LEAST_WINDOW, self._pool.window)
        return window + min(len(self._retry_budget), window)

    def note_capacity(self, reason: str) -> None:
        """The endpoints can take more than before: more is tried at once."""
        for member in self._pool.members:
            member.limiter.note_capacity(self._now(), reason)

    def note_format(self, name: str, *, fits: bool) -> None:
        """A whole answer that was asked for in this format has it, or not."""
        self.formats[name] = fits and self.formats.get(name, True)

    def statistics(self) -> EngineStatistics:
        """A snapshot; cheap enough to take several times a second."""
        now = self._now()
        limiter, endpoints = self._pool.statistics(now)
        pause = (limiter.gate_until or 0.0) - now
        return EngineStatistics(
            limiter=limiter,
            endpoints=endpoints if len(endpoints) > 1 else {},
            waiting=len(self._queue),
            delayed=len(self._delayed) + len(self._retry_budget),
            succeeded=self._pool.history.successes,
            retries=dict(self._pool.history.retries),
            last_failure=self._last_failure,
            waiting_for=_waiting_for(
                limiter, self._last_failure, pause, failing=self._pool.history.is_failing
            ),
            pause_left=pause if pause > _NOTICED else None,
            served={key: served.copy() for key, served in self._served.items()},
        )

    async def aclose(self) -> None:
        """Close the clients. Nothing may be under way."""
        self._queue.close()
        for timer in (self._delay_timer, self._settle_timer):
            if timer is not None:
                timer.cancel()
        for member in self._pool.members:
            await member.client.aclose()


async def each(rows: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T, None]:
    """Any iterable as an async one."""
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


def _waiting_for(
    limiter: LimiterStatistics, failure: Failure | None, pause: float, *, failing: bool
) -> str | None:
    """What every request waits for just now, if it is more than a moment."""
    if limiter.breaker != "closed":
        away = _AWAY.get((failure and failure.code) or "", "the endpoint does not answer")
        return _with_words(away, failure)
    if pause > _NOTICED:
        return "the server asks for a pause"
    return _with_words("the server fails every request", failure) if failing else None


def _with_words(text: str, failure: Failure | None) -> str:
    """With what the server says, if it says something."""
    if failure is None or failure.status is None or not is_telling(failure.message):
        return text
    return f"{text}: {shorten(failure.message, _WORDS, placeholder='…')}"


def _timed_out(seconds: float) -> Failure:
    return Failure(
        kind=FailureKind.TRANSIENT,
        code="timeout",
        message=f"no complete answer within {seconds:.0f} s",
        hint="Raise timeout, lower max_new_tokens, or set max_concurrency.",
    )
