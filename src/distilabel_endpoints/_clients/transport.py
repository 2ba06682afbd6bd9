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
import os
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final, Protocol, Self

import aiohttp
import httpx2
from pydantic import SecretStr

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
            self._decoder.errors = "replace"
            return self._decoder.decode(piece, last).encode()


PLACEHOLDER = "hf_set-when-sent"
"""What the client libraries hold in the place of a token."""

_TIMEOUT: Final = aiohttp.ClientTimeout(connect=CONNECT_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
"""Other timeouts are the engine's: one clock for the attempt, not one per read. `connect` is the
time to get a connection in all: the name's resolution is in it."""

_CHUNK_BYTES: Final = 16 * 1024

_DRAIN_SECONDS: Final = 1.0
"""How long to wait, after the last event, for the end of the body that sets the connection free."""

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
    transport = _OneOriginTransport(httpx2.URL(url), token, headers, proxy, pool)
    timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)
    return httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False)


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
        self._token = SecretStr(token or "")
        self._query = url.query
        replaced = {"authorization", "accept-encoding", *headers}
        # Shorter ones are not secrets, and hiding them would garble what a server says.
        given = [token or "", *headers.values()]
        self._secrets = tuple(SecretStr(value) for value in given if len(value) >= _SHORTEST)
        self._keyed = bool(token) or any(map(_KEY_HEADER.search, headers))
        self._replaced = {name.lower().encode() for name in replaced}
        session_headers = {"Accept-Encoding": "identity", **headers}
        if token:
            session_headers["Authorization"] = f"Bearer {token}"
        self._open = partial(_open_aiohttp, session_headers, pool, proxy)
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = current_exchange.get()
        exchange.secrets, exchange.keyed = self._secrets, self._keyed
        if _origin(request.url) != self._origin:
            exchange.fault, exchange.detail = WireFault.ORIGIN, _shown(request.url)
            raise WireError("a request for another host was stopped")
        kept = [pair for pair in request.headers.raw if pair[0].lower() not in self._replaced]
        request.headers = httpx2.Headers(kept)
        if self._query:
            request.url = request.url.copy_with(query=self._query)
        try:
            answer = await self._sent(request)
        except Exception as error:  # noqa: BLE001 - a border: whatever aiohttp raises
            raise _note(exchange, error, WireFault.RESET) from None
        headers = httpx2.Headers(answer.raw_headers)
        _hide(self._token, headers)
        exchange.response = httpx2.Response(
            answer.status,
            stream=_CappedStream(answer, headers, exchange),
            headers=headers,
            request=request,
            extensions={"reason_phrase": answer.reason.encode()} if answer.reason else {},
        )
        exchange.status, exchange.headers = answer.status, exchange.response.headers
        return exchange.response

    async def _sent(self, request: httpx2.Request) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = self._open()
        return await self._session.request(
            request.method,
            str(request.url),
            headers=request.headers,
            data=await request.aread() or None,
            allow_redirects=False,
            auto_decompress=False,
            timeout=_TIMEOUT,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class _CappedStream(httpx2.AsyncByteStream):
    """The body, decoded here and cut off if it outgrows the cap."""

    def __init__(
        self, answer: aiohttp.ClientResponse, headers: httpx2.Headers, exchange: Exchange
    ) -> None:
        self._answer = answer
        self._exchange = exchange
        self._reader = exchange.reader if httpx2.codes.is_success(answer.status) else None
        self._encoding = headers.pop("content-encoding", "identity").strip().lower()
        # The length is the encoded one, and aiohttp has checked it already.
        headers.pop("content-length", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader, legible = self._reader, Utf8Repair()
        try:
            pieces = self._decoded()
            async for piece in pieces:
                rest = piece if reader is None else reader.feed(piece)
                if rest:
                    yield self._legible(legible, rest)
                elif reader is not None and reader.is_over:
                    await _drain(pieces)
                    return
            rest = b"" if reader is None else reader.feed(b"", last=True)
            yield self._legible(legible, rest, last=True)
        except (aiohttp.ClientError, httpx2.TransportError, OSError, TimeoutError) as error:
            raise _note(self._exchange, error, WireFault.TRUNCATED) from None
        except zlib.error as error:
            raise self._fail(WireFault.ENCODING, str(error)) from None

    async def _decoded(self) -> AsyncIterator[bytes]:
        left, decode = MAX_RESPONSE_BYTES, self._decoder()
        async for chunk in self._answer.content.iter_chunked(_CHUNK_BYTES):
            piece = decode(chunk, left + 1) if decode else chunk
            left -= len(piece)
            if left < 0:
                raise self._fail(WireFault.TOO_LARGE, f"over {MAX_RESPONSE_BYTES} bytes")
            yield piece

    def _legible(self, legible: Utf8Repair, piece: bytes, *, last: bool = False) -> bytes:
        text = legible.feed(piece, last=last)
        self._exchange.repaired |= legible.repaired
        return text

    def _decoder(self) -> Any:
        if self._encoding in {"", "identity"}:
            return None
        if self._encoding in {"gzip", "x-gzip", "deflate"}:
            # 32 + 15: gzip or zlib wrapper, told apart by the header.
            return zlib.decompressobj(47).decompress
        raise self._fail(WireFault.ENCODING, f"{self._encoding!r}, which was not asked for")

    def _fail(self, fault: WireFault, detail: str) -> WireError:
        self._exchange.fault, self._exchange.detail = fault, detail
        return WireError(f"{fault}: {detail}")

    async def aclose(self) -> None:
        self._answer.release()
        await self._answer.wait_for_close()


def _hide(token: SecretStr, headers: httpx2.Headers) -> None:
    """Client libraries log what a server answers, and some servers answer with what they got."""
    if secret := token.get_secret_value():
        for name, value in headers.items():
            if secret in value:
                headers[name] = value.replace(secret, "[secret]")


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read up to the end, which nobody needs, so that the connection can be used again."""
    with suppress(aiohttp.ClientError, httpx2.TransportError, zlib.error, OSError, TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in pieces:
                pass


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
                return WireFault.PROTOCOL, f"the proxy refused to connect ({cause.status})"
            case aiohttp.ClientConnectorDNSError() | socket.gaierror():
                return WireFault.DNS, _dns_detail(cause)
            case aiohttp.ConnectionTimeoutError():
                return WireFault.CONNECT_TIMEOUT, str(cause)
            case aiohttp.ClientConnectorError():
                reason = os.strerror(cause.os_error.errno) if cause.os_error.errno else "failed"
                by = "the proxy " if isinstance(cause, aiohttp.ClientProxyConnectionError) else ""
                return WireFault.REFUSED, f"{by}{cause.host}:{cause.port}: {reason}"
            case aiohttp.ClientPayloadError():
                return WireFault.TRUNCATED, "the body ended early"
            case aiohttp.ServerDisconnectedError():
                return otherwise, "the server closed the connection"
            case aiohttp.ClientResponseError():
                return WireFault.PROTOCOL, f"not HTTP: {cause.message}"
        cause = cause.__cause__
    return otherwise, str(error) or type(error).__name__


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
        connector=pool(), headers=headers, proxy=proxy, cookie_jar=aiohttp.DummyCookieJar()
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
