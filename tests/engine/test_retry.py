"""The verdict on each failure, with a clock that the test drives."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from distilabel_endpoints._engine.retry import (
    Decision,
    Defer,
    GiveUp,
    Retry,
    RetryPolicy,
    RetrySettings,
    Stop,
    Tries,
)
from distilabel_endpoints.errors import run_error
from distilabel_endpoints.records import Failure, FailureKind

SETTINGS = RetrySettings()


def fail(kind: FailureKind, message: str = "m", **fields: Any) -> Failure:
    return Failure(kind=kind, message=message, **fields)


TRANSIENT = fail(FailureKind.TRANSIENT, status=500, code="server_error")
BAD = fail(FailureKind.BAD_RESPONSE, status=200, code="unusable")
THROTTLE = fail(FailureKind.THROTTLE, status=429, code="rate_limited")
AWAY = fail(FailureKind.UNAVAILABLE, status=503, code="starting")
ROW = fail(FailureKind.ROW, status=400, code="bad_request")
DENIED = fail(FailureKind.RUN, status=401, code="unauthorized")
PAGE = fail(FailureKind.BAD_RESPONSE, status=200, code="web_page")
DNS = fail(FailureKind.UNAVAILABLE, code="dns")


MOMENT = 1e-6


class Played:
    """A policy with its clock."""

    def __init__(
        self, settings: RetrySettings = SETTINGS, seed: int = 0, left: int | None = 1
    ) -> None:
        self.left = left
        self.policy = RetryPolicy(settings, rng=random.Random(seed))
        self.now = 100.0
        self.rows: dict[int, Tries] = {}

    def fail(self, failure: Failure, row: int = 0, elapsed: float = 1.0) -> Decision:
        self.now += MOMENT
        tries = self.rows.setdefault(row, Tries(row))
        seen = self.policy.in_context(failure, now=self.now, elapsed=elapsed)
        return self.policy.decide(seen, tries, now=self.now, elapsed=elapsed, left=self.left)

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += MOMENT
            self.policy.succeeded(self.now, began=self.now)

    def exhaust(self, failure: Failure, row: int = 0) -> tuple[Decision, list[float]]:
        """Fail until the verdict is final; the verdict, and the delays before it."""
        delays: list[float] = []
        while isinstance(decision := self.fail(failure, row), Retry):
            delays.append(decision.delay)
            self.now += decision.delay
            assert len(delays) < 2000, "no end"
        return decision, delays


@pytest.mark.parametrize(("failure", "attempts"), [(TRANSIENT, 5), (BAD, 3)])
def test_what_a_row_can_cause_is_tried_so_often(failure: Failure, attempts: int) -> None:
    """5 attempts for a failure on the way, 3 for an unusable answer, with growing waits."""
    for seed in range(20):
        played = Played(seed=seed)
        decision, delays = played.exhaust(failure)
        assert isinstance(decision, GiveUp)
        assert not decision.suspect
        assert (decision.failure.attempts, len(delays)) == (attempts, attempts - 1)
        assert all(0 <= delay <= 2.0**n for n, delay in enumerate(delays))
        assert played.rows[0].charged == attempts


def test_waits_are_spread_over_all_of_their_range() -> None:
    """Full jitter: rows that failed together do not come back together."""
    delays = [Played(seed=seed).exhaust(TRANSIENT)[1][0] for seed in range(200)]
    assert min(delays) < 0.1
    assert max(delays) > 0.9
    assert 0.4 < sum(delays) / len(delays) < 0.6


def test_a_generous_budget_has_waits_that_end() -> None:
    """However many attempts are allowed, no wait outgrows the longest."""
    played = Played(RetrySettings(transient_attempts=1500, retry_burst=1500))
    decision, delays = played.exhaust(TRANSIENT)
    assert isinstance(decision, GiveUp)
    assert max(delays) <= SETTINGS.longest_delay


def test_a_mixture_is_counted_together() -> None:
    """Whatever went wrong, a row has one budget."""
    played = Played()
    for _ in range(3):
        assert isinstance(played.fail(TRANSIENT), Retry)
    assert isinstance(played.fail(BAD), GiveUp)


def test_a_server_that_forbids_another_try_is_believed() -> None:
    """`x-should-retry: false` on a failure of the row's ends it at once."""
    decision = Played().fail(replace(TRANSIENT, retryable=False))
    assert isinstance(decision, GiveUp)
    assert decision.failure.attempts == 1


def test_a_wait_that_is_asked_for_is_waited() -> None:
    """`Retry-After` is the least wait, within the longest pause."""
    for asked, least in ((30.0, 30.0), (10**6, SETTINGS.longest_pause)):
        decision = Played().fail(replace(TRANSIENT, retry_after=asked))
        assert isinstance(decision, Retry)
        assert decision.delay == least


@pytest.mark.parametrize("failure", [THROTTLE, AWAY])
def test_overload_and_outages_never_cost_a_row_an_attempt(failure: Failure) -> None:
    """However often, as long as it does not last too long; after two it stands back a little."""
    played = Played()
    delays = []
    for _ in range(500):
        decision = played.fail(failure)
        assert isinstance(decision, Retry)
        delays.append(decision.delay)
        played.now += 1.0
    assert delays[:2] == [0.0, 0.0]
    assert 1.0 < max(delays) <= 5.0
    assert (played.rows[0].charged, played.rows[0].sent) == (0, 500)
    decision, _ = played.exhaust(TRANSIENT)
    assert isinstance(decision, GiveUp)
    assert played.rows[0].charged == 5


def test_an_endpoint_that_stays_away_stops_the_run() -> None:
    """After `wait_ready` seconds without an answer, and not before."""
    played = Played()
    assert isinstance(played.fail(AWAY), Retry)
    played.now += SETTINGS.wait_ready - 1
    assert isinstance(played.fail(AWAY, row=1), Retry)
    played.now += 1
    decision = played.fail(AWAY, row=2)
    assert isinstance(decision, Stop)
    assert decision.failure.message.startswith("not available for 900 s: m")
    assert type(run_error(decision.failure)).__name__ == "UnavailableError"


@pytest.mark.parametrize("sign", ["success", "another failure"])
def test_any_sign_of_life_starts_the_wait_anew(sign: str) -> None:
    """An answer, or a failure of another kind, means that something is there."""
    played = Played()
    played.fail(AWAY)
    played.now += SETTINGS.wait_ready - 1
    if sign == "success":
        played.succeed()
    else:
        played.fail(TRANSIENT, row=1)
    played.now += 2
    assert isinstance(played.fail(AWAY), Retry)
    played.now += SETTINGS.wait_ready - 1
    assert isinstance(played.fail(AWAY), Retry)


def test_a_pause_that_is_too_long_stops_the_run() -> None:
    """Half an hour is waited, more is for a person to decide."""
    assert Played().fail(replace(THROTTLE, retry_after=1800.0)) == Retry(0.0)
    decision = Played().fail(replace(THROTTLE, retry_after=1801.0))
    assert isinstance(decision, Stop)
    assert decision.failure.hint == "The server asks for a pause of 1801 s."


@pytest.mark.parametrize("kind", [FailureKind.RUN, FailureKind.LOCAL])
@pytest.mark.parametrize("status", [402, 403, 404, None])
def test_what_condemns_every_row_stops_at_once(kind: FailureKind, status: int | None) -> None:
    """No credit, no access, no such model, TLS, a full disk."""
    assert isinstance(Played().fail(fail(kind, status=status)), Stop)


@pytest.mark.parametrize("denied", [DENIED, replace(DENIED, status=200)])
def test_a_rejected_token_is_asked_about_once_more(denied: Failure) -> None:
    """A gateway that flaps does not end a run: two rejections, 2 seconds apart, do."""
    played = Played()
    assert played.fail(denied) == Retry(2.0)
    assert played.fail(denied, row=1) == Retry(2.0)
    played.now += 1.9
    assert isinstance(played.fail(denied, row=2), Retry)
    played.now += 0.1
    assert isinstance(played.fail(denied), Stop)
    assert all(tries.charged == 0 for tries in played.rows.values())


def test_a_token_that_is_accepted_again_was_never_rejected() -> None:
    """A success between two rejections makes the second a first one."""
    played = Played()
    played.fail(DENIED)
    played.now += 2.0
    played.succeed()
    assert isinstance(played.fail(DENIED), Retry)


def test_a_host_that_does_not_resolve_is_a_typo() -> None:
    """Before the first success: after 3 times and 2 seconds. In one burst it is not believed."""
    played = Played()
    for row in range(10):
        assert played.fail(DNS, row) == Retry(2.0)
    played.now += 2.0
    decision = played.fail(DNS)
    assert isinstance(decision, Stop)
    assert type(run_error(decision.failure)).__name__ == "UnavailableError"
    alone = Played()
    decision, delays = alone.exhaust(DNS)
    assert isinstance(decision, Stop)
    assert delays == [2.0, 2.0]


def test_a_host_that_has_resolved_before_is_waited_for() -> None:
    """After a success a resolver's fault is an outage like any other."""
    played = Played()
    played.succeed()
    for _ in range(10):
        assert isinstance(played.fail(DNS), Retry)
        played.now += 10.0


def test_a_web_page_three_times_is_the_wrong_url() -> None:
    """One row alone finds out, before it is filed as failed."""
    decision, delays = Played().exhaust(PAGE)
    assert isinstance(decision, Stop)
    assert type(run_error(decision.failure)).__name__ == "TargetError"
    assert len(delays) == 2
    assert all(2.0 <= delay <= 60.0 for delay in delays)


def test_a_web_page_now_and_then_is_a_bad_answer() -> None:
    """With something else between them, pages cost their row attempts, and no more."""
    played = Played(RetrySettings(retry_burst=500))
    for row in range(50):
        assert isinstance(played.fail(PAGE, row), Retry)
        played.now += 2.0
        played.fail(TRANSIENT, 1000 + row)
    assert isinstance(played.fail(PAGE, 0), Retry)
    played.fail(THROTTLE, 2000)
    decision = played.fail(PAGE, 0)
    assert isinstance(decision, GiveUp)
    assert decision.failure.attempts == 3


def test_pages_in_one_burst_do_not_stop_the_run() -> None:
    """Many rows at the same instant are one observation."""
    played = Played()
    assert all(isinstance(played.fail(PAGE, row), Retry | Defer) for row in range(100))


def test_a_refused_row_fails_at_once_and_is_suspected() -> None:
    """Its verdict is held back: it may be everybody's."""
    decision = Played().fail(ROW)
    assert isinstance(decision, GiveUp)
    assert decision.suspect
    assert decision.failure.attempts == 1


def test_an_answer_that_is_refused_is_the_rows_own() -> None:
    """A content filter is never everybody's failure."""
    played = Played()
    for row in range(100):
        decision = played.fail(fail(FailureKind.CONTENT, code="content_filter"), row)
        assert decision == GiveUp(replace(decision.failure), suspect=False)  # type: ignore[union-attr]


REFUSALS = {
    "the same": lambda row: "wrong model",
    "numbers": lambda row: f"max_tokens {row} is above {row * 7}",
    "identifiers": lambda row: f"request 7f{row:x}-ab{row}c-{row}: unknown field",
    "quoted": lambda row: f"bad value '{'x' * row}' for \"{row}y\" in `z{row}`",
    "echoes": lambda row: "bad input " + "[prompt] " * (row % 3 + 1),
}


@pytest.mark.parametrize("say", REFUSALS.values(), ids=REFUSALS)
def test_the_same_refusal_of_many_rows_stops_the_run(say: Any) -> None:
    """20 rows in a row, refused alike: it is not the rows, and none is filed."""
    played = Played()
    for row in range(19):
        decision = played.fail(replace(ROW, message=say(row)), row)
        assert isinstance(decision, GiveUp)
        assert decision.suspect
    decision = played.fail(replace(ROW, message=say(19)), 19)
    assert isinstance(decision, Stop)
    assert (decision.failure.kind, decision.failure.code) == (FailureKind.RUN, "systemic")
    assert decision.failure.message.startswith("20 rows in a row were refused alike")


def test_refusals_that_are_not_the_same_are_the_rows_own() -> None:
    """Other words, another status, one row again and again, or a success between them."""

    def other_words(played: Played, row: int) -> Decision:
        return played.fail(replace(ROW, message="abcdefghijklmnopqrstuvwxyz"[: row % 9 + 1]), row)

    def other_status(played: Played, row: int) -> Decision:
        return played.fail(replace(ROW, status=400 + row % 2 * 22), row)

    def one_row(played: Played, row: int) -> Decision:
        return played.fail(ROW, 0)

    def successes(played: Played, row: int) -> Decision:
        if row % 19 == 18:
            played.succeed()
        return played.fail(ROW, row)

    for play in (other_words, other_status, one_row, successes):
        played = Played()
        assert all(isinstance(play(played, row), GiveUp) for row in range(200)), play.__name__


def test_waiting_does_not_break_a_row_of_refusals() -> None:
    """A 429 between two refusals says nothing about them."""
    played = Played()
    for row in range(19):
        played.fail(ROW, row)
        played.fail(THROTTLE, 1000 + row)
    assert isinstance(played.fail(ROW, 19), Stop)


def test_a_poisonous_row_is_set_aside_early() -> None:
    """3 failures while 50 others were answered: the budget is not spent on it."""
    played = Played()
    for _ in range(2):
        assert isinstance(played.fail(TRANSIENT), Retry)
        played.succeed(25)
    decision = played.fail(TRANSIENT)
    assert isinstance(decision, GiveUp)
    assert (decision.failure.code, decision.failure.attempts) == ("poison", 3)


@pytest.mark.parametrize(("failures", "others"), [(2, 500), (4, 49)])
def test_a_row_is_no_poison_before_its_time(failures: int, others: int) -> None:
    """Neither with fewer failures nor with fewer successes beside it."""
    played = Played()
    played.succeed(1000)
    played.fail(TRANSIENT)
    played.succeed(others)
    for _ in range(failures - 1):
        assert isinstance(played.fail(TRANSIENT), Retry)


def test_an_outage_is_not_amplified() -> None:
    """Retries that come by themselves are at most the burst; the rest wait for a sign of life."""
    played = Played(left=None)
    decisions = [played.fail(TRANSIENT, row) for row in range(500)]
    assert all(isinstance(decision, Retry) for decision in decisions[:50])
    assert decisions[50:] == [Defer()] * 450
    assert played.policy.retries == {FailureKind.TRANSIENT: 500}
    played.succeed(11)
    after = [played.fail(TRANSIENT, 1000 + row) for row in range(10)]
    assert sum(isinstance(decision, Retry) for decision in after) == 2


def test_while_nothing_is_answered_no_row_pays() -> None:
    """Without credit a failure costs an attempt only where others were answered since the last."""
    played = Played(RetrySettings(retry_burst=0), left=None)
    played.succeed()
    assert played.fail(TRANSIENT) == Defer()
    assert played.rows[0].charged == 1, "others were answered: it may be this row"
    for _ in range(20):
        played.now += 15.0
        assert played.fail(TRANSIENT) == Defer()
    assert (played.rows[0].charged, played.rows[0].sent) == (1, 21)
    for charged in (2, 3, 4):
        played.succeed()
        assert played.fail(TRANSIENT) == Defer()
        assert played.rows[0].charged == charged
    played.succeed()
    assert isinstance(played.fail(TRANSIENT), GiveUp)


def test_a_server_that_fails_everything_stops_the_run() -> None:
    """After `wait_ready` seconds in which retries waited and nothing was answered."""
    played = Played(RetrySettings(retry_burst=0))
    assert played.fail(TRANSIENT) == Defer()
    played.now += SETTINGS.wait_ready - 1
    assert played.fail(BAD, 1) == Defer()
    played.now += 1
    decision = played.fail(TRANSIENT)
    assert isinstance(decision, Stop)
    assert decision.failure.message == "nothing but failures for 900 s: m"
    assert type(run_error(decision.failure)).__name__ == "UnavailableError"
    assert all(tries.charged == 0 for tries in played.rows.values())


def test_the_last_few_are_not_spared() -> None:
    """With no more rows to come they pay, and wait for long where there is no credit."""
    played = Played(RetrySettings(retry_burst=2))
    tries = Tries(0)
    decisions = [
        played.policy.decide(TRANSIENT, tries, now=0.0, elapsed=1.0, left=2) for _ in range(5)
    ]
    waits = [decision.delay for decision in decisions if isinstance(decision, Retry)]
    assert all(30 <= delay <= 60 for delay in waits[2:])
    assert len(waits) == 4
    assert isinstance(decisions[-1], GiveUp)


@pytest.mark.parametrize("answered", [False, True])
def test_many_that_are_left_are_spared_for_a_while(answered: bool) -> None:
    """Then they pay, where others were answered before; where none ever was, the run stops."""
    played = Played(RetrySettings(retry_burst=0))
    if answered:
        played.succeed()
    played.fail(TRANSIENT)
    for row in range(10):
        decision = played.policy.decide(
            TRANSIENT, Tries(row), now=played.now + 899, elapsed=1.0, left=10
        )
        assert decision == Defer()
    tries = Tries(0)
    decision = played.policy.decide(TRANSIENT, tries, now=played.now + 900, elapsed=1.0, left=10)
    assert isinstance(decision, Retry if answered else Stop)
    assert tries.charged == answered


def test_an_outage_is_known_as_one() -> None:
    """From the first retry that waits to the next answer."""
    played = Played(RetrySettings(retry_burst=1), left=None)
    seen = []
    for step in (lambda: played.fail(TRANSIENT), lambda: played.fail(TRANSIENT), played.succeed):
        step()
        seen.append(played.policy.is_failing)
    assert seen == [False, True, False]


@pytest.mark.parametrize("failure", [TRANSIENT, AWAY])
@pytest.mark.parametrize("sign", ["an answer", "a rest"])
def test_an_outage_is_measured_anew(failure: Failure, sign: str) -> None:
    """After an answer, and after a time in which nothing was asked for."""
    played = Played(RetrySettings(retry_burst=0), left=None)
    played.fail(failure)
    played.now += SETTINGS.wait_ready
    if sign == "an answer":
        played.succeed()
    else:
        played.policy.rested()
    assert isinstance(played.fail(failure), Retry | Defer)
    played.now += SETTINGS.wait_ready
    assert isinstance(played.fail(failure), Stop)


def test_a_deferred_retry_asks_for_a_stream_too() -> None:
    """A gateway's ceiling is got around, whenever the retry comes."""
    late = replace(TRANSIENT, status=504)
    assert Played(RetrySettings(retry_burst=0)).fail(late, elapsed=60.0) == Defer(stream=True)


def test_credit_does_not_pile_up() -> None:
    """A million good answers buy no more than one burst."""
    played = Played()
    played.succeed(100_000)
    delays = [d.delay for row in range(200) if isinstance(d := played.fail(TRANSIENT, row), Retry)]
    assert sum(delay < 30 for delay in delays) == 50


@pytest.mark.parametrize("status", [502, 504, 520, 523])
def test_a_gateway_with_nothing_behind_it_is_an_outage(status: int) -> None:
    """Fast failures of a gateway without a recent success cost no row anything."""
    gateway = replace(TRANSIENT, status=status, code="bad_gateway")
    played = Played()
    assert played.fail(gateway) == Retry(0.0)
    played.succeed()
    assert played.fail(gateway, 1) != Retry(0.0)
    assert (played.rows[0].charged, played.rows[1].charged) == (0, 1)
    played.now += 31.0
    assert played.fail(gateway, 2) == Retry(0.0)
    assert played.rows[2].charged == 0
    played.fail(gateway, 3, elapsed=60.0)
    assert played.rows[3].charged == 1


@pytest.mark.parametrize("status", [504, 524])
def test_a_gateways_ceiling_is_got_around_with_a_stream(status: int) -> None:
    """A timeout after long work asks for a stream; a quick one does not."""
    late = replace(TRANSIENT, status=status)
    decision = Played().fail(late, elapsed=60.0)
    assert isinstance(decision, Retry)
    assert decision.stream
    played = Played()
    played.succeed()
    decision = played.fail(late, elapsed=1.0)
    assert isinstance(decision, Retry)
    assert not decision.stream
    decision = Played().fail(TRANSIENT, elapsed=60.0)
    assert isinstance(decision, Retry)
    assert not decision.stream


def test_a_model_that_is_gone_after_it_answered_is_waited_for() -> None:
    """A 404 before the first answer is a wrong name; after one, the endpoint is being replaced."""
    gone = fail(FailureKind.RUN, status=404, code="not_found")
    assert isinstance(Played().fail(gone), Stop)
    played = Played()
    played.succeed()
    assert played.fail(gone) == Retry(0.0)
    played.now += SETTINGS.wait_ready
    decision = played.fail(gone)
    assert isinstance(decision, Stop)
    assert type(run_error(decision.failure)).__name__ == "UnavailableError"


DISMISSED = replace(THROTTLE, retryable=False)


def test_many_rows_told_not_to_retry_stop_the_run() -> None:
    """20 of them in a row; a success between starts the count anew."""
    played = Played()
    for row in range(19):
        assert isinstance(played.fail(DISMISSED, row), Retry)
    played.succeed()
    for row in range(19):
        assert isinstance(played.fail(DISMISSED, row), Retry)
    assert isinstance(played.fail(DISMISSED, 19), Stop)
    assert all(tries.charged == 0 for tries in played.rows.values())


def test_one_row_told_not_to_retry_is_not_asked_for_ever() -> None:
    """Alone it ends the run; where others are answered meanwhile, it alone fails."""
    decision, delays = Played().exhaust(DISMISSED)
    assert isinstance(decision, Stop)
    assert len(delays) == 19
    assert max(delays) <= 60.0
    played = Played()
    decision = played.fail(DISMISSED)
    for _ in range(19):
        assert isinstance(decision, Retry)
        played.succeed()
        decision = played.fail(DISMISSED)
    assert isinstance(decision, GiveUp)


def test_retries_are_counted_by_kind() -> None:
    """What the statistics show is what was decided."""
    played = Played()
    played.fail(TRANSIENT)
    played.fail(THROTTLE)
    played.fail(THROTTLE)
    played.fail(ROW)
    assert played.policy.retries == {FailureKind.TRANSIENT: 1, FailureKind.THROTTLE: 2}
    assert played.policy.successes == 0


def test_equal_histories_have_equal_verdicts() -> None:
    """Nothing but the arguments and the generator's seed decides."""
    history = [TRANSIENT, THROTTLE, BAD, TRANSIENT, AWAY, TRANSIENT]
    played, again = Played(seed=7), Played(seed=7)
    assert [played.fail(f) for f in history] == [again.fail(f) for f in history]


def test_answers_that_were_on_their_way_prove_nothing() -> None:
    """What began before a row failed, and is answered after it, neither charges nor condemns it."""
    played = Played(RetrySettings(retry_burst=0), left=None)
    assert played.fail(TRANSIENT, elapsed=0.0) == Defer()
    assert played.rows[0].charged == 0
    for _ in range(500):
        played.policy.succeeded(played.now + 1.0, began=played.now - 1.0)
    assert played.fail(TRANSIENT) == Defer()
    assert played.rows[0].charged == 0
    played.succeed()
    assert played.fail(TRANSIENT) == Defer()
    assert played.rows[0].charged == 1


def test_no_poison_by_answers_that_were_on_their_way() -> None:
    """Three failures, and fifty answers to what was asked before the first."""
    played = Played()
    assert isinstance(played.fail(TRANSIENT), Retry)
    for _ in range(500):
        played.policy.succeeded(played.now, began=played.now - 1.0)
    assert all(isinstance(played.fail(TRANSIENT), Retry) for _ in range(3))


def test_no_row_fails_for_good_in_an_outage() -> None:
    """Its last attempt is spared until something was answered that was asked later."""
    played = Played(left=None)
    verdicts = [played.fail(TRANSIENT) for _ in range(9)]
    assert all(isinstance(verdict, Retry) for verdict in verdicts[:4])
    assert verdicts[4:] == [Defer()] * 5
    played.succeed()
    assert isinstance(played.fail(TRANSIENT), GiveUp)
