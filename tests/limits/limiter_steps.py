"""A limiter in a test's hands: permits taken, answered and refused at times of the test's own."""

from __future__ import annotations

import random
from collections.abc import Sequence

from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings, Permit


def make(**settings: float | None) -> Limiter:
    """A limiter that starts at time 0."""
    return Limiter(
        LimiterSettings(**settings),  # type: ignore[arg-type]
        rng=random.Random(0),
        now=0.0,
    )


def take(limiter: Limiter, now: float, tokens: int = 0) -> list[Permit]:
    """Every permit there is."""
    permits = []
    while (permit := limiter.acquire(now, tokens)) is not None:
        permits.append(permit)
    return permits


def fill(limiter: Limiter, now: float) -> tuple[list[Permit], float]:
    """Every permit there is, as soon as it is given, and when the last one was."""
    permits = []
    while (at := limiter.next_time(now)) is not None:
        now = at
        if (permit := limiter.acquire(now)) is not None:
            permits.append(permit)
    return permits, now


def answer(limiter: Limiter, permits: Sequence[Permit], now: float) -> None:
    """All of them were answered."""
    for permit in permits:
        limiter.succeed(permit, now, output_tokens=100, input_tokens=None)


def refuse(limiter: Limiter, permits: Sequence[Permit], now: float) -> None:
    """All of them were refused."""
    for permit in permits:
        limiter.push_back(permit, now, retry_after=None)
