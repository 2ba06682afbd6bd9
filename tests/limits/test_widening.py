"""A ceiling that is raised while the engine runs: the limit grows from where it is."""

from __future__ import annotations

import random

from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings


def test_a_raised_ceiling_lets_the_limit_grow() -> None:
    """Not at once, and never above it; a lower one changes nothing here."""
    settings = LimiterSettings(max_concurrency=4)
    limiter = Limiter(settings, rng=random.Random(1), now=0.0)
    now = 0.0
    limiter.widen(2, now)
    assert (limiter.limit, limiter.most) == (4, 4)
    limiter.widen(16, now)
    assert (limiter.limit, limiter.most) == (4, 16)
    highest = 0
    for _ in range(400):
        permits = []
        while (permit := limiter.acquire(now)) is not None:
            permits.append(permit)
        highest = max(highest, len(permits))
        now += 1.0
        for permit in permits:
            limiter.succeed(permit, now, output_tokens=10, input_tokens=1)
    assert 4 < highest <= 16
