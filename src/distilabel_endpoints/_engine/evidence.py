"""What answers and failures show: of a row, of an endpoint, of the endpoints of a pool.

Rules
- Pure: clock readings are arguments. What follows from the evidence is decided in `retry.py`.
- An answer clears the endpoint of what was suspected of it. It clears the whole pool of an outage.
- Of answers, the moment counts at which they were asked for: what was asked before a failure, and
  is answered after it, does not show that the endpoint is well.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints.records import Failure, FailureKind

__all__ = ["ERRORS", "GATEWAY_AGE", "Evidence", "PoolHistory", "Tries", "is_telling"]

# Above the answers that the poison rule counts (50), and bounded however long a run is.
_REMEMBERED: Final = 256
GATEWAY_AGE: Final = 25.0
"""A 504 after this many seconds smells of a gateway's ceiling, which a stream gets around."""
# What gateways answer for a server that they cannot talk to; from 520 on Cloudflare's.
_GATEWAY: Final = frozenset({502, 504, 520, 521, 522, 523, 525, 526, 527, 530})
_RECENT: Final = 30.0
_PATIENCE: Final = 3
# Others are being answered: the last answer is not older than this many seconds, or latencies.
_JUST_NOW: Final = 2.0
_LATENCIES: Final = 1.5
_LONGEST_JUST_NOW: Final = 60.0
_LATENCY_NEWS: Final = 0.1
# Answers for each refusal of another row, beside which a refusal is this row's own.
_ANSWERS_PER_REFUSAL: Final = 4
# Times as long as an answer takes, in which nobody is answered: then nobody else is served.
_ANSWERS_LONG: Final = 4
# A refusal after the wait that the server itself has named, of at least these seconds, counts for
# several: all rows have waited.
_NAMED_WAIT: Final = 5.0
_NAMED_WAIT_COUNTS: Final = 4
# Consecutive rows that find no server there, after which it is taken to be away.
_NOBODY_IN: Final = 8
ERRORS: Final = frozenset({"server_error", "stream_error", "unusable", "protocol", "encoding"})
"""Codes of what is about a server rather than a row: what it reports of itself, and what it answers
that is not an answer."""
# What every server says when it says nothing; and the fewest characters of something.
_TELLING: Final = 12
_NOTHING_SAID: Final = re.compile(
    r"(?:[\W\d_]|http|internal|server|service|error|unknown|unexpected|exception|request|failed"
    r"|an|in|inside|a|the|stream|has|occurred|occured|something|went|wrong|please|try|again|later)*",
    re.IGNORECASE,
)
# What differs from row to row in one refusal: numbers, identifiers, quoted values, echoes.
_VARYING: Final = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`|\[prompt\]|\S*\d\S*")


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
    waits_until: float = -math.inf
    """Until then an attempt is a probe: it costs nothing if it fails as all others do."""


@dataclass(slots=True)
class PoolHistory:
    """What the policies of several endpoints have in common, when they are one pool."""

    credit: float
    """Retries that may follow at once."""
    answered_before: bool = False
    """Whether the same work was answered elsewhere: a run is resumed, or has several workers."""
    answered_by_others: bool = False
    """Whether another process at work on it now was answered."""
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
    """Attempts that were answered, by any endpoint of the pool."""
    begun: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """When the attempts began that were answered last."""
    newest: float = -math.inf
    """When the last of the attempts began that have been answered."""
    retries: dict[FailureKind, int] = field(default_factory=dict)
    """Attempts that were repeated, by what went wrong."""

    @property
    def is_failing(self) -> bool:
        """Whether retries wait and nothing has been answered since."""
        return self.failing_since is not None

    def answered(self, began: float) -> None:
        """An attempt that began then was answered."""
        self.successes += 1
        self.begun.append(began)
        self.newest = max(self.newest, began)
        self.rested()
        self.answered_lately = True

    def rested(self) -> None:
        """Nothing is under way: what comes next is not the outage that was measured."""
        self.away_since = self.failing_since = self.refusing_since = None
        self.answered_lately = False

    def note_answered(self, before: int, by_others: int = 0) -> None:
        """Rows of the same work that earlier processes had answers to, and others have now."""
        self.answered_before |= before + by_others > 0
        self.answered_by_others |= by_others > 0

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

    def add(self, failure: Failure, ordinal: int, now: float) -> int:
        """How many distinct rows have been refused so, this one included."""
        key = _key(failure)
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


class Evidence:
    """What the answers and the failures of one endpoint show.

    Args:
        settings: how much of what is enough.
        history: of the pool that the endpoint is in.
    """

    def __init__(self, settings: RetrySettings, history: PoolHistory) -> None:
        self._settings = settings
        self._history = history
        self.streak = _Streak()
        self.doubt = _Doubt()
        self.newest = -math.inf
        """When the last of its attempts began that have been answered."""
        self.rows_own: set[str | None] = set()
        """Codes of what looked like everybody's failure, and was one row's alone."""
        self._rejected_at: float | None = None
        self._answered_at: float | None = None
        self._latency = 0.0

    def answered(self, now: float, *, began: float) -> None:
        """An attempt was answered: whatever was suspected is not everybody's failure."""
        first = self._answered_at is None
        self._latency += (1.0 if first else _LATENCY_NEWS) * (now - began - self._latency)
        self.newest = max(self.newest, began)
        self._answered_at = now
        self._rejected_at = None
        self.streak = _Streak()
        self.doubt = _Doubt()
        self._history.answered(began)

    @property
    def has_answered(self) -> bool:
        """Whether the endpoint has answered anything, in this process or before it."""
        return self._answered_at is not None or self._history.answered_before

    def is_answering(self, now: float) -> bool:
        """Whether others are being answered: the last answer is recent, measured by its time."""
        if self._answered_at is None:
            return False
        recent = min(max(_JUST_NOW, _LATENCIES * self._latency), _LONGEST_JUST_NOW)
        return now - self._answered_at <= recent

    def in_context(self, failure: Failure, *, now: float, elapsed: float) -> Failure:
        """The failure as it looks from here: some mean another thing after, or without, success.

        A gateway that fails at once and has not let anything through lately has nothing behind it;
        a server that says "unavailable" while it answers others has enough to do; a model that is
        gone after it has answered is being replaced, not misspelled, unless it answers others.
        """
        quiet = self._answered_at is None or now - self._answered_at > _RECENT
        if failure.status in _GATEWAY and quiet and elapsed < GATEWAY_AGE:
            return replace(failure, kind=FailureKind.UNAVAILABLE)
        answering = self.is_answering(now)
        if failure.code == "starting" and answering:
            return replace(failure, kind=FailureKind.THROTTLE)
        if failure.code == "not_found" and failure.status == 404 and self._answered_at is not None:
            many = len(self.streak.ordinals) >= _NOBODY_IN
            if many or not answering:
                return replace(failure, kind=FailureKind.UNAVAILABLE)
        return failure

    def is_passed_by(self, tries: Tries, now: float, elapsed: float, pause: float) -> bool:
        """Turned away again and again, and each time others, asked later, were answered; and few of
        them refused, so that it is not a matter of luck."""
        if tries.turned_away is None:
            tries.turned_away = now - elapsed
        history = self._history
        history.turned_away += 1
        others = history.turned_away - tries.turned_away_before - 1
        answers = history.answers_begun_since(tries.turned_away_at)
        if self.newest > tries.turned_away_at and answers >= _ANSWERS_PER_REFUSAL * others:
            tries.passed_by += _NAMED_WAIT_COUNTS if pause >= _NAMED_WAIT else 1
        tries.turned_away_at, tries.turned_away_before = now, history.turned_away
        return tries.passed_by >= self._settings.throttle_stops

    def is_refused_alone(self, tries: Tries, now: float, *, few_left: bool) -> bool:
        """Of a run that was answered before, a few rows are left, and are refused for long; not for
        so long if they were while others were answered."""
        history = self._history
        if history.refusing_since is None:
            history.refusing_since = now
        long = self._settings.wait_ready
        if tries.passed_by >= _PATIENCE:
            # A full server that is slow answers nobody for as long as its answers take.
            long = min(long, max(self._settings.hopeless_after, _ANSWERS_LONG * self._latency))
        return few_left and self.has_answered and now - history.refusing_since >= long

    def is_left_over(self, tries: Tries, *, few_left: bool) -> bool:
        """One of a few rows at the end of a run, first turned away while others were answered, or
        left over from an earlier process: that it is about them is likelier than an outage that
        began with these very rows, and no resumed run is to stop at them for ever."""
        if not few_left or tries.turned_away is None:
            return False
        last = -math.inf if self._answered_at is None else self._answered_at
        return last > tries.turned_away or self._history.answered_before

    def is_to_be_confirmed(self, failure: Failure, now: float) -> bool:
        """A rejected key is asked about once more, and by no other request meanwhile."""
        if failure.code in self.rows_own:
            return False
        if self._rejected_at is None:
            self._rejected_at = now
        return now - self._rejected_at < self._settings.confirm_after

    def is_hopeless(self, failure: Failure, tries: Tries, now: float) -> bool:
        """One error in the same words for every row, retries included, and never an answer: an
        outage that says what it is, is not one."""
        if failure.code not in ERRORS or self.has_answered or self._history.successes:
            return False
        if not is_telling(failure.message):
            return False
        streak, most = self.streak, self._settings.systemic_rows
        rows = streak.add(failure, tries.ordinal, now)
        lasted = now - streak.since >= self._settings.hopeless_after
        return rows >= most and streak.times >= 2 * most and lasted

    def is_poison(self, tries: Tries) -> bool:
        """One row that keeps failing while many others are answered."""
        others = self._history.answers_begun_since(tries.charged_at)
        settings = self._settings
        return tries.charged >= settings.poison_attempts and others >= settings.poison_successes


def is_telling(message: str) -> bool:
    """Whether a server's words say more than that something went wrong."""
    return len(message) >= _TELLING and _NOTHING_SAID.fullmatch(message) is None


def _key(failure: Failure) -> tuple[object, ...]:
    """Refusals with the same key are the same refusal."""
    # Neighbouring marks are one: values of two words and of one are the same refusal.
    message = re.sub(r"#[#\W]*", "#", _VARYING.sub("#", failure.message))
    return failure.status, failure.code, message
