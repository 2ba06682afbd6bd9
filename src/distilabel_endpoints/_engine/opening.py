"""Opening the limit gently: at a start, after a gate, when the endpoint is back.

A few attempts go at once, the rest over a quarter of a second, so that a server which refuses,
fails or denies everyone is met by a few. Pure: clock readings are arguments.
"""

from __future__ import annotations

__all__ = ["AT_ONCE", "Opening"]

AT_ONCE = 8
"""Attempts that need not wait."""

_SECONDS = 0.25


class Opening:
    """From `at` up to `floor` in flight; after `hold` seconds more and more.

    Args:
        at: clock reading of the start.
        floor: in flight that are allowed at once.
        hold: seconds until it begins to open.
    """

    __slots__ = ("_floor", "_starts_at", "over_at")

    def __init__(self, at: float, *, floor: int, hold: float = 0.0) -> None:
        self._floor = floor
        self._starts_at = at + hold
        self.over_at = self._starts_at + _SECONDS
        """From then on it allows everything."""

    def room(self, now: float, limit: int) -> float:
        """How many may be in flight."""
        return self._floor + limit * max(0.0, now - self._starts_at) / _SECONDS

    def when(self, now: float, in_flight: int, limit: int) -> float:
        """When one more may go."""
        if now >= self.over_at or in_flight < self.room(now, limit):
            return now
        missing = in_flight + 1 - self._floor
        return min(max(now, self._starts_at + _SECONDS * missing / limit), self.over_at)
