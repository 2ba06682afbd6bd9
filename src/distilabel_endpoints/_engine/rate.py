"""How many a second: a token bucket, and the gate whose rate is learned from refusals.

Rules
- A need larger than the bucket is met by a full bucket, which then goes into debt: nothing waits
  for ever, and the rate holds on average.
- Pure: clock readings (seconds, monotonic) are arguments.
"""

from __future__ import annotations

import math

__all__ = ["SAMPLE", "Bucket", "RateGate"]

SAMPLE = 20
"""Requests that make a share worth comparing."""

_SLACK = 1e-6
_SOON = 1e-3
_SLOWEST = 0.05
_CATCH_UP = 0.005
_GROWTH_SECONDS = 150.0
_MOST_GROWTH = 4.0


class Bucket:
    """`rate` units a second, at most `capacity` of them saved up."""

    __slots__ = ("_at", "_level", "capacity", "rate")

    def __init__(
        self, rate: float, capacity: float, now: float, level: float | None = None
    ) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity if level is None else level
        self._at = now

    def _refill(self, now: float) -> float:
        elapsed = now - self._at
        if elapsed > 0.0:
            self._at = now
            self._level = min(self.capacity, self._level + elapsed * self.rate)
        return self._level

    def ready(self, now: float, need: float) -> bool:
        """Whether `need` units may be taken at once."""
        return self._refill(now) >= min(need, self.capacity) - _SLACK

    def take(self, need: float) -> None:
        """Take units, also more than there are; a negative need gives back."""
        self._level = min(self.capacity, self._level - need)

    def when(self, now: float, need: float) -> float:
        """When `ready` will be true; infinite if never at this rate."""
        if self.ready(now, need):
            return now
        if self.rate <= 0.0:
            return math.inf
        missing = min(need, self.capacity) - self._level
        return now + max(missing / self.rate, _SOON)


class RateGate:
    """Sends per second that the server was seen to accept.

    `rate` at first, then, once tried, quadratically more with the time that passes without a
    refusal. A gate that has grown fourfold limits nothing and is dropped. One goes after the other,
    as some servers admit no two at once; who comes late catches up by a few milliseconds.
    """

    __slots__ = ("_bucket", "_grown_at", "_quiet_since", "base")

    def __init__(self, now: float, rate: float) -> None:
        self.base = max(rate, _SLOWEST)
        self._bucket = Bucket(self.base, 1.0 + _CATCH_UP * self.base, now, level=0.0)
        self._quiet_since = self._grown_at = now

    @property
    def rate(self) -> float:
        """Sends per second, as of now."""
        return self._bucket.rate

    @property
    def grown(self) -> bool:
        """The rate is above the one it began with."""
        return self._bucket.rate > 1.02 * self.base

    def ready(self, now: float) -> bool:
        """Whether one may be sent."""
        return self._bucket.ready(now, 1.0)

    def when(self, now: float) -> float:
        """When the next one may be sent."""
        return self._bucket.when(now, 1.0)

    def sent(self, now: float, sends: int) -> bool:
        """Count a send, the `sends`-th since the last refusal. False: drop the gate."""
        bucket = self._bucket
        bucket.take(1.0)
        if now - self._grown_at < 1.0:
            return True
        self._grown_at = now
        if sends < SAMPLE:
            self._quiet_since = now
        growth = 1.0 + ((now - self._quiet_since) / _GROWTH_SECONDS) ** 2
        bucket.rate = self.base * growth
        bucket.capacity = 1.0 + _CATCH_UP * bucket.rate
        return growth <= _MOST_GROWTH
