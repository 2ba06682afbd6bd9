"""The one HTTP client that both client libraries send through.

Rules
- The token joins the headers below httpx2, at the aiohttp session: no request object, client
  object or exception of a client library ever holds it.
- Requests leave for one origin only; redirects are never followed; TLS is always verified.
- A response is capped in decoded bytes, so a small body cannot inflate without bound.
- What happened on the wire is written to the caller's `Exchange`, which is what gets classified:
  the libraries' own exceptions differ, the wire does not.
- The pool sets no limit: how many requests are in flight is the limiter's decision.
- Events of a stream go to the exchange's reader while they come, and no further: what the client
  library is given in the end is what was not events.

A body as valid UTF-8, whatever pieces it comes in.

Some servers cut a character in two, or send one in another encoding. Client libraries then raise,
or replace in silence, each in its own way; here it is replaced once, and known.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, Self

import aiohttp
import httpx2
from multidict import CIMultiDict
from pydantic import SecretStr

from distilabel_endpoints._clients.content_coding import CodingError, decoder_of
from distilabel_endpoints._clients.proxies import named_certificates, proxy_for, system_trust
from distilabel_endpoints.config import CONNECT_TIMEOUT, KEEPALIVE_SECONDS, MAX_RESPONSE_BYTES

__all__ = [
    "PLACEHOLDER",
    "Connector",
    "Exchange",
    "Reader",
    "Utf8Repair",
    "WireError",
    "WireFault",
    "current_exchange",
    "open_session",
]


class Utf8Repair:
    """Feed it a body's pieces; what comes out is UTF-8."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.repaired = False
        """Whether U+FFFD stands where the body was not UTF-8."""

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        """What can be handed on after this piece; half a character is kept for the next."""
        try:
            return self._decoder.decode(piece, last).encode()
        except UnicodeDecodeError:
            self.repaired = True
            # The decoder has not changed, so this piece can be given to it again.
            self._decoder.errors = "replace"
            return self._decoder.decode(piece, last).encode()


PLACEHOLDER = "hf_set-when-sent"
"""What the client libraries hold in the place of a token."""

_TIMEOUT: Final = aiohttp.ClientTimeout(connect=CONNECT_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
"""Other timeouts are the engine's: one clock for the attempt, not one per read. `connect` is the
time to get a connection in all: the name's resolution is in it."""

_CHUNK_BYTES: Final = 16 * 1024

# aiohttp's default is 8,190 bytes.
_HEADER_BYTES: Final = 64 * 1024
_HEADERS: Final = 512
"""The longest header that is taken, and how many: behind several gateways there are more, and
longer ones (security policies, traces), than aiohttp takes by itself."""

_DRAIN_SECONDS: Final = 1.0
"""How long to wait, after the last event, for the end of the body that sets the connection free."""

_OF_TRANSFER: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
"""Headers of how a body comes, which is undone here. aiohttp has checked its length."""

_BUSY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""What a proxy that has too much to do answers to CONNECT."""

_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
"""As httpx2 has it."""

# Shorter values are words: hiding them would blank ordinary text in messages.
_SHORTEST: Final = 8
_KEY_HEADER: Final = re.compile(r"auth|key|token|cookie", re.IGNORECASE)
"""Names of headers that may hold a key."""

Connector = Callable[[ssl.SSLContext | None], aiohttp.BaseConnector]
"""Makes a pool of connections that trusts what the context does, on the loop that will use it.
Without TLS there is no context: the system's certificates take as long to read as a request."""


class WireFault(StrEnum):
    """What went wrong below a complete HTTP response."""

    REFUSED = "refused"
    DNS = "dns"
    TLS = "tls"
    CONNECT_TIMEOUT = "connect_timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a token of text
    TOKEN_TIMEOUT = "token_timeout"  # noqa: S105
    RESET = "reset"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"
    ORIGIN = "origin"
    PROTOCOL = "protocol"
    PROXY_AUTH = "proxy_auth"
    PROXY_DENIED = "proxy_denied"
    PROXY_FAILED = "proxy_failed"


class WireError(httpx2.TransportError):
    """Tells a client library that the exchange failed; the `Exchange` says why."""


class Reader(Protocol):
    """Takes the events of a stream while they come."""

    @property
    def is_events(self) -> bool:
        """Whether what came are events."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether whatever still comes makes no difference."""
        ...

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        """Read a piece; what is not events comes back."""
        ...


@dataclass(slots=True)
class Exchange:
    """What one attempt did on the wire, filled in by the transport as it happens.

    As a context manager it is the one that the running task's requests are noted in.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    response: httpx2.Response | None = None
    fault: WireFault | None = None
    detail: str = ""
    repaired: bool = False
    """Whether U+FFFD stands where the body was not UTF-8."""
    secrets: tuple[SecretStr, ...] = ()
    """What was sent and must not be shown."""
    keyed: bool = True
    """Whether a token was sent, or a header that may hold a key."""
    reader: Reader | None = None
    """Takes the events of the answer, if a stream was asked for."""
    first_token: float | None = None
    """Seconds until a stream first said something."""
    _outer: Token[Exchange] = field(init=False, repr=False)

    def body(self) -> bytes | None:
        """The decoded body, if it was read to its end and is not a stream of events."""
        if self.response is None or (self.reader is not None and self.reader.is_events):
            return None
        try:
            return self.response.content
        except httpx2.ResponseNotRead:
            return None

    def __enter__(self) -> Self:
        """What is sent from here on is noted in this exchange."""
        self._outer = current_exchange.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Lets go of the response, too: a connection keeps the context in which it was opened, and
        so the first of its exchanges, for as long as it is open."""
        current_exchange.reset(self._outer)
        self.response = self.reader = None


current_exchange: ContextVar[Exchange] = ContextVar("current_exchange")


def open_session(
    url: str,
    token: str | None,
    headers: Mapping[str, str],
    *,
    trust: ssl.SSLContext | None = None,
    connector: Connector | None = None,
) -> httpx2.AsyncClient:
    """An httpx2 client for one origin. Call it, use it and close it on one event loop.

    Args:
        url: any URL of the origin. Its query is sent with every request.
        token: sent as `Authorization: Bearer`, or nothing.
        headers: sent with every request; they replace the client libraries' own.
        trust: certificates to trust; default: the system's, as httpx2 finds them.
        connector: makes the pool of connections; default: TCP without a limit.
    """
    proxy = proxy_for(url)
    named_certificates()
    if trust is None and any(road.startswith("https:") for road in (url, proxy or "")):
        trust = system_trust()
    pool = partial(connector or _open_connector, trust)
    return _Session(_OneOriginTransport(httpx2.URL(url), token, headers, proxy, pool))


class _Session(httpx2.AsyncClient):
    """Straight to the wire.

    A client library has the same URL and headers with every request, and takes the answer whole.
    httpx2 would parse, merge and copy them each time, and look for cookies, redirects and
    credentials that are never there, which costs more than sending does.
    """

    def __init__(self, wire: _OneOriginTransport) -> None:
        super().__init__(transport=wire, follow_redirects=False)
        self._wire = wire
        self._outline: tuple[tuple[Any, ...], httpx2.URL, httpx2.Headers] | None = None

    def build_request(
        self,
        method: str,
        url: httpx2.URL | str,
        *,
        content: Any = None,
        json: Any = None,
        headers: Any = None,
        **others: Any,
    ) -> httpx2.Request:
        """As httpx2 does it; all but the body is kept for the next request, if that is alike."""
        others.pop("timeout", None)  # the engine's
        has_body = isinstance(content, bytes) if json is None else content is None
        if not has_body or any(others.values()):
            return super().build_request(
                method, url, content=content, json=json, headers=headers, **others
            )
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        key = (method, url, json is None, *pairs)
        if self._outline is None or self._outline[0] != key:
            whole = super().build_request(method, url, content=content, json=json, headers=headers)
            # The only header that depends on the body: aiohttp sets it.
            del whole.headers["content-length"]
            self._outline = key, whole.url, whole.headers
        _, parsed, same = self._outline
        body = content if json is None else _JSON.encode(json).encode()
        request = httpx2.Request(method, parsed, headers=same, stream=httpx2.ByteStream(body))
        request.url = parsed  # not the copy, which the transport would not know again
        request.read()
        return request

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Send it; the response is whole."""
        if self.is_closed:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        return await self._wire.handle_async_request(request)


class _Outline(NamedTuple):
    """All of a request but its body: as it came, and as aiohttp takes it."""

    url: httpx2.URL
    headers: list[tuple[bytes, bytes]]
    sent_to: str
    sent_headers: CIMultiDict[str]


class _OneOriginTransport(httpx2.AsyncBaseTransport):
    def __init__(
        self,
        url: httpx2.URL,
        token: str | None,
        headers: Mapping[str, str],
        proxy: str | None,
        pool: Callable[[], aiohttp.BaseConnector],
    ) -> None:
        self._origin = _origin(url)
        self._token = (token or "").encode()
        self._query = url.query
        replaced = {"authorization", "accept-encoding", *headers}
        # Shorter ones are not secrets, and hiding them would garble what a server says.
        secrets = [token or "", *headers.values()]
        self._secrets = tuple(SecretStr(value) for value in secrets if len(value) >= _SHORTEST)
        self._keyed = bool(token) or any(map(_KEY_HEADER.search, headers))
        self._replaced = {name.lower().encode() for name in replaced}
        session_headers = {"Accept-Encoding": "identity", **headers}
        if token:
            session_headers["Authorization"] = f"Bearer {token}"
        self._open = partial(_open_aiohttp, session_headers, pool, proxy)
        self._session: aiohttp.ClientSession | None = None
        self._last: _Outline | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = current_exchange.get()
        exchange.secrets, exchange.keyed = self._secrets, self._keyed
        outline = self._outline(request)
        try:
            answer = await self._sent(request, outline)
        except Exception as error:  # noqa: BLE001 - a border: whatever aiohttp raises
            raise _note(exchange, error, WireFault.RESET) from None
        async with answer:
            kept = [pair for pair in answer.raw_headers if pair[0].lower() not in _OF_TRANSFER]
            headers = httpx2.Headers(_hidden(self._token, kept))
            exchange.status, exchange.headers = answer.status, headers
            try:
                body = await _Body(answer, exchange).read()
            except (aiohttp.ClientError, httpx2.TransportError, OSError, TimeoutError) as error:
                raise _note(exchange, error, WireFault.TRUNCATED) from None
            except CodingError as error:
                raise _failed(exchange, WireFault.ENCODING, str(error)) from None
        exchange.response = httpx2.Response(
            answer.status,
            content=body,
            headers=headers,
            request=request,
            extensions={"reason_phrase": answer.reason.encode()} if answer.reason else {},
        )
        exchange.headers = exchange.response.headers  # whose encoding is found out once
        return exchange.response

    def _outline(self, request: httpx2.Request) -> _Outline:
        """The last one, if `request` differs from the one before in its body only.

        Raises:
            WireError: it is for another host.
        """
        last, raw = self._last, request.headers.raw
        if last is None or last.url is not request.url or last.headers != raw:
            last = self._last = self._new_outline(request, raw)
        return last

    def _new_outline(self, request: httpx2.Request, raw: list[tuple[bytes, bytes]]) -> _Outline:
        url = request.url
        if _origin(url) != self._origin:
            exchange = current_exchange.get()
            exchange.fault, exchange.detail = WireFault.ORIGIN, _shown(url)
            raise WireError("a request for another host was stopped")
        kept = httpx2.Headers([pair for pair in raw if pair[0].lower() not in self._replaced])
        sent_to = str(url.copy_with(query=self._query) if self._query else url)
        return _Outline(url, raw, sent_to, CIMultiDict(kept.multi_items()))

    async def _sent(self, request: httpx2.Request, outline: _Outline) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = self._open()
        body = await request.aread()
        return await self._session.request(
            request.method,
            outline.sent_to,
            headers=outline.sent_headers,
            data=aiohttp.BytesPayload(body) if body else None,
            allow_redirects=False,
            auto_decompress=False,
            timeout=_TIMEOUT,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Body:
    """A response's body on its way: decoded here, and cut off if it outgrows the cap."""

    def __init__(self, answer: aiohttp.ClientResponse, exchange: Exchange) -> None:
        self._content = answer.content
        self._encoding = answer.headers.get("content-encoding", "identity").strip().lower()
        self._exchange = exchange
        self._reader = exchange.reader if httpx2.codes.is_success(answer.status) else None
        self._left = MAX_RESPONSE_BYTES

    async def read(self) -> bytes:
        """All of it but events, as UTF-8; those are read while they come."""
        reader, decode, pieces = self._reader, self._decoder(), list[bytes]()
        is_over = False
        while not is_over and (chunk := await self._content.read(_CHUNK_BYTES)):
            piece = self._capped(decode(chunk, self._left + 1) if decode else chunk)
            if reader is not None:
                piece = reader.feed(piece)
                is_over = not piece and reader.is_over
            pieces.append(piece)
        if is_over:
            await self._drain()
        elif reader is not None:
            pieces.append(reader.feed(b"", last=True))
        body = b"".join(pieces)
        if body.isascii():
            return body
        repair = Utf8Repair()
        body = repair.feed(body, last=not is_over)
        self._exchange.repaired |= repair.repaired
        return body

    def _capped(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            detail = f"over {MAX_RESPONSE_BYTES} bytes"
            raise _failed(self._exchange, WireFault.TOO_LARGE, detail)
        return piece

    def _decoder(self) -> Any:
        try:
            return decoder_of(self._encoding)
        except CodingError as error:
            raise _failed(self._exchange, WireFault.ENCODING, str(error)) from None

    async def _drain(self) -> None:
        """Read up to the end, which nobody needs, so that the connection can be used again.

        What goes wrong from here on is not a fault of the exchange: what it means is known.
        """
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._left >= 0 and (chunk := await self._content.read(_CHUNK_BYTES)):
                    self._left -= len(chunk)


def _hidden(token: bytes, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Client libraries log what a server answers, and some servers answer with what they got."""
    if not token:
        return headers
    return [(name, value.replace(token, b"[secret]")) for name, value in headers]


def _failed(exchange: Exchange, fault: WireFault, detail: str) -> WireError:
    exchange.fault, exchange.detail = fault, detail
    return WireError(f"{fault}: {detail}")


def _note(exchange: Exchange, error: Exception, otherwise: WireFault) -> WireError:
    """Write what `error` means into the exchange; the first fault noted stays."""
    if isinstance(error, WireError):
        return error
    if exchange.fault is None:
        exchange.fault, exchange.detail = _fault_of(error, otherwise)
    return WireError(f"{exchange.fault}: {exchange.detail}")


def _fault_of(error: BaseException, otherwise: WireFault) -> tuple[WireFault, str]:
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case (
                aiohttp.ClientConnectorCertificateError()
                | aiohttp.ClientConnectorSSLError()
                | ssl.SSLError()
            ):
                return WireFault.TLS, str(cause)
            case aiohttp.ClientHttpProxyError():
                return _proxy_fault(cause.status), f"the proxy answered {cause.status} to CONNECT"
            case aiohttp.ClientConnectorDNSError() | socket.gaierror():
                return WireFault.DNS, _dns_detail(cause)
            case aiohttp.ConnectionTimeoutError():
                return WireFault.CONNECT_TIMEOUT, str(cause)
            case aiohttp.ClientConnectorError():
                return _refusal(cause)
            case aiohttp.ClientPayloadError():
                return WireFault.TRUNCATED, "the body ended early"
            case aiohttp.ServerDisconnectedError():
                return otherwise, "the server closed the connection"
            case aiohttp.ClientResponseError():
                return WireFault.PROTOCOL, f"not HTTP: {cause.message}"
        cause = cause.__cause__
    return otherwise, str(error) or type(error).__name__


def _refusal(error: aiohttp.ClientConnectorError) -> tuple[WireFault, str]:
    reason = os.strerror(error.os_error.errno) if error.os_error.errno else "failed"
    detail = f"{error.host}:{error.port}: {reason}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return WireFault.PROXY_FAILED, f"the proxy {detail}"
    return WireFault.REFUSED, detail


def _proxy_fault(status: int) -> WireFault:
    """What it means that a proxy does not open the way to a host."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return WireFault.PROXY_AUTH
    is_passing = status >= 500 or status in _BUSY
    return WireFault.PROXY_FAILED if is_passing else WireFault.PROXY_DENIED


def _dns_detail(error: BaseException) -> str:
    host = error.host if isinstance(error, aiohttp.ClientConnectorDNSError) else "the host"
    return f"{host} does not resolve"


def _open_connector(context: ssl.SSLContext | None) -> aiohttp.BaseConnector:
    return aiohttp.TCPConnector(
        limit=0,
        ssl=context or True,
        keepalive_timeout=KEEPALIVE_SECONDS,
        socket_factory=_kept_alive,
    )


def _open_aiohttp(
    headers: Mapping[str, str], pool: Callable[[], aiohttp.BaseConnector], proxy: str | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=pool(),
        headers=headers,
        proxy=proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
        max_headers=_HEADERS,
    )


def _kept_alive(address: Any) -> socket.socket:
    """A socket that notices a peer that vanished: load balancers drop idle flows silently."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30)
    return made


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return url.scheme, url.host, port


def _shown(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.host}"
