"""A loop with a clock that jumps, and a raw client on it, for tests of the simulated endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Unpack

import aiohttp

from distilabel_endpoints.testing import LoopEndpoint, serve
from distilabel_endpoints.testing.endpoint_settings import SettingsChanges
from virtual import VirtualConnector, run_virtually

JsonObject = dict[str, Any]

__all__ = ["Talker", "now", "run_virtually", "talking", "user", "virtual_endpoint"]


class Talker:
    """A raw client of one endpoint: what it sends and gets is what is on the wire."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def post(
        self, path: str, body: Any, *, headers: dict[str, str] | None = None, timeout: float = 1e6
    ) -> tuple[int, Any]:
        """Status and JSON (text where it is not JSON) of a POST."""
        async with asyncio.timeout(timeout):
            reply = self._session.post(
                self._url + path, json=body, headers=headers, allow_redirects=False
            )
            async with reply as response:
                if response.content_type == "application/json":
                    return response.status, await response.json()
                return response.status, await response.text()

    async def get(self, path: str, *, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and JSON of a GET."""
        async with self._session.get(self._url + path, headers=headers) as response:
            text = await response.text()
            return response.status, await response.json() if text[:1] in "{[" and text else text

    async def chat(self, content: str = "hello", **more: Any) -> tuple[int, Any]:
        """Status and JSON of a chat."""
        timeout = more.pop("timeout", 1e6)
        headers = more.pop("headers", None)
        body = {"model": "simulated-model", "messages": [user(content)], **more}
        return await self.post("/v1/chat/completions", body, headers=headers, timeout=timeout)

    @asynccontextmanager
    async def raw(self, path: str, body: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response itself."""
        async with self._session.post(self._url + path, json=body) as response:
            yield response


def user(content: str) -> JsonObject:
    """A user's message."""
    return {"role": "user", "content": content}


@asynccontextmanager
async def talking(endpoint: LoopEndpoint) -> AsyncIterator[Talker]:
    """A raw client for an endpoint on a virtual loop; it never gives up by itself."""
    connector = VirtualConnector(limit=0)
    timeout = aiohttp.ClientTimeout()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Talker(session, endpoint.url)


@asynccontextmanager
async def virtual_endpoint(
    **changes: Unpack[SettingsChanges],
) -> AsyncIterator[tuple[LoopEndpoint, Talker]]:
    """An endpoint on the running virtual loop, and a client of it."""
    async with serve(port=8000, **changes) as endpoint, talking(endpoint) as talker:
        yield endpoint, talker


def now() -> float:
    """The running loop's clock."""
    return asyncio.get_running_loop().time()
