"""What the limiter achieves on simulated servers, with nothing tuned.

`python tests/limits/limiter_table.py` prints the figures.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from fluid import Server, plateau, simulate
from limiter_servers import BEST, GRID, NINE, SECONDS, Efficiency, efficiency, fixed, limiter, score
from limiter_table import in_batches, small_batch, strict

from distilabel_endpoints._limits.limiter import LimiterSettings

FIRST = {"A": 0.9, "B": 0.9, "C": 0.85, "D": 0.9, "E": 0.9, "F": 0.85, "G": 0.8, "H": 0.9, "I": 0.7}
PROVE = [pytest.param(seed, marks=pytest.mark.prove) for seed in range(1, 6)]
SEEDS = [1, pytest.param(3, marks=pytest.mark.prove)]
SETTLING = ["B", "C", pytest.param("D", marks=pytest.mark.prove)]
"""`make prove` takes the third as well, which is as long as the other two."""


@pytest.mark.parametrize("seed", [0, *PROVE])
@pytest.mark.parametrize("name", NINE)
def test_the_nine_servers(name: str, seed: int) -> None:
    """Close to the best fixed limit of each, which differ by a factor of thirty."""
    got = score(name, seed)
    assert not got.outcome.stuck
    assert got.overall >= 0.88
    assert got.last >= 0.92
    assert got.first >= FIRST[name]
    assert got.timed_out <= 0.1
    if name != "F":
        assert got.refused <= 0.01
    assert all(1 <= limit <= 4096 for limit in got.outcome.limits)


def test_a_wall_is_tried_again_only_where_the_limit_stands_at_it() -> None:
    """It does not move out unseen, so that the next probe up would run far into it."""
    assert score("D", 5).refused <= 0.005


@pytest.mark.parametrize("name", "ABCDGHI")
def test_the_limit_comes_to_rest(name: str) -> None:
    """In the last third it stays within a factor of three: a probe up and a probe down."""
    limits = score(name, 0).outcome.limits[-40:]
    assert max(limits) <= 3 * statistics.median(limits)
    assert min(limits) >= statistics.median(limits) / 3


def runs(slots: int, seeds: int, **arguments: Any) -> list[Efficiency]:
    """Runs of about a minute."""
    return [efficiency(slots, rows=60 * slots, seed=seed, **arguments) for seed in range(seeds)]


@pytest.mark.parametrize("usage", ["silent", "exact", "unrelated"])
@pytest.mark.parametrize("slots", [64, 512])
@pytest.mark.parametrize("seeds", SEEDS)
def test_a_minute_on_a_queueing_endpoint(slots: int, usage: str, seeds: int) -> None:
    """At least 0.92 of greedy list scheduling, whatever the server says about tokens."""
    shares = [run.share for run in runs(slots, seeds, usage=usage)]
    assert statistics.mean(shares) >= 0.92
    assert min(shares) >= 0.88


@pytest.mark.parametrize("slots", [64, 512])
@pytest.mark.parametrize("seeds", SEEDS)
def test_a_minute_with_a_ceiling(slots: int, seeds: int) -> None:
    """At least 0.97 where the user says how many slots there are."""
    settings = LimiterSettings(max_concurrency=slots)
    assert min(run.share for run in runs(slots, seeds, settings=settings)) >= 0.97


def test_a_minute_at_a_known_capacity() -> None:
    """429 above 64: 0.98 of greedy list scheduling, and at most seven in a thousand refused."""
    got = runs(64, 3, admit=64)
    assert statistics.mean(run.share for run in got) >= 0.98
    assert statistics.mean(run.refused for run in got) <= 0.007


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_minute_on_a_refusing_endpoint(seeds: int) -> None:
    """429 above 256 and no Retry-After: at least 0.88, at most two per cent refused."""
    got = runs(256, seeds, admit=256)
    assert min(run.share for run in got) >= 0.88
    assert max(run.refused for run in got) <= 0.02


@pytest.mark.prove
@pytest.mark.parametrize("slots", [64, 512])
def test_many_minutes_on_a_queueing_endpoint(slots: int) -> None:
    """The same over many seeds."""
    for usage in ("silent", "exact", "unrelated"):
        shares = sorted(run.share for run in runs(slots, 20, usage=usage))
        assert statistics.mean(shares) >= 0.94
        assert shares[2] >= 0.92


def test_twenty_seconds_on_512_slots() -> None:
    """A short run is mostly ramp, and still at nine tenths."""
    shares = [efficiency(512, rows=6000, seed=seed).share for seed in range(5)]
    assert statistics.mean(shares) >= 0.9


@pytest.mark.parametrize(
    ("rows", "mean", "most"), [(64, 1.05, 1.15), (256, 1.1, 1.2), (1000, 1.15, 1.3)]
)
def test_small_batches_are_not_punished_for_caution(rows: int, mean: float, most: float) -> None:
    """Hardly longer than one gather over all of them, where the endpoint has room."""
    ratios = [small_batch(rows, seed) for seed in range(20)]
    assert statistics.mean(ratios) <= mean
    assert max(ratios) <= most


@pytest.mark.parametrize(("slots", "rows", "batches"), [(16, 50, 6), (64, 50, 20)])
def test_batches_one_after_the_other_take_as_long_as_gathers(
    slots: int, rows: int, batches: int
) -> None:
    """What was found in one is kept for the next."""
    assert max(in_batches(slots, rows, batches, seed) for seed in range(5)) <= 1.03


@pytest.mark.parametrize(
    ("server", "seconds", "least"),
    [
        (plateau(512, sigma=0.02), 60.0, 0.88),
        (plateau(64, sigma=0.02), 60.0, 0.9),
        (plateau(512, 5.0, sigma=0.02), 300.0, 0.88),
        (replace(NINE["A"], sigma=0.02), 300.0, 0.85),
        (replace(NINE["B"], sigma=0.02), 300.0, 0.9),
        (replace(NINE["C"], sigma=0.02), 900.0, 0.85),
    ],
)
def test_answers_that_come_in_waves(server: Server, seconds: float, least: float) -> None:
    """All answers equally long, as where every one reaches `max_new_tokens`."""
    outcome = simulate(server, limiter, seconds=seconds)
    running = range(1, server.slots + 1)
    best = max(n / (server.prefill / server.tokens + n / server.speed(n)) for n in running)
    assert outcome.delivered() >= least * best * seconds


@pytest.mark.parametrize("service", [1.0, 5.0])
def test_four_slots_are_kept_busy_with_a_short_queue(service: float) -> None:
    """A local server: no throughput lost, and in the long run a wait of some services only."""
    server = plateau(4, service)
    outcome = simulate(server, limiter, seconds=600 * service, step=10 * service)
    assert outcome.done * service >= 0.95 * 4 * outcome.seconds
    assert outcome.mean_limit(start=300 * service) <= 40
    assert outcome.longest <= 100 * service


def test_four_slots_that_refuse_are_filled() -> None:
    """From 32 at once to 4, without refusals to speak of."""
    outcome = simulate(plateau(4, admit=4), limiter, seconds=600)
    assert outcome.done >= 0.9 * 4 * 600
    assert outcome.refused <= 0.03 * outcome.sent


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("slots", "service"), [(2, 1.5), (2, 5.0), (4, 5.0)])
def test_refusals_after_a_wait_in_a_queue_are_few(slots: int, service: float, seed: int) -> None:
    """Those that still wait when the first is refused are not taken for what the server keeps."""
    server = plateau(slots, service, patience=0.3, sigma=0.1)
    outcome = simulate(server, limiter, rows=60 * slots, seed=seed)
    assert outcome.refused <= 0.4 * outcome.done


def test_a_storm_in_mid_run_does_not_collapse_the_limit() -> None:
    """Half of all requests refused at random from one moment on."""

    calm = simulate(NINE["B"], limiter, seconds=300)
    storm = simulate(replace(NINE["B"], refuse=0.5, refuse_from=200), limiter, seconds=600)
    assert storm.delivered(240, 600) >= 0.9 * 1.8 * calm.delivered(100, 300)
    assert min(storm.limits[30:]) >= 50


@pytest.mark.parametrize("seed", [0, 2, *PROVE[:1]])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.05])
@pytest.mark.parametrize("retry_after", [None, 0.5])
def test_a_few_refusals_at_random_do_not_slow_it_down(
    share: float, retry_after: float | None, seed: int
) -> None:
    """One in fifty that means nothing must not be taken for a rate that is never tried again."""
    server = replace(plateau(450, 20.0), sigma=0.02, refuse=share, retry_after=retry_after)
    outcome = simulate(server, limiter, seconds=2000, seed=seed)
    assert outcome.delivered(1000) >= 0.9 * 100 * 450 * 1000


@pytest.mark.parametrize("seed", [1, *PROVE])
def test_a_few_refusals_at_random_do_not_slow_a_small_server_down(seed: int) -> None:
    """Each that came as the rate grew lowered it, for hours, to a fifth of what was possible."""
    server = replace(plateau(8, 5.0), sigma=0.5, refuse=0.05)
    outcome = simulate(server, limiter, seconds=4000, seed=seed)
    assert outcome.delivered(1000) >= 0.9 * 100 * 8 * 3000


def test_time_outs_count_though_a_refusal_came_since() -> None:
    """A gateway allows more than the server behind it can do since answers are longer."""
    curve = tuple((n, 250.0 * n / math.hypot(1.0, n / 4)) for n in range(1, 8))
    server = Server(
        curve=curve, slots=7, tokens=148, later_tokens=592, shift_at=200, sigma=0.02, prefill=0.0,
        per_minute=160, retry_after=0.5, gateway=60,
    )  # fmt: skip
    outcome = simulate(server, limiter, seconds=1500)
    assert outcome.delivered(700) >= 0.8 * 800 * server.speed(7)


STRICT = [
    (2.0, 5.0, 1, 0.8), (5.0, 1.0, 1, 0.02), (5.0, 1.0, 1, 0.8), (20.0, 0.3, 2, 0.8),
    (20.0, 1.0, 1, 0.02), (20.0, 1.0, 1, 0.8), (20.0, 1.0, 10, 0.8), (20.0, 5.0, 1, 0.8),
    (50.0, 1.0, 2, 0.8), (200.0, 0.3, 1, 0.02),
]  # fmt: skip
"""Requests a second, mean latency, how many at once, scatter of latencies."""
ALL_STRICT = [
    pytest.param(rate, seconds, burst, sigma, marks=pytest.mark.prove)
    for rate in (2.0, 5.0, 20.0, 50.0, 200.0)
    for seconds in (0.3, 1.0, 5.0)
    for burst in (1, 2, 10)
    for sigma in (0.02, 0.8)
    if rate * seconds > 2.0
]


@pytest.mark.parametrize(("rate", "seconds", "burst", "sigma"), [*STRICT, *ALL_STRICT])
def test_a_rate_that_allows_no_crowd_is_no_wall_at_one(
    rate: float, seconds: float, burst: int, sigma: float
) -> None:
    """Gateways that admit requests one by one refuse all but one of whatever comes at once."""
    server = plateau(1024, seconds, per_minute=60.0 * rate, burst=burst, sigma=sigma)
    outcome = simulate(server, limiter, seconds=300)
    assert outcome.delivered(100) >= 0.8 * 100.0 * seconds * rate * 200
    assert outcome.refused <= 0.07 * outcome.sent


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(10))
def test_the_strict_gateway_whatever_the_seed(seed: int) -> None:
    """Twenty a second, one at once, latencies scattered around a second."""
    assert strict(20, 1, seed) >= 0.8


def test_a_server_with_room_for_one_or_two_a_second_is_filled_by_half() -> None:
    """One at a time and so many a second look alike where an answer takes as long as their gap."""
    server = plateau(1024, 1.0, per_minute=120.0, burst=1, sigma=0.02)
    outcome = simulate(server, limiter, seconds=300)
    assert outcome.delivered(60) >= 0.45 * 100.0 * 2 * 240


def test_a_quota_of_ten_seconds_with_retry_after_is_found() -> None:
    """When it is used up everything is refused, which is not a wall at one request."""
    server = plateau(1024, 0.5, per_minute=3000, window=10.0, retry_after=2.0)
    outcome = simulate(server, limiter, seconds=600)
    assert outcome.delivered(300) >= 0.85 * 50 * 300 * 50


def test_random_refusals_with_retry_after_do_not_stop_everything() -> None:
    """Once they are found to have nothing to do with load, only the row has to wait."""
    outcome = simulate(replace(NINE["F"], retry_after=2.0), limiter, seconds=600)
    assert outcome.delivered(300, 600) >= 0.8 * BEST["F"].overall / SECONDS * 300


@cache
def settled(name: str, *, longer: float = 1.0, distance: float = 0.0, first_seed: int = 0) -> float:
    """Where the limit settles, on average; the simulated time is as much longer as the answers."""
    server = NINE[name]
    server = replace(server, prefill=0.0, tokens=server.tokens * longer, distance=distance)
    seconds = 1000 * longer
    return statistics.geometric_mean(
        simulate(server, limiter, seconds=seconds, seed=seed).mean_limit(seconds / 3)
        for seed in range(first_seed, first_seed + 4)
    )


@pytest.mark.parametrize("name", SETTLING)
def test_answers_twice_as_long_leave_the_limit(name: str) -> None:
    """Longer answers take longer; that is not an overload."""
    assert settled(name, longer=2.0) == pytest.approx(settled(name), rel=0.1)


@pytest.mark.parametrize("name", SETTLING)
def test_a_longer_way_leaves_the_limit(name: str) -> None:
    """Ten milliseconds more for everything."""
    assert settled(name, distance=0.01) == pytest.approx(settled(name), rel=0.2)


@pytest.mark.parametrize("name", SETTLING)
def test_other_rows_leave_the_limit(name: str) -> None:
    """The same lengths in another order are another seed: within half a step."""
    assert settled(name, first_seed=4) == pytest.approx(settled(name), rel=0.2)


@pytest.mark.prove
@pytest.mark.parametrize("name", NINE)
def test_the_best_fixed_limits_are_the_best(name: str) -> None:
    """The oracle's figures, recomputed."""
    found = max((fixed(NINE[name], limit) for limit in GRID), key=lambda best: best.overall)
    assert found.overall == pytest.approx(BEST[name].overall, rel=0.01)
    assert found.first == pytest.approx(BEST[name].first, rel=0.02)
    assert found.last == pytest.approx(BEST[name].last, rel=0.02)
