"""What to do after a failed attempt. Pure: clock readings and randomness are arguments.

What answers and failures show is in `evidence.py`; what follows from it is decided here.

Rules
- Only failures that a row can cause use up its attempts. Overload, outages, money and
  authentication never do: but a row that is turned away again and again, while others are not,
  has failed.
- Retries that come at once are at most a share of the successes plus a burst. The others wait for
  a sign of life, and while nothing is answered at all no row pays for it: an outage is neither
  amplified nor recorded. One that lasts ends the run.
- Whose failure a refusal is, others show. A refusal of the row (400) or of the run (403, 404, a
  redirect) is held back. If another is answered that was asked later, and this one is refused
  again, the row has failed; if many rows are refused alike and none is answered, the run stops and
  no row is recorded as failed (the systemic rule). What is about one prompt beyond doubt (too
  long, filtered) is the row's at once.
- What is about the account (401, 402, 407) ends a run sooner: a few rows alike, or one before the
  first answer.
- One row that keeps failing while many others succeed is set aside early (the poison rule).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final, assert_never

from distilabel_endpoints._engine.evidence import (
    ERRORS,
    GATEWAY_AGE,
    Evidence,
    PoolHistory,
    Tries,
)
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints.records import SURELY_THE_ROWS, Failure, FailureKind

__all__ = [
    "Decision",
    "Defer",
    "GiveUp",
    "Hold",
    "Retry",
    "RetryPolicy",
    "Stop",
]


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay` seconds; the rest is what to ask for this time."""

    delay: float
    alone: bool = False
    """Until then no other request is to be sent."""
    stream: bool = False
    """For a stream."""
    lenient: bool = False
    """For an answer even if it is not UTF-8."""
    or_answered: bool = False
    """Or as soon as something else is answered."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Try again when something has been answered; the rest as for `Retry`."""

    stream: bool = False
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The row has failed. `suspect`: hold the verdict back, it may be everybody's failure."""

    failure: Failure
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """No row can be answered: the run ends."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Hold:
    """The run may be refused, or this row: wait for what others show, then ask `settled`."""

    failure: Failure


Decision = Retry | Defer | GiveUp | Hold | Stop


# Tries without fault that follow at once, and the longest a request then stands back, in seconds.
_AT_ONCE: Final = 2
_LONGEST_STANDBACK: Final = 5.0
_THE_ACCOUNTS: Final = frozenset({"unauthorized", "no_credit", "too_expensive", "proxy_auth"})
_ACCOUNT_STATUSES: Final = frozenset({401, 402, 407})


class RetryPolicy:
    """The verdict on each failure of one endpoint.

    Args:
        settings: the bounds.
        rng: for jitter.
        history: of the pool that the endpoint is in.
    """

    def __init__(
        self, settings: RetrySettings, *, rng: random.Random, history: PoolHistory | None = None
    ) -> None:
        self._settings = settings
        self._rng = rng
        self.history = history or PoolHistory(settings.retry_burst)
        """What all endpoints of the pool have been through."""
        self.evidence = Evidence(settings, self.history)
        """What this endpoint's answers and failures show."""
        self._few_left = False
        self.spares_none = False
        """Whether the rows that are left pay for failures, whatever befalls others."""

    def succeeded(self, now: float, *, began: float) -> None:
        """An attempt was answered: that buys a part of a retry."""
        history, settings = self.history, self._settings
        history.credit = min(settings.retry_burst, history.credit + settings.retry_share)
        self.evidence.answered(now, began=began)

    def decide(
        self,
        failure: Failure,
        tries: Tries,
        *,
        now: float,
        elapsed: float,
        left: int | None = None,
    ) -> Decision:
        """The verdict on one failed attempt.

        Args:
            failure: how it ended, in context.
            tries: what its request has been through.
            now: when it ended.
            elapsed: how long it took, in seconds.
            left: how many requests are under way, if no others are to come. A few are not
                worth sparing; nor are more, once the endpoint has answered others and these
                alone have failed for long: no other is left to show that it is they who fail.
        """
        tries.sent += 1
        history, settings = self.history, self._settings
        self._few_left = left is not None and left < settings.systemic_rows
        self.spares_none = left is not None and (
            left <= settings.retry_burst
            or (history.successes > 0 and history.failing_for(now) >= settings.wait_ready)
        )
        failure = failure.after(tries.sent)
        if failure.parameter == "n" and _is_refused_for_good(failure):
            return GiveUp(failure)  # who asked will ask for one by one, so it is nobody's failure
        decision = self._decide(failure, tries, now, elapsed)
        if isinstance(decision, Retry | Defer):
            history.retries[failure.kind] = history.retries.get(failure.kind, 0) + 1
        return decision

    def settled(self, failure: Failure, tries: Tries, *, answered: bool) -> Retry | GiveUp | Stop:
        """The verdict on a refusal that was held back.

        Args:
            failure: as `Hold` gave it.
            tries: what its request has been through.
            answered: whether another was answered that was asked later; if not, nothing else is
                under way that could be.
        """
        if answered:
            return Retry(0.0)
        passed = self.evidence.newest > (tries.refused_at or 0.0)
        if not passed and not self._others_were_answered(failure):
            return Stop(failure)
        if tries.refused >= self._settings.refusals_alone:
            return self._the_rows(failure)
        return Retry(self._settings.confirm_after)

    def _others_were_answered(self, failure: Failure) -> bool:
        """Others than the refused row: so recently that its refusal is its own."""
        history = self.history
        if not _is_the_accounts(failure):
            return self.evidence.has_answered
        # What answered them in an earlier process may have expired since: a key, a credit. But if
        # some credit is left, it is this request that costs more.
        lately = history.answered_lately or history.answered_by_others
        return lately or (failure.code == "too_expensive" and history.answered_before)

    def _decide(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        if failure.kind is not FailureKind.UNAVAILABLE and failure.code != "starting":
            self.history.away_since = None
        self.evidence.doubt.add(failure.code, now)
        match failure.kind:
            case FailureKind.THROTTLE:
                return self._throttled(failure, tries, now, elapsed)
            case FailureKind.UNAVAILABLE:
                return self._away(failure, tries, now, elapsed)
            case FailureKind.TRANSIENT:
                if self.evidence.is_hopeless(failure, tries, now):
                    return self._alike(failure)
                return self._charge(failure, tries, self._settings.transient_attempts, now, elapsed)
            case FailureKind.BAD_RESPONSE:
                return self._unusable(failure, tries, now, elapsed)
            case FailureKind.ROW | FailureKind.CONTENT:
                return self._refused(failure, tries, now)
            case FailureKind.RUN:
                return self._contested(failure, tries, now, elapsed)
            case FailureKind.LOCAL:
                return Stop(failure)
            case _:
                assert_never(failure.kind)

    def _throttled(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        """The limiter spaces these out; here only a demand that is too much ends the run."""
        pause = failure.retry_after or 0.0
        if pause > self._settings.longest_pause:
            return Stop(replace(failure, hint=f"The server asks for a pause of {pause:.0f} s."))
        if not failure.retryable:
            return self._dismissed(failure, tries, now)
        if failure.code == "starting" and self.history.away_since is None:
            self.history.away_since = now
        is_passed_by = self.evidence.is_passed_by(tries, now, elapsed, pause)
        if is_passed_by or self.evidence.is_refused_alone(tries, now, few_left=self._few_left):
            return self._the_rows(failure)
        return self._uncharged(tries)

    def _uncharged(self, tries: Tries) -> Retry:
        """The limiter spaces these out. A request that meets them again and again stands back by
        itself too: an endpoint that says 429 and 503 in turn closes no gate for long."""
        tries.waits += 1
        if tries.waits <= _AT_ONCE:
            return Retry(0.0)
        # The exponent is bounded, as a float overflows after 1,024 doublings.
        ceiling = self._settings.first_delay * 2.0 ** min(tries.waits - _AT_ONCE, 10)
        return Retry(self._rng.uniform(0, min(ceiling, _LONGEST_STANDBACK)))

    def _dismissed(self, failure: Failure, tries: Tries, now: float) -> Decision:
        """Told not to try again: only after a while, and not for ever."""
        tries.refusals += 1
        rows = self.evidence.streak.add(failure, tries.ordinal, now)
        if rows >= self._settings.throttle_stops:
            return Stop(failure)
        if tries.refusals < self._settings.throttle_stops:
            return Retry(self._backoff(tries.refusals))
        # This row alone has had them all; if others are answered meanwhile, it is its own.
        alone = self.evidence.streak.times >= self._settings.throttle_stops
        return Stop(failure) if alone else GiveUp(failure)

    def _away(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        if self.history.away_since is None:
            self.history.away_since = now
        if tries.turned_away is None and failure.code in {"starting", "not_found"}:
            tries.turned_away = now - elapsed
        if now - self.history.away_since >= self._settings.wait_ready:
            if self.evidence.is_left_over(tries, few_left=self._few_left):
                return self._the_rows(failure)
            waited = f"not available for {now - self.history.away_since:.0f} s: {failure.message}"
            return Stop(replace(failure, code="unavailable", message=waited))
        # A name that has never resolved is rather misspelled than away.
        if failure.code == "dns" and self.history.successes == 0:
            return (
                Stop(failure)
                if self.evidence.doubt.is_believed(now, self._settings.confirm_after)
                else Retry(self._settings.confirm_after)
            )
        return self._uncharged(tries)

    def _unusable(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        page = failure.code == "web_page"
        # The login page of a network, or a proxy: every row gets it, until somebody has logged in.
        if page and self.evidence.doubt.is_believed(now, self._settings.confirm_after):
            return Stop(failure)
        if self.evidence.is_hopeless(failure, tries, now):
            return self._alike(failure)
        decision = self._charge(failure, tries, self._settings.bad_response_attempts, now, elapsed)
        if page and isinstance(decision, Retry):
            return replace(decision, delay=max(decision.delay, self._settings.confirm_after))
        return decision

    def _contested(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        """A refusal that looks like the run's: believed when others do not show otherwise."""
        if failure.status is None:
            return Stop(failure)  # below HTTP no row makes a difference
        settings, denied = self._settings, _is_denied(failure)
        # Gateways are known to flap when they look up a key.
        if tries.refused >= (settings.refusals_alone if denied else 1) and self.evidence.newest > (
            tries.refused_at or 0.0
        ):
            return self._the_rows(failure)
        if tries.refused_at is None:
            tries.refused_at, tries.turned_away = now, now - elapsed
        tries.refused += 1
        rows = self.evidence.streak.add(failure, tries.ordinal, now)
        if denied and self.evidence.is_to_be_confirmed(failure, now):
            return Retry(settings.confirm_after, alone=True)
        most = settings.account_rows if _is_the_accounts(failure) else settings.systemic_rows
        # Calls of a row or two never have many rows alike.
        if rows >= most or self.evidence.streak.times >= 2 * most:
            return Stop(failure)
        return Hold(failure)

    def _the_rows(self, failure: Failure) -> GiveUp:
        """What looked like everybody's failure, and is this row's alone."""
        self.evidence.rows_own.add(failure.code)
        message = f"{failure.message} (other rows were answered)"
        # What answered them in an earlier process may have changed since.
        hint = None if self.history.successes else failure.hint
        return GiveUp(replace(failure, kind=FailureKind.ROW, message=message, hint=hint))

    def _refused(self, failure: Failure, tries: Tries, now: float) -> Decision:
        if failure.kind is FailureKind.CONTENT or failure.code in SURELY_THE_ROWS:
            return GiveUp(failure)
        if self.evidence.streak.add(failure, tries.ordinal, now) >= self._settings.systemic_rows:
            return self._alike(failure)
        return GiveUp(failure, suspect=True)

    def _alike(self, failure: Failure) -> Stop:
        rows = len(self.evidence.streak.ordinals)
        message = f"{rows} rows in a row were refused alike: {failure.message}"
        return Stop(replace(failure, kind=FailureKind.RUN, code="systemic", message=message))

    def _charge(
        self, failure: Failure, tries: Tries, most: int, now: float, elapsed: float
    ) -> Decision:
        """Without credit and without an answer since its last failure, a row pays nothing."""
        before = now - elapsed if tries.failed_at is None else tries.failed_at
        others = self.history.newest >= before
        tries.failed_at = now
        # A gateway gave up on a slow answer: as a stream it would see bytes before its patience
        # ends.
        stream = failure.status in {504, 524} and elapsed >= GATEWAY_AGE
        lenient = failure.code == "bad_utf8"
        later = Defer(stream=stream, lenient=lenient)
        broke = self.history.credit < 1
        innocent = not others and not self.spares_none and failure.retryable
        # What began before an outage may be short of its last attempt: it does not end in one.
        if innocent and (broke or tries.charged >= most - 1):
            return self._defer(failure, now, later)
        if not others and now < tries.waits_until:
            wait = tries.waits_until - now
            return Retry(wait, stream=stream, lenient=lenient, or_answered=True)
        tries.charged += 1
        if tries.charged == 1:
            tries.charged_at = now
        if tries.charged >= most or not failure.retryable:
            # Before the first answer, it is not known yet whether every row would fail so.
            return GiveUp(
                failure, suspect=failure.code in ERRORS and not self.evidence.has_answered
            )
        if self.evidence.is_poison(tries):
            return GiveUp(replace(failure, code="poison"))
        if broke and not self.spares_none:
            return self._defer(failure, now, later)
        pause = min(failure.retry_after or 0.0, self._settings.longest_pause)
        if not broke:
            self.history.credit -= 1
            delay = max(pause, self._backoff(tries.charged))
            return Retry(delay, stream=stream, lenient=lenient)
        # The few that are left wait for long, or for a sign of life.
        delay = max(pause, self._settings.longest_delay * self._rng.uniform(0.5, 1.0))
        is_early = not others and pause == 0.0
        tries.waits_until = now + delay if is_early else now
        return Retry(delay, stream=stream, lenient=lenient, or_answered=is_early)

    def _defer(self, failure: Failure, now: float, later: Defer) -> Decision:
        history = self.history
        if history.failing_since is None:
            history.failing_since = now
        lasted = history.failing_for(now)
        if lasted < self._settings.wait_ready:
            return later
        message = f"nothing but failures for {lasted:.0f} s: {failure.message}"
        kind = FailureKind.UNAVAILABLE
        return Stop(replace(failure, kind=kind, code="unavailable", message=message))

    def _backoff(self, charged: int) -> float:
        """Full jitter: any time up to the doubling ceiling, so that retries spread out."""
        ceiling = self._settings.first_delay * 2.0 ** min(charged, 32)
        return self._rng.uniform(0, min(self._settings.longest_delay, ceiling))


def _is_refused_for_good(failure: Failure) -> bool:
    """Whether another try with the same parameters is pointless."""
    is_error = failure.kind is FailureKind.TRANSIENT or failure.status == 501
    return failure.kind is FailureKind.ROW or (is_error and "support" in failure.message.lower())


def _is_denied(failure: Failure) -> bool:
    return failure.status == 401 or failure.code == "unauthorized"


def _is_the_accounts(failure: Failure) -> bool:
    """About who asks or pays, and not about what is asked."""
    return failure.code in _THE_ACCOUNTS or failure.status in _ACCOUNT_STATUSES
