"""The retry policy under any sequence of failures and successes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from distilabel_endpoints._engine.evidence import Tries
from distilabel_endpoints._engine.retry import Defer, GiveUp, Hold, Retry, RetryPolicy, Stop
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints.records import Failure, FailureKind

FREE = {FailureKind.THROTTLE, FailureKind.UNAVAILABLE, FailureKind.RUN, FailureKind.ROW}
FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    message=st.sampled_from(["m", "row 5 is bad", "row 6 is bad", "'a' is \"odd\"", "[prompt]"]),
    status=st.sampled_from([None, 200, 400, 401, 404, 429, 500, 502, 503, 504]),
    code=st.sampled_from([None, "dns", "web_page", "unauthorized", "starting", "server_error"]),
    retry_after=st.none() | st.floats(0, 4000),
    retryable=st.booleans(),
)
ELAPSED = st.sampled_from([0.01, 1.0, 24.9, 25.0, 600.0])


@dataclass
class Row:
    """One request, and what was decided about it."""

    tries: Tries
    charged: list[FailureKind] = field(default_factory=list)
    done: bool = False


class PolicyMachine(RuleBasedStateMachine):
    """Rows fail and succeed in any order while the clock goes on."""

    @initialize(
        seed=st.integers(0, 99),
        attempts=st.integers(1, 6),
        bad=st.integers(1, 4),
        burst=st.integers(0, 6),
    )
    def start(self, seed: int, attempts: int, bad: int, burst: int) -> None:
        self.settings = RetrySettings(
            transient_attempts=attempts, bad_response_attempts=bad, retry_burst=float(burst)
        )
        self.policy = RetryPolicy(self.settings, rng=random.Random(seed))
        self.now = 0.0
        self.soon = 0
        self.answered = False
        self.rows: dict[int, Row] = {}

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 31.0, 899.0, 901.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def succeed(self) -> None:
        self.answered = True
        self.policy.succeeded(self.now, began=self.now)

    @rule(number=st.integers(0, 25), failure=FAILURES, elapsed=ELAPSED)
    def fail(self, number: int, failure: Failure, elapsed: float) -> None:
        row = self.rows.get(number)
        if row is None or row.done:
            row = self.rows[number] = Row(Tries(number))
        before, sent = row.tries.charged, row.tries.sent
        seen = self.policy.evidence.in_context(failure, now=self.now, elapsed=elapsed)
        decision = self.policy.decide(seen, row.tries, now=self.now, elapsed=elapsed)
        assert row.tries.sent == sent + 1
        charged = row.tries.charged - before
        assert charged == 0 or (charged == 1 and seen.kind not in FREE)
        self.check(seen, decision, row, bool(charged))

    def check(self, seen: Failure, decision: Any, row: Row, charged: bool) -> None:
        match decision:
            case Retry(delay):
                longest = max(self.settings.longest_delay, self.settings.longest_pause)
                assert 0 <= delay <= longest
                assert seen.kind not in {FailureKind.ROW, FailureKind.CONTENT, FailureKind.LOCAL}
                asked = seen.retry_after or 0.0
                self.soon += charged and asked < 30 and delay < 30 and seen.code != "web_page"
            case Defer():
                assert seen.kind in {FailureKind.TRANSIENT, FailureKind.BAD_RESPONSE}
            case GiveUp(failure):
                row.done = True
                assert failure.attempts == row.tries.sent
                assert seen.kind is not FailureKind.LOCAL
                # What is not the row's by itself has become so: others were answered.
                assert failure.kind not in {FailureKind.RUN, FailureKind.UNAVAILABLE}
                assert seen.kind not in {FailureKind.RUN, FailureKind.UNAVAILABLE} or self.answered
            case Hold(failure):
                assert seen.kind is FailureKind.RUN
                assert seen.status is not None
                self.check(
                    seen, self.policy.settled(failure, row.tries, answered=False), row, False
                )
            case Stop(failure):
                row.done = True
                assert failure.attempts == row.tries.sent

    @invariant()
    def no_row_is_charged_beyond_its_bounds(self) -> None:
        most = max(self.settings.transient_attempts, self.settings.bad_response_attempts)
        assert all(row.tries.charged <= most for row in self.rows.values())

    @invariant()
    def retries_that_come_soon_are_bought(self) -> None:
        bought = self.settings.retry_share * self.policy.history.successes
        assert self.soon <= self.settings.retry_burst + bought + 1e-6


PolicyMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=60)
TestPolicy = PolicyMachine.TestCase


@settings(deadline=None)
@given(FAILURES, st.integers(0, 2**32), ELAPSED)
def test_every_failure_that_repeats_comes_to_an_end(
    failure: Failure, seed: int, elapsed: float
) -> None:
    """One failure, again and again, ends the row or the run; only a plain 429 may go on."""
    policy, tries, now = RetryPolicy(RetrySettings(), rng=random.Random(seed)), Tries(0), 0.0
    for _ in range(1100):
        seen = policy.evidence.in_context(failure, now=now, elapsed=elapsed)
        decision = policy.decide(seen, tries, now=now, elapsed=elapsed)
        if isinstance(decision, Hold):
            decision = policy.settled(decision.failure, tries, answered=False)
        if not isinstance(decision, Retry | Defer):
            return
        now += max(decision.delay, 1.0) if isinstance(decision, Retry) else 15.0
    assert failure.kind is FailureKind.THROTTLE
    assert failure.retryable


@pytest.mark.promise("R8")
@settings(deadline=None)
@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 99))
def test_an_outage_is_bounded_whatever_its_size(rows: int, before: int, seed: int) -> None:
    """Of all first retries in an outage, no more come by themselves than were bought."""
    bounds = RetrySettings()
    policy = RetryPolicy(bounds, rng=random.Random(seed))
    for _ in range(before):
        policy.succeeded(0.0, began=0.0)
    failure = Failure(kind=FailureKind.TRANSIENT, message="m", status=500)
    decisions = [policy.decide(failure, Tries(r), now=1.0, elapsed=1.0) for r in range(rows)]
    bought = int(bounds.retry_burst)
    assert all(isinstance(decision, Retry) for decision in decisions[:bought])
    assert all(decision == Defer() for decision in decisions[bought:])
