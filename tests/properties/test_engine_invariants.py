"""The scheduler with a real client against a simulated endpoint, under faults drawn at random."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from distilabel_endpoints._engine.pool import Pool
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.errors import RunError
from distilabel_endpoints.records import Answer, Client, Failure, FailureKind, Request
from distilabel_endpoints.testing import (
    Action,
    BreakStream,
    Drip,
    Fault,
    Garble,
    Hang,
    Latency,
    Limits,
    Refuse,
    Reset,
    Respond,
    Rewrite,
    Throttle,
    Truncate,
    edits,
)
from virtual import Library, connected, run_virtually

LIBRARIES: st.SearchStrategy[Library] = st.sampled_from(["hub", "openai"])
NEVER_A_ROWS_FAULT = {FailureKind.THROTTLE, FailureKind.UNAVAILABLE, FailureKind.RUN}
BOUNDED = settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)

passing: list[Action] = [
    Respond(429),
    Respond(503),
    Respond(503, {"error": "Model is overloaded"}),
    Respond(529),
    Throttle(3),
    Throttle(2.5, form="date", skew=-9999),
    Throttle(1, form="unreadable"),
    Rewrite(edits.error_body(429)),
]
costly: list[Action] = [
    Respond(500),
    Respond(502, "<h1>Bad gateway</h1>", content_type="text/html"),
    Respond(504),
    Respond(424),
    Respond(400, {"error": "too long a row"}),
    Respond(401),
    Hang(),
    Hang("body"),
    Reset(),
    Reset("body"),
    Truncate(),
    Drip(30.0),
    Garble(edits.truncated_json),
    Garble(edits.bad_utf8),
    Rewrite(edits.no_choices),
    BreakStream("error"),
    BreakStream("cut", events=3),
    Refuse(20.0),
]


def faults(actions: list[Action], *, most: int) -> st.SearchStrategy[tuple[Fault, ...]]:
    """Scripts that leave an endpoint a chance: each fault is rare, or over at some time."""
    action = st.sampled_from(actions)
    fault = st.one_of(
        st.builds(Fault, action, times=st.integers(1, 40)),
        st.builds(Fault, action, nth=st.integers(1, 30)),
        st.builds(Fault, action, every=st.integers(3, 9)),
        st.builds(Fault, action, chance=st.floats(0.01, 0.4), until=st.just(2000.0)),
        st.builds(Fault, action, after=st.floats(0, 9), until=st.floats(9, 120)),
        st.builds(Fault, action, per_request=st.just(True), times=st.integers(1, 3)),
    )
    return st.lists(fault, max_size=most).map(tuple)


@dataclass
class Counting:
    """A client that counts the attempts made through it."""

    client: Client
    attempts: int = 0
    in_flight: int = 0
    most: int = 0
    codes: Counter[str | None] = field(default_factory=Counter)

    async def complete(self, request: Request) -> Answer | Failure:
        self.attempts += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            outcome = await self.client.complete(request)
        finally:
            self.in_flight -= 1
        if isinstance(outcome, Failure):
            self.codes[outcome.code] += 1
        return outcome

    async def aclose(self) -> None:
        await self.client.aclose()


@dataclass
class Told:
    """How a drive went."""

    attempts: int
    outcomes: dict[int, Answer | Failure]
    stopped: RunError | None


async def driven(
    library: Library,
    script: tuple[Fault, ...],
    *,
    rows: int,
    ceiling: int | None = None,
    stream: bool = False,
    seed: int = 0,
    **changes: Any,
) -> Told:
    """Drive rows through a real client, and hold the run to what holds for every run."""
    async with connected(library, faults=script, seed=seed, **changes) as line:
        client, rng, loop = Counting(line.client), random.Random(seed), asyncio.get_running_loop()
        limits = LimiterSettings(max_concurrency=ceiling)
        limiter = Limiter(limits, rng=rng, now=loop.time())
        policy = RetryPolicy(RetrySettings(), rng=rng)
        pool = Pool.of_one(client, limiter=limiter, policy=policy)
        scheduler = Scheduler(pool, attempt_timeout=100.0)
        outcomes: dict[int, Answer | Failure] = {}
        pulled, stopped = 0, None

        def pull() -> Iterator[Request]:
            nonlocal pulled
            for ordinal in range(rows):
                pulled += 1
                assert pulled - len(outcomes) <= scheduler.window + 1
                messages = [{"role": "user", "content": f"row {ordinal}"}]
                yield Request(ordinal=ordinal, messages=messages, stream=stream)

        async def work(request: Request) -> tuple[int, Answer | Failure]:
            return request.ordinal, await scheduler.complete(request)

        def deliver(result: tuple[int, Answer | Failure]) -> None:
            assert result[0] not in outcomes
            outcomes[result[0]] = result[1]

        try:
            await scheduler.drive(pull(), work, deliver)
        except RunError as error:
            stopped = error
        assert client.in_flight == 0
        assert line.connector.open_connections == 0
        statistics = scheduler.statistics()
        assert statistics.limiter.in_flight == statistics.waiting == statistics.delayed == 0
        if ceiling is not None:
            assert client.most <= ceiling
            assert line.endpoint.peak_in_flight <= ceiling
        # A connection that was refused, or dropped with the listener, brought nothing there.
        unseen = client.attempts - len(line.endpoint.generations)
        refuses = any(isinstance(fault.action, Refuse) for fault in script)
        assert 0 <= unseen <= client.codes["refused"] + client.codes["reset"] * refuses
        await scheduler.aclose()
    return Told(client.attempts, outcomes, stopped)


@BOUNDED
@given(
    library=LIBRARIES,
    script=faults(passing + costly, most=4),
    rows=st.integers(1, 60),
    ceiling=st.sampled_from([None, 1, 3, 16]),
    stream=st.booleans(),
    seed=st.integers(0, 99),
    slots=st.sampled_from([None, 2, 8]),
)
@example(library="hub", script=(), rows=60, ceiling=4, stream=True, seed=0, slots=1)
@example(
    library="openai",
    script=(Fault(Reset(), every=2),),
    rows=40,
    ceiling=3,
    stream=False,
    seed=0,
    slots=None,
)
@example(
    library="openai", script=(Fault(Hang(), every=2),), rows=20, ceiling=3, stream=False,
    seed=0, slots=None,
)  # fmt: skip
def test_every_row_ends_once_or_the_run_says_why(
    library: Library,
    script: tuple[Fault, ...],
    rows: int,
    ceiling: int | None,
    stream: bool,
    seed: int,
    slots: int | None,
) -> None:
    """Delivered exactly once, failed only for what a row can cause, and only the engine retries."""
    told = run_virtually(
        driven(
            library, script, rows=rows, ceiling=ceiling, stream=stream, seed=seed,
            slots=slots, latency=Latency(1.0),
        )
    )  # fmt: skip
    assert told.stopped is not None or set(told.outcomes) == set(range(rows))
    for outcome in told.outcomes.values():
        if isinstance(outcome, Failure):
            assert outcome.kind not in NEVER_A_ROWS_FAULT
            assert 1 <= outcome.attempts <= told.attempts


@BOUNDED
@given(
    library=LIBRARIES,
    script=faults(passing, most=3),
    rows=st.integers(1, 40),
    stream=st.booleans(),
    refusals=st.floats(0, 0.5),
)
def test_overload_and_absence_fail_no_row(
    library: Library, script: tuple[Fault, ...], rows: int, stream: bool, refusals: float
) -> None:
    """Throttled, or away for a while: every row is answered all the same."""
    told = run_virtually(
        driven(
            library, script, rows=rows, stream=stream, slots=4,
            latency=Latency(1.0), limits=Limits(queue=4, random_refusals=refusals),
        )
    )  # fmt: skip
    assert told.stopped is None
    assert all(isinstance(told.outcomes[ordinal], Answer) for ordinal in range(rows))
