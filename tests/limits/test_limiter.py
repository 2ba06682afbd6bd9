"""The limiter's own rules; what it achieves is in test_limiter_servers.py."""

from __future__ import annotations

import random

import pytest
from limiter_steps import make, take

from distilabel_endpoints._limits.limiter import (
    DEFAULT_START,
    DEFAULT_START_WITH_CEILING,
    Limiter,
    LimiterSettings,
    Permit,
)
from distilabel_endpoints.errors import ConfigurationError


def succeed(limiter: Limiter, permit: Permit, now: float, tokens: int | None = 100) -> None:
    """An answer of so many tokens."""
    limiter.succeed(permit, now, output_tokens=tokens, input_tokens=None)


def serve(limiter: Limiter, start: float, seconds: float, latency: float = 1.0) -> None:
    """An ideal server: every request is answered after its latency."""
    in_flight: list[tuple[float, Permit]] = []
    now = start
    while now < start + seconds:
        in_flight += [(now + latency, permit) for permit in take(limiter, now)]
        wake = limiter.next_time(now)
        ends = in_flight[0][0] if in_flight else wake
        assert ends is not None
        now = ends if wake is None else min(ends, wake)
        while in_flight and in_flight[0][0] <= now:
            succeed(limiter, in_flight.pop(0)[1], now)
    for _, permit in in_flight:
        limiter.cancel(permit, now)


def test_a_start_opens_within_a_quarter_second() -> None:
    """A few at once, so that a server which denies everyone is met by a few."""
    limiter = make()
    assert len(take(limiter, 0.0)) == 8
    wake = limiter.next_time(0.0)
    assert wake is not None
    assert 0.0 < wake < 0.02
    assert len(take(limiter, 0.25)) == DEFAULT_START - 8
    assert limiter.in_flight == limiter.limit == DEFAULT_START
    assert limiter.next_time(0.25) is None


@pytest.mark.parametrize(("ceiling", "start"), [(1, 1), (64, 64), (256, 256), (1000, 512)])
def test_a_ceiling_is_where_it_starts_up_to_a_point(ceiling: int, start: int) -> None:
    """Who sets a ceiling knows the server; a large one is reached in a second or two."""
    limiter = make(max_concurrency=ceiling)
    assert limiter.limit == start == min(ceiling, DEFAULT_START_WITH_CEILING)
    serve(limiter, 0.0, 20.0)
    assert limiter.limit == ceiling


def test_a_ceiling_is_never_exceeded() -> None:
    """Whatever the server could do."""
    limiter = make(max_concurrency=48)
    for now in range(100):
        serve(limiter, float(now), 1.0, latency=0.1)
        assert limiter.limit <= 48


@pytest.mark.parametrize(
    "settings",
    [
        {"max_concurrency": 0},
        {"requests_per_minute": -1.0},
        {"tokens_per_minute": float("inf")},
        {"tokens_per_minute": float("nan")},
        {"start": 0},
        {"start": 50, "most": 40},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    """By name."""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        make(**settings)


def test_a_permit_goes_back_once() -> None:
    """Twice is a fault of the caller, and would let too many in."""
    limiter = make()
    permit = take(limiter, 0.0)[0]
    succeed(limiter, permit, 1.0)
    with pytest.raises(RuntimeError):
        limiter.cancel(permit, 1.0)
    assert limiter.in_flight == 7


def test_every_way_back_frees_a_place() -> None:
    """Success, refusal, absence, failure, giving up."""
    limiter = make()
    a, b, c, d, e, *rest = take(limiter, 0.0)
    succeed(limiter, a, 1.0)
    limiter.push_back(b, 1.0, retry_after=None)
    limiter.unavailable(c, 1.0)
    limiter.fail(d, 1.0)
    limiter.cancel(e, 1.0)
    assert limiter.in_flight == len(rest)


def test_retry_after_holds_everybody_up_to_a_tenth_longer() -> None:
    """And what follows opens gently."""
    gates = set()
    for seed in range(20):
        limiter = Limiter(LimiterSettings(), rng=random.Random(seed), now=0.0)
        refused, *others = take(limiter, 0.0)
        for permit in others:
            succeed(limiter, permit, 0.5)
        limiter.push_back(refused, 1.0, retry_after=10.0)
        gate = limiter.statistics(1.0).gate_until
        assert gate is not None
        assert 11.0 <= gate <= 12.0
        assert limiter.next_time(1.0) == gate
        assert limiter.acquire(10.9) is None
        assert 1 <= len(take(limiter, gate)) <= 8
        gates.add(gate)
    assert len(gates) == 20


def test_a_demand_that_ends_the_run_does_not_gate_the_next_one() -> None:
    """The retry policy gives up on a day's pause; another batch may ask again."""
    limiter = make()
    permits = take(limiter, 0.0)
    limiter.push_back(permits.pop(), 1.0, retry_after=86400.0)
    succeed(limiter, permits.pop(), 2.0)
    assert limiter.acquire(3.0) is not None


def test_a_burst_of_refusals_cuts_once() -> None:
    """To what the server kept."""
    limiter = make(max_concurrency=100)
    permits = take(limiter, 0.3)
    permits += take(limiter, 1.0)
    assert len(permits) == 100
    for permit in permits[60:]:
        limiter.push_back(permit, 1.05, retry_after=None)
    assert limiter.acquire(1.06) is None
    take(limiter, 3.0)
    assert 57 <= limiter.limit <= 60
    statistics = limiter.statistics(3.0)
    assert statistics.refused == 40
    assert statistics.reason == "refused above 60"
    assert statistics.refusals == "too many at once"


def test_nothing_there_lets_one_probe_through_at_a_time() -> None:
    """And the answer to it lets the others follow, gently."""
    limiter = make()
    for permit in take(limiter, 0.0):
        limiter.unavailable(permit, 0.5)
    assert limiter.statistics(0.5).breaker == "open"
    assert limiter.acquire(0.6) is None
    wake = limiter.next_time(0.6)
    assert wake is not None
    assert 1.5 <= wake <= 1.7
    (probe,) = take(limiter, wake)
    assert probe.probe
    assert limiter.statistics(wake).breaker == "probing"
    assert limiter.next_time(wake) is None
    succeed(limiter, probe, wake + 2.0)
    assert limiter.statistics(wake + 2.0).breaker == "closed"
    assert limiter.statistics(wake + 2.0).reason == "answers again"
    assert len(take(limiter, wake + 2.0)) == 8


@pytest.mark.parametrize("way", ["push_back", "fail"])
def test_any_answer_to_a_probe_is_one(way: str) -> None:
    """A refusal or an error comes from somebody who is there."""
    limiter = make()
    for permit in take(limiter, 0.0):
        limiter.unavailable(permit, 0.0)
    (probe,) = take(limiter, 2.0)
    if way == "push_back":
        limiter.push_back(probe, 2.1, retry_after=None)
    else:
        limiter.fail(probe, 2.1)
    assert limiter.statistics(2.1).breaker == "closed"
    assert len(take(limiter, 4.0)) > 1


def test_a_probe_given_up_is_sent_again() -> None:
    """The caller went away; the question remains."""
    limiter = make()
    for permit in take(limiter, 0.0):
        limiter.unavailable(permit, 0.0)
    (probe,) = take(limiter, 2.0)
    limiter.cancel(probe, 2.1)
    assert len(take(limiter, 2.2)) == 1


def test_an_outage_of_minutes_costs_few_requests() -> None:
    """Six minutes of 503, 50 ms each: at most sixty, the first ones included."""
    limiter = make()
    now = sent = 0.0
    while now < 360.0:
        permits = take(limiter, now)
        sent += len(permits)
        for permit in permits:
            limiter.unavailable(permit, now + 0.05)
        now = max(limiter.next_time(now + 0.05) or 0.0, now + 0.05)
    assert sent <= 60


def test_requests_per_minute_hold() -> None:
    """Whatever the server could do."""
    limiter = make(requests_per_minute=120.0)
    now, sent = 0.0, 0
    while now < 60.0:
        for permit in take(limiter, now):
            sent += 1
            succeed(limiter, permit, now)
        now = max(limiter.next_time(now) or 0.0, now)
    assert 119 <= sent <= 122


def end(limiter: Limiter, permit: Permit, way: str) -> None:
    """End an attempt in one of the ways."""
    match way:
        case "push_back":
            limiter.push_back(permit, 0.0, retry_after=None)
        case "unavailable":
            limiter.unavailable(permit, 0.0)
        case "fail":
            limiter.fail(permit, 0.0)
        case _:
            limiter.succeed(permit, 0.0, output_tokens=50, input_tokens=50)


@pytest.mark.parametrize(
    ("way", "left"),
    [("push_back", 600), ("unavailable", 600), ("succeed", 500), ("fail", 0)],
)
def test_reserved_tokens_are_settled(way: str, left: int) -> None:
    """A refused attempt used none, an answered one what the server says, a failed one its all."""
    limiter = make(tokens_per_minute=6000.0)
    (permit,) = take(limiter, 0.0, tokens=600)
    end(limiter, permit, way)
    if left < 600:
        assert limiter.acquire(0.3, left + 35) is None
    assert limiter.acquire(0.3, min(left + 25, 600)) is not None


def test_an_estimate_beyond_the_bucket_does_not_deadlock() -> None:
    """It goes when the bucket is full."""
    limiter = make(tokens_per_minute=60.0)
    succeed(limiter, take(limiter, 0.0, tokens=500)[0], 1.0, tokens=500)
    assert limiter.acquire(1.0, 500) is None
    wake = limiter.next_time(1.0)
    assert wake is not None
    assert 490 < wake < 510
    assert limiter.acquire(wake + 0.01, 500) is not None


def test_rate_headers_pace() -> None:
    """Ten left for ten seconds are not sent in one."""
    limiter = make()
    limiter.rate_headers({"ratelimit": '"api";r=10;t=10'}, 0.0)
    assert len(take(limiter, 0.0)) == 1
    assert limiter.next_time(0.0) == pytest.approx(1.0)


def test_a_suspend_restarts_the_epoch_without_a_cut() -> None:
    """Latencies of an hour are the machine's sleep."""
    limiter = make()
    serve(limiter, 0.0, 3.0)
    limit = limiter.limit
    permits = take(limiter, 4.0)
    assert permits
    for permit in permits:
        succeed(limiter, permit, 4000.0)
    assert limiter.limit == limit
    assert limiter.statistics(4000.0).refused == 0
    serve(limiter, 4001.0, 5.0)
    assert limiter.limit > limit


def test_the_next_batch_starts_where_the_last_one_ended() -> None:
    """However long ago."""
    limiter = make()
    serve(limiter, 0.0, 10.0)
    limit = limiter.limit
    assert limit > 1000
    assert len(take(limiter, 86400.0)) == 8
    assert limiter.limit == limit


def test_single_slow_answers_are_evidence_too() -> None:
    """One at a time, two minutes each: no event for longer than an idle time."""
    limiter = make(max_concurrency=1)
    serve(limiter, 0.0, 1200.0, latency=120.0)
    assert limiter.limit == 1
    assert limiter._search.latency == pytest.approx(120.0)


def test_usage_need_not_be_known() -> None:
    """Answers without counts, or with some, ramp all the same."""
    for counts in ((None,), (None, 100), (100, 200)):
        limiter = make()
        now = 0.0
        for n in range(3000):
            permits = take(limiter, now)
            for permit in permits:
                succeed(limiter, permit, now + 0.5, tokens=counts[n % len(counts)])
            now += 0.6
            if limiter.limit > 500:
                break
        assert limiter.limit > 500


def test_row_failures_change_nothing() -> None:
    """They say that the endpoint is there, and that is all."""
    limiter = make()
    for n in range(2000):
        for permit in take(limiter, float(n)):
            limiter.fail(permit, n + 0.1)
    assert limiter.limit == DEFAULT_START
    assert limiter.statistics(2000.0).phase == "ramping up"


def test_timeouts_cut_once_for_what_was_in_flight() -> None:
    """A gateway that kills a hundred at once is one piece of news."""
    limiter = make(max_concurrency=200)
    permits = take(limiter, 0.3) + take(limiter, 1.0)
    assert len(permits) == 200
    for permit in permits:
        limiter.fail(permit, 61.0, timed_out=True)
    assert limiter.limit == 100
    permits = take(limiter, 62.0) + take(limiter, 63.0)
    for permit in permits:
        limiter.fail(permit, 200.0, timed_out=True)
    assert limiter.limit == 50


def test_the_window_is_twice_the_limit_within_bounds() -> None:
    """Enough rows to fill what the limit may grow to meanwhile."""
    assert make().window == 64
    assert make(max_concurrency=1).window == 64
    assert make(start=1000).window == 2000
    assert make(start=10_000, most=10_000).window == 8192


def test_statistics_are_a_snapshot() -> None:
    """Of everything a progress display shows."""
    limiter = make()
    serve(limiter, 0.0, 5.0, latency=0.5)
    seen = limiter.statistics(5.0)
    assert seen.limit == limiter.limit
    assert seen.in_flight == 0
    assert seen.latency_p50 == pytest.approx(0.5)
    assert seen.latency_p95 == pytest.approx(0.5)
    assert seen.requests_per_second > 100
    assert seen.tokens_per_second == pytest.approx(100 * seen.requests_per_second)
    assert seen.breaker == "closed"
    assert seen.gate_until is None
    assert seen.probe_at is None
    assert seen.paced_per_second is None
