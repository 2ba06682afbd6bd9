"""The clocks of a stream: until it says something, and from each thing said to the next.

Bytes do not count: comments and empty events keep a connection alive while nothing is generated.
The clock of a whole attempt is the engine's, that of connecting the transport's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from distilabel_endpoints._clients.transport import Exchange, WireFault
from distilabel_endpoints.config import FIRST_TOKEN_TIMEOUT, TOKEN_TIMEOUT

__all__ = ["first_token_seconds", "token_clock"]

_RENEWED_EVERY: Final = 1.0
"""Seconds. Moving a timer for each of a thousand tokens a second would cost more than it says."""


def first_token_seconds(attempt: float) -> float:
    """How long a stream may be silent at first, where an attempt may take `attempt` seconds.

    Half of it, but no less than the default, and never longer than the attempt.
    """
    return min(attempt, max(FIRST_TOKEN_TIMEOUT, attempt / 2))


@asynccontextmanager
async def token_clock(
    exchange: Exchange, first_token: float = FIRST_TOKEN_TIMEOUT
) -> AsyncIterator[Callable[[], None]]:
    """Cut off what runs inside when a stream is silent for too long; the exchange says so.

    Gives a function to call whenever the stream has said something.

    Raises:
        TimeoutError: nothing was said for `first_token` seconds, or then for `TOKEN_TIMEOUT`.
    """
    now = asyncio.get_running_loop().time
    fault, seconds, renewed = WireFault.FIRST_TOKEN_TIMEOUT, first_token, now()

    def heard() -> None:
        nonlocal fault, seconds, renewed
        moment = now()
        if fault is WireFault.TOKEN_TIMEOUT and moment - renewed < _RENEWED_EVERY:
            return
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
