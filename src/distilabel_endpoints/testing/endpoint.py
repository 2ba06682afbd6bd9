"""The simulated endpoint as a context manager, in a separate thread or on the caller's loop.

The thread owns the loop and everything on it; others only read its log and flip its switches.
Leaving the context closes sockets, loop and thread before it returns.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from ssl import SSLContext
from types import TracebackType
from typing import Self, Unpack

from distilabel_endpoints.testing.app import Listener, listening
from distilabel_endpoints.testing.endpoint_settings import Settings, SettingsChanges
from distilabel_endpoints.testing.face import Addresses, Switchboard
from distilabel_endpoints.testing.simulation import Simulation

__all__ = ["LoopEndpoint", "SimulatedEndpoint", "serve"]

_HOST = "127.0.0.1"
_PATIENCE = 30.0


class SimulatedEndpoint(Addresses, Switchboard):
    """An inference endpoint on a socket of this machine, with no model behind it.

    `with SimulatedEndpoint(flavor="vllm", slots=4) as endpoint:` serves in a separate thread, so
    that blocking code can talk to it; `async with` does the same. Arguments are the fields of
    `Settings`, or a `Settings` and changes to it. With `tls`, a server's context, it speaks HTTPS.

    Raises:
        ConfigurationError: an argument is not a field of `Settings`, or makes no sense.
        OSError: the port is taken (when entered).
        RuntimeError: it has run before (when entered).
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        port: int = 0,
        tls: SSLContext | None = None,
        **changes: Unpack[SettingsChanges],
    ) -> None:
        self._simulation = Simulation(Settings.of(settings, **changes))
        self._scheme, self._host, self._port = "https" if tls else "http", _HOST, port
        self._tls = tls
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None
        self._stopped: asyncio.Event | None = None
        self._changed = threading.Condition()

    def start(self) -> Self:
        """Serve; returns when the port is open. An endpoint runs once."""
        if self._loop is not None:
            raise RuntimeError("This endpoint has run already; make another one.")
        ready: Future[None] = Future()
        self._simulation.on_change = self._notify
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="simulated-endpoint", daemon=True
        )
        self._thread.start()
        try:
            ready.result(_PATIENCE)
        except OSError:
            self._thread.join(_PATIENCE)
            raise
        return self

    def close(self) -> None:
        """Close every connection, the port and the thread. The log stays readable."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stopped is None:
            return
        self._loop.call_soon_threadsafe(self._stopped.set)
        thread.join(_PATIENCE)

    def refuse_connections(self) -> None:
        """Stop listening and drop every connection, until `accept_connections`."""
        self._on_loop(lambda listener: listener.stop())

    def accept_connections(self) -> None:
        """Listen again, on the same port."""
        self._on_loop(lambda listener: listener.open())

    def drop_connections(self) -> None:
        """Abort every connection; new ones are accepted."""

        async def drop(listener: Listener) -> None:
            listener.drop()

        self._on_loop(drop)

    def wait_for(self, condition: Callable[[Self], bool], timeout: float = 10.0) -> None:
        """Block until the condition holds; it is asked again at each arrival and each end.

        Raises:
            TimeoutError: it did not in `timeout` seconds of real time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise TimeoutError(f"Not within {timeout} s; the endpoint says {self.statistics()}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _on_loop(self, act: Callable[[Listener], Coroutine[None, None, None]]) -> None:
        if self._loop is None or self._listener is None:
            raise RuntimeError("The endpoint is not running; enter it first.")
        asyncio.run_coroutine_threadsafe(act(self._listener), self._loop).result(_PATIENCE)

    def _run(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except OSError as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        self._stopped = asyncio.Event()
        async with listening(self._simulation, self._host, self._port, tls=self._tls) as listener:
            self._loop, self._listener = asyncio.get_running_loop(), listener
            self._port = listener.port
            ready.set_result(None)
            await self._stopped.wait()
        self._listener = None


class LoopEndpoint(Addresses, Switchboard):
    """A simulated endpoint on the caller's loop. Made by `serve`."""

    def __init__(self, simulation: Simulation, host: str, listener: Listener) -> None:
        self._simulation = simulation
        self._listener = listener
        self._scheme, self._host, self._port = "http", host, listener.port
        self._moved = asyncio.Event()
        simulation.on_change = self._move

    async def refuse_connections(self) -> None:
        """Stop listening and drop every connection, until `accept_connections`."""
        await self._listener.stop()

    async def accept_connections(self) -> None:
        """Listen again, on the same port."""
        await self._listener.open()

    async def wait_for(self, condition: Callable[[Self], bool]) -> None:
        """Wait until the condition holds; it is asked again at each arrival and each end."""
        while not condition(self):
            self._moved.clear()
            await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()


@asynccontextmanager
async def serve(
    settings: Settings | None = None,
    *,
    host: str = _HOST,
    port: int = 0,
    **changes: Unpack[SettingsChanges],
) -> AsyncIterator[LoopEndpoint]:
    """Serve on the running loop, whatever its clock: for tests in virtual time.

    Raises:
        ConfigurationError: an argument is not a field of `Settings`, or makes no sense.
        OSError: the port is taken.
    """
    simulation = Simulation(Settings.of(settings, **changes))
    async with listening(simulation, host, port) as listener:
        yield LoopEndpoint(simulation, host, listener)
