"""Endpoints that refuse, start late or are paused: no row pays for it. In virtual time.

Both real client libraries against the simulated endpoint, under the whole engine.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from scripted_client import ScriptedClient, answer, failure, run_virtual, scheduler_for

from distilabel_endpoints._engine.pool import Pool
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.errors import RunError
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request
from distilabel_endpoints.testing import (
    Fault,
    Latency,
    Limits,
    RequestRecord,
    Respond,
    greedy_bound,
)
from virtual import Library, connected, run_virtually

LIBRARIES = get_args(Library)
PAUSED = Respond(400, {"error": "Bad Request: Invalid state, endpoint is paused"})


@dataclass
class Driven:
    """How a drive went."""

    seconds: float = 0.0
    outcomes: dict[int, Answer | Failure] = field(default_factory=dict)
    stopped: RunError | None = None
    requests: tuple[RequestRecord, ...] = ()
    latencies: tuple[float, ...] = ()
    answered: list[float] = field(default_factory=list)
    """When each row was."""

    @property
    def failed(self) -> list[Failure]:
        return [outcome for outcome in self.outcomes.values() if isinstance(outcome, Failure)]


async def drive(library: Library, rows: int, **changes: Any) -> Driven:
    """Drive rows through a real client on the running virtual loop."""
    driven = Driven()
    async with connected(library, **changes) as line:
        rng, loop = random.Random(1), asyncio.get_running_loop()
        limiter = Limiter(LimiterSettings(), rng=rng, now=loop.time())
        policy = RetryPolicy(RetrySettings(), rng=rng)
        pool = Pool.of_one(line.client, limiter=limiter, policy=policy)
        scheduler = Scheduler(pool, attempt_timeout=600.0)
        start = loop.time()

        async def work(row: int) -> tuple[int, Answer | Failure]:
            messages = [{"role": "user", "content": f"row {row}"}]
            return row, await scheduler.complete(Request(ordinal=row, messages=messages))

        def deliver(result: tuple[int, Answer | Failure]) -> None:
            assert result[0] not in driven.outcomes
            driven.outcomes[result[0]] = result[1]
            driven.answered.append(loop.time() - start)

        try:
            await scheduler.drive(range(rows), work, deliver)
        except RunError as error:
            driven.stopped = error
        driven.seconds = loop.time() - start
        driven.requests = line.endpoint.generations
        driven.latencies = line.endpoint.latencies
        await scheduler.aclose()
    return driven


@pytest.mark.promise("R5")
@pytest.mark.parametrize("seed", range(3))
def test_random_refusals_cost_a_fifth_at_most(seed: int) -> None:
    """Every second request a bare 429: every row answered, at 80 % of what the slots could."""
    rng, slots, rows = random.Random(seed), 64, 3_000
    lengths = [2.0 * rng.lognormvariate(-0.125, 0.5) for _ in range(rows)]

    async def main() -> float:
        room = asyncio.Semaphore(slots)

        async def script(request: Request) -> Answer | Failure:
            if rng.random() < 0.5:
                await asyncio.sleep(0.05)
                return failure(FailureKind.THROTTLE, status=429)
            async with room:
                await asyncio.sleep(lengths[request.ordinal])
            return answer()

        client = ScriptedClient(script)
        scheduler = scheduler_for(client, seed=seed)
        ended: list[Answer | Failure] = []

        async def work(row: int) -> Answer | Failure:
            return await scheduler.complete(Request(ordinal=row, messages=[]))

        await scheduler.drive(range(rows), work, ended.append)
        await scheduler.aclose()
        assert len(ended) == rows
        assert all(isinstance(outcome, Answer) for outcome in ended)
        assert len(client.sent) == pytest.approx(2 * rows, rel=0.1)
        return asyncio.get_running_loop().time()

    assert greedy_bound(lengths, slots) / run_virtual(main) >= 0.8


@pytest.mark.promise("R5")
@pytest.mark.parametrize("library", LIBRARIES)
def test_random_refusals_fail_no_row(library: Library) -> None:
    """The same through the real clients: every row answered, twice as many requests."""
    refusals = Limits(random_refusals=0.5)
    driven = run_virtually(drive(library, 150, slots=16, latency=Latency(2.0), limits=refusals))
    assert driven.stopped is None
    assert not driven.failed
    assert len(driven.outcomes) == 150
    assert sum(record.status == 429 for record in driven.requests) > 100


@pytest.mark.promise("R6")
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_start_of_six_minutes_is_waited_out(library: Library) -> None:
    """503 for six minutes: no failed row, and sixty probes at most."""
    driven = run_virtually(
        drive(library, 200, slots=32, latency=Latency(1.0), limits=Limits(unavailable_for=360.0))
    )
    assert driven.stopped is None
    assert not driven.failed
    assert len(driven.outcomes) == 200
    probes = [record for record in driven.requests if record.status == 503]
    assert 1 < len(probes) <= 60
    assert driven.answered[0] >= 360.0
    assert driven.seconds < 360.0 + 15.0 * 1.1 + 60.0


@pytest.mark.promise("R7")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("comes_back", [True, False])
def test_a_paused_endpoint_fails_no_row(library: Library, comes_back: bool) -> None:
    """Its 400 is nobody's fault: the run continues when it is back, or stops and fails no row."""
    until = 200.0 if comes_back else None
    driven = run_virtually(
        drive(
            library,
            200,
            slots=8,
            latency=Latency(1.0),
            faults=(Fault(PAUSED, after=5.0, until=until),),
        )
    )
    assert not driven.failed
    met = [record for record in driven.requests if record.status == 400]
    assert met
    if comes_back:
        assert driven.stopped is None
        assert len(driven.outcomes) == 200
    else:
        assert driven.stopped is not None
        assert driven.stopped.failure.code == "unavailable"
        assert "paused" in str(driven.stopped)
        assert 0 < len(driven.outcomes) < 200
