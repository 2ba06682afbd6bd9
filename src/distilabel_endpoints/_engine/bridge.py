"""Rows from the caller's thread or loop to the engine loop, results back, bounded both ways.

Rules
- Rows are pulled where the caller is: a generator may hold a connection of its thread.
- At most twice the engine's window is pulled and not yet taken back by the caller.
- An error of the caller's own iterable is raised after what was in flight has been given back.
"""

from __future__ import annotations

import asyncio
import queue
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from enum import Enum
from typing import Any, Generic, TypeVar

from distilabel_endpoints._engine.in_flight import Drain
from distilabel_endpoints._engine.loop import SLICE, Lease, Task
from distilabel_endpoints._engine.scheduler import each
from distilabel_endpoints.spending.account import Account

__all__ = ["aiter_results", "iter_results"]

T = TypeVar("T")
R = TypeVar("R")


class _Signal(Enum):
    WANTED = "the engine can take more rows"
    OVER = "the engine is done"


class _Feed(AsyncIterator[T], Generic[T]):
    """The engine's end: an async iterator that asks for more before it runs dry."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ask: Callable[[], object]) -> None:
        self._loop = loop
        self._ask = ask
        self._rows: deque[T] = deque()
        self._low = 0
        self._requested = self._ended = False
        self._arrived: asyncio.Future[None] | None = None

    async def __anext__(self) -> T:
        self._ask_for_more()
        while not self._rows:
            if self._ended:
                raise StopAsyncIteration
            self._arrived = self._loop.create_future()
            await self._arrived
        return self._rows.popleft()

    def _ask_for_more(self) -> None:
        if not self._requested and not self._ended and len(self._rows) <= self._low:
            self._requested = True
            self._ask()

    def push(self, rows: list[T], *, last: bool) -> None:
        """Hand over rows; from the caller's thread."""
        self._loop.call_soon_threadsafe(self._take, rows, last)

    def _take(self, rows: list[T], last: bool) -> None:
        self._rows.extend(rows)
        # At half of them, so that the next arrive before these are used up.
        self._low = len(rows) // 2
        self._requested, self._ended = False, last
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class _Crossing(Generic[T, R]):
    """One call's traffic, seen from the caller's side."""

    def __init__(
        self,
        lease: Lease,
        work: Callable[[T], Awaitable[R]],
        put: Callable[[R | _Signal], object],
        drain: Drain | None = None,
        account: Account | None = None,
    ) -> None:
        self._lease = lease
        self._feed: _Feed[T] = _Feed(lease.loop, lambda: put(_Signal.WANTED))
        self._outstanding = 0
        self._starving = self._ended = False
        self._error: BaseException | None = None
        self.task: Task[None] = Task(
            lease.scheduler.drive,
            self._feed,
            work,
            put,
            drain,
            account,
            on_over=lambda: put(_Signal.OVER),
        )
        """Not begun: whoever drives the traffic begins it where it can give it up."""

    @property
    def room(self) -> int:
        """How many rows should be pulled now."""
        if not self._starving or self._ended:
            return 0
        # The window may have shrunk since, and rows of a run that was stopped never come back:
        # who starves gets one row all the same, and sees that the run is over.
        return max(1, 2 * self._lease.scheduler.window - self._outstanding)

    def want(self) -> None:
        self._starving = True

    def push(self, rows: list[T], *, last: bool, error: BaseException | None = None) -> None:
        """Hand over what was pulled; `last` with `error` if the caller's iterable failed."""
        self._outstanding += len(rows)
        self._ended, self._error = last, error
        self._starving = False
        self._feed.push(rows, last=last)

    def taken(self) -> None:
        self._outstanding -= 1

    def finish(self) -> None:
        """Raise what ended the traffic early, if anything did."""
        self.task.result()
        if self._error is not None:
            raise self._error


def iter_results(
    lease: Lease,
    rows: Iterable[T],
    work: Callable[[T], Awaitable[R]],
    drain: Drain | None = None,
    account: Account | None = None,
) -> Iterator[R]:
    """Do `work` for every row; results as they finish, with bounded memory.

    After `drain.begin` the iterable of rows should end too. `account` pays for the attempts; see
    `Scheduler.drive`.
    """
    box: queue.SimpleQueue[Any] = queue.SimpleQueue()
    source = iter(rows)
    crossing: _Crossing[T, R] = _Crossing(lease, work, box.put, drain, account)
    task = crossing.task
    try:
        task.start()
        while (item := _next(box)) is not _Signal.OVER:
            if item is _Signal.WANTED:
                crossing.want()
            else:
                crossing.taken()
                yield item
            if room := crossing.room:
                _pull(crossing, source, room, box.empty)
        crossing.finish()
    finally:
        # First and without a call of Python's, as in `Task.wait`.
        try:
            task.give_up()
        except OSError:
            pass
        else:
            task.await_end()


def _next(box: queue.SimpleQueue[Any]) -> Any:
    while True:
        try:
            return box.get(timeout=SLICE)
        except queue.Empty:  # between two slices an interrupt is seen
            continue


def _pull(
    crossing: _Crossing[T, Any], source: Iterator[T], room: int, idle: Callable[[], bool]
) -> None:
    """Pull up to `room` rows; fewer as soon as a result waits to be taken."""
    pulled: list[T] = []
    try:
        while len(pulled) < room and (idle() or not pulled):
            pulled.append(next(source))
    except StopIteration:
        crossing.push(pulled, last=True)
    except Exception as error:  # noqa: BLE001 - the caller's own; raised again at the end
        crossing.push(pulled, last=True, error=error)
    else:
        crossing.push(pulled, last=False)


async def aiter_results(
    lease: Lease,
    rows: AsyncIterable[T] | Iterable[T],
    work: Callable[[T], Awaitable[R]],
) -> AsyncIterator[R]:
    """As `iter_results`, from a running loop."""
    loop = asyncio.get_running_loop()
    box: asyncio.Queue[Any] = asyncio.Queue()
    source = each(rows)
    crossing: _Crossing[T, R] = _Crossing(
        lease, work, lambda item: loop.call_soon_threadsafe(box.put_nowait, item)
    )
    task = crossing.task
    try:
        task.start()
        while (item := await box.get()) is not _Signal.OVER:
            if item is _Signal.WANTED:
                crossing.want()
            else:
                crossing.taken()
                yield item
            if room := crossing.room:
                await _apull(crossing, source, room, box.empty)
        crossing.finish()
    finally:
        task.cancel()


async def _apull(
    crossing: _Crossing[T, Any], source: AsyncIterator[T], room: int, idle: Callable[[], bool]
) -> None:
    pulled: list[T] = []
    try:
        while len(pulled) < room and (idle() or not pulled):
            pulled.append(await anext(source))
    except StopAsyncIteration:
        crossing.push(pulled, last=True)
    except Exception as error:  # noqa: BLE001 - the caller's own; raised again at the end
        crossing.push(pulled, last=True, error=error)
    else:
        crossing.push(pulled, last=False)
