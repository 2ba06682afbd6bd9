"""The faults that replace an answer: other statuses, throttling, floods of bytes.

An HTTP date comes from the endpoint's own clock: it starts at a fixed day and runs with the
loop, so that a run in virtual time is the same each time.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web
from multidict import CIMultiDict

from distilabel_endpoints.testing.endpoint_settings import FlavorName
from distilabel_endpoints.testing.faults import Flood, Respond, Throttle
from distilabel_endpoints.testing.flavors import error_reply
from distilabel_endpoints.testing.wire import encode

__all__ = ["flood", "respond", "throttle"]

_DAY_ONE = datetime(2026, 1, 1, tzinfo=UTC)


async def respond(action: Respond, flavor: FlavorName) -> web.Response:
    """The answer of a `Respond`."""
    if action.delay:
        await asyncio.sleep(action.delay)
    body = action.body
    if body is None:
        body = error_reply(flavor, action.status).body
    elif isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = encode(body)
    headers = CIMultiDict(action.headers)
    if "content-type" not in headers:
        headers["content-type"] = action.content_type
    return web.Response(status=action.status, body=body, headers=headers)


def throttle(action: Throttle, flavor: FlavorName, now: float) -> web.Response:
    """The answer of a `Throttle` at `now` seconds."""
    clock = _DAY_ONE + timedelta(seconds=now + action.skew)
    headers = CIMultiDict({"Date": format_datetime(clock, usegmt=True)})
    if action.after is not None:
        match action.form:
            case "seconds":
                headers["Retry-After"] = str(round(action.after))
            case "float":
                headers["Retry-After"] = f"{action.after:.3f}"
            case "date":
                later = clock + timedelta(seconds=action.after)
                headers["Retry-After"] = format_datetime(later, usegmt=True)
            case "milliseconds":
                headers["retry-after-ms"] = str(round(action.after * 1000))
            case "unreadable":
                headers["Retry-After"] = "in a little while"
    if action.should_retry is not None:
        headers["x-should-retry"] = "true" if action.should_retry else "false"
    body = error_reply(flavor, action.status).body
    headers["content-type"] = "application/json"
    return web.Response(status=action.status, body=body, headers=headers)


async def flood(request: web.Request, action: Flood, *, streamed: bool) -> web.StreamResponse:
    """Send the bytes of a `Flood`."""
    response = web.StreamResponse()
    response.content_type = "text/event-stream" if streamed else "application/json"
    if action.gzip:
        response.headers["Content-Encoding"] = "gzip"
    await response.prepare(request)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31) if action.gzip else None
    for chunk in _filler(action, streamed=streamed):
        packed = packer.compress(chunk) if packer else chunk
        if packed:
            await response.write(packed)
        await asyncio.sleep(action.interval)
    if packer:
        await response.write(packer.flush())
    return response


def _filler(action: Flood, *, streamed: bool) -> Iterator[bytes]:
    if streamed:
        text = "x" * max(1, action.chunk - 100)
        event = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        chunk = b"data: " + encode(event) + b"\n\n"
    else:
        yield b'{"choices":[{"index":0,"message":{"role":"assistant","content":"'
        chunk = b"x" * action.chunk
    sent = 0
    while action.size is None or sent < action.size:
        yield chunk
        sent += len(chunk)
    if not streamed:
        yield b'"},"finish_reason":"stop"}]}'
