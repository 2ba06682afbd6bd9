"""Recent rates and latencies."""

from __future__ import annotations

import pytest

from distilabel_endpoints._limits.limiter import Meter


def test_rates_are_those_of_the_last_seconds() -> None:
    """A change shows within 20 s, and a pause empties them."""
    meter = Meter(1000.0)
    for n in range(400):
        meter.add(1000.0 + n / 4, 1.0, 100)
    assert meter.rates(1100.0) == pytest.approx((4.0, 400.0), rel=0.05)
    for n in range(400):
        meter.add(1100.0 + n / 10, 1.0, 10)
    assert meter.rates(1140.0) == pytest.approx((10.0, 100.0), rel=0.05)
    assert meter.rates(1300.0) == (0.0, 0.0)


def test_rates_of_a_young_meter_are_not_diluted() -> None:
    """The first seconds count as what they are."""
    meter = Meter(0.0)
    for n in range(20):
        meter.add(n / 10, 1.0, 1)
    assert meter.rates(2.0)[0] == pytest.approx(10.0)


def test_latencies_of_the_latest_answers() -> None:
    """Old ones are forgotten."""
    meter = Meter(0.0)
    assert meter.latency(0.5) is None
    for n in range(1000):
        meter.add(0.0, 50.0 if n < 700 else float(n % 10), 1)
    assert meter.latency(0.5) in (4.0, 5.0)
    assert meter.latency(0.95) == 9.0
    assert meter.latency(1.0) == 9.0
