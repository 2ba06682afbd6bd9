"""The ramp, fed with the completions of servers that are nothing but a speed."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

import pytest

from distilabel_endpoints._limits.search import Ramp

Speed = Callable[[int], float]


def climb(
    speed: Speed,
    *,
    start: int = 32,
    bound: int = 4096,
    seconds: float = 600.0,
    seed: int = 0,
    idle: bool = False,
) -> tuple[int, float, int]:
    """The limit a ramp ends at, when, and how far it went."""
    rng = random.Random(seed)
    ramp = Ramp(0.0, start, idle=idle)
    now, limit, most = 0.0, start, start
    while not ramp.over and now < seconds:
        rate = speed(limit)
        now += rng.expovariate(rate)
        latency = limit / rate
        limit = ramp.grow(now, limit, bound, work=100.0, latency=latency)
        most = max(most, limit)
    return limit, now, most


def test_where_more_brings_more_it_reaches_the_ceiling_within_seconds() -> None:
    """From 32 to 4,096 in seven doublings, a latency of a second each."""
    limit, now, _ = climb(lambda n: n / 1.0)
    assert limit == 4096
    assert now < 7.5


@pytest.mark.parametrize("slots", [64, 100, 512])
def test_it_ends_soon_after_the_slots_are_full(slots: int) -> None:
    """Hardly ever below them, and with a queue of a few latencies at most."""
    ends = [climb(lambda n: float(min(n, slots)), seed=seed) for seed in range(40)]
    assert sum(limit >= slots for limit, _, _ in ends) >= 38
    assert max(most for _, _, most in ends) <= 10 * slots
    assert statistics.median(limit for limit, _, _ in ends) <= 4 * slots


def test_a_server_with_few_slots_is_not_given_more_and_more() -> None:
    """Four slots, asked for 32 at once: the ramp ends while the first are still being served."""
    ends = [climb(lambda n: min(n, 4) / 5.0, seed=seed) for seed in range(40)]
    assert statistics.median(limit for limit, _, _ in ends) <= 140
    assert max(most for _, _, most in ends) <= 600


def test_a_collapse_mostly_ends_it_at_half_or_less() -> None:
    """Where the last doubling made things worse."""
    ends = [
        climb(lambda n: n / 1.0 if n < 128 else 128 * (128 / n) ** 2, seed=seed)
        for seed in range(40)
    ]
    assert max(most for _, _, most in ends) < 512
    assert statistics.median(limit / most for limit, _, most in ends) < 0.55


def test_a_stretch_that_is_much_slower_ends_at_once() -> None:
    """What comes back from a third of the speed need not be awaited until the limit has doubled."""
    ramp, now, limit = Ramp(0.0, 64), 0.0, 64
    while limit < 128:
        now += 1 / 100
        limit = ramp.grow(now, limit, 4096, work=100.0, latency=0.1)
    answers = 0
    while not ramp.over:
        now += 1 / 33
        limit = ramp.grow(now, limit, 4096, work=100.0, latency=0.1)
        answers += 1
    assert answers < 25
    assert limit <= 96


def test_an_idle_server_is_filled_at_once() -> None:
    """Eight more for each answer up to 128, whatever they say about speed."""
    assert climb(lambda n: n / 1.0, idle=True, bound=128)[1] < 0.6
    assert climb(lambda n: min(n, 4) / 5.0, idle=True, bound=128)[0] == 128


def test_a_moment_without_growth_does_not_end_it() -> None:
    """What looks like a plateau is looked at once more before it is believed."""
    ramp = Ramp(0.0, 32)
    now, limit, stalled = 0.0, 32, False
    while limit < 1024 and not ramp.over:
        before = limit
        now += 1.0 / (75.0 if limit >= 100 and not stalled else limit)
        limit = ramp.grow(now, limit, 4096, work=100.0, latency=1.0)
        stalled = stalled or (limit >= 100 and limit == before)
    assert stalled
    assert limit >= 1024


def test_answers_to_a_limit_that_is_not_full_count_and_do_not_raise_it() -> None:
    """A gate holds sends back for a while: the server did not become slower."""
    ramp = Ramp(0.0, 32)
    now, limit = 0.0, 32
    while limit < 400 and not ramp.over:
        for full in (False, False, False, True):
            now += 1.0 / limit
            before = limit
            limit = ramp.grow(now, limit, 4096, work=1.0, latency=1.0, full=full)
            assert full or limit == before
    assert limit >= 400


def test_void_forgets_what_was_seen() -> None:
    """A standstill of an hour does not mean a slower server."""
    ramp = Ramp(0.0, 32)
    now, limit = 0.0, 32
    while limit < 100:
        now += 1.0 / limit
        limit = ramp.grow(now, limit, 4096, work=1.0, latency=1.0)
    now += 3600.0
    ramp.void(now, limit)
    while limit < 1000:
        now += 1.0 / limit
        limit = ramp.grow(now, limit, 4096, work=1.0, latency=1.0)
    assert not ramp.over
