"""What holds whatever happens, and on servers nobody tuned for."""

from __future__ import annotations

import math
import random

import pytest
from drawn_servers import draw, play
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings, Permit


class LimiterMachine(RuleBasedStateMachine):
    """Anything a scheduler and an endpoint may do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.out: list[Permit] = []
        self.ceiling = 0

    @initialize(
        ceiling=st.none() | st.integers(1, 300),
        requests=st.none() | st.floats(1.0, 1e5),
        tokens=st.none() | st.floats(10.0, 1e7),
        start=st.floats(0.0, 1e6),
    )
    def begin(
        self, ceiling: int | None, requests: float | None, tokens: float | None, start: float
    ) -> None:
        self.now = start
        limits = LimiterSettings(
            max_concurrency=ceiling, requests_per_minute=requests, tokens_per_minute=tokens
        )
        self.limiter = Limiter(limits, rng=random.Random(0), now=start)
        self.ceiling = ceiling or limits.most

    @rule(seconds=st.floats(0.0, 2.0) | st.sampled_from([0.0, 15.0, 40.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(most=st.integers(1, 100), tokens=st.sampled_from([0, 100, 10**9]))
    def send(self, most: int, tokens: int) -> None:
        for _ in range(most):
            permit = self.limiter.acquire(self.now, tokens)
            if permit is None:
                wake = self.limiter.next_time(self.now)
                if wake is None:
                    assert self.out
                else:
                    assert wake > self.now
                return
            self.out.append(permit)
            assert self.limiter.in_flight == len(self.out) <= self.limiter.limit

    def _take(self, share: float, which: int) -> list[Permit]:
        count = math.ceil(share * len(self.out))
        return [self.out.pop(which % len(self.out)) for _ in range(count)]

    @precondition(lambda self: self.out)
    @rule(
        share=st.floats(0.01, 1.0),
        which=st.integers(0, 1000),
        counts=st.sampled_from([(None, None), (0, 0), (100, None), (2000, 10**6)]),
    )
    def succeed(self, share: float, which: int, counts: tuple[int | None, int | None]) -> None:
        output, prompt = counts
        for permit in self._take(share, which):
            self.limiter.succeed(permit, self.now, output_tokens=output, input_tokens=prompt)

    @precondition(lambda self: self.out)
    @rule(
        share=st.floats(0.01, 1.0),
        which=st.integers(0, 1000),
        retry_after=st.none() | st.sampled_from([0.0, 1.0, 60.0, 1e9, -1.0]),
    )
    def push_back(self, share: float, which: int, retry_after: float | None) -> None:
        limiter = self.limiter
        for permit in self._take(share, which):
            generation, settling = limiter._search.generation, limiter._refusals.settle_at
            limit = limiter.limit
            limiter.push_back(permit, self.now, retry_after=retry_after)
            if permit.generation < generation and limiter._refusals.settle_at is not None:
                assert limiter._refusals.settle_at == settling
                assert limiter.limit == limit

    @precondition(lambda self: self.out)
    @rule(share=st.floats(0.01, 1.0), which=st.integers(0, 1000))
    def unavailable(self, share: float, which: int) -> None:
        for permit in self._take(share, which):
            self.limiter.unavailable(permit, self.now)

    @precondition(lambda self: self.out)
    @rule(share=st.floats(0.01, 1.0), which=st.integers(0, 1000), timed_out=st.booleans())
    def fail(self, share: float, which: int, timed_out: bool) -> None:
        limiter, generation, halved = self.limiter, self.limiter._search.generation, 0
        for permit in self._take(share, which):
            before = limiter.limit
            limiter.fail(permit, self.now, timed_out=timed_out)
            halved += limiter.limit < before and permit.generation <= generation
        assert halved <= 1

    @precondition(lambda self: self.out)
    @rule(share=st.floats(0.01, 1.0), which=st.integers(0, 1000))
    def cancel(self, share: float, which: int) -> None:
        self.limiter.next_time(self.now)  # what was due by now is done
        before = self.limiter.limit
        for permit in self._take(share, which):
            self.limiter.cancel(permit, self.now)
        assert self.limiter.limit == before

    @rule(remaining=st.integers(0, 1000), reset=st.integers(0, 100000))
    def headers(self, remaining: int, reset: int) -> None:
        value = f'"any";r={remaining};t={reset}'
        self.limiter.rate_headers({"ratelimit": value}, self.now)

    @rule()
    def drain(self) -> None:
        """Everything ends; then time alone leads to a permit."""
        for permit in self._take(1.0, 0) if self.out else []:
            self.limiter.succeed(permit, self.now, output_tokens=None, input_tokens=None)
        for _ in range(20):
            given = self.limiter.acquire(self.now)
            if given is not None:
                self.out.append(given)
                return
            wake = self.limiter.next_time(self.now)
            assert wake is not None
            assert self.now < wake < math.inf
            self.now = wake
        raise AssertionError("time alone does not lead on")

    @invariant()
    def bounds(self) -> None:
        if not self.ceiling:
            return
        limiter = self.limiter
        assert limiter.in_flight == len(self.out) <= self.ceiling
        assert 1 <= limiter.limit <= self.ceiling
        assert 64 <= limiter.window <= 8192
        seen = limiter.statistics(self.now)
        assert seen.in_flight == limiter.in_flight
        assert seen.requests_per_second >= 0.0


TestLimiterMachine = LimiterMachine.TestCase
TestLimiterMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(3))
def test_servers_nobody_tuned_for(seed: int) -> None:
    """At least seven tenths of the best fixed limit, and never stuck."""
    assert play(draw(seed)) >= 0.7


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_most_servers_nobody_tuned_for() -> None:
    """Of a thousand, the same for 95 of a hundred, and none is stuck."""
    shares = sorted(play(draw(seed)) for seed in range(1000))
    assert shares[50] >= 0.7
    assert shares[500] >= 0.95
