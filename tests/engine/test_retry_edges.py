"""The verdicts' exact numbers and contents, where a range or a type would let a change pass."""

from __future__ import annotations

import random
from typing import Any

import pytest

from distilabel_endpoints._engine.evidence import PoolHistory, Tries
from distilabel_endpoints._engine.retry import (
    Decision,
    Defer,
    GiveUp,
    Hold,
    Retry,
    RetryPolicy,
    Stop,
)
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints.records import Failure, FailureKind

NOT_AGAIN = Failure(
    kind=FailureKind.THROTTLE, status=429, code="rate_limited", message="m", retryable=False
)
THROTTLE = Failure(kind=FailureKind.THROTTLE, status=429, code="rate_limited", message="m")
TRANSIENT = Failure(kind=FailureKind.TRANSIENT, status=500, code="server_error", message="m")
DENIED = Failure(kind=FailureKind.RUN, status=401, code="unauthorized", message="m")


class Highest(random.Random):
    """Draws the upper end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class Lowest(random.Random):
    """Draws the lower end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


def verdicts(
    failure: Failure, times: int, rng: random.Random, *, every: float = 0.0, **settings: Any
) -> list[Decision]:
    """What is decided when one row meets the same failure again and again."""
    policy, tries = RetryPolicy(RetrySettings(**settings), rng=rng), Tries(0)
    return [policy.decide(failure, tries, now=n * every, elapsed=1.0) for n in range(times)]


def delays(decisions: list[Decision]) -> list[float]:
    return [decision.delay for decision in decisions if isinstance(decision, Retry)]


def test_ceilings_of_charged_retries_double() -> None:
    """A row that costs attempts waits up to 1, 2, 4 and 8 seconds, and possibly not at all."""
    assert delays(verdicts(TRANSIENT, 5, Highest())) == [1.0, 2.0, 4.0, 8.0]
    assert delays(verdicts(TRANSIENT, 5, Lowest())) == [0.0, 0.0, 0.0, 0.0]


def test_ceiling_of_charged_retries_is_bounded() -> None:
    """However often a row may fail, no wait is longer than the longest."""
    found = delays(verdicts(TRANSIENT, 40, Highest(), transient_attempts=50, longest_delay=10.0))
    assert found == [1.0, 2.0, 4.0, 8.0, *([10.0] * 36)]


def test_throttled_row_stands_back_further_each_time() -> None:
    """Two retries at once, then up to 1, 2, 4 and at most 5 seconds beside the limiter's pause."""
    found = delays(verdicts(THROTTLE, 8, Highest()))
    assert found == [0.0, 0.0, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert delays(verdicts(THROTTLE, 8, Lowest())) == [0.0] * 8


@pytest.mark.parametrize("status", [502, 504, 520, 521, 522, 523])
def test_every_gateway_status_means_away_while_nothing_is_answered(status: int) -> None:
    """A gateway that fails at once, with no success before, has nothing behind it."""
    policy = RetryPolicy(RetrySettings(), rng=random.Random(0))
    failure = Failure(kind=FailureKind.TRANSIENT, status=status, message="m")
    assert policy.evidence.in_context(failure, now=0.0, elapsed=1.0).kind is FailureKind.UNAVAILABLE
    policy.succeeded(0.0, began=0.0)
    assert policy.evidence.in_context(failure, now=1.0, elapsed=1.0).kind is FailureKind.TRANSIENT


def test_alone_told_off_for_good_stops_with_that_failure() -> None:
    """A row that is told not to come back, with nobody answered, ends the run with the words."""
    *before, last = verdicts(NOT_AGAIN, 20, random.Random(0))
    assert all(isinstance(decision, Retry) for decision in before)
    assert isinstance(last, Stop)
    assert last.failure == NOT_AGAIN.after(20)


def test_rows_told_off_in_a_row_stop_with_that_failure() -> None:
    """Twenty rows told not to come back, and none answered: the run ends with the words."""
    policy = RetryPolicy(RetrySettings(), rng=random.Random(0))
    decisions = [policy.decide(NOT_AGAIN, Tries(n), now=0.0, elapsed=1.0) for n in range(20)]
    assert all(isinstance(decision, Retry) for decision in decisions[:-1])
    assert decisions[-1] == Stop(NOT_AGAIN.after(1))


def test_row_told_off_while_others_are_answered_gives_up_with_that_failure() -> None:
    """It is the row's own, where others are answered between."""
    policy, tries = RetryPolicy(RetrySettings(), rng=random.Random(0)), Tries(0)
    decisions = []
    for _ in range(20):
        policy.succeeded(0.0, began=0.0)
        decisions.append(policy.decide(NOT_AGAIN, tries, now=0.0, elapsed=1.0))
    assert all(isinstance(decision, Retry) for decision in decisions[:-1])
    assert decisions[-1] == GiveUp(NOT_AGAIN.after(20))


def test_row_is_not_alone_before_it_had_twenty_in_a_row() -> None:
    """One answer on the way, and the refusals after it are one too few to be everybody's."""
    policy, tries = RetryPolicy(RetrySettings(), rng=random.Random(0)), Tries(0)
    policy.decide(NOT_AGAIN, tries, now=0.0, elapsed=1.0)
    policy.succeeded(0.0, began=0.0)
    rest = [policy.decide(NOT_AGAIN, tries, now=0.0, elapsed=1.0) for _ in range(19)]
    assert all(isinstance(decision, Retry) for decision in rest[:-1])
    assert rest[-1] == GiveUp(NOT_AGAIN.after(20))


@pytest.mark.parametrize(("code", "lenient"), [("bad_utf8", True), ("unusable", False)])
def test_text_that_is_no_utf8_is_taken_as_it_is_next_time(code: str, lenient: bool) -> None:
    """And nothing else is, whether the next time comes soon or when something was answered."""
    failure = Failure(kind=FailureKind.BAD_RESPONSE, status=200, code=code, message="m")
    soon = verdicts(failure, 1, Highest())
    policy = RetryPolicy(RetrySettings(), rng=Highest(), history=PoolHistory(0.0))
    later = policy.decide(failure, Tries(0), now=0.0, elapsed=1.0)
    assert soon == [Retry(1.0, lenient=lenient)]
    assert later == Defer(lenient=lenient)


def test_refusals_with_other_words_are_other_refusals() -> None:
    """Rows refused in different words, in turn, are not a streak of one and stop nothing."""
    policy = RetryPolicy(RetrySettings(), rng=random.Random(0))
    for n in range(40):
        words = ("slow down", "come back tomorrow")[n % 2]
        failure = Failure(
            kind=FailureKind.THROTTLE, status=429, message=words, code="x", retryable=False
        )
        assert isinstance(policy.decide(failure, Tries(n), now=0.0, elapsed=1.0), Retry)


def test_rejected_token_is_asked_about_once_more() -> None:
    """A 401 waits two seconds; seen again after them, it is held back with what was said."""
    first, second = verdicts(DENIED, 2, random.Random(0), every=2.0)
    assert first == Retry(2.0, alone=True)
    assert second == Hold(DENIED.after(2))


def test_failing_for_good_ends_as_unavailable() -> None:
    """With no credit and no answer for as long as is waited, the run says that nothing answers."""
    policy = RetryPolicy(
        RetrySettings(wait_ready=60.0), rng=random.Random(0), history=PoolHistory(0.0)
    )
    tries = Tries(0)
    first = policy.decide(TRANSIENT, tries, now=0.0, elapsed=1.0)
    assert not isinstance(first, Retry | GiveUp | Stop)
    last = policy.decide(TRANSIENT, tries, now=60.0, elapsed=1.0)
    assert isinstance(last, Stop)
    assert last.failure.kind is FailureKind.UNAVAILABLE
    assert last.failure.code == "unavailable"
    assert last.failure.status == 500
    assert last.failure.message == "nothing but failures for 60 s: m"
    assert tries.charged == 0


def test_outage_ends_the_run_for_a_row_that_had_seen_an_answer_too() -> None:
    """The last answer came between its failures, and for as long as is waited there was none."""
    policy = RetryPolicy(
        RetrySettings(wait_ready=60.0), rng=random.Random(0), history=PoolHistory(0.0)
    )
    first, second = Tries(0), Tries(1)
    policy.decide(TRANSIENT, first, now=0.0, elapsed=1.0)
    policy.succeeded(1.0, began=1.0)
    assert policy.decide(TRANSIENT, second, now=2.0, elapsed=1.0) == Defer()
    last = policy.decide(TRANSIENT, first, now=62.0, elapsed=1.0)
    assert isinstance(last, Stop)
    assert last.failure.message == "nothing but failures for 60 s: m"
