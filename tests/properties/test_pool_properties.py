"""What holds for every pool, whatever its endpoints do and in whatever order."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints._engine.evidence import PoolHistory
from distilabel_endpoints._engine.pool import Grant, Member, Pool
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.records import Answer, Completion, Failure, FailureKind, Request, Usage

ANSWER = Answer(completions=(Completion(text="yes"),), usage=Usage(10, 90))
KINDS = (
    FailureKind.THROTTLE,
    FailureKind.UNAVAILABLE,
    FailureKind.TRANSIENT,
    FailureKind.BAD_RESPONSE,
    FailureKind.ROW,
)


class Unused:
    """A client that nothing is sent to."""

    async def complete(self, request: Request) -> Answer | Failure:
        raise AssertionError(request)

    async def aclose(self) -> None:
        """Nothing is open."""


class Play:
    """A pool, the permits that are out, and the clock."""

    def __init__(self, count: int, limits: LimiterSettings) -> None:
        rng, history = random.Random(0), PoolHistory(50.0)
        own = LimiterSettings(max_concurrency=limits.max_concurrency)
        members = [
            Member(
                name=str(number),
                client=Unused(),
                limiter=Limiter(own, rng=rng, now=0.0),
                policy=RetryPolicy(RetrySettings(), rng=rng, history=history),
            )
            for number in range(count)
        ]
        self.pool = Pool(members, limits, now=0.0)
        self.limits = limits
        self.out: list[tuple[Grant, float]] = []
        self.now = 0.0

    def send(self, most: int, failed: int | None) -> None:
        """Take up to so many permits, for requests that this endpoint failed."""
        pool, members = self.pool, self.pool.members
        shunned = None if failed is None else members[failed % len(members)]
        for _ in range(most):
            grant = pool.acquire(self.now, 100, shunned)
            if grant is None:
                at = pool.next_time(self.now, 100, [shunned])
                assert at is not None or self.out, "nothing in flight, and no time will help"
                assert at is None or at > self.now
                return
            self.out.append((grant, self.now))
            self.check()

    def end(self, which: int, outcome: Answer | Failure | None) -> None:
        """One attempt ends, or is given up."""
        if not self.out:
            return
        grant, began = self.out.pop(which % len(self.out))
        if outcome is None:
            self.pool.cancel(grant, self.now)
        else:
            self.pool.record(grant, outcome, self.now, self.now - began)
        self.check()

    def check(self) -> None:
        pool = self.pool
        assert pool.in_flight == len(self.out)
        assert pool.in_flight <= (self.limits.max_concurrency or 10**9)
        for member in pool.members:
            assert member.limiter.in_flight == sum(g.member is member for g, _ in self.out)
        total, each = pool.statistics(self.now)
        assert total.in_flight == sum(part.in_flight for part in each.values())


def outcomes() -> st.SearchStrategy[Answer | Failure | None]:
    failures = st.builds(
        Failure,
        kind=st.sampled_from(KINDS),
        message=st.just("no"),
        status=st.sampled_from([None, 400, 404, 429, 500, 502, 503]),
        retry_after=st.sampled_from([None, 0.0, 1.0, 30.0]),
    )
    return st.one_of(st.none(), st.just(ANSWER), st.just(ANSWER), failures)


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 40), st.none() | st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(0, 99), outcomes()),
    st.tuples(st.just("wait"), st.floats(0.0, 120.0), st.none()),
)
LIMITS = st.builds(
    LimiterSettings,
    max_concurrency=st.none() | st.integers(1, 50),
    requests_per_minute=st.none() | st.floats(1.0, 10_000.0),
    tokens_per_minute=st.none() | st.floats(10.0, 1e6),
)


@settings(max_examples=150, deadline=None)
@given(count=st.integers(1, 3), limits=LIMITS, steps=st.lists(STEPS, max_size=40))
def test_permits_ceilings_and_a_way_on(
    count: int, limits: LimiterSettings, steps: list[tuple[str, Any, Any]]
) -> None:
    """Permits out are permits in; no ceiling is passed; there is always an end or a time that
    helps."""
    play = Play(count, limits)
    for kind, number, given_ in steps:
        if kind == "send":
            play.send(number, given_)
        elif kind == "end":
            play.end(number, given_)
        else:
            play.now += number
    while play.out:
        play.end(0, ANSWER)
    assert play.pool.in_flight == 0
