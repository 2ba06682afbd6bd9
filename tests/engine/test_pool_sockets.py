"""Several simulated endpoints, the real clients and the engine between, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from distilabel_endpoints._clients.transport import open_session
from distilabel_endpoints._engine.evidence import PoolHistory
from distilabel_endpoints._engine.pool import Member, Pool
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.records import Answer, Client, Failure, Request
from distilabel_endpoints.testing import Latency, Limits, LoopEndpoint, serve
from distilabel_endpoints.testing.endpoint_settings import SettingsChanges
from virtual import TRUST, Library, VirtualConnector, open_client, run_virtually

Acts = Callable[[list[LoopEndpoint]], None]
WELL: SettingsChanges = {"slots": 16, "latency": Latency(1.0)}


def opened(library: Library, endpoint: LoopEndpoint, stack: AsyncExitStack) -> Client:
    """A real client of an endpoint."""
    connector = VirtualConnector(limit=0)
    stack.push_async_callback(connector.close)
    session = open_session(endpoint.url, None, {}, trust=TRUST, connector=lambda _: connector)
    return open_client(library, session, endpoint)


async def played(
    library: Library,
    servers: list[SettingsChanges],
    rows: int,
    *,
    ceiling: int | None = None,
    acts: Acts | None = None,
) -> tuple[float, list[LoopEndpoint], list[Answer | Failure]]:
    """Seconds, endpoints and outcomes of a run over endpoints with these settings."""
    loop, rng = asyncio.get_running_loop(), random.Random(0)
    limits, history = LimiterSettings(max_concurrency=ceiling), PoolHistory(50.0)
    endpoints: list[LoopEndpoint] = []
    members: list[Member] = []
    async with AsyncExitStack() as stack:
        for number, settings in enumerate(servers):
            endpoint = await stack.enter_async_context(serve(port=8000 + number, **settings))
            endpoints.append(endpoint)
            members.append(
                Member(
                    name=endpoint.url,
                    client=opened(library, endpoint, stack),
                    limiter=Limiter(limits, rng=rng, now=loop.time()),
                    policy=RetryPolicy(RetrySettings(), rng=rng, history=history),
                )
            )
        scheduler = Scheduler(Pool(members, limits, now=loop.time()), attempt_timeout=600.0)
        stack.push_async_callback(scheduler.aclose)
        started, done = loop.time(), list[Answer | Failure]()
        if acts is not None:
            acts(endpoints)
        message = {"role": "user", "content": "hello"}
        await scheduler.drive(
            [Request(ordinal=n, messages=[message]) for n in range(rows)],
            scheduler.complete,
            done.append,
        )
        return loop.time() - started, endpoints, done


@pytest.mark.parametrize("library", ["hub", pytest.param("openai", marks=pytest.mark.prove)])
def test_two_equal_endpoints_are_twice_as_fast_as_one(library: Library) -> None:
    """Thirty seconds become fifteen; each does its half."""
    alone, _, _ = run_virtually(played(library, [WELL], 480))
    together, endpoints, done = run_virtually(played(library, [WELL, WELL], 480))
    assert alone == pytest.approx(480 / 16, abs=2.5)
    assert together == pytest.approx(480 / 32, abs=2.5)
    assert len(done) == 480
    for endpoint in endpoints:
        assert len(endpoint.generations) == pytest.approx(240, abs=24)


def test_with_a_ceiling_the_time_is_exact() -> None:
    """32 in flight over two endpoints, a second each: 640 rows take twenty seconds."""
    seconds, endpoints, _ = run_virtually(played("hub", [WELL, WELL], 640, ceiling=32))
    assert seconds == pytest.approx(20.0, abs=0.5)
    assert [len(endpoint.generations) for endpoint in endpoints] == [320, 320]


def test_an_endpoint_that_stops_listening_loses_no_row() -> None:
    """Connections are refused from the tenth second on: the other one does the rest."""

    def stop(endpoints: list[LoopEndpoint]) -> None:
        async def act() -> None:
            await asyncio.sleep(10)
            await endpoints[0].refuse_connections()

        stopping.append(asyncio.ensure_future(act()))

    stopping: list[asyncio.Future[None]] = []
    seconds, endpoints, done = run_virtually(played("hub", [WELL, WELL], 640, acts=stop))
    assert len(done) == 640
    assert all(isinstance(outcome, Answer) for outcome in done)
    assert seconds == pytest.approx(10 + 320 / 16, abs=5)
    assert len(endpoints[1].generations) > 440


def test_an_endpoint_with_a_rate_limit_gets_what_it_takes() -> None:
    """Sixty a minute at one, with `Retry-After`: it does not slow the other one down."""
    limited: SettingsChanges = {
        **WELL,
        "limits": Limits(requests_per_minute=60, retry_after=True),
    }
    seconds, endpoints, done = run_virtually(played("hub", [limited, WELL], 640))
    assert all(isinstance(outcome, Answer) for outcome in done)
    assert seconds < 640 / 16 + 3
    taken = [record for record in endpoints[0].generations if record.status == 200]
    assert 10 < len(taken) < 60
