"""Who is refused at the door: the buckets, the random refusals and the full queue.

Decisions are made once, at arrival, on readings of the clock that the caller passes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from random import Random

from distilabel_endpoints.testing.endpoint_settings import Settings

__all__ = ["Bucket", "Door", "Refusal"]


class Bucket:
    """A token bucket: holds a tenth of a minute's worth (at least one) and refills evenly."""

    def __init__(self, per_minute: float) -> None:
        self.capacity = max(1.0, per_minute / 10)
        self._rate = per_minute / 60
        self._level = self.capacity
        self._at = 0.0

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; 0 takes nothing and means now."""
        self._level = min(self.capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        # More than the bucket holds is let through when it is full, or it never could be.
        missing = min(amount, self.capacity) - self._level
        return max(0.0, missing) / self._rate if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        """Take it out; call after `wait` said 0."""
        self._level -= amount

    @property
    def remaining(self) -> float:
        """What is left, as of the last reading."""
        return max(0.0, self._level)

    @property
    def refill(self) -> float:
        """Seconds until it is full again, as of the last reading."""
        return (self.capacity - self._level) / self._rate


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why and for how long a request is refused."""

    status: int
    reason: str
    retry_after: float | None = None


class Door:
    """Lets generating requests in, or not."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self._limits = limits
        self._room = (
            None
            if limits.queue is None or settings.slots is None
            else settings.slots + limits.queue
        )
        self._requests = Bucket(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = Bucket(limits.tokens_per_minute) if limits.tokens_per_minute else None
        self._rng = Random(f"refusals {settings.seed}")
        self.admitted = 0
        """Requests inside: waiting for a slot or in one. The caller counts them out."""

    def refuse(self, tokens: int, now: float) -> Refusal | None:
        """Decide on a request of `tokens` prompt and output tokens; `None` lets it in."""
        if self._limits.random_refusals and self._rng.random() < self._limits.random_refusals:
            return Refusal(429, "Too many requests")
        wait = self._requests.wait(1, now) if self._requests else 0.0
        if self._tokens:
            wait = max(wait, self._tokens.wait(tokens, now))
        if wait:
            return Refusal(429, "Rate limit reached", wait if self._limits.retry_after else None)
        if self._room is not None and self.admitted >= self._room:
            words = self._limits.refusal_words or "Model is overloaded"
            return Refusal(self._limits.refusal, words)
        if self._requests:
            self._requests.take(1)
        if self._tokens:
            self._tokens.take(tokens)
        return None

    def headers(self) -> Mapping[str, str]:
        """The rate-limit headers, if they are switched on."""
        headers: dict[str, str] = {}
        if self._limits.rate_headers:
            for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
                if bucket is not None:
                    headers[f"x-ratelimit-limit-{name}"] = str(int(bucket.capacity * 10))
                    headers[f"x-ratelimit-remaining-{name}"] = str(int(bucket.remaining))
                    headers[f"x-ratelimit-reset-{name}"] = f"{ceil(bucket.refill * 1000)}ms"
        return headers
