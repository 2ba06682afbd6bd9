"""A loop with in-memory sockets and a clock that jumps, and the real clients on it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Unpack

import aiohttp
import async_solipsism
import httpx2

from distilabel_endpoints._clients.hub import HubClient
from distilabel_endpoints._clients.openai import OpenAIClient
from distilabel_endpoints._clients.transport import open_session
from distilabel_endpoints.records import Client
from distilabel_endpoints.testing import LoopEndpoint, serve
from distilabel_endpoints.testing.endpoint_settings import SettingsChanges

Result = TypeVar("Result")
Library = Literal["hub", "openai"]
TRUST = ssl.create_default_context()


class VirtualConnector(aiohttp.TCPConnector):
    """Connects through the loop, which knows the in-memory sockets, not through the system."""

    async def _wrap_create_connection(self, *args: Any, addr_infos: Any, **given: Any) -> Any:
        connect: Any = asyncio.get_running_loop().create_connection
        host, port = addr_infos[0][4][:2]
        try:
            return await connect(*args, host=host, port=port)
        except OSError as error:
            raise aiohttp.ClientConnectorError(given["req"].connection_key, error) from error

    @property
    def open_connections(self) -> int:
        """How many are lent out and not given back."""
        return len(self._acquired)


class DeafConnector(VirtualConnector):
    """Connects to nothing: no SYN is ever answered."""

    async def _wrap_create_connection(self, *_: Any, addr_infos: Any, **given: Any) -> Any:
        async with asyncio.timeout(given["timeout"].sock_connect):
            await asyncio.get_running_loop().create_future()
        raise AssertionError(addr_infos)


def run_virtually(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on a loop with in-memory sockets and a clock that jumps."""
    loop = async_solipsism.EventLoop()
    try:
        outcome: Result = loop.run_until_complete(main)
        return outcome
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@dataclass(frozen=True, slots=True)
class Line:
    """A real client, the endpoint it talks to, and the connections between them."""

    client: Client
    endpoint: LoopEndpoint
    connector: VirtualConnector


@asynccontextmanager
async def connected(
    library: Library, *, deaf: bool = False, **changes: Unpack[SettingsChanges]
) -> AsyncIterator[Line]:
    """A client and its endpoint on the running virtual loop; closed in the end."""
    connector = DeafConnector(limit=0) if deaf else VirtualConnector(limit=0)
    async with serve(port=8000, **changes) as endpoint:
        session = open_session(endpoint.url, "hf_x", {}, trust=TRUST, connector=lambda _: connector)
        client = open_client(library, session, endpoint)
        try:
            yield Line(client, endpoint, connector)
        finally:
            await client.aclose()
            await connector.close()


def open_client(library: Library, session: httpx2.AsyncClient, endpoint: LoopEndpoint) -> Client:
    """The client of a library, for chats."""
    model = endpoint.settings.model
    if library == "hub":
        return HubClient(session, url=f"{endpoint.v1_url}/chat/completions", model=model)
    return OpenAIClient(session, url=endpoint.v1_url, model=model)
