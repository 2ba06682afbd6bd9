"""The limiter's values: what a user may set, the permit, the snapshot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from distilabel_endpoints._engine.breaker import BreakerState
from distilabel_endpoints.errors import ConfigurationError

__all__ = [
    "DEFAULT_MOST",
    "DEFAULT_START",
    "DEFAULT_START_WITH_CEILING",
    "LimiterSettings",
    "LimiterStatistics",
    "Permit",
]

DEFAULT_START: Final = 32
"""The first limit. It doubles about once a latency, for as long as that brings more."""
DEFAULT_START_WITH_CEILING: Final = 512
"""The first limit of those who set `max_concurrency`, unless that is lower."""
DEFAULT_MOST: Final = 4096
"""The limit never exceeds this, whatever the server does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSettings:
    """What a user may set. None of it has to be set."""

    max_concurrency: int | None = None
    """Never more in flight than this."""
    requests_per_minute: float | None = None
    """Attempts per minute, plus a burst of at most a second's worth (at least one)."""
    tokens_per_minute: float | None = None
    """Input and output tokens per minute, plus a burst of at most six seconds' worth."""
    start: int = DEFAULT_START
    most: int = DEFAULT_MOST

    def __post_init__(self) -> None:
        for name in ("max_concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigurationError(f"{name} must be a positive number, not {value!r}.")
        if not 1 <= self.start <= self.most:
            bounds = f"start={self.start}, most={self.most}"
            raise ConfigurationError(f"1 <= start <= most does not hold for {bounds}.")


class Permit:
    """The right to one attempt; goes back through exactly one method of its limiter."""

    __slots__ = ("dispatched_at", "generation", "in_flight", "probe", "returned", "tokens")

    def __init__(
        self, generation: int, dispatched_at: float, *, tokens: int, in_flight: int, probe: bool
    ) -> None:
        self.generation = generation
        """How many cuts there were before it."""
        self.dispatched_at = dispatched_at
        self.tokens = tokens
        """Reserved of `tokens_per_minute`."""
        self.in_flight = in_flight
        """How many were in flight, this one included."""
        self.probe = probe
        """Sent alone, to see whether the endpoint is back."""
        self.returned = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterStatistics:
    """The limiter at one instant."""

    limit: int
    in_flight: int
    phase: str
    """`ramping up`, `holding`, `probing up`, `probing down`."""
    reason: str
    """Why the limit is what it is, in a few words."""
    requests_per_second: float
    """Answers, over the last 20 s."""
    tokens_per_second: float
    """Output tokens, over the last 20 s."""
    latency_p50: float | None
    """Seconds, over the last 256 answers."""
    latency_p95: float | None
    sent: int
    refused: int
    """Attempts the endpoint pushed back (429, 529, overloaded), since the start."""
    refusals: str
    """What they are taken for: `clear`, `too many at once`, `paced`, `refusals at random`, ..."""
    paced_per_second: float | None
    """Attempts per second allowed, where the server's refusals set it."""
    gate_until: float | None
    """Clock reading until which nothing is sent, if the server asked for that."""
    breaker: BreakerState
    probe_at: float | None
    """Clock reading of the next probe, while nothing answers."""
