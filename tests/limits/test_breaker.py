"""Waiting while nothing answers."""

from __future__ import annotations

import pytest

from distilabel_endpoints._limits.availability import Breaker


def opened(now: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker()
    for _ in range(8):
        assert breaker.state == "closed"
        breaker.missed(now, probe=False, jitter=0.0)
    assert breaker.state == "open"
    return breaker


def probes(breaker: Breaker, until: float, jitter: float = 0.0) -> list[float]:
    """When probes go that all fail at once."""
    sent = []
    while (now := breaker.probe_at) < until:
        assert breaker.admits(now)
        breaker.probing = True
        assert breaker.state == "probing"
        assert not breaker.admits(now)
        breaker.missed(now, probe=True, jitter=jitter)
        sent.append(now)
    return sent


def test_probes_come_one_at_a_time_and_further_and_further_apart() -> None:
    """From one second to fifteen, by 1.6 each."""
    sent = probes(opened(), 360.0)
    gaps = [later - earlier for earlier, later in zip([0.0, *sent], sent, strict=False)]
    assert gaps[:4] == pytest.approx([1.0, 1.6, 2.56, 4.096])
    assert max(gaps) == pytest.approx(15.0)
    assert len(sent) < 30


def test_jitter_only_adds() -> None:
    """Up to a tenth."""
    assert opened().probe_at == 1.0
    assert probes(opened(), 5.0, jitter=1.0)[1] == pytest.approx(1.0 + 1.6 * 1.1)


def test_an_answer_in_between_starts_the_count_anew() -> None:
    """Sporadic failures are not an outage."""
    breaker = Breaker()
    for _ in range(50):
        for _ in range(7):
            breaker.missed(0.0, probe=False, jitter=0.0)
        assert not breaker.answered()
    assert breaker.state == "closed"


def test_an_answer_closes_it_and_says_so_once() -> None:
    """The waits start over with the next outage."""
    breaker = opened()
    probes(breaker, 60.0)
    assert breaker.answered()
    assert not breaker.answered()
    assert opened(5.0).probe_at == 6.0


def test_failures_of_older_attempts_do_not_postpone_the_probe() -> None:
    """Five hundred in flight fail when a server goes: that is one outage."""
    breaker = opened()
    for n in range(500):
        breaker.missed(0.01 * n, probe=False, jitter=0.0)
    assert breaker.probe_at == 1.0


def test_a_demanded_wait_is_kept_up_to_a_minute() -> None:
    """Longer than the own wait, never shorter."""
    breaker = opened()
    breaker.probing = True
    breaker.missed(1.0, probe=True, jitter=0.0, retry_after=30.0)
    assert breaker.probe_at == 31.0
    breaker.missed(31.0, probe=True, jitter=0.0, retry_after=0.1)
    assert breaker.probe_at == pytest.approx(31.0 + 2.56)
    breaker.missed(40.0, probe=True, jitter=0.0, retry_after=9999.0)
    assert breaker.probe_at == 100.0


def test_a_probe_given_up_makes_room_for_another() -> None:
    """Its outcome will never be known."""
    breaker = opened()
    breaker.probing = True
    breaker.gave_up()
    assert breaker.admits(1.0)
