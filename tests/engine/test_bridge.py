"""Rows from a caller to the engine and back: what the caller's own iterable does to it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator

import pytest
from scripted_client import ScriptedClient, at_once, scheduler_for

from distilabel_endpoints._engine.bridge import aiter_results, iter_results
from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints._engine.scheduler import Scheduler


@pytest.fixture
def lease() -> Iterator[Lease]:
    """Of an endpoint that answers everything."""

    async def make() -> Scheduler:
        return scheduler_for(ScriptedClient(at_once))

    lease = Lease(object(), make)
    yield lease
    lease.close()


async def work(number: int) -> int:
    await asyncio.sleep(0)
    return number


def test_what_an_iterable_raises_comes_after_what_it_gave(lease: Lease) -> None:
    """Nothing that was pulled is lost, and the error is the caller's own."""

    def broken() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the third is the last")

    results: list[int] = []
    with pytest.raises(ValueError, match="the third is the last"):
        results.extend(iter_results(lease, broken(), work))
    assert sorted(results) == [0, 1, 2]


def test_what_an_async_iterable_raises_comes_after_what_it_gave(lease: Lease) -> None:
    """The same on a running loop."""

    async def broken() -> AsyncIterator[int]:
        for number in range(3):
            yield number
        raise ValueError("the third is the last")

    results: list[int] = []

    async def main() -> None:
        async for result in aiter_results(lease, broken(), work):
            results.append(result)  # noqa: PERF401 - what came before the error is wanted

    with pytest.raises(ValueError, match="the third is the last"):
        asyncio.run(main())
    assert sorted(results) == [0, 1, 2]


def test_an_async_iterable_is_pulled_as_far_as_there_is_room(lease: Lease) -> None:
    """An endless one too: every result comes, and only a window's worth of rows is pulled ahead."""
    pulled = 0

    async def endless() -> AsyncIterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    async def main() -> list[int]:
        taken: list[int] = []
        async for result in aiter_results(lease, endless(), work):
            taken.append(result)
            if len(taken) == 500:
                break
        return taken

    assert len(set(asyncio.run(main()))) == 500
    assert 500 <= pulled <= 500 + 2 * lease.scheduler.window + 1


def test_a_forked_child_leaves_what_its_parent_was_doing(lease: Lease) -> None:
    """Its copy of a loop over results ends at once: nobody in the child would end the work."""
    results = iter_results(lease, iter(range(1000)), work)
    next(results)
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of any fork beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            results.close()  # type: ignore[attr-defined]
            status = int(time.monotonic() - began >= 20)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len([*results]) == 999
    assert threading.active_count() >= 2
