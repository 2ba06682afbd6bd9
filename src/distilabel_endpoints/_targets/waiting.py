"""Waiting for an endpoint to get ready: how often to look, what to log, when to stop."""

from __future__ import annotations

import logging
from typing import Final

import anyio

__all__ = ["ReadyWait"]

logger = logging.getLogger("distilabel_endpoints")

_FIRST_PAUSE: Final = 0.5
# A model takes minutes to load: 5 s more are not noticed, and the server is not disturbed.
_LONGEST_PAUSE: Final = 5.0
_GROWTH: Final = 1.5
_LOG_EVERY: Final = 30.0


class ReadyWait:
    """One wait of `limit` seconds at most, begun when it is made. Call it on the loop it waits on.

    Pauses grow from half a second to five. Each new state is reported once, and again every 30 s.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._started = self._logged_at = anyio.current_time()
        self._state: str | None = None
        self._pause = _FIRST_PAUSE

    @property
    def waited(self) -> float:
        """Seconds since the start."""
        return anyio.current_time() - self._started

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.waited >= self.limit

    async def pause(self, subject: str, state: str) -> None:
        """Log what is waited for, if it is time to, and wait a little."""
        now = anyio.current_time()
        if state != self._state or now - self._logged_at >= _LOG_EVERY:
            logger.warning(
                "%s is %s; waited %.0f s of %.0f s at most",
                subject,
                state,
                self.waited,
                self.limit,
                # For displays that count the seconds themselves.
                extra={"waiting_for": f"{subject} is {state} (at most {self.limit:.0f} s)"},
            )
            self._state, self._logged_at = state, now
        # Not beyond the limit: the last look is at its end.
        await anyio.sleep(min(self._pause, max(0.0, self.limit - self.waited)))
        self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)
