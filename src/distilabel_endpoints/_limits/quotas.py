"""Requests and tokens per minute: what the user allows, and what the server says is left.

Rules
- The user's limits hold over every minute, but for a burst: a second's worth of requests (at
  least one), six seconds' worth of tokens.
- Tokens are reserved by estimate and settled by what the server counted. Nothing is too large to
  be sent: it waits for a full bucket, and what follows waits for the debt.
- What a server says it has left is spread over the time it is for, and
  believed for a minute at most.

What a response's rate-limit headers say, as quotas.

Two families are read. `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` (OpenAI and those
who copy it; Groq, Together): a bucket that refills all the time, where reset is how long until it
is full. `RateLimit` and `RateLimit-Remaining`/`-Reset` (IETF draft-ietf-httpapi-ratelimit-headers,
in its older and newer spellings, with or without `x-`): a window in which a number is left.
Absolute times are not read: no wall clock enters the limiter. What cannot be read is ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from distilabel_endpoints._limits.refusals import RateBucket

__all__ = ["Quota", "Quotas", "Unit", "read_quotas"]

Unit = Literal["requests", "tokens"]

# seconds; a larger reset is a point in time, which is not read.
_EPOCH: Final = 1e6
_UNITS: tuple[Unit, ...] = ("requests", "tokens")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PARAMETER = re.compile(r"\b(r|t|remaining|reset)\s*=\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many units are left, and for how many seconds."""

    unit: Unit
    remaining: float
    reset: float
    """Seconds until the window ends, or, of a bucket, until it is full."""
    capacity: float | None = None
    """Units of a full bucket; None for a window."""


def read_quotas(headers: Mapping[str, str]) -> list[Quota]:
    """The quotas in a response's headers (names in lower case)."""
    quotas = [quota for unit in _UNITS if (quota := _bucket(headers, unit))]
    quotas += _combined(headers.get("ratelimit", ""))
    for prefix in ("ratelimit-", "x-ratelimit-"):
        remaining = _number(headers.get(f"{prefix}remaining"))
        reset = _duration(headers.get(f"{prefix}reset"))
        if remaining is not None and reset is not None:
            quotas.append(Quota(unit="requests", remaining=remaining, reset=reset))
    return quotas


def _bucket(headers: Mapping[str, str], unit: Unit) -> Quota | None:
    remaining = _number(headers.get(f"x-ratelimit-remaining-{unit}"))
    reset = _duration(headers.get(f"x-ratelimit-reset-{unit}"))
    if remaining is None or reset is None:
        return None
    capacity = _number(headers.get(f"x-ratelimit-limit-{unit}"))
    return Quota(unit=unit, remaining=remaining, reset=reset, capacity=capacity)


def _combined(value: str) -> list[Quota]:
    """`"name";r=50;t=30, ...` of the newer drafts, `limit=100, remaining=50, reset=30` of some."""
    quotas = []
    parts = [value] if "remaining" in value else value.split(",")
    for part in parts:
        parameters = {name[:3]: float(number) for name, number in _PARAMETER.findall(part)}
        remaining = parameters.get("r", parameters.get("rem"))
        reset = parameters.get("t", parameters.get("res"))
        if remaining is not None and reset is not None:
            quotas.append(Quota(unit="requests", remaining=remaining, reset=reset))
    return quotas


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0.0 else None


def _duration(text: str | None) -> float | None:
    """Seconds: a plain number, or `6m0s`, `1.5s`, `120ms`."""
    seconds = _number(text)
    if seconds is not None:
        return seconds if seconds < _EPOCH else None
    text = (text or "").strip()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


# seconds; over which requests_per_minute and tokens_per_minute hold.
_MINUTE: Final = 60.0
# share; of a minute's tokens that may be sent at once.
_TOKEN_BURST: Final = 0.1
# seconds; at most, for which what a server says it has left is believed.
_BELIEVED: Final = 60.0


class Quotas:
    """Buckets of requests and of tokens, the user's and the server's."""

    __slots__ = ("_granted", "_own", "_until", "active")

    def __init__(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, now: float
    ) -> None:
        self._own: list[tuple[Unit, RateBucket]] = []
        if requests_per_minute is not None:
            rate = requests_per_minute / _MINUTE
            self._own.append(("requests", RateBucket(rate, max(1.0, rate), now)))
        if tokens_per_minute is not None:
            burst = max(1.0, _TOKEN_BURST * tokens_per_minute)
            self._own.append(("tokens", RateBucket(tokens_per_minute / _MINUTE, burst, now)))
        self._granted: dict[Unit, RateBucket] = {}
        self._until: dict[Unit, float] = {}
        self.active = bool(self._own)
        """Whether there is anything to keep to."""

    def _buckets(self, now: float) -> list[tuple[Unit, RateBucket]]:
        for unit in [unit for unit, until in self._until.items() if now >= until]:
            del self._granted[unit], self._until[unit]
        self.active = bool(self._own or self._granted)
        return [*self._own, *self._granted.items()]

    def ready(self, now: float, tokens: int) -> bool:
        """Whether one request of this many tokens may be sent."""
        return all(
            bucket.ready(now, 1.0 if unit == "requests" else tokens)
            for unit, bucket in self._buckets(now)
        )

    def take(self, tokens: int) -> None:
        """One request of this many tokens is sent."""
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
            bucket = RateBucket(rate, max(1.0, rate), now, level=min(1.0, left))
        else:
            rate = (capacity - left) / quota.reset
            bucket = RateBucket(rate, max(1.0, capacity), now, level=left)
        self._granted[unit] = bucket
        self._until[unit] = now + min(quota.reset, _BELIEVED)
        self.active = True
