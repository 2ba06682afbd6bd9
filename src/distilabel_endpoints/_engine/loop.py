"""The process's one event loop, and one scheduler per target on it.

Rules
- The loop runs in a daemon thread, from the first lease to the last. It is asyncio's own, whatever
  loop the caller's program uses or has made its default (see Decisions in ARCHITECTURE.md).
- However many objects, threads and loops call in, a target has one client, one pool, one limiter.
- A forked child starts anew: a loop does not survive a fork.
- Interrupting a blocked caller cancels its work before the interrupt goes on.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from anyio.from_thread import BlockingPortal, BlockingPortalProvider

from distilabel_endpoints._engine.scheduler import Scheduler

__all__ = ["Lease", "Task", "lease_scheduler", "run_on_engine_loop"]

T = TypeVar("T")


@dataclass(slots=True)
class _Shared:
    scheduler: Scheduler
    thread: int
    """The engine loop's thread."""
    leases: int = 0


@dataclass(slots=True)
class _Process:
    """What a process has one of."""

    provider: BlockingPortalProvider
    lock: threading.RLock = field(default_factory=threading.RLock)
    schedulers: dict[Hashable, _Shared] = field(default_factory=dict)


def _fresh_process() -> _Process:
    # Named, as without a factory the process's event loop policy decides: uvloop's, for one.
    return _Process(BlockingPortalProvider("asyncio", {"loop_factory": asyncio.SelectorEventLoop}))


class _Current:
    """The process we are in; a fork replaces it."""

    process = _fresh_process()

    @classmethod
    def renew(cls) -> None:
        cls.process = _fresh_process()


os.register_at_fork(after_in_child=_Current.renew)


class Task(Generic[T]):
    """Work on the engine loop, seen from another thread."""

    def __init__(
        self,
        portal: BlockingPortal,
        function: Callable[..., Awaitable[T]],
        arguments: tuple[Any, ...],
    ) -> None:
        self._over = threading.Event()

        async def run() -> T:
            try:
                return await function(*arguments)
            finally:
                self._over.set()

        self._future = portal.start_task_soon(run)

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback`, from the engine's thread, when the work is over."""
        self._future.add_done_callback(lambda _: callback())

    def result(self) -> T:
        """Wait for the end. An interrupt meanwhile cancels the work before it goes on."""
        try:
            return self._future.result()
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Cancel the work and wait until it has ended. Does nothing when it is over."""
        if self._future.cancel():
            self._over.wait()


class Lease:
    """The right to use a target's scheduler. Close it; the last one closes the scheduler.

    `run` blocks a thread, `call` is awaited on any loop, `submit` does not wait. All may be called
    from any thread but the engine's own.
    """

    def __init__(self, process: _Process, portal: BlockingPortal, key: Hashable) -> None:
        self._process = process
        self._portal = portal
        self._key = key
        self._closed = False
        self.scheduler = process.schedulers[key].scheduler

    @property
    def alive(self) -> bool:
        """False after `close`, and in a forked child."""
        return not self._closed and self._process is _Current.process

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The engine loop, for `call_soon_threadsafe`."""
        return self.scheduler.loop

    def submit(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> Task[T]:
        """Start `function` on the engine loop."""
        return Task(self._portal, function, arguments)

    def run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run `function` on the engine loop and wait for it."""
        return self.submit(function, *arguments).result()

    async def call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Await `function`, run on the engine loop; cancelling here cancels it there."""
        return await self._portal.call_async(function, *arguments)

    def close(self) -> None:
        """Give the lease back. A second call, or one in a forked child, does nothing."""
        process = self._process
        if self._closed:
            return
        self._closed = True
        if process is not _Current.process:
            return
        if threading.get_ident() == process.schedulers[self._key].thread:
            # The collector may drop an object anywhere, on the engine's own thread too.
            threading.Thread(target=self._give_back).start()
        else:
            self._give_back()

    def _give_back(self) -> None:
        process = self._process
        with process.lock:
            shared = process.schedulers[self._key]
            shared.leases -= 1
            if not shared.leases:
                del process.schedulers[self._key]
                self._portal.call(shared.scheduler.aclose)
        process.provider.__exit__(None, None, None)


def lease_scheduler(key: Hashable, make: Callable[[], Awaitable[Scheduler]]) -> Lease:
    """A lease on the scheduler of `key`, made on the engine loop if it is not there yet.

    Whatever `make` raises comes through, and nothing is left open.
    """
    process = _Current.process
    portal = process.provider.__enter__()
    try:
        with process.lock:
            shared = process.schedulers.get(key)
            if shared is None:
                scheduler = Task(portal, make, ()).result()
                thread = portal.call(threading.get_ident)
                shared = process.schedulers[key] = _Shared(scheduler, thread)
            shared.leases += 1
            return Lease(process, portal, key)
    except BaseException:
        process.provider.__exit__(None, None, None)
        raise


def run_on_engine_loop(function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Run something once on the engine loop, from a thread that may itself run a loop."""
    with _Current.process.provider as portal:
        return Task(portal, function, arguments).result()
