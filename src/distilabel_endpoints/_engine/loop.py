"""The process's one event loop, and one scheduler per target on it.

Rules
- The loop runs in a daemon thread, from the first task to the last; a lease is a task that lasts.
  It is asyncio's own, whatever loop the caller's program uses (see Decisions in ARCHITECTURE.md).
- However many objects, threads and loops call in, a target has one client, one pool, one limiter.
- Schedulers, tasks and leases are touched on the loop only. Other threads send two kinds of
  message: a task to begin (`inbox`), and the number of one that is no longer waited for.
- An interrupt may come between any two bytecodes of a caller, but never inside a call into C.
  So a task is begun inside the `try` that gives it up, and giving up is one such call.
- A forked child starts anew: a loop does not survive a fork.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, Generic, TypeVar

from anyio.from_thread import BlockingPortal

from distilabel_endpoints._engine.scheduler import Scheduler

__all__ = ["SLICE", "Engine", "Lease", "Task"]

T = TypeVar("T")

_NUMBERS: Final = count(1)
_BYTES: Final = 8
_RING: Final = bytes(_BYTES)
"""The number of no task: look into the inbox."""
SLICE: Final = 0.2
"""Seconds that a caller waits at once. CPython looks for signals before it waits for a lock, and
after: one that comes in between, or that another thread gets, does not end the wait."""
_PATIENCE: Final = 30.0
"""Seconds to wait for a task to end that was given up; it ends by itself in any case."""


class Engine:
    """A thread with an event loop, as long as there is a task."""

    def __init__(
        self, loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    ) -> None:
        # Named, as without a factory the process's event loop policy decides: uvloop's, for one.
        self._loop_factory = loop_factory
        self._claimed = threading.Lock()
        # Not `call_soon_threadsafe`: that is Python code, and an interrupt in the middle of it
        # could lose the message. To send on a socket is one call into C.
        self._receiver, self.sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._tasks: dict[int, Task[Any]] = {}
        self.inbox: deque[Task[Any]] = deque()
        self.schedulers: dict[Hashable, _Shared] = {}
        self.ended = False
        self.thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop
        self.turn: asyncio.Lock
        """Of those who open or close a scheduler."""
        self.portal: BlockingPortal
        self._idle: asyncio.Event

    def take(self, task: Task[Any]) -> bool:
        """Have `task` begun, from any thread. False: this loop has ended, and will not."""
        # The thread first: what is in the inbox is seen by somebody.
        if not self._claimed.locked():
            name = "distilabel-endpoints-engine"
            # A daemon: an object that nobody closed must not keep the program from ending.
            threading.Thread(target=self._run, name=name, daemon=True).start()
        self.inbox.append(task)
        if self.ended:
            # It may have seen the task in time all the same.
            with suppress(ValueError):
                self.inbox.remove(task)
                return False
        task.is_taken = True
        # Closed since: then the loop has looked into the inbox once more before it ended.
        with suppress(OSError):
            self.sender.send(_RING)
        return True

    def _run(self) -> None:
        # An interrupted caller may have started a thread already; only one of them stays.
        if not self._claimed.acquire(blocking=False):
            return
        self.thread = threading.current_thread()
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._stay())
        except BaseException as error:  # noqa: BLE001 - whoever waits hears of it
            self._fail(error)
        finally:
            self.disconnect()

    async def _stay(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._idle, self.turn = asyncio.Event(), asyncio.Lock()
        async with BlockingPortal() as self.portal:
            self.loop.add_reader(self._receiver, self._read)
            await self._idle.wait()
            self.loop.remove_reader(self._receiver)

    def _fail(self, error: BaseException) -> None:
        """The loop could not be made, or broke."""
        self.ended = True
        waiting = [*self._tasks.values(), *self.inbox]
        self.inbox.clear()
        for task in waiting:
            task.fail(error)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            numbers = memoryview(self._receiver.recv(1024 * _BYTES)).cast("Q")
            # After reading, so that a task that was given up has been begun before.
            self._begin_all()
            for number in numbers:
                if number in self._tasks:
                    self._tasks[number].abandon()
        self._end_if_idle()

    def _begin_all(self) -> None:
        while self.inbox:
            with suppress(IndexError):  # taken back meanwhile
                task = self.inbox.popleft()
                self._tasks[task.number] = task
                task.begin()

    def forget(self, task: Task[Any]) -> None:
        """`task` is over."""
        del self._tasks[task.number]
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        while not self._tasks and not self.ended:
            # Before the last look: whoever puts a task into the inbox after it sees `ended`, and
            # takes the task back.
            self.ended = True
            if not self.inbox:
                self._idle.set()
                return
            self.ended = False
            self._begin_all()

    def disconnect(self) -> None:
        """Close both ends of the messages' channel."""
        self._receiver.close()
        self.sender.close()


@dataclass(slots=True)
class _Shared:
    scheduler: Scheduler
    leases: int = 0


@asynccontextmanager
async def _leased(
    engine: Engine, key: Hashable, make: Callable[[], Awaitable[Scheduler]]
) -> AsyncIterator[Scheduler]:
    """The scheduler of `key`; made for the first, closed after the last."""
    # In turn with those who close: else a lease could get a scheduler whose client is closing.
    async with engine.turn:
        shared = engine.schedulers.get(key)
        if shared is None:
            shared = engine.schedulers[key] = _Shared(await make())
        shared.leases += 1
    try:
        yield shared.scheduler
    finally:
        async with engine.turn:
            shared.leases -= 1
            if not shared.leases:
                del engine.schedulers[key]
                await shared.scheduler.aclose()


class _Current:
    """The engine of the process we are in; a fork replaces it."""

    lock = threading.RLock()
    engine: Engine | None = None

    @classmethod
    def renew(cls) -> None:
        engine, cls.engine, cls.lock = cls.engine, None, threading.RLock()
        if engine is not None:
            engine.disconnect()  # in the child; what it sends would reach the parent

    @classmethod
    def get(cls) -> Engine:
        with cls.lock:
            if cls.engine is None or cls.engine.ended:
                cls.engine = Engine()
            return cls.engine


# The child has a copy of the engine, and not its thread.
os.register_at_fork(after_in_child=_Current.renew)


class Task(Generic[T]):
    """Work on the engine loop, seen from another thread. Making one begins nothing.

    Args:
        on_over: called from the engine's thread, when the work is over.
    """

    def __init__(
        self,
        function: Callable[..., Awaitable[T]],
        *arguments: Any,
        on_over: Callable[[], object] = lambda: None,
    ) -> None:
        self.number = next(_NUMBERS)
        self._work: Callable[[], Awaitable[T]] = partial(function, *arguments)
        self._on_over = on_over
        # The caller's: a row's seat and a subclass's memory are found by context variables.
        self._context = copy_context()
        self._task: asyncio.Task[T] | None = None
        self._failure: BaseException | None = None
        self._abandoned = False
        self._over = threading.Event()
        self.is_taken = False
        """Whether an engine has it, so that it will be over some time."""
        self._choose(_Current.get())

    def _choose(self, engine: Engine) -> None:
        self.engine = engine
        number = self.number.to_bytes(_BYTES, sys.byteorder)
        self.give_up: Callable[[], object] = partial(engine.sender.send, number)
        """Have the work cancelled: one call into C. `OSError`: it is over already."""

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def start(self) -> None:
        """Have it begun. Call this inside a `try` that gives it up."""
        while not self.engine.take(self):
            self._choose(_Current.get())

    def run(self) -> T:
        """Begin, wait for the end, and give back what came of it."""
        if threading.current_thread() is self.engine.thread:
            raise RuntimeError(
                "A blocking call (generate, load, ...) was made inside a coroutine that the engine "
                "runs, so it would wait for itself. Await agenerate there instead."
            )
        self.wait(self._over)
        return self.result()

    def wait(self, event: threading.Event) -> None:
        """Begin, and wait for `event`. An interrupt cancels the work before it continues."""
        try:
            self.start()
            while not event.wait(SLICE):
                pass
        except BaseException:
            # First and without a call of Python's: a second interrupt must not come before it.
            try:
                self.give_up()
            except OSError:
                pass  # over, or a forked child's copy: there it would be waited for in vain
            else:
                self.await_end()
            raise

    def cancel(self) -> None:
        """Have the work cancelled and wait until it has ended. Does nothing when it is over."""
        try:
            self.give_up()
        except OSError:
            return  # over, or a forked child's copy
        self.await_end()

    def await_end(self) -> None:
        """Wait for work that was given up; further interrupts would not make it end sooner."""
        until = time.monotonic() + _PATIENCE
        while self.is_taken and not self.is_over and (left := until - time.monotonic()) > 0:
            with suppress(KeyboardInterrupt):
                self._over.wait(left)

    def result(self) -> T:
        """What came of work that is over. Asked for once: the error is not kept."""
        task, self._task = self._task, None
        try:
            if task is None:
                raise self._failure or RuntimeError("asked for twice")
            return task.result()
        finally:
            del task  # its exception's traceback has this frame

    def begin(self) -> None:
        """On the engine's loop, as all that follows."""
        self._task = self.engine.loop.create_task(self._main(), context=self._context)
        self._task.add_done_callback(self._end)

    async def _main(self) -> T:
        return await self._work()

    def abandon(self) -> None:
        """It is no longer waited for. Only the first time: it may be clearing up."""
        if not self._abandoned and self._task is not None:
            self._abandoned = True
            self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # looked at, whether anybody asks or not
        self.engine.forget(self)
        self._over.set()
        self._on_over()

    def fail(self, error: BaseException) -> None:
        """Its loop has ended."""
        self._task, self._failure = None, error
        self._over.set()
        self._on_over()


class Lease:
    """The right to use a target's scheduler. Close it; the last one closes the scheduler.

    `run` blocks a thread, `call` is awaited on any loop; both from any thread but the engine's own.
    A lease that is dropped is closed.

    Args:
        key: the target, with everything that makes its scheduler.
        make: makes it, on the engine loop, if there is none yet. What it raises comes through.
    """

    def __init__(self, key: Hashable, make: Callable[[], Awaitable[Scheduler]]) -> None:
        ready = threading.Event()
        schedulers: list[Scheduler] = []

        async def hold() -> None:
            engine = task.engine
            async with _leased(engine, key, make) as scheduler:
                schedulers.append(scheduler)
                ready.set()
                await asyncio.Event().wait()

        task = Task(hold, on_over=ready.set)
        self._task = task
        # Before it is begun: whatever happens from here on, it is given back.
        self._close = weakref.finalize(self, _give_back, task)
        task.wait(ready)
        if task.is_over:
            task.result()
        self.scheduler = schedulers[0]

    @property
    def alive(self) -> bool:
        """False after `close`, and in a forked child."""
        return self._close.alive and self._task.engine is _Current.engine

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The engine loop, for `call_soon_threadsafe`."""
        return self.scheduler.loop

    def run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run `function` on the engine loop and wait for it."""
        return Task(function, *arguments).run()

    async def call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Await `function`, run on the engine loop; cancelling here cancels it there."""
        if threading.current_thread() is self._task.engine.thread:
            return await function(*arguments)
        return await self._task.engine.portal.call_async(function, *arguments)

    def close(self) -> None:
        """Give the lease back. A second call, or one in a forked child, does nothing."""
        self._close()


def _give_back(task: Task[None]) -> None:
    engine = task.engine
    try:
        task.give_up()
    except OSError:
        return  # over, or a forked child's copy
    # The collector may drop an object anywhere, on the engine's own thread too.
    if threading.current_thread() is not engine.thread:
        task.await_end()
        if engine.ended and engine.thread is not None:
            engine.thread.join(_PATIENCE)
