"""One attempt: sent through a client library, read from the wire, in bounded time.

What both clients do alike. The library builds and sends the request and is given the response; the
answer is read from the `Exchange`, streamed or not, so both mean the same by it.

The clocks of a stream run until it says something, and from each thing said to the next. Bytes do
not count: comments and empty events keep a connection alive while nothing is generated. The clock
of a whole attempt is the engine's, that of connecting the transport's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from distilabel_endpoints._clients.answers import (
    Form,
    parse,
    replaced,
    with_headers,
    without_stop_text,
)
from distilabel_endpoints._clients.failures import classify, is_usable
from distilabel_endpoints._clients.streams import Stream, StreamError, answer_in
from distilabel_endpoints._clients.transport import Exchange, WireFault
from distilabel_endpoints.config import FIRST_TOKEN_TIMEOUT, TOKEN_TIMEOUT
from distilabel_endpoints.records import Answer, Failure, Request

__all__ = ["attempt", "first_token_seconds"]

_RENEWED_EVERY: Final = 1.0
"""Seconds. Moving a timer for each of a thousand tokens a second would cost more than it says."""


async def attempt(
    send: Callable[[Request], Awaitable[object]],
    request: Request,
    form: Form,
    *,
    first_token: float,
) -> Answer | Failure:
    """Send a request once; everything but cancellation comes back as a value.

    Args:
        send: sends it through a client library, which then reads the response to its end.
        request: what is sent.
        form: which API answers.
        first_token: seconds until a stream says something.
    """
    stream = Stream(form) if request.stream else None
    answer, error = None, None
    with Exchange(reader=stream) as exchange:
        try:
            if stream is None:
                await send(request)
            else:
                async with _token_clock(exchange, first_token) as stream.heard:
                    await send(request)
        except Exception as raised:  # noqa: BLE001 - a border: the wire says what it means
            error = raised.with_traceback(None)  # it would keep this frame alive
        try:
            answer = _read(exchange, stream, request, form)
        except (StreamError, ValueError) as raised:
            error = raised.with_traceback(None)
        if answer is None or not is_usable(answer, exchange, request):
            return classify(exchange, request, error, answer)
    if exchange.repaired:
        answer = replaced(answer)
    return with_headers(
        without_stop_text(answer, request), exchange.headers, first_token=exchange.first_token
    )


def _read(exchange: Exchange, stream: Stream | None, request: Request, form: Form) -> Answer | None:
    """The answer in what came, if there is one.

    Raises:
        StreamError, ValueError: see `Stream.answer`.
    """
    if exchange.status is None or not 200 <= exchange.status < 300:
        return None
    if stream is not None and stream.is_events:
        answer = stream.answer()
        # All that was asked for came before the stream broke.
        is_whole = answer is not None and len(answer.completions) >= request.n
        exchange.repaired |= answer is not None and any(
            completion.utf8_replaced for completion in answer.completions
        )
        return answer if exchange.fault is None or is_whole else None
    body = exchange.body()
    if exchange.fault is not None or body is None:
        return None
    return parse(form, body, exchange.headers) or answer_in(form, body)


def first_token_seconds(attempt: float) -> float:
    """How long a stream may be silent at first, if an attempt may take `attempt` seconds.

    Half of it, but no less than the default, and never longer than the attempt.
    """
    return min(attempt, max(FIRST_TOKEN_TIMEOUT, attempt / 2))


@asynccontextmanager
async def _token_clock(exchange: Exchange, first_token: float) -> AsyncIterator[Callable[[], None]]:
    """Cut off what runs inside when a stream is silent for too long; the exchange says so.

    Gives a function to call whenever the stream has said something.

    Raises:
        TimeoutError: nothing was received for `first_token` seconds, or then for `TOKEN_TIMEOUT`.
    """
    now = asyncio.get_running_loop().time
    fault, seconds, renewed = WireFault.FIRST_TOKEN_TIMEOUT, first_token, now()

    def heard() -> None:
        nonlocal fault, seconds, renewed
        moment = now()
        if fault is WireFault.TOKEN_TIMEOUT and moment - renewed < _RENEWED_EVERY:
            return
        if exchange.first_token is None:
            exchange.first_token = moment - renewed
        fault, seconds, renewed = WireFault.TOKEN_TIMEOUT, TOKEN_TIMEOUT, moment
        limit.reschedule(moment + TOKEN_TIMEOUT)

    try:
        async with asyncio.timeout(first_token) as limit:
            yield heard
    except Exception:
        # Not only `TimeoutError`: closing what was cut off may raise something else.
        if limit.expired():
            exchange.fault = exchange.fault or fault
            exchange.detail = exchange.detail or f"nothing was generated for {seconds:.0f} s"
        raise
