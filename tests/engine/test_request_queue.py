"""Who gets the next permit of a pool, and what becomes of those who wait."""

from __future__ import annotations

import asyncio

import pytest
from scripted_client import pooled_scheduler_for, run_virtual, served

from distilabel_endpoints._engine.in_flight import LeftError, Seat
from distilabel_endpoints._engine.pool import Grant, Pool
from distilabel_endpoints._engine.queue import RequestQueue
from distilabel_endpoints._limits.limiter import LimiterSettings
from distilabel_endpoints.records import Request
from distilabel_endpoints.spending.account import Account
from distilabel_endpoints.spending.amounts import Cost
from distilabel_endpoints.spending.budget import parse_budget
from distilabel_endpoints.spending.reservation import Bound


def full_pool() -> tuple[Pool, list[Grant]]:
    """Two endpoints, `a` and `b`, with one permit for both, and all of them out."""
    clients = {name: served(1, 1.0) for name in "ab"}
    limits = LimiterSettings(max_concurrency=2)
    pool = pooled_scheduler_for(clients, limits=limits)._pool
    grants = [pool.acquire(0.0, 0) for _ in range(2)]
    return pool, [grant for grant in grants if grant is not None]


def test_the_oldest_is_first_whichever_endpoint_failed_it() -> None:
    """A request that one endpoint failed keeps its place among those that none did."""

    async def main() -> None:
        pool, grants = full_pool()
        line, order = RequestQueue(asyncio.get_running_loop(), pool), list[str]()

        async def wait(name: str, failed: int | None) -> None:
            shunned = None if failed is None else pool.members[failed]
            await line.acquire(0, Seat(), shunned)
            order.append(name)

        tasks = []
        for name, failed in (("first", 0), ("second", None), ("third", 1)):
            tasks.append(asyncio.ensure_future(wait(name, failed)))
            await asyncio.sleep(0)
        assert len(line) == 3
        pool.cancel(grants[1], 0.0)
        line.pump()
        await asyncio.sleep(0)
        assert order == ["first"]
        pool.cancel(grants[0], 0.0)
        line.pump()
        await asyncio.sleep(0)
        assert order == ["first", "second"]
        tasks[2].cancel()

    run_virtual(main)


def test_a_request_that_shuns_an_endpoint_holds_nobody_up() -> None:
    """The one behind it takes the permit that it does not want."""

    async def main() -> None:
        pool, grants = full_pool()
        pool.ceiling = None
        a, b = pool.members
        while b.limiter.acquire(0.0) is not None:
            pass
        line, seat = RequestQueue(asyncio.get_running_loop(), pool), Seat()
        while a.limiter.acquire(0.0) is not None:
            pass
        picky = asyncio.ensure_future(line.acquire(0, seat, a))
        other = asyncio.ensure_future(line.acquire(0, seat))
        await asyncio.sleep(0)
        pool.cancel(next(grant for grant in grants if grant.member is a), 0.0)
        line.pump()
        await asyncio.sleep(0)
        assert other.done()
        assert not picky.done()
        picky.cancel()

    run_virtual(main)


def test_who_is_cancelled_with_a_permit_gives_it_back() -> None:
    """Granted and cancelled in one step, it goes to the next."""

    async def main() -> None:
        pool, grants = full_pool()
        line = RequestQueue(asyncio.get_running_loop(), pool)
        first = asyncio.ensure_future(line.acquire(0, Seat()))
        second = asyncio.ensure_future(line.acquire(0, Seat()))
        await asyncio.sleep(0)
        pool.cancel(grants[0], 0.0)
        line.pump()
        first.cancel()
        await second
        assert first.cancelled()
        assert pool.in_flight == 2

    run_virtual(main)


def test_who_is_cancelled_with_money_gives_it_back() -> None:
    """What was reserved for an attempt that is not sent is free again, and not spent."""

    async def main() -> None:
        pool, grants = full_pool()
        loop = asyncio.get_running_loop()
        queue = RequestQueue(loop, pool)
        account = Account(parse_budget("1Mtok"), Bound(), clock=loop.time)
        money = account.reservation(Request(ordinal=0, prompt="Hi", max_new_tokens=100))
        seat = Seat(account=account)
        waiting = asyncio.ensure_future(queue.acquire(0, seat, None, money))
        await asyncio.sleep(0)
        pool.cancel(grants[0], 0.0)
        queue.pump()
        assert account.ledger.exposure == money.cost
        waiting.cancel()
        await asyncio.wait([waiting])
        assert account.ledger.exposure == Cost()
        assert pool.in_flight == 1

    run_virtual(main)


def test_those_who_are_to_leave_and_those_of_an_ended_run_are_told() -> None:
    """Each with the error that is meant for it; nobody is left waiting."""

    async def main() -> None:
        pool, _ = full_pool()
        line, leaving = RequestQueue(asyncio.get_running_loop(), pool), Seat()
        one = asyncio.ensure_future(line.acquire(0, leaving))
        two = asyncio.ensure_future(line.acquire(0, Seat(), pool.members[0]))
        await asyncio.sleep(0)
        line.dismiss({leaving})
        line.dissolve(lambda: ValueError("over"))
        with pytest.raises(LeftError):
            await one
        with pytest.raises(ValueError, match="over"):
            await two
        assert len(line) == 0

    run_virtual(main)


def test_a_queue_that_is_closed_wakes_up_no_more() -> None:
    """Also if somebody had waited for a pause to end, and left."""

    async def main() -> None:
        pool, grants = full_pool()
        for grant in grants:
            pool.cancel(grant, 0.0)
        for member in pool.members:
            member.limiter.pause(60.0)
        loop = asyncio.get_running_loop()
        queue = RequestQueue(loop, pool)
        waiting = asyncio.ensure_future(queue.acquire(0, Seat()))
        await asyncio.sleep(1)
        waiting.cancel()
        queue.close()
        await asyncio.sleep(100)
        assert waiting.cancelled()
        assert pool.in_flight == 0

    run_virtual(main)
