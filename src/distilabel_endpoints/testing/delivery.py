"""How an answer goes out: whole or as events, in time with the service, spoiled by a fault.

The only module that writes to a connection. Closing one in a fault is done on the transport; the
request then waits to be cancelled, as it is when its client leaves.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import assert_never

from aiohttp import web

from distilabel_endpoints.testing.faults import (
    BreakKind,
    BreakStream,
    Drip,
    Garble,
    Hang,
    Recast,
    Reset,
    Rewrite,
    Truncate,
)
from distilabel_endpoints.testing.service import Turn
from distilabel_endpoints.testing.wire import Generated, Reply, encode

__all__ = ["EventStream", "Spoiler", "close", "hang", "reset", "send"]

Spoiler = Truncate | Drip | Rewrite | Garble | BreakStream | Recast | Hang | Reset
"""Actions that need the true answer."""

_LINGER_ZERO = struct.pack("ii", 1, 0)


async def hang() -> None:
    """Wait until the client leaves or the endpoint closes."""
    await asyncio.get_running_loop().create_future()


async def reset(request: web.Request) -> None:
    """Reset the connection; does not return."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None and hasattr(raw, "family") and raw.family == socket.AF_INET:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
    await hang()


async def close(request: web.Request) -> None:
    """Close the connection after what was written; does not return."""
    if request.transport is not None:
        request.transport.close()
    await hang()


async def send(request: web.Request, reply: Reply, spoiler: Spoiler | None) -> web.StreamResponse:
    """Send a whole answer."""
    if isinstance(spoiler, Rewrite):
        edited = encode(spoiler.edit(json.loads(reply.body)))
        reply = Reply(reply.status, edited, reply.content_type, reply.headers)
    if isinstance(spoiler, Garble):
        reply = Reply(reply.status, spoiler.edit(reply.body), reply.content_type, reply.headers)
    if isinstance(spoiler, Recast):
        content_type = spoiler.content_type or reply.content_type
        reply = Reply(spoiler.status, reply.body, content_type, reply.headers)
    if isinstance(spoiler, Truncate | Drip | Hang | Reset):
        return await _send_in_parts(request, reply, spoiler)
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers=reply.headers,
        content_type=reply.content_type,
    )


async def _send_in_parts(
    request: web.Request, reply: Reply, spoiler: Truncate | Drip | Hang | Reset
) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = reply.content_type
    response.content_length = len(reply.body)
    await response.prepare(request)
    match spoiler:
        case Drip(interval, chunk=chunk):
            for at in range(0, len(reply.body), chunk):
                await response.write(reply.body[at : at + chunk])
                await asyncio.sleep(interval)
            return response
        case Truncate(share):
            await response.write(reply.body[: int(len(reply.body) * share)])
            await close(request)
        case Hang(at) | Reset(at):
            if at == "body":
                await response.write(reply.body[: len(reply.body) // 2])
            await (hang() if isinstance(spoiler, Hang) else reset(request))
        case _:
            assert_never(spoiler)
    return response


class EventStream:
    """A stream of events on its way out, with what a fault does to it."""

    def __init__(self, request: web.Request, made: Generated, spoiler: Spoiler | None) -> None:
        self._request = request
        self._made = made
        self._spoiler = spoiler
        recast = spoiler if isinstance(spoiler, Recast) else Recast()
        self._response = web.StreamResponse(
            status=recast.status, headers={**made.headers, "Cache-Control": "no-cache"}
        )
        self._response.content_type = recast.content_type or "text/event-stream"

    async def send(
        self, turn: Turn, *, error: bytes, begun: Callable[[], None]
    ) -> web.StreamResponse:
        """Send every event once its share of the service time has passed.

        Args:
            turn: the request's slot.
            error: what the flavor says when generation fails, as JSON.
            begun: called when the first event is out.
        """
        events = self._made.events or ()
        for index, event in enumerate(events):
            await turn.spend(1 / len(events))
            if index == 0:
                await self._response.prepare(self._request)
            if await self._broken(index, error):
                return self._response
            edit = self._spoiler.edit if isinstance(self._spoiler, Rewrite) else None
            payload = edit(event) if edit else event
            await self._write(self._made.event_prefix + encode(payload) + b"\n\n")
            if index == 0:
                begun()
        if not (isinstance(self._spoiler, BreakStream) and self._spoiler.kind == "no_done"):
            await self._write(self._made.done)
        return self._response

    async def _write(self, data: bytes) -> None:
        match self._spoiler:
            case Garble(edit):
                await self._response.write(edit(data))
            case Drip(interval, chunk=chunk):
                for at in range(0, len(data), chunk):
                    await self._response.write(data[at : at + chunk])
                    await asyncio.sleep(interval)
            case _:
                if data:
                    await self._response.write(data)

    async def _broken(self, index: int, error: bytes) -> bool:
        """Do what the fault does before event `index`; whether the stream ends there."""
        match self._spoiler:
            case BreakStream(kind, events=events) if index == events:
                return await self._break(kind, error)
            case Hang(at) if index == (at == "body"):
                await hang()
            case Reset(at) if index == (at == "body"):
                await reset(self._request)
            case Truncate(share) if index >= share * len(self._made.events or ()):
                await close(self._request)
            case _:
                pass
        return False

    async def _break(self, kind: BreakKind, error: bytes) -> bool:
        match kind:
            case "no_done":
                return False
            case "garbage":
                await self._response.write(b": keep-alive\n\ndata: {nonsense\n\n\x00\xff\n\n")
                return False
            case "error":
                await self._response.write(self._made.event_prefix + error + b"\n\n")
            case "reset":
                await reset(self._request)
            case "cut":
                pass
            case _:
                assert_never(kind)
        return True
