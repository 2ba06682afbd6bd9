"""The verdict on each failure, with a clock that the test drives."""

from __future__ import annotations

import random
from dataclasses import replace
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

    def seen(self, failure: Failure, elapsed: float = 1.0) -> Failure:
        return self.policy.evidence.in_context(failure, now=self.now, elapsed=elapsed)

    def fail(self, failure: Failure, row: int = 0, elapsed: float = 1.0) -> Decision:
        self.now += MOMENT
        tries = self.rows.setdefault(row, Tries(row))
        seen = self.seen(failure, elapsed)
        return self.policy.decide(seen, tries, now=self.now, elapsed=elapsed, left=self.left)

    def settle(self, decision: Decision, *, answered: bool, row: int = 0) -> Decision:
        assert isinstance(decision, Hold)
        return self.policy.settled(decision.failure, self.rows[row], answered=answered)

    def end_alone(self, failure: Failure) -> Decision:
        """Fail with nothing else under way until the verdict is final."""
        decision: Decision = Retry(0.0)
        while isinstance(decision, Retry):
            self.now += 2.0
            decision = self.fail(failure)
            if isinstance(decision, Hold):
                decision = self.settle(decision, answered=False)
        return decision

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
        played.succeed()
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
def test_what_no_row_can_change_stops_at_once(kind: FailureKind) -> None:
    """A certificate that cannot be verified, a full disk."""
    assert isinstance(Played().fail(fail(kind)), Stop)


REFUSED = [
    fail(FailureKind.RUN, status=status, code=code)
    for status, code in (
        (301, "redirect"), (402, "no_credit"), (403, "forbidden"), (404, "not_found"),
        (405, "not_found"), (407, "proxy_auth"), (410, "not_found"), (451, "forbidden"),
        (501, "unsupported"), (200, "forbidden"),
    )
]  # fmt: skip
OTHERS_OWN = [failure for failure in REFUSED if failure.status not in {402, 407}]
ids = [f"{failure.status}-{failure.code}" for failure in REFUSED]
others_ids = [f"{failure.status}-{failure.code}" for failure in OTHERS_OWN]


@pytest.mark.parametrize("refused", REFUSED, ids=ids)
def test_a_refusal_of_the_run_is_held_back(refused: Failure) -> None:
    """It may be the row's. With nothing else under way, and never an answer, it is the run's."""
    played = Played()
    decision = played.fail(refused)
    assert decision == Hold(refused.after(1))
    assert played.settle(decision, answered=False) == Stop(refused.after(1))


@pytest.mark.parametrize("refused", OTHERS_OWN, ids=others_ids)
def test_a_refusal_that_repeats_while_others_are_answered_is_the_rows(refused: Failure) -> None:
    """Asked again once another was answered, and refused again, it has failed, in those words."""
    played = Played()
    decision = played.fail(refused)
    played.now += 1.0
    played.succeed()
    assert played.settle(decision, answered=True) == Retry(0.0)
    verdict = played.fail(refused)
    assert isinstance(verdict, GiveUp)
    assert not verdict.suspect
    assert (verdict.failure.kind, verdict.failure.code) == (FailureKind.ROW, refused.code)
    assert verdict.failure.message.startswith("m")
    assert verdict.failure.hint is None


@pytest.mark.parametrize("refused", OTHERS_OWN, ids=others_ids)
def test_many_rows_refused_alike_are_the_runs(refused: Failure) -> None:
    """20 in a row without an answer; a success between them starts the count anew."""
    played = Played()
    assert all(isinstance(played.fail(refused, row), Hold) for row in range(19))
    assert isinstance(played.fail(refused, 19), Stop)
    again = Played()
    for row in range(19):
        again.fail(refused, row)
    again.now += 100.0
    again.succeed()
    rest = [again.fail(refused, row) for row in range(100, 108)]
    assert all(isinstance(decision, Hold) for decision in rest)


@pytest.mark.parametrize("refused", OTHERS_OWN[1:2] + OTHERS_OWN[3:], ids=lambda f: f.code)
def test_the_last_row_that_is_refused_alone_is_the_rows(refused: Failure) -> None:
    """Others were answered before it: it is asked about once more and fails, and no run ends."""
    played = Played()
    played.succeed()
    first = played.fail(refused)
    assert played.settle(first, answered=False) == Retry(2.0)
    played.now += 2.0
    second = played.fail(refused)
    verdict = played.settle(second, answered=False)
    assert isinstance(verdict, GiveUp)
    assert verdict.failure.kind is FailureKind.ROW


def test_a_resumed_run_does_not_stop_at_the_same_row_for_ever() -> None:
    """What was answered before the resume counts: the one row that is left fails, and is known."""
    history = PoolHistory(50.0, answered_before=True)
    policy = RetryPolicy(SETTINGS, rng=random.Random(0), history=history)
    forbidden = fail(FailureKind.RUN, status=403, code="forbidden")
    tries = Tries(0)
    for answer in (Retry(2.0), GiveUp):
        held = policy.decide(forbidden, tries, now=0.0, elapsed=0.1)
        assert isinstance(held, Hold)
        verdict = policy.settled(held.failure, tries, answered=False)
        assert verdict == answer or isinstance(verdict, GiveUp)
    assert isinstance(verdict, GiveUp)


@pytest.mark.parametrize(("answers", "hint"), [(0, "Give another key."), (1, None)])
def test_the_last_rows_of_a_resumed_run_keep_the_hint(answers: int, hint: str | None) -> None:
    """Unless this process was answered, too: a key may have expired before the resume."""
    played = Played()
    played.policy.history.note_answered(8)
    played.succeed(answers)
    refused = fail(FailureKind.RUN, status=403, code="forbidden", hint="Give another key.")
    decision = played.end_alone(refused)
    assert isinstance(decision, GiveUp)
    assert decision.failure.hint == hint


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (402, "no_credit"),
                                               (407, "proxy_auth")])  # fmt: skip
def test_the_last_rows_of_a_resumed_run_do_not_fail_for_a_key(status: int, code: str) -> None:
    """Nothing was answered in this process: the key or the credit is gone, and no row is bad."""
    played = Played()
    played.policy.history.note_answered(8)
    refused = fail(FailureKind.RUN, status=status, code=code)
    decision = played.end_alone(refused)
    assert isinstance(decision, Stop)
    assert decision.failure.code == code


@pytest.mark.parametrize("status", [402, 403])
def test_the_last_row_of_a_resumed_run_that_costs_more_than_is_left_fails(status: int) -> None:
    """It would stop each resume, though there is credit; three such rows stop the run."""
    played = Played()
    played.policy.history.note_answered(8)
    refused = fail(FailureKind.RUN, status=status, code="too_expensive", hint="Raise it.")
    decision = played.end_alone(refused)
    assert isinstance(decision, GiveUp)
    assert decision.failure.hint == "Raise it."
    assert isinstance([played.fail(refused, row) for row in (1, 2)][-1], Stop)


@pytest.mark.parametrize("code", ["no_credit", "too_expensive", "proxy_auth"])
def test_what_is_about_the_account_stops_sooner(code: str) -> None:
    """Three rows in a row, or one with no answer before it since nothing was under way."""
    refused = fail(FailureKind.RUN, status=402, code=code)
    played = Played()
    decisions = [played.fail(refused, row) for row in range(3)]
    assert [type(decision) for decision in decisions] == [Hold, Hold, Stop]
    late = Played()
    late.succeed()
    late.policy.history.rested()
    assert isinstance(late.settle(late.fail(refused), answered=False), Stop)


@pytest.mark.parametrize("status", [401, 402, 407])
def test_one_row_of_many_whose_account_is_refused_has_failed(status: int) -> None:
    """Refused again with nothing else under way, where others were answered: no run stops there."""
    refused = fail(FailureKind.RUN, status=status, code="x")
    played = Played()
    played.succeed()
    decision: Decision = Retry(0.0)
    for _ in range(4):
        decision = played.fail(refused)
        if isinstance(decision, Hold):
            decision = played.settle(decision, answered=False)
        assert isinstance(decision, Retry | GiveUp)
        played.now += 2.0
        if isinstance(decision, GiveUp):
            break
    assert isinstance(decision, GiveUp)
    assert decision.failure.kind is FailureKind.ROW


@pytest.mark.parametrize(
    ("kind", "status"),
    [(FailureKind.ROW, 400), (FailureKind.ROW, 422), (FailureKind.RUN, 501),
     (FailureKind.TRANSIENT, 500)],
)  # fmt: skip
def test_several_answers_at_once_that_a_server_refuses_end_no_run(
    kind: FailureKind, status: int
) -> None:
    """However many rows meet it first: they are asked for one by one."""
    refused = fail(kind, "n > 1 is not supported", status=status, parameter="n")
    played = Played(left=None)
    verdicts = [played.fail(refused, row) for row in range(60)]
    assert all(isinstance(verdict, GiveUp) and not verdict.suspect for verdict in verdicts)


def test_calls_of_a_row_each_are_told_that_the_account_is_refused() -> None:
    """Rows that are asked for one by one never come three alike: after six refusals, it stops."""
    refused = fail(FailureKind.RUN, status=402, code="no_credit")
    played = Played()
    assert [type(played.fail(refused)) for _ in range(6)] == [*[Hold] * 5, Stop]


@pytest.mark.parametrize(
    "denied", [DENIED, replace(DENIED, status=200), replace(DENIED, code=None)]
)
def test_a_rejected_token_is_asked_about_once_more(denied: Failure) -> None:
    """A gateway that flaps does not end a run: rejections of three rows, 2 seconds apart, do."""
    played = Played()
    assert played.fail(denied) == Retry(2.0, alone=True)
    assert played.fail(denied, row=1) == Retry(2.0, alone=True)
    played.now += 1.9
    assert isinstance(played.fail(denied, row=2), Retry)
    played.now += 0.1
    assert isinstance(played.fail(denied), Stop)
    assert all(tries.charged == 0 for tries in played.rows.values())


def test_a_rejected_token_of_one_row_alone() -> None:
    """Rejected again with nothing else under way, it is believed."""
    played = Played()
    assert played.fail(DENIED) == Retry(2.0, alone=True)
    played.now += 2.0
    decision = played.fail(DENIED)
    assert isinstance(decision, Hold)
    assert isinstance(played.settle(decision, answered=False), Stop)


def test_a_token_that_is_accepted_again_was_never_rejected() -> None:
    """A success between two rejections makes the second a first one."""
    played = Played()
    played.fail(DENIED)
    played.now += 2.0
    played.succeed()
    assert isinstance(played.fail(DENIED), Retry)


def test_one_row_whose_token_is_rejected_while_others_are_answered_has_failed() -> None:
    """Three times, as gateways flap; and it stops nobody else again."""
    played = Played()
    for _ in range(2):
        assert played.fail(DENIED) == Retry(2.0, alone=True)
        played.now += 2.0
        played.succeed()
    verdict = played.fail(DENIED)
    assert isinstance(verdict, GiveUp)
    assert verdict.failure.kind is FailureKind.ROW
    assert isinstance(played.fail(DENIED, row=7), Hold)


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
    assert played.policy.history.retries == {FailureKind.TRANSIENT: 500}
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


def test_a_probe_before_its_time_costs_the_last_few_nothing() -> None:
    """Unless others were answered meanwhile: then it is the row that fails."""
    for others, charged in ((False, 2), (True, 3)):
        played = Played(RetrySettings(retry_burst=1), left=1)
        assert isinstance(played.fail(TRANSIENT), Retry)
        played.now += 1.0
        waits = played.fail(TRANSIENT, elapsed=0.1)
        assert isinstance(waits, Retry)
        assert waits.or_answered
        played.now += 5.0
        if others:
            played.succeed()
        again = played.fail(TRANSIENT, elapsed=0.1)
        assert isinstance(again, Retry)
        assert played.rows[0].charged == charged
        assert again.or_answered is not others
        assert others or again.delay == pytest.approx(waits.delay - 5.0, abs=0.01)


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
        played.policy.decide(TRANSIENT, tries, now=61.0 * n, elapsed=1.0, left=2) for n in range(5)
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
        seen.append(played.policy.history.is_failing)
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
        played.policy.history.rested()
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
    assert isinstance(Played().fail(gone), Hold)
    played = Played(left=None)
    played.succeed()
    assert all(isinstance(played.fail(gone, row), Hold) for row in range(8))
    assert played.fail(gone, 8) == Retry(0.0)
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
    assert played.policy.history.retries == {FailureKind.TRANSIENT: 1, FailureKind.THROTTLE: 2}
    assert played.policy.history.successes == 0


def test_equal_histories_have_equal_verdicts() -> None:
    """Nothing but the arguments and the generator's seed decides."""
    history = [TRANSIENT, THROTTLE, BAD, TRANSIENT, AWAY, TRANSIENT]
    played, again = Played(seed=7), Played(seed=7)
    assert [played.fail(f) for f in history] == [again.fail(f) for f in history]


def test_answers_that_were_on_their_way_prove_nothing() -> None:
    """What began before a row failed, and is answered after it, neither charges nor ends it."""
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


UNAVAILABLE_OF_ONE = replace(AWAY, message="no model for what this row needs")


def test_a_503_while_others_are_answered_is_a_refusal() -> None:
    """Whatever it says: the endpoint is there, and has enough to do. Long after, it is away."""
    played = Played()
    assert played.seen(AWAY).kind is FailureKind.UNAVAILABLE
    played.succeed()
    assert played.seen(AWAY).kind is FailureKind.THROTTLE
    played.now += 2.1
    assert played.seen(AWAY).kind is FailureKind.UNAVAILABLE


@pytest.mark.parametrize(("latency", "longest"), [(0.1, 2.0), (20.0, 30.0), (600.0, 60.0)])
def test_how_recent_an_answer_counts(latency: float, longest: float) -> None:
    """Answers that take long come at long intervals; no longer than a minute is waited for one."""
    played = Played()
    played.policy.succeeded(played.now, began=played.now - latency)
    since = played.now
    assert played.policy.evidence.is_answering(since + longest)
    assert not played.policy.evidence.is_answering(since + longest + 0.1)


def test_a_row_that_is_turned_away_for_ever_while_others_are_answered_has_failed() -> None:
    """After 20 times, each with another answered that was asked since the last."""
    played = Played()
    played.succeed()
    decisions = []
    for _ in range(21):
        decisions.append(played.fail(UNAVAILABLE_OF_ONE))
        played.now += 1.0
        played.succeed()
    assert all(isinstance(decision, Retry) for decision in decisions[:-1])
    assert isinstance(decisions[-1], GiveUp)
    assert decisions[-1].failure.kind is FailureKind.ROW


REFUSED_ALONE = replace(THROTTLE, message="this one is not welcome")


@pytest.mark.parametrize(("asked", "times"), [(None, 21), (4.9, 21), (5.0, 6), (60.0, 6)])
def test_a_row_that_alone_is_refused_has_failed(asked: float | None, times: int) -> None:
    """A 429 in whatever words; sooner if all have waited as long as the server asked."""
    played = Played(left=None)
    decisions: list[Decision] = []
    while not decisions or isinstance(decisions[-1], Retry):
        decisions.append(played.fail(replace(REFUSED_ALONE, retry_after=asked)))
        played.now += 1.0
        played.succeed(4)
    assert len(decisions) == times
    assert isinstance(decisions[-1], GiveUp)
    assert decisions[-1].failure.kind is FailureKind.ROW


def test_a_row_that_is_refused_as_others_are_waits() -> None:
    """With a refusal of another for every three answers it is luck, and no row's failure."""
    played = Played(left=None)
    for row in range(1, 200):
        assert isinstance(played.fail(REFUSED_ALONE), Retry)
        played.succeed(3)
        assert isinstance(played.fail(THROTTLE, row), Retry)


def test_a_row_that_several_endpoints_refuse_as_others_waits() -> None:
    """Refusals of all endpoints of a pool count, whichever of them has had more before."""
    history = PoolHistory(50.0)
    busy, quiet = (RetryPolicy(SETTINGS, rng=random.Random(0), history=history) for _ in range(2))
    row, others, now = Tries(0), Tries(1), 100.0

    def refuse(policy: RetryPolicy, tries: Tries) -> None:
        assert isinstance(policy.decide(THROTTLE, tries, now=now, elapsed=0.5), Retry)

    for _ in range(100):
        refuse(busy, others)
    for _ in range(50):
        for policy in (busy, quiet):
            refuse(policy, row)
            for other in (busy, quiet):
                now += 1.0
                refuse(other, Tries(2))
                other.succeeded(now, began=now)


@pytest.mark.parametrize(("passed", "long"), [(0, 900.0), (3, 10.0)])
@pytest.mark.parametrize("left", [19, 20, None])
def test_a_few_rows_that_are_refused_at_the_end_do_not_keep_a_run(
    left: int | None, passed: int, long: float
) -> None:
    """They fail after `wait_ready`, or soon if they were refused while others were answered."""
    played = Played(left=left)
    for _ in range(passed + 1):
        played.succeed()
        assert isinstance(played.fail(REFUSED_ALONE), Retry)
    played.now += long - 0.001
    assert isinstance(played.fail(REFUSED_ALONE), Retry)
    played.now += 0.001
    verdict = played.fail(REFUSED_ALONE)
    assert isinstance(verdict, GiveUp if left == 19 else Retry)


@pytest.mark.parametrize(("takes", "long"), [(1.0, 10.0), (30.0, 120.0), (3000.0, 900.0)])
def test_a_slow_full_server_is_given_the_time_of_a_few_answers(takes: float, long: float) -> None:
    """That nobody is answered for as long as an answer takes does not show that nobody will be."""
    played = Played(left=2)
    for _ in range(4):
        played.now += takes + 0.1
        played.policy.succeeded(played.now, began=played.now - takes)
        assert isinstance(played.fail(REFUSED_ALONE), Retry)
    played.now += long - 0.1
    assert isinstance(played.fail(REFUSED_ALONE), Retry)
    played.now += 0.2
    assert isinstance(played.fail(REFUSED_ALONE), GiveUp)


def test_an_endpoint_that_has_only_ever_refused_is_waited_for() -> None:
    """However few rows there are: nothing shows that it is they."""
    played = Played()
    for _ in range(50):
        assert isinstance(played.fail(REFUSED_ALONE), Retry)
        played.now += 900.0


def test_a_row_that_is_turned_away_beside_answers_that_were_under_way_waits() -> None:
    """They were asked before it, and show nothing."""
    played = Played()
    for _ in range(100):
        played.policy.succeeded(played.now, began=played.now - 50.0)
        assert isinstance(played.fail(UNAVAILABLE_OF_ONE), Retry)
        played.now += 1.0


@pytest.mark.parametrize(("left", "ends"), [(19, GiveUp), (20, Stop), (None, Stop)])
@pytest.mark.parametrize("status", [404, 503])
def test_a_few_rows_left_over_do_not_end_a_run(left: int | None, ends: type, status: int) -> None:
    """First turned away while others were answered, and then for as long as is waited."""
    gone = fail(FailureKind.RUN, status=404, code="not_found")
    turned = AWAY if status == 503 else gone
    played = Played(left=left)
    played.policy.succeeded(played.now, began=played.now - 1.0)
    if status == 503:
        assert isinstance(played.fail(turned, elapsed=0.5), Retry)
    played.now += 100.0
    assert isinstance(played.fail(turned, elapsed=100.5), Retry)
    played.now += SETTINGS.wait_ready
    assert isinstance(played.fail(turned), ends)


def test_rows_that_came_after_the_last_answer_wait_for_the_endpoint() -> None:
    """Nothing shows that it is about them: an outage as the run's last rows begin ends the run."""
    played = Played(left=2)
    played.succeed()
    played.now += 1.0
    assert isinstance(played.fail(AWAY, elapsed=0.5), Retry)
    played.now += SETTINGS.wait_ready
    assert isinstance(played.fail(AWAY), Stop)


@pytest.mark.parametrize("code", ["context_length_exceeded", "content_filter", "too_large"])
def test_what_is_about_one_prompt_beyond_doubt_is_the_rows(code: str) -> None:
    """However many come first, and whatever else they are refused with."""
    played = Played()
    for row in range(100):
        decision = played.fail(replace(ROW, code=code), row)
        assert isinstance(decision, GiveUp)
        assert not decision.suspect


NEVER = fail(FailureKind.TRANSIENT, "image input is not supported", status=500, code="server_error")


def hopeless(played: Played, failure: Failure, rows: int = 20) -> Decision:
    for row in range(rows):
        played.fail(replace(failure, message=f"{failure.message} {row}"), row)
    for row in range(rows - 1):
        played.fail(replace(failure, message=f"{failure.message} {row}"), row)
    played.now += SETTINGS.hopeless_after
    return played.fail(replace(failure, message=f"{failure.message} 5"), rows - 1)


NO_ANSWER = fail(
    FailureKind.BAD_RESPONSE, "an error inside a 200: AppIdNoAuth", status=200, code="unusable"
)


@pytest.mark.parametrize("failure", [NEVER, NO_ANSWER], ids=["a 500", "a 200"])
def test_an_error_that_can_never_pass_ends_the_run(failure: Failure) -> None:
    """20 rows, each again, in the same words, and never an answer: the run ends with the words."""
    decision = hopeless(Played(left=None), failure)
    assert isinstance(decision, Stop)
    assert (decision.failure.kind, decision.failure.code) == (FailureKind.RUN, "systemic")
    assert f"refused alike: {failure.message}" in decision.failure.message


@pytest.mark.parametrize(
    "words",
    ["Internal Server Error", "HTTP 500", "Internal Server Error: server_error",
     "An unexpected error occurred. Please try again later", "500"],
)  # fmt: skip
def test_an_error_that_says_nothing_is_an_outage(words: str) -> None:
    """It is waited for, as it may pass."""
    decision = hopeless(Played(left=None), replace(NEVER, message=words))
    assert isinstance(decision, Retry | Defer)


def test_an_error_after_an_answer_is_an_outage() -> None:
    """What was answered before can be answered again."""
    played = Played(left=None)
    played.succeed()
    assert isinstance(hopeless(played, NEVER), Retry | Defer)


def test_errors_in_one_burst_or_of_few_rows_end_nothing() -> None:
    """Ten seconds have to pass, and twenty rows to be refused."""
    played = Played(RetrySettings(hopeless_after=0.001), left=None)
    assert isinstance(hopeless(played, NEVER, rows=19), Retry | Defer)
    played = Played(left=None)
    decisions = [played.fail(NEVER, row % 20) for row in range(80)]
    assert not any(isinstance(decision, Stop) for decision in decisions)


def test_a_row_that_fails_before_the_first_answer_is_suspected() -> None:
    """Its attempts are spent, and every row may fail so."""
    decision, _ = Played().exhaust(NEVER)
    assert isinstance(decision, GiveUp)
    assert decision.suspect


@pytest.mark.parametrize(("left", "ends"), [(1, GiveUp), (20, Stop)])
def test_the_few_rows_of_a_resumed_run_do_not_stop_it_for_ever(left: int, ends: type) -> None:
    """Nothing is answered to them for as long as is waited: they fail, and can be asked again."""
    policy = RetryPolicy(SETTINGS, rng=random.Random(0))
    policy.history.note_answered(100)
    tries = Tries(0)
    policy.decide(AWAY, tries, now=0.0, elapsed=0.1, left=left)
    verdict = policy.decide(AWAY, tries, now=SETTINGS.wait_ready, elapsed=0.1, left=left)
    assert isinstance(verdict, ends)


def test_what_does_not_answer_at_all_is_no_row_s() -> None:
    """A connection that is refused says nothing about a row, in a resumed run neither."""
    policy = RetryPolicy(SETTINGS, rng=random.Random(0))
    policy.history.note_answered(100)
    tries, refused = Tries(0), fail(FailureKind.UNAVAILABLE, code="refused")
    policy.decide(refused, tries, now=0.0, elapsed=0.1, left=1)
    verdict = policy.decide(refused, tries, now=SETTINGS.wait_ready, elapsed=0.1, left=1)
    assert isinstance(verdict, Stop)
