"""What other processes leave to this one: a share of a ceiling, and their servers' pauses."""

from __future__ import annotations

import asyncio
import random

import pytest
from scripted_client import ScriptedClient, answer, run_virtual, scheduler_for

from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.records import Answer, Failure, Request


def requests(count: int) -> list[Request]:
    return [Request(ordinal=n, prompt=f"row {n}") for n in range(count)]


async def steady(_: Request) -> Answer | Failure:
    await asyncio.sleep(1)
    return answer()


def test_nothing_is_sent_with_a_share_of_nothing() -> None:
    """A share of 0 holds everything back, and a larger one lets it go at once."""

    async def main() -> None:
        client = ScriptedClient(steady)
        scheduler = scheduler_for(client, max_concurrency=8)
        scheduler.share(0, {})
        driving = asyncio.ensure_future(
            scheduler.drive(requests(8), scheduler.complete, lambda _: None)
        )
        await asyncio.sleep(100)
        assert not client.sent
        scheduler.share(4, {})
        await driving
        assert client.most_in_flight == 4

    run_virtual(main)


def test_a_smaller_share_holds_for_what_is_not_sent_yet() -> None:
    """After a share has shrunk, nothing is sent until fewer are in flight than it allows."""

    async def main() -> None:
        client = ScriptedClient(steady)
        scheduler = scheduler_for(client, max_concurrency=8)
        scheduler.share(8, {})
        driving = asyncio.ensure_future(
            scheduler.drive(requests(40), scheduler.complete, lambda _: None)
        )
        await asyncio.sleep(5.5)
        scheduler.share(2, {})
        await asyncio.sleep(1.5)
        assert scheduler.statistics().limiter.in_flight <= 2
        sent = len(client.sent)
        await asyncio.sleep(3)
        assert len(client.sent) - sent <= 2 * 4
        await driving

    run_virtual(main)


def test_another_processs_pause_is_kept() -> None:
    """Nothing is sent while a pause lasts that another process was asked to make."""

    async def main() -> None:
        client = ScriptedClient(steady)
        scheduler = scheduler_for(client)
        name = next(iter(scheduler._pool.members)).name
        scheduler.share(None, {name: 30.0, "another endpoint": 99.0})
        driving = asyncio.ensure_future(
            scheduler.drive(requests(3), scheduler.complete, lambda _: None)
        )
        await asyncio.sleep(29)
        assert not client.sent
        await driving
        assert 30 < asyncio.get_running_loop().time() < 33

    run_virtual(main)


@pytest.mark.parametrize(("told", "expected"), [(5.0, 20.0), (50.0, 50.0)])
def test_the_longer_of_two_pauses_holds(told: float, expected: float) -> None:
    """A pause of another process neither shortens nor adds to one of our own."""
    limiter = Limiter(LimiterSettings(), rng=random.Random(0), now=0.0)
    limiter.pause(20.0)
    limiter.pause(told)
    assert limiter.acquire(expected - 0.1) is None
    assert limiter.acquire(expected) is not None
