"""Goodput by Little's law."""

from __future__ import annotations

import math
import random

import pytest

from distilabel_endpoints._limits.search import Evidence


def collect(rng: random.Random, n: int, load: int, pace: float, tokens: float = 256.0) -> Evidence:
    """Answers of exponential lengths at a number of tokens per second each."""
    evidence = Evidence(0.0)
    for _ in range(n):
        length = rng.expovariate(1 / tokens)
        evidence.add(load, length, 0.1 + length / pace)
    return evidence


def test_goodput_is_what_the_server_delivers() -> None:
    """In flight times pace, from a few dozen answers."""
    evidence = collect(random.Random(0), 100, load=64, pace=100.0)
    assert math.exp(evidence.log_goodput()) == pytest.approx(6400.0, rel=0.1)
    assert evidence.load == 64


def test_goodput_hardly_depends_on_how_long_the_answers_are() -> None:
    """Sixteen times as long: sixteen times the latency, the same goodput."""
    short = collect(random.Random(1), 200, 64, 100.0, tokens=64)
    long = collect(random.Random(1), 200, 64, 100.0, tokens=1024)
    assert long.latency > 8 * short.latency
    assert long.log_goodput() - short.log_goodput() == pytest.approx(0.0, abs=0.2)


def test_variance_tells_how_sure_it_is() -> None:
    """The scatter of many estimates is about what each claims, where work tells nothing."""
    rng = random.Random(2)
    estimates, claims = [], []
    for _ in range(300):
        evidence = Evidence(0.0)
        for _ in range(64):
            evidence.add(10, 1.0, rng.lognormvariate(0.0, 0.8))
        estimates.append(evidence.log_goodput())
        claims.append(evidence.variance())
    mean = sum(estimates) / len(estimates)
    scatter = sum((x - mean) ** 2 for x in estimates) / len(estimates)
    assert scatter < sum(claims) / len(claims) < 2.0 * scatter


def test_timeouts_are_time_without_work() -> None:
    """They lower the goodput; nothing but timeouts means a goodput of zero."""
    evidence = collect(random.Random(3), 50, 10, 100.0)
    before = evidence.log_goodput()
    for _ in range(10):
        evidence.add(10, 0.0, 60.0)
    assert evidence.log_goodput() < before - 0.5
    nothing = Evidence(0.0)
    nothing.add(10, 0.0, 60.0)
    assert nothing.log_goodput() < -10
    assert nothing.variance() == 1.0


def test_fading_keeps_the_estimate_and_doubts_it_more() -> None:
    """Half the weight, the same value."""
    evidence = collect(random.Random(4), 100, 10, 100.0)
    before, variance = evidence.log_goodput(), evidence.variance()
    evidence.fade()
    assert evidence.n == 50
    assert evidence.log_goodput() == pytest.approx(before, abs=1e-9)
    assert evidence.variance() == pytest.approx(2 * variance)
