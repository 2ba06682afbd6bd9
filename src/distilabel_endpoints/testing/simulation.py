"""A simulated endpoint without a socket: its state, and the way of a request through it.

Order for a request: log, fault, deployment, start-up, token, route, door (buckets, queue), slot,
time of service, delivery. Everything runs on the loop that serves and reads no clock but its own;
faults, tokens, credit and the deployment's state may be changed from any thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any

from aiohttp import web

from distilabel_endpoints.testing.accounts import Accounts
from distilabel_endpoints.testing.delivery import EventStream, Spoiler, hang, reset, send
from distilabel_endpoints.testing.endpoint_settings import Deployment, Settings
from distilabel_endpoints.testing.exchange import Exchange, RefusedError, Route
from distilabel_endpoints.testing.faults import (
    Action,
    Flood,
    Hang,
    Pause,
    Recast,
    Refuse,
    Reset,
    Respond,
    Revoke,
    Script,
    SpendCredits,
    Throttle,
)
from distilabel_endpoints.testing.flavors import error_reply, not_ready
from distilabel_endpoints.testing.limits import Door, Refusal
from distilabel_endpoints.testing.mischief import flood, respond, throttle
from distilabel_endpoints.testing.request_log import Entry, RequestLog
from distilabel_endpoints.testing.routes.control_plane import ControlPlane
from distilabel_endpoints.testing.routes.hub import Hub
from distilabel_endpoints.testing.routes.route_table import (
    CONTROL,
    HUB,
    ROUTER,
    UNKNOWN,
    data_routes,
)
from distilabel_endpoints.testing.service import Service
from distilabel_endpoints.testing.wire import Generated, Outcome, Reply, encode

__all__ = ["Simulation"]

_GATEWAY = Reply(504, b"<html><title>504 Gateway Time-out</title></html>", "text/html")
_WE_CLOSED = frozenset({"Reset", "Refuse", "Truncate", "BreakStream"})
"""Faults that end a connection themselves: the client did not leave."""


class Simulation:
    """Answers requests. One per application; `build_app` puts it behind one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = RequestLog(keep=settings.log)
        self.script = Script(settings.faults, seed=settings.seed)
        self.accounts = Accounts(settings)
        deployment = settings.deployment or Deployment("simulated-endpoint")
        self.control = ControlPlane(settings, deployment, self.accounts)
        self.on_refuse: Callable[[float | None], None] | None = None
        """Set by whoever listens: stop listening, for that many seconds."""
        self.on_change: Callable[[], None] | None = None
        """Set by whoever waits: called when a request arrived or ended."""
        self._door = Door(settings)
        self._service = Service(settings.slots, settings.latency, seed=settings.seed, log=self.log)
        self._hub = Hub(settings, self.accounts)
        self._routes = data_routes(settings.flavor)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = 0.0

    def now(self) -> float:
        """Seconds since the start, on the running loop's clock."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._started = loop, loop.time()
        return loop.time() - self._started

    def read_clock(self) -> float:
        """The same from any thread; 0 before the start."""
        return 0.0 if self._loop is None else self._loop.time() - self._started

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        loop = asyncio.get_running_loop()
        now = self.now()
        route = self._route(request.method, request.path)
        entry = Entry(route.kind, request.method, request.path, loop.time())
        self.log.arrive(entry)
        if self.on_change:
            self.on_change()
        try:
            response = await self._response(request, route, entry, now)
            entry.status = response.status
        except asyncio.CancelledError:
            entry.aborted = entry.fault not in _WE_CLOSED
            raise
        else:
            return response
        finally:
            self.log.leave(entry, loop.time())
            if self.on_change:
                self.on_change()

    def _route(self, method: str, path: str) -> Route:
        route = self._routes.get((method, path))
        if route is not None:
            return route
        if path.startswith(CONTROL):
            return Route("control", self.control.answer)
        if path.startswith(HUB):
            return Route("hub", self._hub.answer)
        if path.startswith(ROUTER):
            return Route("generate" if method == "POST" else "hub", self._hub.route)
        return UNKNOWN

    async def _response(
        self, request: web.Request, route: Route, entry: Entry, now: float
    ) -> web.StreamResponse:
        raw = await request.read()
        exchange = self._exchange(request, raw, now)
        if self.settings.log:
            entry.query = request.query_string
            entry.headers = {name.lower(): value for name, value in request.headers.items()}
            entry.body = exchange.body
        action = self._struck(request, entry, raw, now) if self.script else None
        if action is not None:
            replaced = await self._instead(request, exchange, action)
            if replaced is not None:
                return replaced
        spoiler = action if isinstance(action, Spoiler) else None
        outcome = await self._outcome(route, exchange)
        if isinstance(outcome, Generated):
            return await self._generate(request, entry, exchange, outcome, spoiler)
        return await send(request, outcome, spoiler)

    def _exchange(self, request: web.Request, raw: bytes, now: float) -> Exchange:
        path = request.path
        prefix = next((prefix for prefix in (CONTROL, HUB, ROUTER) if path.startswith(prefix)), "")
        return Exchange(
            settings=self.settings,
            flavor="openai" if prefix == ROUTER else self.settings.flavor,
            method=request.method,
            path=path[len(prefix) :],
            query=request.query,
            headers=request.headers,
            body=_parsed(raw),
            now=now,
            origin=f"{request.scheme}://{request.host}" if prefix else "",
        )

    def _struck(self, request: web.Request, entry: Entry, raw: bytes, now: float) -> Action | None:
        action = self.script.pick(
            entry.path,
            generates=entry.kind == "generate",
            headers=request.headers,
            raw=raw,
            now=now,
        )
        entry.fault = type(action).__name__ if action is not None else None
        return action

    async def _instead(
        self, request: web.Request, exchange: Exchange, action: Action
    ) -> web.StreamResponse | None:
        """Do what needs no true answer; `None` lets the request continue."""
        body = exchange.body if isinstance(exchange.body, dict) else {}
        match action:
            case Respond():
                return await respond(action, exchange.flavor)
            case Throttle():
                return throttle(action, exchange.flavor, exchange.now)
            case Flood():
                return await flood(request, action, streamed=bool(body.get("stream")))
            case Hang("start"):
                await hang()
            case Reset("start"):
                await reset(request)
            case Refuse(seconds):
                if self.on_refuse is not None:
                    self.on_refuse(seconds)
                await hang()
            case _:
                self._change(exchange, action)
        return None

    def _change(self, exchange: Exchange, action: Action) -> None:
        match action:
            case Pause():
                self.control.put("paused", exchange.now)
            case Revoke(token):
                self.accounts.revoke(token or exchange.token or "")
            case SpendCredits():
                self.accounts.credits = 0
            case _:
                pass

    async def _outcome(self, route: Route, exchange: Exchange) -> Outcome:
        if route.kind not in ("hub", "control"):
            closed = await self._closed(exchange)
            if closed is not None:
                return closed
        try:
            return route.answer(exchange)
        except RefusedError as refused:
            return refused.reply

    async def _closed(self, exchange: Exchange) -> Reply | None:
        """What the data plane says while it cannot serve this request at all."""
        if not self.control.open(exchange.now):
            closed = await self.control.gate(exchange)
            if closed is not None:
                return closed
        if exchange.now < self.settings.limits.unavailable_for:
            return not_ready(exchange.flavor)
        if not self.accounts.accepts(exchange.token):
            return error_reply(exchange.flavor, 401, "Invalid API key")
        return None

    async def _generate(
        self,
        request: web.Request,
        entry: Entry,
        exchange: Exchange,
        made: Generated,
        spoiler: Spoiler | None,
    ) -> web.StreamResponse:
        refusal = self._door.refuse(made.tokens + made.prompt_tokens, exchange.now)
        headers = {**made.headers, **self._door.headers()}
        if refusal is not None:
            return await send(request, _refused(exchange, refusal, headers), None)
        made = replace(made, headers=headers) if headers else made
        self._door.admitted += 1
        self._load(1)
        self.log.count_tokens(entry, made.prompt_tokens, made.tokens)
        timeout = self.settings.limits.gateway_timeout
        try:
            if timeout is None:
                return await self._serve(request, entry, exchange, made, spoiler)
            async with asyncio.timeout_at(entry.arrival + timeout) as gateway:
                return await self._serve(request, entry, exchange, made, spoiler, gateway=gateway)
        except TimeoutError:
            return await send(request, _GATEWAY, None)
        finally:
            self._door.admitted -= 1
            self._load(-1)

    def _load(self, change: int) -> None:
        """A request came or left: replicas follow the load, and slots follow replicas."""
        now = self.now()
        self.control.fleet.use(now, change)
        self._service.scale(self.control.fleet.replicas(now)[0])

    async def _serve(
        self,
        request: web.Request,
        entry: Entry,
        exchange: Exchange,
        made: Generated,
        spoiler: Spoiler | None,
        *,
        gateway: asyncio.Timeout | None = None,
    ) -> web.StreamResponse:
        def begun() -> None:
            if gateway is not None:
                gateway.reschedule(None)

        async with self._service.turn(entry, made.tokens) as turn:
            is_whole = isinstance(spoiler, Recast) and spoiler.whole
            if made.events is not None and not is_whole:
                error = error_reply(exchange.flavor, 500, "Generation failed").body
                return await EventStream(request, made, spoiler).send(
                    turn, error=error, begun=begun
                )
            await turn.spend()
        begun()
        return await send(request, Reply(200, encode(made.payload), headers=made.headers), spoiler)


def _parsed(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw


def _refused(exchange: Exchange, refusal: Refusal, headers: dict[str, str]) -> Reply:
    if refusal.retry_after is not None:
        headers = {**headers, "Retry-After": str(ceil(refusal.retry_after))}
    if refusal.reason.startswith("<"):
        page = refusal.reason.encode()
        return Reply(refusal.status, page, content_type="text/html", headers=headers)
    reply = error_reply(exchange.flavor, refusal.status, refusal.reason)
    return replace(reply, headers=headers)
