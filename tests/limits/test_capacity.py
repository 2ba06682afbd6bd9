"""An endpoint that gets more replicas: told so, the limiter tries more at once."""

from __future__ import annotations

import heapq

from limiter_steps import make

from distilabel_endpoints._limits.limiter import Limiter, Permit

LATENCY = 2.0
SLOTS = 64


def serve(limiter: Limiter, slots: int, start: float, seconds: float) -> float:
    """Keep a server of so many slots busy; gives back the answers per second."""
    now, ends, queue, done = start, list[tuple[float, int, Permit]](), list[Permit](), 0
    number = 0
    while now < start + seconds:
        while (permit := limiter.acquire(now)) is not None:
            queue.append(permit)
        while queue and len(ends) < slots:
            number += 1
            heapq.heappush(ends, (now + LATENCY * (1 + number % 7 / 20), number, queue.pop(0)))
        waits = limiter.next_time(now)
        if ends and (waits is None or waits > ends[0][0]):
            now, _, permit = heapq.heappop(ends)
            limiter.succeed(permit, now, output_tokens=100, input_tokens=10)
            done += 1
        else:
            now = max(now + 1e-6, waits or now)
    for permit in [*queue, *(permit for _, _, permit in ends)]:
        limiter.cancel(permit, now)
    return done / seconds


def test_what_new_replicas_take_is_found_in_a_minute() -> None:
    """From one replica to eight: with the hint, nearly all of them are busy soon."""
    told, untold = make(), make()
    for limiter in (told, untold):
        serve(limiter, SLOTS, 0.0, 300.0)
        assert limiter.statistics(300.0).phase == "holding"
    told.note_capacity(300.0, "more replicas")
    assert told.statistics(300.0).reason == "more replicas"
    quick = serve(told, 8 * SLOTS, 300.0, 60.0)
    slow = serve(untold, 8 * SLOTS, 300.0, 60.0)
    best = 8 * SLOTS / (LATENCY * 1.15)
    assert quick > 0.75 * best
    assert quick > 1.3 * slow


def test_a_hint_during_a_climb_changes_nothing() -> None:
    """It climbs already."""
    limiter = make()
    limiter.note_capacity(1.0, "more replicas")
    assert limiter.statistics(1.0).reason == "start"
