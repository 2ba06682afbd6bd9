"""The whole product on virtual time: the class as users make it, its engine thread, both clients.

Only three things are not the real ones: the clock, which jumps to the next timer as soon as
nothing is left to do; the sockets, which are in memory; and names, which are not looked up. The
simulated endpoint is served on the same loop, so both sides share the clock.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Unpack

import async_solipsism
import httpx2
import pytest
from async_solipsism.selector import Selector

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._clients import transport
from distilabel_endpoints._engine import loop as engine_loop
from distilabel_endpoints._engine.loop import Engine, Task
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.testing import LoopEndpoint, serve
from distilabel_endpoints.testing.endpoint_settings import SettingsChanges
from virtual import TRUST, Library, VirtualConnector

__all__ = ["Stage", "open_stage"]

_GRACE = 0.0005
"""Real seconds in which another thread may hand something over before the clock jumps."""


class _WakeableSelector(Selector):  # type: ignore[misc]
    """Lets other threads in: with nothing to wait for but them, it waits for them."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.bell, self._rung = socket.socketpair()
        self.bell.setblocking(False)
        self.readers: dict[socket.socket, Callable[[], object]] = {}
        """What the system is asked about, and who is to know."""

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        outside = [self._rung, *self.readers]
        woken, _, _ = select.select(outside, [], [], None if timeout is None else _GRACE)
        for end in woken:
            if end is self._rung:
                end.recv(4096)
            else:
                self.readers[end]()
        if not woken:
            self.clock.advance(timeout)
        return []

    def close(self) -> None:
        super().close()
        self.bell.close()
        self._rung.close()


class _SharedLoop(async_solipsism.EventLoop):  # type: ignore[misc]
    """A virtual loop that other threads may call in to."""

    def __init__(self) -> None:
        super().__init__()
        clock: Any = self._selector.clock
        self._selector: Any = _WakeableSelector(clock)

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *arguments: Any, context: Any = None
    ) -> Any:
        handle = self.call_soon(callback, *arguments, context=context)
        with suppress(BlockingIOError):  # rung often enough
            self._selector.bell.send(b"!")
        return handle

    def add_reader(self, fd: Any, callback: Callable[..., Any], *arguments: Any) -> None:
        """The engine's own channel is a real one."""
        if isinstance(fd, socket.socket):
            self._selector.readers[fd] = lambda: self.call_soon(callback, *arguments)
        else:
            super().add_reader(fd, callback, *arguments)

    def remove_reader(self, fd: Any) -> bool:
        if isinstance(fd, socket.socket):
            return self._selector.readers.pop(fd, None) is not None
        removed: bool = super().remove_reader(fd)
        return removed


@dataclass(frozen=True, slots=True)
class Stage:
    """An LLM that is loaded, the endpoint it talks to, and the clock they share."""

    llm: InferenceEndpointsLLM
    endpoint: LoopEndpoint

    @property
    def now(self) -> float:
        """Virtual seconds since the loop began."""
        return engine_of(self.llm).loop.time()

    @property
    def requests(self) -> int:
        """Generations that were asked for, as the endpoint counted them."""
        return len(self.endpoint.generations)


@contextmanager
def open_stage(
    monkeypatch: pytest.MonkeyPatch,
    library: Library,
    fields: dict[str, Any] | None = None,
    **changes: Unpack[SettingsChanges],
) -> Iterator[Stage]:
    """The documented class, talking through `library` to an endpoint with these settings.

    Args:
        fields: of the LLM, over `base_url` and the client's choice.
    """
    monkeypatch.setattr(engine_loop._Current, "engine", Engine(_SharedLoop))
    # Reading the system's certificates costs more than a whole run here.
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda **_: TRUST)
    monkeypatch.setattr(
        transport, "_open_connector", lambda context: VirtualConnector(limit=0, ssl=context)
    )
    with (
        _served(**changes) as endpoint,
        InferenceEndpointsLLM(
            base_url=endpoint.url, use_openai_client=library == "openai", **(fields or {})
        ) as llm,
    ):
        yield Stage(llm, endpoint)


@contextmanager
def _served(**changes: Unpack[SettingsChanges]) -> Iterator[LoopEndpoint]:
    """An endpoint on the engine's loop."""
    endpoints: list[LoopEndpoint] = []
    ready = threading.Event()

    async def stay() -> None:
        async with serve(port=8000, **changes) as endpoint:
            endpoints.append(endpoint)
            ready.set()
            await asyncio.Event().wait()

    task = Task(stay, on_over=ready.set)
    task.wait(ready)
    try:
        yield endpoints[0]
    finally:
        task.cancel()
