"""The simulated endpoint as an aiohttp application, and as a server on the running loop.

`serve` is for tests that own their loop, in virtual time too; `SimulatedEndpoint` puts the same
server into a separate thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext

from aiohttp import web

from distilabel_endpoints.testing.simulation import Simulation

__all__ = ["MAX_REQUEST_BYTES", "Listener", "build_app", "listening"]

MAX_REQUEST_BYTES = 256 * 1024**2
"""Longest request body that is read."""


def build_app(simulation: Simulation) -> web.Application:
    """An application that answers every path through `simulation`.

    Run it with `handler_cancellation=True` (`web.AppRunner(app, handler_cancellation=True)`), so
    that a client that leaves frees its slot.
    """
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_route("*", "/{path:.*}", simulation.respond)
    return app


class Listener:
    """A listening socket that can go away and come back on the same port.

    Belongs to the loop it was opened on. Made by `listening`, which also closes it.
    """

    def __init__(
        self, runner: web.AppRunner, host: str, port: int, *, tls: SSLContext | None = None
    ) -> None:
        self._runner = runner
        self._host = host
        self._tls = tls
        self._site: web.TCPSite | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.port = port
        """The port; chosen by the system if it was given as 0."""

    async def open(self) -> None:
        """Listen, if it does not already."""
        if self._site is not None:
            return
        self._site = web.TCPSite(
            self._runner,
            self._host,
            self.port,
            backlog=4096,
            reuse_address=True,
            ssl_context=self._tls,
        )
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    def refuse(self, seconds: float | None) -> None:
        """Stop listening and drop every connection; listen again after `seconds`."""
        loop = asyncio.get_running_loop()
        if self._reopening is None:
            self._reopening = loop.create_task(self._away(seconds))

    async def _away(self, seconds: float | None) -> None:
        await self.stop()
        if seconds is not None:
            await asyncio.sleep(seconds)
            await self.open()
        self._reopening = None

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._site is not None:
            site, self._site = self._site, None
            await site.stop()
        self.drop()

    def drop(self) -> None:
        """Abort every connection."""
        server = self._runner.server
        for connection in list(server.connections) if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    async def close(self) -> None:
        """Stop for good."""
        if self._reopening is not None:
            self._reopening.cancel()
        await self.stop()


@asynccontextmanager
async def listening(
    simulation: Simulation,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tls: SSLContext | None = None,
) -> AsyncIterator[Listener]:
    """Serve `simulation` on the running loop, on `host` and `port` (0: any free one)."""
    simulation.now()
    runner = web.AppRunner(
        build_app(simulation), access_log=None, handler_cancellation=True, shutdown_timeout=1.0
    )
    await runner.setup()
    listener = Listener(runner, host, port, tls=tls)
    simulation.on_refuse = listener.refuse
    try:
        await listener.open()
        yield listener
    finally:
        await listener.close()
        await runner.cleanup()
