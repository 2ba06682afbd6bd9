"""Requests and tokens per minute: what the user allows, and what the server says is left.

Rules
- The user's limits hold over every minute, but for a burst: a second's worth of requests (at
  least one), six seconds' worth of tokens.
- Tokens are reserved by estimate and settled by what the server counted. Nothing is too large to
  be sent: it waits for a full bucket, and what follows waits for the debt.
- What a server says it has left (see `rate_headers`) is spread over the time it is for, and
  believed for a minute at most.
"""

from __future__ import annotations

from collections.abc import Mapping

from distilabel_endpoints._engine.rate import Bucket
from distilabel_endpoints._engine.rate_headers import Quota, Unit, read_quotas

__all__ = ["Quotas"]

_MINUTE = 60.0
_TOKEN_BURST = 0.1
_BELIEVED = 60.0


class Quotas:
    """Buckets of requests and of tokens, the user's and the server's."""

    __slots__ = ("_granted", "_own", "_until", "active")

    def __init__(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, now: float
    ) -> None:
        self._own: list[tuple[Unit, Bucket]] = []
        if requests_per_minute is not None:
            rate = requests_per_minute / _MINUTE
            self._own.append(("requests", Bucket(rate, max(1.0, rate), now)))
        if tokens_per_minute is not None:
            burst = max(1.0, _TOKEN_BURST * tokens_per_minute)
            self._own.append(("tokens", Bucket(tokens_per_minute / _MINUTE, burst, now)))
        self._granted: dict[Unit, Bucket] = {}
        self._until: dict[Unit, float] = {}
        self.active = bool(self._own)
        """Whether there is anything to keep to."""

    def _buckets(self, now: float) -> list[tuple[Unit, Bucket]]:
        for unit in [unit for unit, until in self._until.items() if now >= until]:
            del self._granted[unit], self._until[unit]
        self.active = bool(self._own or self._granted)
        return [*self._own, *self._granted.items()]

    def ready(self, now: float, tokens: int) -> bool:
        """Whether one request of so many tokens may be sent."""
        return all(
            bucket.ready(now, 1.0 if unit == "requests" else tokens)
            for unit, bucket in self._buckets(now)
        )

    def take(self, tokens: int) -> None:
        """One request of so many tokens is sent."""
        for unit, bucket in (*self._own, *self._granted.items()):
            bucket.take(1.0 if unit == "requests" else tokens)

    def when(self, now: float, tokens: int) -> float:
        """When `ready` will be true."""
        at = now
        for unit, bucket in self._buckets(now):
            when = bucket.when(now, 1.0 if unit == "requests" else tokens)
            if bucket is self._granted.get(unit):
                when = min(when, self._until[unit])
            at = max(at, when)
        return at

    def settle(self, reserved: int, used: int) -> None:
        """`used` tokens were counted where `reserved` had been taken."""
        if used != reserved:
            for unit, bucket in self._own:
                if unit == "tokens":
                    bucket.take(used - reserved)

    def read(self, headers: Mapping[str, str], now: float) -> None:
        """Take over what the headers of a response say is left."""
        for quota in read_quotas(headers):
            self._grant(quota, now)

    def _grant(self, quota: Quota, now: float) -> None:
        """A window's rest is spread evenly; a bucket is mirrored."""
        left, capacity, unit = quota.remaining, quota.capacity, quota.unit
        if quota.reset <= 0.0 or (capacity is not None and left >= capacity):
            self._granted.pop(unit, None)
            self._until.pop(unit, None)
            return
        if capacity is None:
            rate = left / quota.reset
            bucket = Bucket(rate, max(1.0, rate), now, level=min(1.0, left))
        else:
            rate = (capacity - left) / quota.reset
            bucket = Bucket(rate, max(1.0, capacity), now, level=left)
        self._granted[unit] = bucket
        self._until[unit] = now + min(quota.reset, _BELIEVED)
        self.active = True
