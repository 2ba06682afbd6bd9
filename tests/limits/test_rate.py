"""Token buckets, and the gate whose rate is learned."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._limits.refusals import SAMPLE, RateBucket, RateGate


def spend(bucket: RateBucket, need: float, until: float) -> list[float]:
    """When needs of one size are met, taken as early as possible."""
    now, taken = 0.0, []
    while (now := bucket.when(now, need)) < until:
        if bucket.ready(now, need):
            bucket.take(need)
            taken.append(now)
    return taken


def test_a_bucket_starts_full_and_then_keeps_its_rate() -> None:
    """The burst at once, then one each `1 / rate` seconds."""
    taken = spend(RateBucket(2.0, 5.0, 0.0), 1.0, until=100.0)
    assert taken[:5] == [0.0] * 5
    assert len(taken) in (204, 205)


@given(
    rate=st.floats(0.01, 1000.0),
    capacity=st.floats(1.0, 100.0),
    need=st.floats(0.5, 500.0),
)
def test_no_window_holds_more_than_its_rate_and_one_burst(
    rate: float, capacity: float, need: float
) -> None:
    """Over any stretch of time the units taken stay within rate and capacity, and one need."""
    taken = spend(RateBucket(rate, capacity, 0.0), need, until=50.0 * need / rate)
    for first in range(0, len(taken), 7):
        for last in range(first, len(taken), 5):
            units = need * (last - first + 1)
            allowed = rate * (taken[last] - taken[first]) + capacity + max(need, capacity)
            assert units <= allowed * (1 + 1e-6)


def test_a_need_larger_than_the_bucket_waits_for_a_full_one_and_leaves_a_debt() -> None:
    """Nothing waits for ever, and the rate holds on average."""
    bucket = RateBucket(1.0, 10.0, 0.0)
    assert bucket.ready(0.0, 100.0)
    bucket.take(100.0)
    assert not bucket.ready(50.0, 1.0)
    assert bucket.when(50.0, 1.0) == 91.0
    assert bucket.when(50.0, 100.0) == 100.0


def test_giving_back_never_overfills() -> None:
    """A negative need returns units up to the capacity."""
    bucket = RateBucket(1.0, 10.0, 0.0)
    bucket.take(4.0)
    bucket.take(-100.0)
    assert bucket.ready(0.0, 10.0)
    bucket.take(10.0)
    assert not bucket.ready(0.0, 1.0)


def test_an_empty_bucket_without_a_rate_is_never_ready() -> None:
    """No rate, no time."""
    assert RateBucket(0.0, 1.0, 0.0, level=0.0).when(5.0, 1.0) == math.inf


@given(st.floats(0.0, 1e7), st.floats(0.001, 1e6), st.floats(0.0, 1.0))
def test_when_lies_ahead_whenever_the_bucket_is_not_ready(
    now: float, rate: float, level: float
) -> None:
    """A caller that comes back at `when` does not spin, and finds it ready."""
    bucket = RateBucket(rate, 1.0, now, level=level)
    if not bucket.ready(now, 1.0):
        when = bucket.when(now, 1.0)
        assert when > now
        assert bucket.ready(when + 1e-6, 1.0)


def send(gate: RateGate, start: float, seconds: float) -> tuple[int, bool]:
    """Send whenever the gate lets one through; how many, and whether it wants to go on."""
    now, sends, wanted = start, 0, True
    while wanted and (now := gate.when(now)) < start + seconds:
        sends += 1
        wanted = gate.sent(now, sends)
    return sends, wanted


def test_a_gate_keeps_a_little_below_the_measured_rate_until_it_has_been_tried() -> None:
    """The first sends test the measured rate itself."""
    sends, _ = send(RateGate(0.0, 10.0), 0.0, 2.0)
    assert 18 <= sends <= 20
    assert sends <= SAMPLE


def test_a_gate_grows_ever_faster_and_is_dropped_after_minutes() -> None:
    """Without refusals it lets more and more through, and in the end everything."""
    gate = RateGate(0.0, 10.0)
    first, wanted = send(gate, 0.0, 60.0)
    assert wanted
    assert 580 <= first <= 630
    assert gate.grown
    _, wanted = send(gate, 60.0, 400.0)
    assert not wanted
    assert gate.rate > 38.0


def test_a_rate_measured_in_a_crowd_is_tried_at_twice_within_seconds() -> None:
    """A gateway that admits one by one would take two or three times what came through."""
    gate = RateGate(0.0, 10.0, doubles_in=10.0)
    send(gate, 0.0, 12.5)
    assert 19.0 < gate.rate < 22.0


@pytest.mark.parametrize("rate", [2.0, 5.0, 20.0, 200.0])
def test_what_growth_met_is_known_to_two_sends(rate: float) -> None:
    """A server that refuses whatever comes sooner than allowed takes the rate that is kept."""
    gate, now, sends, last = RateGate(0.0, rate / 3.0, doubles_in=10.0), 0.0, 0, -1.0
    while now - last >= 1.0 / rate - 1e-9:
        sends, last = sends + 1, now
        gate.sent(now, sends)
        now = gate.when(now)
    assert 0.9 * rate < 0.97 * gate.rate_before(now) < rate


@pytest.mark.parametrize(("rate", "at_once"), [(10.0, 1), (100.0, 1), (1000.0, 6)])
def test_a_gate_sends_one_after_the_other(rate: float, at_once: int) -> None:
    """What has waited long goes no faster, but for a few thousandths of a second to catch up."""
    gate = RateGate(0.0, rate)
    sends = 0
    while gate.ready(3.0):
        sends += 1
        gate.sent(3.0, sends)
    assert sends == at_once
    late = RateGate(0.0, rate)
    for n in range(1, 11):
        assert late.ready(n / rate + 0.004)
        late.sent(n / rate + 0.004, n)


def test_a_gate_never_closes_altogether() -> None:
    """A rate measured as nothing still lets one through now and then."""
    gate = RateGate(0.0, 0.0)
    assert 0 < gate.when(0.0) <= 20.0
