"""What to do after a failed attempt. Pure: clock readings and randomness are arguments.

Rules
- Only failures that a row can cause use up its attempts. Overload, outages, money and
  authentication never do.
- Retries that come at once are at most a share of the successes plus a burst. The others wait for
  a sign of life, and while nothing is answered at all no row pays for it: an outage is neither
  amplified nor filed. One that lasts ends the run.
- The same refusal of many rows in a row, with no success between, is not the rows' fault: the run
  stops, and none of them is filed as failed (the systemic rule).
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
    "Decision",
    "Defer",
    "GiveUp",
    "Ledger",
    "Retry",
    "RetryPolicy",
    "RetrySettings",
    "Stop",
    "Tries",
]


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
    poison_attempts: int = 3
    poison_successes: int = 50
    confirm_after: float = 2.0
    """Before a 401 is believed: gateways are known to flap."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay` seconds; the rest is what to ask for this time."""

    delay: float
    stream: bool = False
    """For a stream."""
    lenient: bool = False
    """For an answer though it be no UTF-8."""


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


Decision = Retry | Defer | GiveUp | Stop


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
    charged_at: float = math.inf
    """When it was charged first."""
    failed_at: float | None = None
    """When an attempt that it could be charged for failed last."""


@dataclass(slots=True)
class Ledger:
    """What the policies of several endpoints have in common, when they are one pool."""

    credit: float
    """Retries that may follow at once."""
    away_since: float | None = None
    """Since when no endpoint has answered anything."""
    failing_since: float | None = None
    """Since when retries have waited and nothing was answered."""
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

    def add(self, key: tuple[object, ...], ordinal: int) -> int:
        """How many distinct rows have been refused so, this one included."""
        if key != self.key:
            self.key, self.ordinals, self.times = key, set(), 0
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


_REMEMBERED: Final = 256
# A 504 after this many seconds smells of a gateway's ceiling, which a stream gets around.
_GATEWAY_AGE: Final = 25.0
_RECENT: Final = 30.0
# Tries without fault that follow at once, and the longest a request then stands back, in seconds.
_AT_ONCE: Final = 2
_LONGEST_STANDBACK: Final = 5.0
_PATIENCE: Final = 3
# What differs from row to row in one refusal: numbers, identifiers, quoted values, echoes.
_VARYING: Final = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`|\[prompt\]|\S*\d\S*")


class RetryPolicy:
    """The verdict on each failure of one endpoint, and the memory that the verdicts need.

    Args:
        settings: the bounds.
        rng: for jitter.
        ledger: of the pool that the endpoint is in.
    """

    def __init__(
        self, settings: RetrySettings, *, rng: random.Random, ledger: Ledger | None = None
    ) -> None:
        self._settings = settings
        self._rng = rng
        self._ledger = ledger or Ledger(settings.retry_burst)
        self._streak = _Streak()
        self._doubt = _Doubt()
        self._rejected_at: float | None = None
        self._succeeded_at: float | None = None
        self.spares_none = False
        """Whether the rows that are left pay for failures, whatever befalls others."""

    @property
    def successes(self) -> int:
        """Attempts that were answered, by any endpoint of the pool."""
        return self._ledger.successes

    @property
    def retries(self) -> dict[FailureKind, int]:
        """Attempts of the pool that were repeated, by what went wrong."""
        return self._ledger.retries

    @property
    def is_failing(self) -> bool:
        """Whether retries wait and nothing has been answered since."""
        return self._ledger.failing_since is not None

    def succeeded(self, now: float, *, began: float) -> None:
        """An attempt was answered: whatever was suspected is not everybody's failure."""
        ledger = self._ledger
        ledger.successes += 1
        ledger.begun.append(began)
        ledger.newest = max(ledger.newest, began)
        self._succeeded_at = now
        self._rejected_at = None
        credit = self._ledger.credit + self._settings.retry_share
        self._ledger.credit = min(self._settings.retry_burst, credit)
        self._streak = _Streak()
        self._ledger.away_since = self._ledger.failing_since = None
        self._doubt = _Doubt()

    def rested(self) -> None:
        """Nothing is under way: what comes next is not the outage that was measured."""
        self._ledger.away_since = self._ledger.failing_since = None

    def in_context(self, failure: Failure, *, now: float, elapsed: float) -> Failure:
        """The failure as it looks from here: some mean another thing after, or without, success.

        A gateway that fails at once and has not let anything through lately has nothing behind it;
        a model that is gone after it has answered is being replaced, not misspelled.
        """
        quiet = self._succeeded_at is None or now - self._succeeded_at > _RECENT
        gateway = failure.status in {502, 504, 520, 521, 522, 523}
        if gateway and quiet and elapsed < _GATEWAY_AGE:
            return replace(failure, kind=FailureKind.UNAVAILABLE)
        if failure.status == 404 and self._succeeded_at is not None:
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
            left: how many requests are under way, where no others are to come. A few are not
                worth sparing; nor are more, once the endpoint has answered others and these
                alone have failed for long: nobody is left to show that it is they who fail.
        """
        tries.sent += 1
        self.spares_none = left is not None and (
            left <= self._settings.retry_burst
            or (self.successes > 0 and self._ledger.failing_for(now) >= self._settings.wait_ready)
        )
        decision = self._decide(failure.after(tries.sent), tries, now, elapsed)
        if isinstance(decision, Retry | Defer):
            self.retries[failure.kind] = self.retries.get(failure.kind, 0) + 1
        return decision

    def _decide(self, failure: Failure, tries: Tries, now: float, elapsed: float) -> Decision:
        if failure.kind is not FailureKind.UNAVAILABLE:
            self._ledger.away_since = None
        self._doubt.add(failure.code, now)
        match failure.kind:
            case FailureKind.THROTTLE:
                return self._throttled(failure, tries)
            case FailureKind.UNAVAILABLE:
                return self._away(failure, tries, now)
            case FailureKind.TRANSIENT:
                return self._charge(failure, tries, self._settings.transient_attempts, now, elapsed)
            case FailureKind.BAD_RESPONSE:
                return self._unusable(failure, tries, now, elapsed)
            case FailureKind.ROW | FailureKind.CONTENT:
                return self._refused(failure, tries)
            case FailureKind.RUN:
                return self._condemned(failure, now)
            case FailureKind.LOCAL:
                return Stop(failure)
            case _:
                assert_never(failure.kind)

    def _throttled(self, failure: Failure, tries: Tries) -> Decision:
        """The limiter spaces these out; here only a demand that is too much ends the run."""
        asked = failure.retry_after or 0.0
        if asked > self._settings.longest_pause:
            return Stop(replace(failure, hint=f"The server asks for a pause of {asked:.0f} s."))
        if not failure.retryable:
            return self._dismissed(failure, tries)
        return self._uncharged(tries)

    def _uncharged(self, tries: Tries) -> Retry:
        """The limiter spaces these out. A request that meets them again and again stands back by
        itself too: an endpoint that says 429 and 503 in turn closes no gate for long."""
        tries.waits += 1
        if tries.waits <= _AT_ONCE:
            return Retry(0.0)
        ceiling = self._settings.first_delay * 2.0 ** min(tries.waits - _AT_ONCE, 10)
        return Retry(self._rng.uniform(0, min(ceiling, _LONGEST_STANDBACK)))

    def _dismissed(self, failure: Failure, tries: Tries) -> Decision:
        """Told not to try again: only after a while, and not for ever."""
        tries.refusals += 1
        rows = self._streak.add(_key(failure), tries.ordinal)
        if rows >= self._settings.throttle_stops:
            return Stop(failure)
        if tries.refusals < self._settings.throttle_stops:
            return Retry(self._backoff(tries.refusals))
        # This row alone has had them all; where others are answered meanwhile, it is its own.
        alone = self._streak.times >= self._settings.throttle_stops
        return Stop(failure) if alone else GiveUp(failure)

    def _away(self, failure: Failure, tries: Tries, now: float) -> Decision:
        if self._ledger.away_since is None:
            self._ledger.away_since = now
        if now - self._ledger.away_since >= self._settings.wait_ready:
            waited = f"not available for {now - self._ledger.away_since:.0f} s: {failure.message}"
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

    def _condemned(self, failure: Failure, now: float) -> Decision:
        """A 401 is asked about once more; anything else that is everybody's is believed."""
        if failure.status != 401 and failure.code != "unauthorized":
            return Stop(failure)
        if self._rejected_at is None:
            self._rejected_at = now
        if now - self._rejected_at >= self._settings.confirm_after:
            return Stop(failure)
        return Retry(self._settings.confirm_after)

    def _refused(self, failure: Failure, tries: Tries) -> Decision:
        if failure.kind is FailureKind.CONTENT:
            return GiveUp(failure)
        seen = self._streak.add(_key(failure), tries.ordinal)
        if seen >= self._settings.systemic_rows:
            said = f"{seen} rows in a row were refused alike: {failure.message}"
            return Stop(replace(failure, kind=FailureKind.RUN, code="systemic", message=said))
        return GiveUp(failure, suspect=True)

    def _charge(
        self, failure: Failure, tries: Tries, most: int, now: float, elapsed: float
    ) -> Decision:
        """Without credit and without an answer since its last failure, a row pays nothing."""
        before = now - elapsed if tries.failed_at is None else tries.failed_at
        others = self._ledger.newest >= before
        tries.failed_at = now
        stream = failure.status in {504, 524} and elapsed >= _GATEWAY_AGE
        lenient = failure.code == "bad_utf8"
        later = Defer(stream=stream, lenient=lenient)
        broke = self._ledger.credit < 1
        innocent = not others and not self.spares_none and failure.retryable
        # What began before an outage may be short of its last attempt: it does not end in one.
        if innocent and (broke or tries.charged >= most - 1):
            return self._defer(failure, now, later)
        tries.charged += 1
        if tries.charged == 1:
            tries.charged_at = now
        if tries.charged >= most or not failure.retryable:
            return GiveUp(failure)
        if self._is_poison(tries):
            return GiveUp(replace(failure, code="poison"))
        if broke and not self.spares_none:
            return self._defer(failure, now, later)
        asked = min(failure.retry_after or 0.0, self._settings.longest_pause)
        if broke:  # the few that are left wait for long
            delay = self._settings.longest_delay * self._rng.uniform(0.5, 1.0)
        else:
            delay = self._backoff(tries.charged)
            self._ledger.credit -= 1
        delay = max(asked, delay)
        return Retry(delay, stream=stream, lenient=lenient)

    def _defer(self, failure: Failure, now: float, later: Defer) -> Decision:
        ledger = self._ledger
        if ledger.failing_since is None:
            ledger.failing_since = now
        lasted = ledger.failing_for(now)
        if lasted < self._settings.wait_ready:
            return later
        said = f"nothing but failures for {lasted:.0f} s: {failure.message}"
        kind = FailureKind.UNAVAILABLE
        return Stop(replace(failure, kind=kind, code="unavailable", message=said))

    def _is_poison(self, tries: Tries) -> bool:
        others = self._ledger.answers_begun_since(tries.charged_at)
        settings = self._settings
        return tries.charged >= settings.poison_attempts and others >= settings.poison_successes

    def _backoff(self, charged: int) -> float:
        """Full jitter: any time up to the doubling ceiling, so that retries spread out."""
        ceiling = self._settings.first_delay * 2.0 ** min(charged, 32)
        return self._rng.uniform(0, min(self._settings.longest_delay, ceiling))


def _key(failure: Failure) -> tuple[object, ...]:
    """Refusals with the same key are the same refusal."""
    message = re.sub(r"#[#\W]*", "#", _VARYING.sub("#", failure.message))
    return failure.status, failure.code, message
