"""The limiter on servers that nobody tuned it for: curve, slots, refusals, rates, shifts drawn."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "limits"))

from fluid import Server, simulate
from limiter_servers import best_goodput, limiter

MOST = 4096


def between(rng: random.Random, low: float, high: float) -> float:
    """Log-uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def curve(rng: random.Random) -> tuple[tuple[int, float], ...]:
    """Tokens per second by running requests: linear, then flat; for some, falling."""
    first, knee, bend = between(rng, 20, 300), between(rng, 4, 600), rng.uniform(1, 4)
    falls_at = knee * rng.uniform(1.2, 4) if rng.random() < 0.25 else math.inf
    fall = rng.uniform(0.2, 1.0)
    points, running = [], 1
    while running <= 2048:
        speed = first * running / (1 + (running / knee) ** bend) ** (1 / bend)
        if running > falls_at:
            speed *= (running / falls_at) ** -fall
        points.append((running, speed))
        running = max(running + 1, int(running * 1.3))
    return tuple(points)


def draw(seed: int) -> Server:
    """A server that may refuse above a number, by rate, at random, or not at all."""
    rng = random.Random(seed)
    given: dict[str, Any] = {
        "curve": curve(rng),
        "slots": int(between(rng, 4, 1024)) if rng.random() < 0.7 else 1024,
        "tokens": between(rng, 32, 512),
        "prefill": rng.choice([0.0, 0.1, 0.3, 0.6]),
        "sigma": rng.choice([None, None, 0.3, 0.8]),
        "usage": rng.choice(["exact", "exact", "silent"]),
    }
    kind = rng.random()
    if kind < 0.2:
        plain = Server(**given)
        most = max(plain.speed(n) for n in range(1, plain.slots + 1)) / plain.tokens * 60
        given["per_minute"] = max(30.0, most * rng.uniform(0.1, 0.9))
    elif kind < 0.45:
        given["admit"] = int(between(rng, 4, 600))
    elif kind < 0.6:
        given["refuse"] = rng.uniform(0.02, 0.5)
    if rng.random() < 0.1:
        given["down_until"] = rng.uniform(20, 120)
    return Server(**given)


def duration(server: Server) -> float:
    """Long enough to learn: some sixty latencies."""
    running = min(server.slots, 64)
    latency = server.prefill + running * server.tokens / server.speed(running)
    return max(400.0, min(60 * latency, 1500.0)) + server.down_until


def drawn(examples: int) -> settings:
    """How many servers are drawn; the same ones every time."""
    quiet = [HealthCheck.too_slow]
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=quiet
    )


@pytest.mark.timeout(300)
@drawn(2)
@given(seed=st.integers(0, 100_000))
def test_held_out_servers(seed: int) -> None:
    """At least 0.7 of the best fixed limit in the second half; no deadlock; limit in bounds."""
    check(seed)


@pytest.mark.prove
@pytest.mark.timeout(900)
@drawn(15)
@given(seed=st.integers(0, 100_000))
def test_more_held_out_servers(seed: int) -> None:
    """The same, for many more."""
    check(seed)


def check(seed: int) -> None:
    """Play one of them."""
    server = draw(seed)
    seconds = duration(server)
    outcome = simulate(server, limiter, seconds=seconds, seed=5, step=seconds / 60)
    assert not outcome.stuck
    assert all(1 <= limit <= MOST for limit in outcome.limits)
    share = outcome.delivered(seconds / 2) / (seconds / 2) / best_goodput(server, seconds / 2)
    assert share >= 0.7, f"{share:.2f} of the best on seed {seed}"
