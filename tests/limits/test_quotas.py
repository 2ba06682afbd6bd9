"""Requests and tokens per minute, the user's and the server's."""

from __future__ import annotations

import pytest

from distilabel_endpoints._limits.quotas import Quotas


def run(quotas: Quotas, seconds: float, tokens: int = 0, start: float = 0.0) -> list[float]:
    """When requests go that are sent as early as possible."""
    now, sent = start, []
    while (now := quotas.when(now, tokens)) < start + seconds:
        if quotas.ready(now, tokens):
            quotas.take(tokens)
            sent.append(now)
    return sent


def most_in_a_minute(times: list[float]) -> int:
    """The fullest minute."""
    return max(sum(1 for t in times if start <= t < start + 60.0) for start in times)


@pytest.mark.parametrize(("per_minute", "burst"), [(60, 1), (6, 1), (600, 10), (90, 2)])
def test_requests_per_minute_hold_over_every_minute(per_minute: int, burst: int) -> None:
    """But for a burst of a second's worth, at least one."""
    sent = run(Quotas(per_minute, None, 0.0), 300.0)
    assert most_in_a_minute(sent) <= per_minute + burst
    assert len(sent) >= 5 * per_minute - 1


def test_tokens_are_settled_by_what_was_used() -> None:
    """An estimate ten times too high costs speed only until the counts come in."""
    quotas = Quotas(None, 6000.0, 0.0)
    sent = 0
    now = 0.0
    while now < 60.0:
        if quotas.ready(now, 500):
            quotas.take(500)
            quotas.settle(500, 50)
            sent += 1
        now = max(quotas.when(now, 500), now + 0.01)
    assert 110 <= sent <= 125


def test_more_tokens_used_than_reserved_are_a_debt() -> None:
    """The next request waits for it."""
    quotas = Quotas(None, 600.0, 0.0)
    quotas.take(10)
    quotas.settle(10, 310)
    assert quotas.when(0.0, 1) == pytest.approx(25.1)


def test_an_estimate_beyond_the_bucket_is_sent_at_once_and_paid_for_later() -> None:
    """Nothing is too large to be sent."""
    quotas = Quotas(None, 60.0, 0.0)
    assert quotas.ready(0.0, 5000)
    quotas.take(5000)
    assert quotas.when(0.0, 5000) == pytest.approx(5000.0)


def test_without_limits_there_is_nothing_to_keep_to() -> None:
    """And nothing to pay for it."""
    assert not Quotas(None, None, 0.0).active


def test_a_window_is_spread_over_the_time_it_is_for() -> None:
    """What is left for 30 s is not sent in one."""
    quotas = Quotas(None, None, 0.0)
    quotas.read({"ratelimit": '"api";r=30;t=30'}, 0.0)
    assert 29 <= len(run(quotas, 29.9)) <= 31


def test_nothing_left_waits_for_the_end_of_the_window() -> None:
    """And then it is forgotten."""
    quotas = Quotas(None, None, 0.0)
    quotas.read({"ratelimit-remaining": "0", "ratelimit-reset": "12"}, 0.0)
    assert quotas.when(0.0, 0) == 12.0
    assert quotas.ready(12.0, 0)
    assert not quotas.active


def test_no_header_is_believed_for_more_than_a_minute() -> None:
    """A day's reset that was misread does not stop a run for a day."""
    quotas = Quotas(None, None, 0.0)
    quotas.read({"ratelimit-remaining": "0", "ratelimit-reset": "86400"}, 0.0)
    assert quotas.when(0.0, 0) == 60.0


def test_a_bucket_is_mirrored() -> None:
    """Its rest may go at once, then its refill rate holds."""
    quotas = Quotas(None, None, 0.0)
    quotas.read(
        {
            "x-ratelimit-limit-tokens": "6000",
            "x-ratelimit-remaining-tokens": "1000",
            "x-ratelimit-reset-tokens": "50s",
        },
        0.0,
    )
    sent = run(quotas, 20.0, tokens=100)
    assert sent[9] == 0.0
    assert len(sent) == pytest.approx(30, abs=1)


def test_a_full_bucket_lifts_what_was_said_before() -> None:
    """The newest word of the server counts."""
    quotas = Quotas(None, None, 0.0)
    names = ("limit", "remaining", "reset")
    for values in (("60", "0", "60s"), ("60", "60", "0s")):
        pairs = zip(names, values, strict=True)
        quotas.read({f"x-ratelimit-{name}-requests": value for name, value in pairs}, 0.0)
    assert quotas.ready(0.0, 0)


def test_the_user_s_limit_holds_beside_the_server_s() -> None:
    """Both are kept."""
    quotas = Quotas(60.0, None, 0.0)
    quotas.read({"ratelimit": '"api";r=600;t=60'}, 0.0)
    assert 59 <= len(run(quotas, 59.0)) <= 61
