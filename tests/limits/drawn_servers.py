"""Servers drawn at random, for which nobody has tuned the limiter.

Each is drawn by its seed alone, so they are independent, and a share of them means something.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Any

from fluid import Control, Curve, Server, simulate
from limiter_servers import best_goodput, limiter

from distilabel_endpoints._limits.limiter import Limiter


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A server nobody tuned for, and how long to play: over whole visits of other tenants."""

    server: Server
    seconds: float


def draw(seed: int) -> HeldOut:
    """Any curve, slots, lengths, prompts, usage; one way to refuse; perhaps other tenants, an
    outage, a gateway, a shift. One that is too fast for a test is drawn again."""
    rng = random.Random(seed)
    while True:
        held_out, answers = _draw(rng)
        if held_out.seconds * answers < 60_000:
            return held_out


def _draw(rng: random.Random) -> tuple[HeldOut, float]:
    """A server, and how many requests a second it can answer.

    Time enough for sixty latencies and a thousand answers.
    """
    slots = _size(rng, 4, 1024) if rng.random() < 0.5 else 1024
    plain = Server(curve=_curve(rng), slots=slots, tokens=float(_size(rng, 32, 1024)))
    if rng.random() < 1 / 3:
        # A fifth to nine tenths of the time goes into prompts.
        share = rng.uniform(0.2, 0.9)
        seconds_written = plain.tokens / best_goodput(plain, 0.0)
        plain = replace(plain, prompt=plain.reading * seconds_written * share / (1.0 - share))
    server = replace(plain, **_habits(rng), **_refusals(rng, plain))
    busy = min(slots, 64)
    latency = busy * (plain.tokens / plain.speed(busy) + plain.prompt / plain.reading)
    longer = rng.choice((1.0, 1.0, 1.0, 0.25, 4.0))
    if longer != 1.0:
        server = replace(server, later_tokens=plain.tokens * longer, shift_at=200.0)
    latency *= max(longer, 1.0)
    if not plain.prompt and latency < 10.0 and rng.random() < 0.5:
        server = replace(server, gateway=60.0)
    answers = best_goodput(server, math.inf) / (plain.tokens * longer)
    seconds = 600.0 + 60.0 * latency + 1000.0 / answers
    if rng.random() < 1 / 3:
        tenants = int(min(slots, server.admit or slots) * rng.uniform(0.1, 0.8))
        every = seconds / rng.choice((4, 10, 40))
        server = replace(server, tenants=tenants, tenants_every=every)
    return HeldOut(server, seconds), answers


def _habits(rng: random.Random) -> dict[str, Any]:
    return {
        "prefill": rng.choice((0.0, 0.1, 0.3, 0.6)),
        "sigma": rng.choice((None, 0.02, 0.3, 0.8)),
        "usage": rng.choice(("exact", "silent")),
        "down_until": rng.choice((0.0, 0.0, 0.0, 100.0)),
        "retry_after": rng.choice((None, None, 0.5, 2.0)),
    }


def _refusals(rng: random.Random, plain: Server) -> dict[str, Any]:
    kind = rng.choice(("queue", "queue", "admit", "bucket", "window", "random"))
    if kind == "queue":
        return {}
    if kind == "admit":
        return {"admit": _size(rng, 4, 600)}
    if kind == "random":
        return {"refuse": rng.uniform(0.02, 0.6)}
    capacity = best_goodput(plain, 0.0) / plain.tokens * 60.0
    per_minute = max(60.0, capacity * rng.uniform(0.1, 0.9))
    return {"per_minute": per_minute, "window": 10.0 if kind == "window" else None}


def _curve(rng: random.Random) -> Curve:
    """Speed that grows with what runs up to a knee, flat or collapsing beyond it."""
    alone = rng.uniform(20.0, 300.0)
    knee = _size(rng, 4, 600)
    sharpness = rng.uniform(1.0, 4.0)
    falls_from = rng.uniform(1.2, 4.0) * knee if rng.random() < 0.5 else math.inf
    fall = rng.uniform(0.2, 0.7)
    points, n = [], 1
    while n <= 2048:
        speed = alone * n / (1 + (n / knee) ** sharpness) ** (1 / sharpness)
        points.append((n, speed * min(1.0, (falls_from / n) ** fall)))
        n = max(n + 1, int(1.3 * n))
    return tuple(points)


def _size(rng: random.Random, least: int, most: int) -> int:
    """Evenly over orders of magnitude."""
    return round(math.exp(rng.uniform(math.log(least), math.log(most))))


def play(held_out: HeldOut) -> float:
    """The share of the best goodput, in the second half."""
    cuts: list[int] = []

    def watch(_: float, control: Control) -> None:
        assert isinstance(control, Limiter)
        assert 1 <= control.limit <= 4096
        cuts.append(control._search.generation)

    server, seconds = held_out.server, held_out.seconds
    outcome = simulate(server, limiter, seconds=seconds, step=seconds / 40, watch=watch)
    assert not outcome.stuck
    assert cuts == sorted(cuts)
    return sum(outcome.tokens[20:40]) / (best_goodput(server, math.inf) * seconds / 2)
