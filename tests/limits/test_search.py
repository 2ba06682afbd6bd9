"""The search, fed with the completions of servers that are nothing but a speed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from distilabel_endpoints._limits.search import Phase, Search


class Fed:
    """A search and a server whose latency is `limit / speed(limit)`, always saturated."""

    def __init__(self, speed: Callable[[int], float], search: Search, seed: int = 0) -> None:
        self.speed = speed
        self.search = search
        self.rng = random.Random(seed)
        self.now = 0.0
        self.limits: list[int] = []

    def phase(self) -> Phase:
        """The search's phase, read anew."""
        return self.search.phase

    def run(self, seconds: float, *, busy: float = 1.0, timeouts: float = 0.0) -> Fed:
        """Feed completions for a time."""
        end = self.now + seconds
        while self.now < end:
            search = self.search
            rate = self.speed(search.limit)
            self.now += self.rng.expovariate(rate)
            latency = search.limit / rate
            lost = self.rng.random() < timeouts
            load = max(1, int(busy * search.limit))
            work = 0.0 if lost else self.rng.expovariate(0.01)
            search.complete(self.now, latency, work, in_flight=load, load=load)
            self.limits.append(search.limit)
        return self


def held(speed: Callable[[int], float], limit: int, most: int = 4096) -> Fed:
    """A search that holds at a limit, and knows nothing yet."""
    search = Search(limit, most, 0.0)
    search.cut(limit, 0.0, "for the test")
    return Fed(speed, search)


def knee(slots: int) -> Callable[[int], float]:
    """A second each, until the slots are full."""
    return lambda n: float(min(n, slots))


@pytest.mark.parametrize("start", [8, 100, 600])
def test_it_comes_to_the_knee_from_either_side(start: int) -> None:
    """Full slots and no more than a short queue."""
    fed = held(knee(100), start).run(600.0)
    last = fed.limits[len(fed.limits) // 2 :]
    assert sum(min(limit, 100) for limit in last) / len(last) > 93
    assert sorted(last)[len(last) // 2] <= 200


def test_far_below_the_knee_it_ramps_again() -> None:
    """A server that got eight times as large is used within half a minute, probes apart."""
    fed = held(knee(64), 64).run(300.0)
    fed.speed = knee(512)
    fed.run(30.0)
    before = len(fed.limits)
    last = sorted(fed.run(30.0).limits[before:])
    assert last[len(last) // 2] >= 500


def test_a_collapse_is_walked_back() -> None:
    """Goodput that falls with the limit brings the limit down."""
    fed = held(lambda n: float(n) if n <= 128 else 128 * (128 / n), 512).run(1500.0)
    assert 60 <= fed.search.limit <= 190


def test_the_same_goodput_with_a_shorter_queue_wins() -> None:
    """Twenty times too many in flight is not kept because nothing is lost by it."""
    fed = held(knee(32), 640).run(900.0)
    assert fed.search.limit <= 128


def test_probes_become_rare_where_nothing_changes() -> None:
    """Most of the time is spent holding."""
    fed = held(knee(100), 100).run(1000.0)
    moved = sum(1 for limit in fed.limits[len(fed.limits) // 2 :] if limit < 95)
    assert moved < 0.1 * len(fed.limits) / 2


def test_an_unsaturated_limit_says_nothing() -> None:
    """Too few rows to fill it: the limit neither falls nor grows."""
    fed = held(knee(1000), 200).run(300.0, busy=0.5)
    assert set(fed.limits) == {200}
    ramping = Fed(knee(1000), Search(200, 4096, 0.0)).run(10.0, busy=0.5)
    assert ramping.search.phase is Phase.RAMP
    assert set(ramping.limits) == {200}


def test_a_probe_that_rows_do_not_fill_is_given_up() -> None:
    """The end of a batch is not evidence against the larger limit."""
    fed = held(knee(1000), 100)
    while fed.search.phase is not Phase.UP:
        fed.run(0.5)
    fed.run(30.0, busy=0.3)
    assert fed.search.limit == 100
    assert fed.phase() is Phase.HOLD


def test_most_is_never_exceeded() -> None:
    """Not by the ramp, a probe, a bound or a restart."""
    search = Search(32, 50, 0.0)
    fed = Fed(knee(1000), search).run(120.0)
    assert max(fed.limits) == 50
    search.follow(500, fed.now)
    search.ramp(500, fed.now, "again")
    assert search.limit == 50


def test_a_ramp_ends_at_the_ceiling_and_says_so() -> None:
    """A ceiling the user set is where it stays."""
    fed = Fed(knee(1000), Search(32, 64, 0.0)).run(10.0)
    assert fed.search.limit == 64
    assert fed.search.reason == "at its maximum"


def test_a_cut_never_raises_and_opens_a_generation() -> None:
    """What was sent before it is told apart."""
    search = Search(100, 4096, 0.0)
    search.cut(200, 1.0, "test")
    assert search.limit == 100
    assert search.generation == 1
    search.cut(0, 2.0, "test")
    assert search.limit == 1


def test_a_bound_that_moves_out_is_followed_by_what_it_held() -> None:
    """A limit far below the bound is not the bound's doing, nor one that a probe has set."""
    search = Search(100, 4096, 0.0)
    search.confine(100)
    search.cut(97, 0.0, "refused")
    assert search.held
    search.follow(110, 1.0)
    assert search.limit == 110
    search.cut(50, 2.0, "goodput")
    assert not search.held


def test_many_timeouts_halve_the_limit_few_do_not() -> None:
    """Two per cent are long answers, a quarter is a queue longer than the timeout."""
    assert held(knee(100), 100).run(120.0, timeouts=0.02).search.limit >= 60
    fed = held(knee(100), 100)
    while fed.search.limit == 100:
        fed.run(0.1, timeouts=0.25)
    assert fed.search.limit == 50
    assert "timed out" in fed.search.reason


def test_void_keeps_the_limit_and_drops_the_probe() -> None:
    """A suspend cuts nothing."""
    fed = held(knee(1000), 100)
    while fed.search.phase is not Phase.UP:
        fed.run(0.5)
    generation = fed.search.generation
    fed.search.void(fed.now + 3600.0)
    assert fed.search.limit == 100
    assert fed.phase() is Phase.HOLD
    assert fed.search.generation == generation


def test_void_while_ramping_keeps_ramping() -> None:
    """From where it was."""
    fed = Fed(knee(1000), Search(32, 4096, 0.0)).run(0.5)
    limit = fed.search.limit
    fed.search.void(fed.now)
    assert fed.search.limit == limit
    assert fed.search.phase is Phase.RAMP


def test_longer_answers_bring_the_next_probe_forward() -> None:
    """Patience learned on other rows, or another server, is not kept."""
    fed = held(knee(100), 100).run(2000.0)
    fed.speed = lambda n: min(n, 200) / 5.0
    fed.run(600.0)
    assert fed.search.limit >= 180


def test_longer_answers_are_no_overload() -> None:
    """Sixteen times the tokens at the same pace leave the limit where it was."""
    fed = held(knee(100), 100).run(300.0)
    before = fed.search.limit
    search, now = fed.search, fed.now
    for _ in range(3000):
        now += 0.16
        search.complete(now, 16.0, 1600.0, in_flight=search.limit, load=search.limit)
        if search.phase is not Phase.HOLD:
            break
    assert search.limit >= 0.7 * before


def test_time_outs_are_weighed_against_what_came_lately() -> None:
    """A long time without full use does not outweigh them, though it ended no ramp."""
    search = Search(32, 2048, 0.0)
    for n in range(2000):
        search.complete(0.5 * n, 1.0, 100.0, in_flight=2, load=2.0)
    assert search.phase is Phase.RAMP
    for n in range(60):
        search.complete(1000.0 + n, 60.0, 0.0, in_flight=32, load=32.0)
    assert search.limit <= 16
    assert search.reason == "many requests broke off or timed out"


def test_after_a_ramp_a_step_up_waits_for_an_epoch_and_a_step_down_for_none() -> None:
    """What the ramp passed by on its way is known, what is below it is not."""
    fed = Fed(knee(100), Search(32, 4096, 0.0))
    while fed.phase() is Phase.RAMP:
        fed.run(0.1)
    assert (fed.search._up.epochs, fed.search._down.epochs) == (1.0, 0.0)


@pytest.mark.parametrize(("up", "wait"), [(True, 8.0), (False, 2.0)])
def test_a_step_down_that_was_kept_brings_the_next_one_forward(up: bool, wait: float) -> None:
    """One up says nothing about it."""
    search = held(knee(1000), 200).search
    search._up.epochs = search._down.epochs = 1e9
    for n in range(800):
        search.complete(1.0 + n / 200, 1.0, 100.0, in_flight=200, load=200)
    search._down.epochs = 8.0
    phase, limit, pace = (Phase.UP, 240, 1.0) if up else (Phase.DOWN, 160, 1.25)
    search._probe(5.0, phase, limit)
    n = 0
    while search.phase is phase:
        n += 1
        search.complete(10.0 + n / limit, 1.0, 100.0 * pace, in_flight=limit, load=limit)
    assert search.reason == f"{'faster' if up else 'as fast'} at {limit}"
    assert search._down.epochs == wait
