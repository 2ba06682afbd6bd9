"""The choice among several endpoints, with a clock that the test moves."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from distilabel_endpoints._engine.evidence import PoolHistory
from distilabel_endpoints._engine.pool import Grant, Member, Pool, total
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.engine_state import LimiterStatistics
from distilabel_endpoints.records import Answer, Completion, Failure, FailureKind, Request, Usage

ANSWER = Answer(completions=(Completion(text="yes"),), usage=Usage(10, 90))


class Unused:
    """A client that nothing is sent to."""

    async def complete(self, request: Request) -> Answer | Failure:
        raise AssertionError(request)

    async def aclose(self) -> None:
        """Nothing is open."""


def pool_of(*names: str, **limits: Any) -> Pool:
    settings, rng = LimiterSettings(**limits), random.Random(0)
    own = LimiterSettings(max_concurrency=settings.max_concurrency)
    history = PoolHistory(50.0)
    members = [
        Member(
            name=name,
            client=Unused(),
            limiter=Limiter(own, rng=rng, now=0.0),
            policy=RetryPolicy(RetrySettings(), rng=rng, history=history),
        )
        for name in names
    ]
    return Pool(members, settings, now=0.0)


def failed(kind: FailureKind, **given: Any) -> Failure:
    return Failure(kind=kind, message="no", **given)


def take(pool: Pool, now: float, tokens: int = 0, shunned: Member | None = None) -> Grant:
    grant = pool.acquire(now, tokens, shunned)
    assert grant is not None
    return grant


def take_from(pool: Pool, member: Member, now: float) -> Grant:
    """A permit of this very member."""
    permit = member.limiter.acquire(now)
    assert permit is not None
    return Grant(member, permit)


def test_equal_endpoints_are_asked_in_turn() -> None:
    """As much at one as at the other, down to a single request."""
    pool = pool_of("a", "b", "c")
    names = [take(pool, 1.0).member.name for _ in range(30)]
    assert [names.count(name) for name in "abc"] == [10, 10, 10]


def test_requests_one_at_a_time_take_turns_too() -> None:
    """With nothing else in flight and equal latencies, no endpoint is passed over."""
    pool = pool_of("a", "b")
    names = []
    for now in range(6):
        grant = take(pool, float(now))
        names.append(grant.member.name)
        pool.record(grant, ANSWER, now + 0.5, 0.5)
    assert names == ["a", "b"] * 3


def test_a_faster_endpoint_has_more_in_flight() -> None:
    """With room at both, requests are spread as the endpoints are fast."""
    pool = pool_of("quick", "slow", max_concurrency=44)
    quick, slow = pool.members
    pool.record(take_from(pool, quick, 0.0), ANSWER, 1.0, 1.0)
    pool.record(take_from(pool, slow, 0.0), ANSWER, 10.0, 10.0)
    for _ in range(44):
        take(pool, 20.0)
    assert quick.limiter.in_flight == 40
    assert slow.limiter.in_flight == 4


def test_a_cold_start_is_soon_forgotten() -> None:
    """One slow answer at the beginning counts as one of many, a change of pace as what it is."""
    member = pool_of("a").members[0]
    for latency in [5.0] + [0.1] * 19:
        member.answered(latency)
    assert member.latency == pytest.approx(0.345)
    for _ in range(60):
        member.answered(2.0)
    assert member.latency == pytest.approx(2.0, rel=0.05)


def test_the_ceiling_holds_for_all_together() -> None:
    """`max_concurrency` is the pool's: then nothing goes, and only an end helps."""
    pool = pool_of("a", "b", max_concurrency=5)
    grants = [take(pool, 1.0) for _ in range(5)]
    assert pool.acquire(1.0, 0) is None
    assert pool.next_time(1.0, 0, [None]) is None
    assert pool.in_flight == pool.limit == 5
    pool.cancel(grants[0], 1.0)
    assert pool.acquire(1.0, 0) is not None


@pytest.mark.parametrize(
    ("limits", "tokens", "most"),
    [
        ({"requests_per_minute": 60}, 0, 60 + 1),
        ({"tokens_per_minute": 6000}, 100, 60 + 6),
        ({"tokens_per_minute": 6000}, 50, 60 + 6),
    ],
)
def test_limits_per_minute_hold_for_all_together(
    limits: dict[str, Any], tokens: int, most: int
) -> None:
    """In a minute no more goes out than the user allows, however many endpoints there are."""
    pool, now, sent = pool_of("a", "b", **limits), 0.0, 0
    while now < 60.0:
        grant = pool.acquire(now, tokens)
        if grant is None:
            wake = pool.next_time(now, tokens, [None])
            assert wake is not None
            assert wake > now
            now = wake
            continue
        sent += 1
        pool.record(grant, ANSWER, now, 0.0)
    assert most - 2 <= sent <= most


def test_what_was_reserved_and_not_used_is_given_back() -> None:
    """A request that failed costs no tokens of the user's minute."""
    pool = pool_of("a", "b", tokens_per_minute=6000)
    grant = take(pool, 1.0, 600)
    assert pool.acquire(1.0, 600) is None
    pool.record(grant, failed(FailureKind.TRANSIENT, status=500), 1.0, 0.1)
    assert take(pool, 1.0, 600)


def test_what_an_answers_headers_leave_is_kept_to() -> None:
    """At the endpoint that has said so: nothing is sent there before its minute is over."""
    pool = pool_of("a", "b")
    a, b = pool.members
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
    pool.record(take_from(pool, a, 1.0), replace(ANSWER, headers=headers), 1.0, 0.1)
    assert {take(pool, 2.0).member for _ in range(8)} == {b}


def test_an_answer_without_counts_keeps_what_was_reserved() -> None:
    """What it used is not known, so the user's tokens per minute are not exceeded by it."""
    pool = pool_of("a", "b", tokens_per_minute=6000)
    pool.record(take(pool, 1.0, 600), replace(ANSWER, usage=Usage()), 1.0, 0.1)
    assert pool.acquire(1.0, 600) is None


def test_an_endpoint_that_asks_for_a_pause_gets_nothing_meanwhile() -> None:
    """After `Retry-After: 30` at one, the other gets every request."""
    pool = pool_of("a", "b")
    a, b = pool.members
    throttled = failed(FailureKind.THROTTLE, status=429, retry_after=30.0)
    pool.record(take_from(pool, a, 1.0), throttled, 1.0, 0.1)
    assert {take(pool, 1.5).member for _ in range(8)} == {b}
    assert {take(pool, 5.0).member for _ in range(8)} == {b}


def test_an_endpoint_that_is_away_gets_a_probe_now_and_then() -> None:
    """Its breaker open, one request at a time asks for it, and the others go elsewhere."""
    pool = pool_of("a", "b")
    a, b = pool.members
    gone = failed(FailureKind.UNAVAILABLE, status=503)
    for grant in [take_from(pool, a, 1.0) for _ in range(8)]:
        pool.record(grant, gone, 1.0, 0.1)
    assert {take(pool, 1.5).member for _ in range(8)} == {b}
    later = [take(pool, 4.0).member for _ in range(8)]
    assert later.count(a) == 1


def test_a_request_shuns_the_endpoint_that_failed_it_while_another_is_there() -> None:
    """It waits for a busy one; it goes back to the first when all the others are away."""
    pool = pool_of("a", "b", max_concurrency=None)
    a, b = pool.members
    assert {take(pool, 1.0, shunned=a).member for _ in range(10)} == {b}
    busy = []
    while (grant := pool.acquire(9.0, 0, a)) is not None:
        busy.append(grant)
    assert pool.next_time(9.0, 0, [a]) is None
    assert take(pool, 9.0).member is a
    for grant in busy[:8]:
        pool.record(grant, failed(FailureKind.UNAVAILABLE), 9.5, 0.5)
    assert take(pool, 9.6, shunned=a).member is a


def test_an_endpoint_that_hangs_is_not_waited_for() -> None:
    """Full, and nothing heard for more than a minute: a retry may go back to who failed it."""
    pool = pool_of("a", "b")
    a, b = pool.members
    while pool.acquire(1.0, 0, a) is not None or pool.acquire(2.0, 0, a) is not None:
        pass
    assert b.limiter.in_flight == b.limiter.limit
    assert pool.acquire(50.0, 0, a) is None
    assert take(pool, 70.0, shunned=a).member is a


def test_an_endpoint_that_fails_all_it_gets_is_taken_for_unavailable() -> None:
    """After eight failures in a row, if others answered meanwhile; then it costs no attempts."""
    pool = pool_of("a", "b")
    a, b = pool.members
    broken = failed(FailureKind.TRANSIENT, status=500)

    def fail(member: Member, now: float) -> FailureKind:
        outcome = pool.record(take_from(pool, member, now), broken, now, 0.1)
        assert isinstance(outcome, Failure)
        return outcome.kind

    assert {fail(a, 1.0) for _ in range(12)} == {FailureKind.TRANSIENT}
    pool.record(take_from(pool, b, 2.0), ANSWER, 3.0, 1.0)
    assert fail(a, 3.0) is FailureKind.UNAVAILABLE
    pool.record(take_from(pool, a, 4.0), ANSWER, 5.0, 1.0)
    assert fail(a, 5.0) is FailureKind.TRANSIENT


def test_refusals_and_web_pages_are_never_taken_for_an_outage() -> None:
    """They are a row's or the run's failure, and stay that in a pool."""
    pool = pool_of("a", "b")
    a, b = pool.members
    for failure in (
        failed(FailureKind.ROW, status=400),
        failed(FailureKind.BAD_RESPONSE, code="web_page", status=200),
        failed(FailureKind.RUN, status=403),
    ):
        for now in range(20):
            pool.record(take_from(pool, b, float(now)), ANSWER, now + 0.1, 0.1)
            outcome = pool.record(take_from(pool, a, float(now)), failure, now + 0.1, 0.1)
            assert outcome == failure


def test_a_gateway_with_nothing_behind_it_is_judged_by_its_own_answers() -> None:
    """502 at one endpoint is its absence, though the other one has just answered."""
    pool = pool_of("a", "b")
    a, b = pool.members
    pool.record(take_from(pool, b, 1.0), ANSWER, 2.0, 1.0)
    bad_gateway = failed(FailureKind.TRANSIENT, status=502)
    outcome = pool.record(take_from(pool, a, 2.0), bad_gateway, 2.1, 0.1)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.UNAVAILABLE
    outcome = pool.record(take_from(pool, b, 2.0), bad_gateway, 2.1, 0.1)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TRANSIENT


def test_what_ends_the_run_names_its_endpoint() -> None:
    """In a pool only, and not where this machine is at fault."""
    pool = pool_of("http://a", "http://b")
    a = pool.members[0]
    said = pool.blame(a, failed(FailureKind.RUN, status=403, hint="Ask for access."))
    assert said.message == "http://a: no"
    assert said.hint is not None
    assert said.hint.startswith("Ask for access. ")
    gone = pool.blame(a, failed(FailureKind.UNAVAILABLE, code="unavailable"))
    assert gone.message == "none of the 2 endpoints answers; http://a: no"
    disk = failed(FailureKind.LOCAL)
    assert pool.blame(a, disk) is disk
    alone = pool_of("http://a")
    failure = failed(FailureKind.RUN, status=403)
    assert alone.blame(alone.members[0], failure) is failure


def test_statistics_are_of_all_together_and_of_each() -> None:
    """Counts are sums; the breaker is closed and no gate is shut as long as one endpoint takes."""
    pool = pool_of("a", "b", max_concurrency=40)
    a, b = pool.members
    for now in range(20):
        pool.record(take_from(pool, b, float(now)), ANSWER, now + 0.5, 0.5)
    for grant in [take_from(pool, a, 19.0) for _ in range(8)]:
        pool.record(grant, failed(FailureKind.UNAVAILABLE), 19.0, 0.1)
    take(pool, 19.5)
    total, each = pool.statistics(19.5)
    assert set(each) == {"a", "b"}
    assert (total.limit, total.in_flight, total.sent) == (40, 1, 29)
    assert (each["a"].breaker, total.breaker, total.gate_until) == ("open", "closed", None)
    assert total.reason == f"1 of 2 endpoints answer: {each['b'].limit}"
    assert total.latency_p50 == each["b"].latency_p50
    assert total.tokens_per_second == each["b"].tokens_per_second > 0
    for grant in [take_from(pool, b, 21.0) for _ in range(8)]:
        pool.record(grant, failed(FailureKind.UNAVAILABLE), 21.0, 0.1)
    total, each = pool.statistics(21.0)
    assert (total.breaker, total.reason) == ("open", "0 of 2 endpoints answer")
    assert total.probe_at == min(each[name].probe_at or 99.0 for name in "ab")


def test_endpoints_that_answer_nothing_just_now_count_alike() -> None:
    """The typical latency of a pool is that of its answers, or the mean if there are none."""
    quiet = [statistics(latency_p50=p50) for p50 in (1.0, 3.0)]
    assert total(quiet, limit=8).latency_p50 == 2.0
    busy = [replace(part, requests_per_second=n) for n, part in enumerate(quiet)]
    assert total(busy, limit=8).latency_p50 == 3.0
    new = [statistics(latency_p50=None)] * 2
    assert total(new, limit=8).latency_p50 is None


def statistics(**values: Any) -> LimiterStatistics:
    limiter = Limiter(LimiterSettings(), rng=random.Random(0), now=0.0)
    return replace(limiter.statistics(0.0), **values)
