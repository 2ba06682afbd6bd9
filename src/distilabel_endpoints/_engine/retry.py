"""What to do after a failed attempt. Pure: clock readings and randomness are arguments.

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

import math
import random
import re
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from distilabel_endpoints.records import Failure, FailureKind

__all__ = [
    "SURELY_THE_ROWS",
    "Decision",
    "Defer",
    "GiveUp",
    "Hold",
    "PoolHistory",
    "Retry",
    "RetryPolicy",
    "RetrySettings",
    "Stop",
    "Tries",
    "is_telling",
]


SURELY_THE_ROWS: Final = frozenset({"content_filter", "context_length_exceeded", "too_large"})
"""Codes of what is about one prompt beyond doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """Bounds of the policy; times in seconds."""

    transient_attempts: int = 5
    bad_response_attempts: int = 3
    throttle_stops: int = 20
    """Throttled rows with `x-should-retry: false`, in a row, that stop the run."""
    first_delay: float = 0.5
    longest_delay: float = 60.0
    wait_ready: float = 900.0
    """How long an endpoint may be away, or fail everything, before the run stops."""
    longest_pause: float = 1800.0
    """The longest `Retry-After` that is waited out."""
    retry_share: float = 0.2
    retry_burst: float = 50.0
    systemic_rows: int = 20
    account_rows: int = 3
    """Rows refused alike on account of a key or of money, in a row, that stop the run."""
    refusals_alone: int = 2
    """Refusals of a row beside which nothing else is under way, after which it has failed."""
    hopeless_after: float = 10.0
    """Seconds of one error for all rows, before the first answer, that stop the run."""
    poison_attempts: int = 3
    poison_successes: int = 50
    confirm_after: float = 2.0
    """Before a 401 is believed: gateways are known to flap."""


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


@dataclass(slots=True)
class Tries:
    """What one request has been through."""

    ordinal: int
    charged: int = 0
    sent: int = 0
    waits: int = 0
    """Retries that were not the row's fault."""
    refusals: int = 0
    """Throttled with the word that another try is pointless."""
    refused_at: float | None = None
    """When it was refused first in a way that may be everybody's."""
    refused: int = 0
    """How often it was refused so."""
    turned_away: float | None = None
    """When the first of its attempts began that found no server there (404, 503), or a full one."""
    passed_by: int = 0
    """How often it was turned away though others, asked since the last time, were answered."""
    turned_away_at: float = math.inf
    """When that was the last time."""
    turned_away_before: int = 0
    """How many refusals of all rows there had been by then."""
    charged_at: float = math.inf
    """When it was charged first."""
    failed_at: float | None = None
    """When an attempt that it could be charged for failed last."""


@dataclass(slots=True)
class PoolHistory:
    """What the policies of several endpoints have in common, when they are one pool."""

    credit: float
    """Retries that may follow at once."""
    answered_before: bool = False
    """Whether the same work was answered before this policy began: a run is resumed."""
    answered_lately: bool = False
    """Whether anything was answered since nothing was under way: in this run, or this call."""
    away_since: float | None = None
    """Since when no endpoint has answered anything."""
    refusing_since: float | None = None
    """Since when requests were refused for want of capacity, and none was answered."""
    failing_since: float | None = None
    """Since when retries have waited and nothing was answered."""
    turned_away: int = 0
    """Attempts of all rows that were refused for want of capacity."""
    successes: int = 0
    begun: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """When the attempts began that were answered last."""
    newest: float = -math.inf
    """When the last of the attempts began that have been answered."""
    retries: dict[FailureKind, int] = field(default_factory=dict)

    def answers_begun_since(self, moment: float) -> int:
        """As far as they are remembered. What was asked before a failure, and answered after it,
        does not show that the endpoint is well."""
        return sum(began >= moment for began in self.begun)

    def failing_for(self, now: float) -> float:
        """Seconds for which retries have waited and nothing was answered."""
        return 0.0 if self.failing_since is None else now - self.failing_since


@dataclass(slots=True)
class _Streak:
    """Refusals with one message, and no success between them."""

    key: tuple[object, ...] = ()
    ordinals: set[int] = field(default_factory=set)
    times: int = 0
    since: float = 0.0

    def add(self, key: tuple[object, ...], ordinal: int, now: float) -> int:
        """How many distinct rows have been refused so, this one included."""
        if key != self.key:
            self.key, self.ordinals, self.times, self.since = key, set(), 0, now
        self.ordinals.add(ordinal)
        self.times += 1
        return len(self.ordinals)


@dataclass(slots=True)
class _Doubt:
    """A failure that may be everybody's, seen again with nothing else between."""

    code: str | None = None
    since: float = 0.0
    times: int = 0

    def add(self, code: str | None, now: float) -> None:
        if code != self.code:
            self.code, self.since, self.times = code, now, 0
        self.times += 1

    def is_believed(self, now: float, after: float) -> bool:
        """Seen often enough in a row, and not only in one burst."""
        return self.times >= _PATIENCE and now - self.since >= after


# Above the answers that the poison rule counts (50), and bounded however long a run is.
_REMEMBERED: Final = 256
# A 504 after this many seconds smells of a gateway's ceiling, which a stream gets around.
_GATEWAY_AGE: Final = 25.0
# What gateways answer for a server that they cannot talk to; from 520 on Cloudflare's.
_GATEWAY: Final = frozenset({502, 504, 520, 521, 522, 523, 525, 526, 527, 530})
_RECENT: Final = 30.0
# Tries without fault that follow at once, and the longest a request then stands back, in seconds.
_AT_ONCE: Final = 2
_LONGEST_STANDBACK: Final = 5.0
_PATIENCE: Final = 3
# Others are being answered: the last answer is no older than this many seconds, or latencies.
_JUST_NOW: Final = 2.0
_LATENCIES: Final = 1.5
_LONGEST_JUST_NOW: Final = 60.0
_LATENCY_NEWS: Final = 0.1
# Answers for each refusal of another row, beside which a refusal is this row's own.
_ANSWERS_PER_REFUSAL: Final = 4
# A refusal after the wait that the server itself has named, of at least these seconds, counts for
# several: all rows have waited.
_NAMED_WAIT: Final = 5.0
_NAMED_WAIT_COUNTS: Final = 4
# Consecutive rows that find no server there, after which it is taken to be away.
_NOBODY_IN: Final = 8
_THE_ACCOUNTS: Final = frozenset({"unauthorized", "no_credit", "proxy_auth"})
_ACCOUNT_STATUSES: Final = frozenset({401, 402, 407})
_ERRORS: Final = frozenset({"server_error", "stream_error"})
# What every server says when it says nothing; and the fewest characters of something.
_TELLING: Final = 12
_NOTHING_SAID: Final = re.compile(
    r"(?:[\W\d_]|http|internal|server|service|error|unknown|unexpected|exception|request|failed"
    r"|an|in|inside|a|the|stream|has|occurred|occured|something|went|wrong|please|try|again|later)*",
    re.IGNORECASE,
)
# What differs from row to row in one refusal: numbers, identifiers, quoted values, echoes.
_VARYING: Final = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`|\[prompt\]|\S*\d\S*")


class RetryPolicy:
    """The verdict on each failure of one endpoint, and the memory that the verdicts need.

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
        self._history = history or PoolHistory(settings.retry_burst)
        self._streak = _Streak()
        self._doubt = _Doubt()
        self._rejected_at: float | None = None
        self._succeeded_at: float | None = None
        self._newest = -math.inf
        self._latency = 0.0
        self._rows_own: set[str | None] = set()
        self._left: int | None = None
        self.spares_none = False
        """Whether the rows that are left pay for failures, whatever befalls others."""

    @property
    def successes(self) -> int:
        """Attempts that were answered, by any endpoint of the pool."""
        return self._history.successes

    @property
    def retries(self) -> dict[FailureKind, int]:
        """Attempts of the pool that were repeated, by what went wrong."""
        return self._history.retries

    @property
    def is_failing(self) -> bool:
        """Whether retries wait and nothing has been answered since."""
        return self._history.failing_since is not None

    def succeeded(self, now: float, *, began: float) -> None:
        """An attempt was answered: whatever was suspected is not everybody's failure."""
        history = self._history
        history.successes += 1
        history.begun.append(began)
        history.newest = max(history.newest, began)
        first = self._succeeded_at is None
        self._latency += (1.0 if first else _LATENCY_NEWS) * (now - began - self._latency)
        self._newest = max(self._newest, began)
        self._succeeded_at = now
        self._rejected_at = None
        credit = self._history.credit + self._settings.retry_share
        self._history.credit = min(self._settings.retry_burst, credit)
        self._streak = _Streak()
        self.rested()
        history.answered_lately = True
        self._doubt = _Doubt()

    def rested(self) -> None:
        """Nothing is under way: what comes next is not the outage that was measured."""
        history = self._history
        history.away_since = history.failing_since = history.refusing_since = None
        history.answered_lately = False

    def note_answered(self, rows: int) -> None:
        """Earlier processes had answers to that many rows of the same work."""
        self._history.answered_before |= rows > 0

    @property
    def has_answered(self) -> bool:
        """Whether the endpoint has answered anything, in this process or before it."""
        return self._succeeded_at is not None or self._history.answered_before

    def is_answering(self, now: float) -> bool:
        """Whether others are being answered: the last answer is recent, measured by its time."""
        if self._succeeded_at is None:
            return False
        recent = min(max(_JUST_NOW, _LATENCIES * self._latency), _LONGEST_JUST_NOW)
        return now - self._succeeded_at <= recent

    def in_context(self, failure: Failure, *, now: float, elapsed: float) -> Failure:
        """The failure as it looks from here: some mean another thing after, or without, success.

        A gateway that fails at once and has not let anything through lately has nothing behind it;
        a server that says "unavailable" while it answers others has enough to do; a model that is
        gone after it has answered is being replaced, not misspelled, unless it answers others.
        """
        quiet = self._succeeded_at is None or now - self._succeeded_at > _RECENT
        if failure.status in _GATEWAY and quiet and elapsed < _GATEWAY_AGE:
            return replace(failure, kind=FailureKind.UNAVAILABLE)
        answering = self.is_answering(now)
        if failure.code == "starting" and answering:
            return replace(failure, kind=FailureKind.THROTTLE)
        if failure.code == "not_found" and failure.status == 404 and self._succeeded_at is not None:
            many = len(self._streak.ordinals) >= _NOBODY_IN
            if many or not answering:
                return replace(failure, kind=FailureKind.UNAVAILABLE)
        return failure

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
        self._left = left
        self.spares_none = left is not None and (
            left <= self._settings.retry_burst
            or (self.successes > 0 and self._history.failing_for(now) >= self._settings.wait_ready)
        )
        failure = failure.after(tries.sent)
        if failure.parameter == "n" and _is_refused_for_good(failure):
            return GiveUp(failure)  # who asked will ask for one by one, so it is nobody's failure
        decision = self._decide(failure, tries, now, elapsed)
        if isinstance(decision, Retry | Defer):
            self.retries[failure.kind] = self.retries.get(failure.kind, 0) + 1
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
        passed = self._newest > (tries.refused_at or 0.0)
        history = self._history
        is_for_others = history.answered_lately or history.answered_before
        if not passed and not (is_for_others if _is_the_accounts(failure) else self.has_answered):
            return Stop(failure)
        if tries.refused >= self._settings.refusals_alone:
            return self._the_rows(failure)
        return Retry(self._settings.confirm_after)

    def _decide(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        if failure.kind is not FailureKind.UNAVAILABLE and failure.code != "starting":
            self._history.away_since = None
        self._doubt.add(failure.code, now)
        match failure.kind:
            case FailureKind.THROTTLE:
                return self._throttled(failure, tries, now, elapsed)
            case FailureKind.UNAVAILABLE:
                return self._away(failure, tries, now, elapsed)
            case FailureKind.TRANSIENT:
                if self._is_hopeless(failure, tries, now):
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
        if failure.code == "starting" and self._history.away_since is None:
            self._history.away_since = now
        is_passed_by = self._is_passed_by(tries, now, elapsed, pause)
        if is_passed_by or self._is_refused_alone(tries, now):
            return self._the_rows(failure)
        return self._uncharged(tries)

    def _is_passed_by(self, tries: Tries, now: float, elapsed: float, pause: float) -> bool:
        """Turned away again and again, and each time others, asked later, were answered; and few of
        them refused, so that it is not a matter of luck."""
        if tries.turned_away is None:
            tries.turned_away = now - elapsed
        history = self._history
        history.turned_away += 1
        others = history.turned_away - tries.turned_away_before - 1
        answers = history.answers_begun_since(tries.turned_away_at)
        if self._newest > tries.turned_away_at and answers >= _ANSWERS_PER_REFUSAL * others:
            tries.passed_by += _NAMED_WAIT_COUNTS if pause >= _NAMED_WAIT else 1
        tries.turned_away_at, tries.turned_away_before = now, history.turned_away
        return tries.passed_by >= self._settings.throttle_stops

    def _is_refused_alone(self, tries: Tries, now: float) -> bool:
        """Of a run that was answered before, a few rows are left, and are refused for long; not for
        so long if they were while others were answered."""
        history = self._history
        if history.refusing_since is None:
            history.refusing_since = now
        is_few = self._left is not None and self._left < self._settings.systemic_rows
        long = self._settings.wait_ready
        if tries.passed_by >= _PATIENCE:
            long = min(long, self._settings.hopeless_after)
        return is_few and self.has_answered and now - history.refusing_since >= long

    def _uncharged(self, tries: Tries) -> Retry:
        """The limiter spaces these out. A request that meets them again and again stands back by
        itself too: an endpoint that says 429 and 503 in turn closes no gate for long."""
        tries.waits += 1
        if tries.waits <= _AT_ONCE:
            return Retry(0.0)
        ceiling = self._settings.first_delay * 2.0 ** min(tries.waits - _AT_ONCE, 10)
        return Retry(self._rng.uniform(0, min(ceiling, _LONGEST_STANDBACK)))

    def _dismissed(self, failure: Failure, tries: Tries, now: float) -> Decision:
        """Told not to try again: only after a while, and not for ever."""
        tries.refusals += 1
        rows = self._streak.add(_key(failure), tries.ordinal, now)
        if rows >= self._settings.throttle_stops:
            return Stop(failure)
        if tries.refusals < self._settings.throttle_stops:
            return Retry(self._backoff(tries.refusals))
        # This row alone has had them all; if others are answered meanwhile, it is its own.
        alone = self._streak.times >= self._settings.throttle_stops
        return Stop(failure) if alone else GiveUp(failure)

    def _away(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        if self._history.away_since is None:
            self._history.away_since = now
        if tries.turned_away is None and failure.code in {"starting", "not_found"}:
            tries.turned_away = now - elapsed
        if now - self._history.away_since >= self._settings.wait_ready:
            if self._is_left_over(tries):
                return self._the_rows(failure)
            waited = f"not available for {now - self._history.away_since:.0f} s: {failure.message}"
            return Stop(replace(failure, code="unavailable", message=waited))
        if failure.code == "dns" and self.successes == 0:
            return (
                Stop(failure)
                if self._doubt.is_believed(now, self._settings.confirm_after)
                else Retry(self._settings.confirm_after)
            )
        return self._uncharged(tries)

    def _unusable(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        page = failure.code == "web_page"
        if page and self._doubt.is_believed(now, self._settings.confirm_after):
            return Stop(failure)
        decision = self._charge(failure, tries, self._settings.bad_response_attempts, now, elapsed)
        if page and isinstance(decision, Retry):
            return replace(decision, delay=max(decision.delay, self._settings.confirm_after))
        return decision

    def _is_left_over(self, tries: Tries) -> bool:
        """One of a few rows at the end of a run, first turned away while others were answered, or
        left over from an earlier process: that it is about them is likelier than an outage that
        began with these very rows, and no resumed run is to stop at them for ever."""
        if self._left is None or self._left >= self._settings.systemic_rows:
            return False
        if tries.turned_away is None:
            return False
        last = -math.inf if self._succeeded_at is None else self._succeeded_at
        return last > tries.turned_away or self._history.answered_before

    def _contested(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        """A refusal that looks like the run's: believed when others do not show otherwise."""
        if failure.status is None:
            return Stop(failure)  # below HTTP no row makes a difference
        settings, denied = self._settings, _is_denied(failure)
        # Gateways are known to flap when they look up a key.
        if tries.refused >= (settings.refusals_alone if denied else 1) and self._newest > (
            tries.refused_at or 0.0
        ):
            return self._the_rows(failure)
        if tries.refused_at is None:
            tries.refused_at, tries.turned_away = now, now - elapsed
        tries.refused += 1
        rows = self._streak.add(_key(failure), tries.ordinal, now)
        if denied and self._is_to_be_confirmed(failure, now):
            return Retry(settings.confirm_after, alone=True)
        most = settings.account_rows if _is_the_accounts(failure) else settings.systemic_rows
        # Calls of a row or two never have many rows alike.
        if rows >= most or self._streak.times >= 2 * most:
            return Stop(failure)
        return Hold(failure)

    def _is_to_be_confirmed(self, failure: Failure, now: float) -> bool:
        """A rejected key is asked about once more, and by no other request meanwhile."""
        if failure.code in self._rows_own:
            return False
        if self._rejected_at is None:
            self._rejected_at = now
        return now - self._rejected_at < self._settings.confirm_after

    def _the_rows(self, failure: Failure) -> GiveUp:
        """What looked like everybody's failure, and is this row's alone."""
        self._rows_own.add(failure.code)
        message = f"{failure.message} (other rows were answered)"
        # What answered them in an earlier process may have changed since: a key that expired.
        hint = None if self.successes else failure.hint
        return GiveUp(replace(failure, kind=FailureKind.ROW, message=message, hint=hint))

    def _refused(self, failure: Failure, tries: Tries, now: float) -> Decision:
        if failure.kind is FailureKind.CONTENT or failure.code in SURELY_THE_ROWS:
            return GiveUp(failure)
        if self._streak.add(_key(failure), tries.ordinal, now) >= self._settings.systemic_rows:
            return self._alike(failure)
        return GiveUp(failure, suspect=True)

    def _is_hopeless(self, failure: Failure, tries: Tries, now: float) -> bool:
        """One error in the same words for every row, retries included, and never an answer: an
        outage that says what it is, is not one."""
        if failure.code not in _ERRORS or self.has_answered or self.successes:
            return False
        if not is_telling(failure.message):
            return False
        streak, most = self._streak, self._settings.systemic_rows
        rows = streak.add(_key(failure), tries.ordinal, now)
        lasted = now - streak.since >= self._settings.hopeless_after
        return rows >= most and streak.times >= 2 * most and lasted

    def _alike(self, failure: Failure) -> Stop:
        message = (
            f"{len(self._streak.ordinals)} rows in a row were refused alike: {failure.message}"
        )
        return Stop(replace(failure, kind=FailureKind.RUN, code="systemic", message=message))

    def _charge(
        self, failure: Failure, tries: Tries, most: int, now: float, elapsed: float
    ) -> Decision:
        """Without credit and without an answer since its last failure, a row pays nothing."""
        before = now - elapsed if tries.failed_at is None else tries.failed_at
        others = self._history.newest >= before
        tries.failed_at = now
        stream = failure.status in {504, 524} and elapsed >= _GATEWAY_AGE
        lenient = failure.code == "bad_utf8"
        later = Defer(stream=stream, lenient=lenient)
        broke = self._history.credit < 1
        innocent = not others and not self.spares_none and failure.retryable
        # What began before an outage may be short of its last attempt: it does not end in one.
        if innocent and (broke or tries.charged >= most - 1):
            return self._defer(failure, now, later)
        tries.charged += 1
        if tries.charged == 1:
            tries.charged_at = now
        if tries.charged >= most or not failure.retryable:
            # Before the first answer, it is not known yet whether every row would fail so.
            return GiveUp(failure, suspect=failure.code in _ERRORS and not self.has_answered)
        if self._is_poison(tries):
            return GiveUp(replace(failure, code="poison"))
        if broke and not self.spares_none:
            return self._defer(failure, now, later)
        pause = min(failure.retry_after or 0.0, self._settings.longest_pause)
        if broke:  # the few that are left wait for long
            delay = self._settings.longest_delay * self._rng.uniform(0.5, 1.0)
        else:
            delay = self._backoff(tries.charged)
            self._history.credit -= 1
        delay = max(pause, delay)
        return Retry(delay, stream=stream, lenient=lenient)

    def _defer(self, failure: Failure, now: float, later: Defer) -> Decision:
        history = self._history
        if history.failing_since is None:
            history.failing_since = now
        lasted = history.failing_for(now)
        if lasted < self._settings.wait_ready:
            return later
        message = f"nothing but failures for {lasted:.0f} s: {failure.message}"
        kind = FailureKind.UNAVAILABLE
        return Stop(replace(failure, kind=kind, code="unavailable", message=message))

    def _is_poison(self, tries: Tries) -> bool:
        others = self._history.answers_begun_since(tries.charged_at)
        settings = self._settings
        return tries.charged >= settings.poison_attempts and others >= settings.poison_successes

    def _backoff(self, charged: int) -> float:
        """Full jitter: any time up to the doubling ceiling, so that retries spread out."""
        ceiling = self._settings.first_delay * 2.0 ** min(charged, 32)
        return self._rng.uniform(0, min(self._settings.longest_delay, ceiling))


def is_telling(message: str) -> bool:
    """Whether a server's words say more than that something went wrong."""
    return len(message) >= _TELLING and _NOTHING_SAID.fullmatch(message) is None


def _is_refused_for_good(failure: Failure) -> bool:
    """Whether another try with the same parameters is pointless."""
    is_error = failure.kind is FailureKind.TRANSIENT or failure.status == 501
    return failure.kind is FailureKind.ROW or (is_error and "support" in failure.message.lower())


def _is_denied(failure: Failure) -> bool:
    return failure.status == 401 or failure.code == "unauthorized"


def _is_the_accounts(failure: Failure) -> bool:
    """About who asks or pays, and not about what is asked."""
    return failure.code in _THE_ACCOUNTS or failure.status in _ACCOUNT_STATUSES


def _key(failure: Failure) -> tuple[object, ...]:
    """Refusals with the same key are the same refusal."""
    message = re.sub(r"#[#\W]*", "#", _VARYING.sub("#", failure.message))
    return failure.status, failure.code, message
