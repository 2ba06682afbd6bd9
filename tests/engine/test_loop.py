"""The engine's thread: begun once, begun anew, and what callers hear if it cannot be had."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from scripted_client import ScriptedClient, at_once, scheduler_for

from distilabel_endpoints._engine import loop as engine_loop
from distilabel_endpoints._engine.loop import Engine, Lease, Task
from distilabel_endpoints._engine.scheduler import Scheduler


async def answered() -> str:
    return "done"


async def make() -> Scheduler:
    return scheduler_for(ScriptedClient(at_once))


class Inbox(deque[Task[Any]]):
    """Says when something is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.filled = threading.Event()

    def append(self, task: Task[Any], /) -> None:
        super().append(task)
        self.filled.set()


def test_what_makes_a_scheduler_may_fail() -> None:
    """Its error comes through to whoever wants the lease."""

    async def fail() -> Scheduler:
        raise ValueError("there is no endpoint")

    with pytest.raises(ValueError, match="there is no endpoint"):
        Lease(object(), fail)


def test_work_that_was_planned_for_an_engine_that_has_ended_is_done_by_the_next() -> None:
    """Between the plan and its beginning the last lease may be closed."""
    lease = Lease(object(), make)
    task = Task(answered)
    lease.close()
    assert task.engine.ended
    assert task.run() == "done"


def test_a_loop_that_cannot_be_made_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """To whoever waits for work on it; the next call has another."""

    def broken() -> asyncio.AbstractEventLoop:
        assert inbox.filled.wait(20)
        raise OSError("Too many open files")

    engine, inbox = Engine(broken), Inbox()
    engine.inbox = inbox
    monkeypatch.setattr(engine_loop._Current, "engine", engine)
    with pytest.raises(OSError, match="Too many open files"):
        Task(answered).run()
    assert Task(answered).run() == "done"


def test_two_callers_that_come_at_once_have_one_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may have begun a thread before the other's runs: one of them ends at once."""
    begun: list[threading.Thread] = []

    class Late(threading.Thread):
        def start(self) -> None:
            begun.append(self)

    engine = Engine()
    monkeypatch.setattr(engine_loop._Current, "engine", engine)
    tasks = [Task(answered) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", Late)
        for task in tasks:
            task.start()
    assert len(begun) == 2
    for thread in begun:
        threading.Thread.start(thread)
    for thread in begun:
        thread.join(20)
    assert [task.result() for task in tasks] == ["done", "done"]
    assert engine.thread in begun


class Interrupted(threading.Event):
    """What a caller waits for when Ctrl-C comes."""

    def __init__(self, before: Callable[[], Any]) -> None:
        super().__init__()
        self.before = before

    def wait(self, timeout: float | None = None) -> bool:
        self.before()
        raise KeyboardInterrupt


def test_an_interrupt_after_the_end_comes_through_at_once() -> None:
    """The work is over, and its engine has ended: nothing is waited for."""
    task = Task(answered)

    def until_it_has_ended() -> None:
        assert task._over.wait(20)
        thread = task.engine.thread
        assert thread is not None
        thread.join(20)

    with pytest.raises(KeyboardInterrupt):
        task.wait(Interrupted(until_it_has_ended))
    assert task.is_over


def test_work_is_cancelled_once_however_often_it_is_given_up() -> None:
    """The second time it may be clearing up, which is to be finished."""
    begun, cleared = threading.Event(), threading.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.05)
            cleared.set()

    task = Task(work)
    task.start()
    assert begun.wait(20)
    task.give_up()
    task.give_up()
    task.cancel()
    assert cleared.is_set()
    with pytest.raises(asyncio.CancelledError):
        task.result()


def test_leases_of_one_target_share_its_scheduler() -> None:
    """It is made for the first, and its client is closed after the last."""
    client, made = ScriptedClient(at_once), list[Scheduler]()

    async def make_one() -> Scheduler:
        made.append(scheduler_for(client))
        return made[0]

    key = object()
    first, second = Lease(key, make_one), Lease(key, make_one)
    assert first.scheduler is second.scheduler
    assert len(made) == 1
    first.close()
    assert not client.closed
    assert second.run(answered) == "done"
    second.close()
    assert client.closed


def test_a_lease_that_is_dropped_on_the_engines_own_thread_is_given_back() -> None:
    """The collector may run there: nobody waits for the loop on the loop itself."""
    key, dropped = object(), Lease(object(), make)
    kept = Lease(key, make)
    engine, leases = dropped._task.engine, [dropped]
    del dropped

    async def drop() -> None:
        leases.clear()
        gc.collect()

    async def settled() -> None:
        while len(engine.schedulers) > 1:
            await asyncio.sleep(0)

    began = time.monotonic()
    kept.run(drop)
    assert time.monotonic() - began < engine_loop._PATIENCE
    kept.run(settled)
    assert list(engine.schedulers) == [key]
    kept.close()


def test_a_result_is_asked_for_once() -> None:
    """The error of work is not kept, nor is its value."""
    task = Task(answered)
    assert task.run() == "done"
    with pytest.raises(RuntimeError, match="asked for twice"):
        task.result()


def test_work_may_begin_other_work_as_it_ends() -> None:
    """The loop looks once more before it ends: what came in the last moment is done."""
    second = Task(answered)

    async def first() -> str:
        second.start()
        return "first"

    assert Task(first).run() == "first"
    second.await_end()
    assert second.result() == "done"


def test_an_interrupt_ends_the_work_that_is_waited_for() -> None:
    """It comes through when the work has been cancelled, and not before."""
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(600)

    task = Task(work)
    with pytest.raises(KeyboardInterrupt):
        task.wait(Interrupted(lambda: begun.wait(20)))
    assert task.is_over
    with pytest.raises(asyncio.CancelledError):
        task.result()


def test_work_that_is_over_is_cancelled_in_vain() -> None:
    """Its engine may have ended, too."""
    task = Task(answered)
    assert task.run() == "done"
    assert task.engine.thread is not None
    task.engine.thread.join(20)
    task.cancel()
    assert task.is_over
