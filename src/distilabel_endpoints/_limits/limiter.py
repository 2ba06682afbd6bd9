"""The right to send: how many attempts at once, and how many a minute.

Rules
- Every attempt has a permit; permits out = permits in. Given out only below the limit.
- Pure: no clock, no randomness, no I/O. `now` is a monotonic clock in seconds.
- `search` finds the limit by goodput, `refusals` says what refusals mean, `breaker` waits while
  nothing answers, `rate` and `quotas` keep to what the user and the server allow per minute.
- In flight or in time there is always a way on: when `acquire` gives nothing, `next_time` says
  when it may, or an attempt in flight ends.
- Constant time per event, give or take a rare decision. One instance per target, for good: the
  next batch starts where the last one ended.

The limiter's values: what a user may set, the permit, the snapshot.

What came through lately: rates over the last seconds, latencies of the last answers.

Constant time per event: a ring of seconds and a ring of latencies, sorted only when asked.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from distilabel_endpoints._limits.availability import AT_ONCE, Breaker, SoftStart
from distilabel_endpoints._limits.quotas import Quotas
from distilabel_endpoints._limits.refusals import Cut, Lift, Refusals, Stage
from distilabel_endpoints._limits.search import Phase, Search
from distilabel_endpoints.engine_state import LimiterStatistics
from distilabel_endpoints.errors import ConfigurationError

__all__ = [
    "DEFAULT_MOST",
    "DEFAULT_START",
    "DEFAULT_START_WITH_CEILING",
    "Limiter",
    "LimiterSettings",
    "Meter",
    "Permit",
]

# seconds; over which rates are counted for the display and for choosing an endpoint of a pool.
_SECONDS: Final = 20
# answers; whose latencies the display and the choice of an endpoint are made from.
_LATENCIES: Final = 256


class Meter:
    """Counts answers and their output tokens."""

    __slots__ = ("_answers", "_latencies", "_next", "_second", "_since", "_tokens")

    def __init__(self, now: float) -> None:
        self._since = now
        self._second = int(now)
        self._answers = [0] * _SECONDS
        self._tokens = [0] * _SECONDS
        self._latencies: list[float] = []
        self._next = 0

    def add(self, now: float, latency: float, tokens: int) -> None:
        """One answer."""
        second = int(now)
        if second != self._second:
            self._advance(second)
        self._answers[second % _SECONDS] += 1
        self._tokens[second % _SECONDS] += tokens
        if len(self._latencies) < _LATENCIES:
            self._latencies.append(latency)
        else:
            self._latencies[self._next] = latency
            self._next = (self._next + 1) % _LATENCIES

    def _advance(self, second: int) -> None:
        for passed in range(self._second + 1, min(second, self._second + _SECONDS) + 1):
            self._answers[passed % _SECONDS] = 0
            self._tokens[passed % _SECONDS] = 0
        self._second = max(second, self._second)

    def rates(self, now: float) -> tuple[float, float]:
        """Answers and output tokens per second, over at most the last 20 s."""
        self._advance(int(now))
        span = min(max(now - self._since, 1.0), _SECONDS - 1 + now % 1.0)
        return sum(self._answers) / span, sum(self._tokens) / span

    def latency(self, quantile: float) -> float | None:
        """A quantile of the latest latencies, in seconds."""
        if not self._latencies:
            return None
        ranked = sorted(self._latencies)
        return ranked[min(int(quantile * len(ranked)), len(ranked) - 1)]


# requests; the first limit. The first answers raise it fast, then it doubles about once a latency.
DEFAULT_START: Final = 32
# requests; the first limit of those who set max_concurrency, unless that is lower.
DEFAULT_START_WITH_CEILING: Final = 512
# requests; the limit never exceeds this, whatever the server does.
DEFAULT_MOST: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSettings:
    """What a user may set. None of it has to be set."""

    max_concurrency: int | None = None
    """Never more in flight than this."""
    requests_per_minute: float | None = None
    """Attempts per minute, plus a burst of at most a second's worth (at least one)."""
    tokens_per_minute: float | None = None
    """Input and output tokens per minute, plus a burst of at most six seconds' worth."""
    start: int = DEFAULT_START
    most: int = DEFAULT_MOST

    def __post_init__(self) -> None:
        for name in ("max_concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigurationError(f"{name} must be a positive number, not {value!r}.")
        if not 1 <= self.start <= self.most:
            bounds = f"start={self.start}, most={self.most}"
            raise ConfigurationError(f"1 <= start <= most does not hold for {bounds}.")


class Permit:
    """The right to one attempt; goes back through exactly one method of its limiter."""

    __slots__ = ("dispatched_at", "generation", "in_flight", "probe", "returned", "tokens")

    def __init__(
        self, generation: int, dispatched_at: float, *, tokens: int, in_flight: int, probe: bool
    ) -> None:
        self.generation = generation
        """How many cuts there were before it."""
        self.dispatched_at = dispatched_at
        self.tokens = tokens
        """Reserved of `tokens_per_minute`."""
        self.in_flight = in_flight
        """How many were in flight, this one included."""
        self.probe = probe
        """Sent alone, to see whether the endpoint is back."""
        self.returned = False


# seconds; a longer time without any event is a pause or a suspended machine: the evidence is
# dropped.
_IDLE: Final = 30.0
# latencies; the same, if answers take long: silence is usual for as long as this.
_SILENT_LATENCIES: Final = 4.0
# seconds; the silence that is usual before the first answer of all, which may take minutes.
_LONGEST_FIRST_LATENCY: Final = 600.0
# output tokens; what reading one input token costs a server beside writing one.
_INPUT_WORK: Final = 0.1
# share; of the last answer in the mean work of answers, for those without a token count.
_WORK_SMOOTHING: Final = 0.05
# rows; under way at least, waiting ones included, so that a small limit has rows to choose
# from.
_WINDOW_LEAST: Final = 64
# rows; under way at most: what bounds memory.
_WINDOW_MOST: Final = 8192
# share; of a Retry-After that is added at random, so that clients do not return together.
_RETRY_JITTER: Final = 0.1
# seconds; a longer Retry-After ends the run instead of holding it.
_LONGEST_GATE: Final = 1800.0
# requests; probes go no lower: so few hurt no server.
_FLOOR: Final = 4
# requests; the same if max_concurrency is set: the user has vouched for the endpoint.
_FLOOR_WITH_CEILING: Final = 32
# share; of the mean distance between sends (latency over limit) that sends keep while refusals
# are being explained.
_EVENLY: Final = 0.9


class Limiter:
    """Says when an attempt may start, and learns from how it ends.

    Args:
        settings: the user's limits.
        rng: for jitter.
        now: a monotonic clock reading, in seconds.
    """

    def __init__(self, settings: LimiterSettings, *, rng: random.Random, now: float) -> None:
        ceiling = settings.max_concurrency
        most = settings.most if ceiling is None else ceiling
        start = settings.start if ceiling is None else DEFAULT_START_WITH_CEILING
        self._start = min(settings.start, most)
        self._rng = rng
        floor = _FLOOR if ceiling is None else _FLOOR_WITH_CEILING
        self._search = Search(start, most, now, floor=floor)
        self._refusals = Refusals()
        self._breaker = Breaker()
        self._meter = Meter(now)
        self._quotas = Quotas(settings.requests_per_minute, settings.tokens_per_minute, now)
        self._in_flight = 0
        self._sent = self._refused = 0
        self._work = 1.0
        self._gate = self._even_at = -math.inf
        self._evidence_since = now
        self._seen = now
        self._wanted = 0
        self._open_gently(now)

    @property
    def most(self) -> int:
        """What the limit may grow to."""
        return self._search.most

    def widen(self, most: int, now: float) -> None:
        """The limit may grow to `most` from now on; never less than before."""
        self._search.widen(most, now)

    @property
    def limit(self) -> int:
        """How many attempts may be in flight."""
        return self._search.limit

    @property
    def in_flight(self) -> int:
        """How many permits are out."""
        return self._in_flight

    @property
    def window(self) -> int:
        """How many rows may be under way, waiting ones included."""
        return min(max(2 * self._search.limit, _WINDOW_LEAST), _WINDOW_MOST)

    def acquire(self, now: float, tokens: int = 0) -> Permit | None:
        """A permit, if an attempt may be sent right now.

        Args:
            now: a clock reading.
            tokens: estimated cost, reserved of `tokens_per_minute`.
        """
        self._note_time(now)
        search, breaker, refusals = self._search, self._breaker, self._refusals
        in_flight = self._in_flight
        if (
            in_flight >= search.limit
            or now < self._gate
            or (now < self._even_at and refusals.evenly)
            or (breaker.open and not breaker.admits(now))
            or (
                now < self._soft_start.over_at
                and in_flight >= self._soft_start.room(now, search.limit)
            )
            or (refusals.gate is not None and not refusals.gate.ready(now))
            or (self._quotas.active and not self._quotas.ready(now, tokens))
        ):
            self._wanted = tokens
            return None
        if self._quotas.active:
            self._quotas.take(tokens)
        refusals.sent(now)
        self._even_at = now + _EVENLY * search.latency / search.limit
        breaker.probing = breaker.open
        self._sent += 1
        self._in_flight = in_flight = in_flight + 1
        return Permit(
            search.generation, now, tokens=tokens, in_flight=in_flight, probe=breaker.open
        )

    def next_time(self, now: float) -> float | None:
        """When `acquire` may succeed though nothing ends; None if only an end helps.

        Later than `now` whenever `acquire` has just given nothing.
        """
        self._note_time(now)
        breaker, refusals = self._breaker, self._refusals
        if self._in_flight >= self._search.limit or (breaker.open and breaker.probing):
            return None
        at = max(now, self._gate)
        if refusals.evenly:
            at = max(at, self._even_at)
        if breaker.open:
            at = max(at, breaker.probe_at)
        at = self._soft_start.when(at, self._in_flight, self._search.limit)
        if refusals.gate is not None:
            at = max(at, refusals.gate.when(now))
        if self._quotas.active:
            at = max(at, self._quotas.when(now, self._wanted))
        return at

    def succeed(
        self,
        permit: Permit,
        now: float,
        *,
        output_tokens: int | None,
        input_tokens: int | None,
    ) -> None:
        """The attempt was answered. Token counts as the server gave them, if it did."""
        in_flight = self._take_back(permit, now)
        latency = now - permit.dispatched_at
        self._meter.add(now, latency, output_tokens or 0)
        if self._quotas.active and output_tokens is not None:
            self._quotas.settle(permit.tokens, output_tokens + (input_tokens or 0))
        if output_tokens is None:
            work = self._work
        else:
            work = max(output_tokens + _INPUT_WORK * (input_tokens or 0), _INPUT_WORK)
            self._work += _WORK_SMOOTHING * (work - self._work)
        if self._breaker.answered():
            self._answers_again(now)
        else:
            self._refusals.answered()
            self._learn(permit, now, work, in_flight)

    def push_back(self, permit: Permit, now: float, *, retry_after: float | None) -> None:
        """The server asks for less: 429, 529, overloaded.

        Args:
            permit: of the attempt.
            now: a clock reading.
            retry_after: seconds the server asked to wait. All wait, up to a tenth longer, unless
                the refusals have been found to have nothing to do with how much is sent. More
                than half an hour ends a run (see `retry`), and does not make the next one wait.
        """
        self._take_back(permit, now)
        self._refused += 1
        self._quotas.settle(permit.tokens, 0)
        if self._breaker.answered():
            self._answers_again(now)
        search, refusals = self._search, self._refusals
        pause = retry_after if retry_after is not None else math.inf
        if pause <= _LONGEST_GATE and refusals.stage is not Stage.RANDOM:
            wait = max(pause, 0.0) * (1.0 + _RETRY_JITTER * self._rng.random())
            self._gate = max(self._gate, now + wait)
            self._open_gently(self._gate)
        paused = refusals.refused(
            now,
            sent_at=permit.dispatched_at,
            load=permit.in_flight,
            limit=search.limit,
            current=permit.generation >= search.generation,
        )
        if paused and refusals.settle_at is not None:
            search.generation += 1
            self._gate = max(self._gate, refusals.settle_at)

    def unavailable(self, permit: Permit, now: float, *, retry_after: float | None = None) -> None:
        """Nothing was there: refused connection, DNS, 503 while starting, paused."""
        self._take_back(permit, now)
        self._quotas.settle(permit.tokens, 0)
        jitter = self._rng.random()
        self._breaker.missed(now, probe=permit.probe, jitter=jitter, retry_after=retry_after)

    def fail(self, permit: Permit, now: float, *, timed_out: bool = False) -> None:
        """The attempt failed in another way: the endpoint is there, and nothing was learned.

        Args:
            permit: of the attempt.
            now: a clock reading.
            timed_out: it took too long, here or at a gateway: many of those are overload.
        """
        in_flight = self._take_back(permit, now)
        if self._breaker.answered():
            self._answers_again(now)
            return
        self._refusals.answered()
        if timed_out and permit.generation >= self._search.changed:
            self._learn(permit, now, 0.0, in_flight)

    def cancel(self, permit: Permit, now: float) -> None:
        """The attempt was given up here. Says nothing about the server."""
        self._take_back(permit, now)
        if permit.probe:
            self._breaker.gave_up()

    def pause(self, until: float) -> None:
        """Send nothing before `until`, a clock reading, and then begin gently.

        For a pause that the server asked of another process; a longer one of our own stays.
        """
        if until > self._gate:
            self._gate = until
            self._open_gently(until)

    def note_capacity(self, now: float, reason: str) -> None:
        """The server can take more than before, as somebody knows: the search climbs again."""
        if self._search.phase is not Phase.RAMP:
            self._search.ramp(self._search.limit, now, reason)

    def rate_headers(self, headers: Mapping[str, str], now: float) -> None:
        """Keep to what the server says is left. Names in lower case; see `rate_headers`."""
        self._quotas.read(headers, now)

    def statistics(self, now: float) -> LimiterStatistics:
        """A snapshot; sorts 256 latencies, so not for every event."""
        search, refusals, meter = self._search, self._refusals, self._meter
        requests, tokens = meter.rates(now)
        return LimiterStatistics(
            limit=search.limit,
            in_flight=self._in_flight,
            phase=search.phase.value,
            reason=search.reason,
            requests_per_second=requests,
            tokens_per_second=tokens,
            latency_p50=meter.latency(0.5),
            latency_p95=meter.latency(0.95),
            sent=self._sent,
            refused=self._refused,
            refusals=refusals.stage.value,
            paced_per_second=None if refusals.gate is None else refusals.gate.rate,
            gate_until=self._gate if self._gate > now else None,
            breaker=self._breaker.state,
            probe_at=self._breaker.probe_at if self._breaker.state == "open" else None,
        )

    def _take_back(self, permit: Permit, now: float) -> int:
        """How many were in flight, this one included."""
        if permit.returned:
            raise RuntimeError("this permit has been returned before")
        permit.returned = True
        self._note_time(now)
        in_flight = self._in_flight
        self._in_flight = in_flight - 1
        return in_flight

    def _note_time(self, now: float) -> None:
        elapsed = now - self._seen
        if elapsed > _IDLE and elapsed > _longest_silence(self._in_flight, self._search.latency):
            # Idle or suspended: latencies that span it mean nothing.
            self._evidence_since = now
            self._search.void(now)
            self._open_gently(max(now, self._gate))
        self._seen = now
        settle_at = self._refusals.settle_at
        if settle_at is not None and now >= settle_at:
            self._settle(now)

    def _settle(self, now: float) -> None:
        search, refusals = self._search, self._refusals
        ruling = refusals.settled(now, self._in_flight)
        if refusals.fruitless:
            self._open_gently(max(now, self._gate), at_once=1, hold=1.5 * refusals.delay)
        search.confine(search.most if refusals.wall.height is None else int(refusals.wall.height))
        match ruling:
            case Cut(limit):
                search.cut(limit, now, f"refused above {refusals.wall.kept}")
            case Lift(limit):
                search.ramp(max(limit, search.limit), now, refusals.stage.value)

    def _learn(self, permit: Permit, now: float, work: float, in_flight: int) -> None:
        search = self._search
        if permit.dispatched_at >= self._evidence_since:
            load = 0.5 * (permit.in_flight + in_flight)
            latency = now - permit.dispatched_at
            search.complete(now, latency, work, in_flight=in_flight, load=load)
        wall = self._refusals.wall
        if now >= wall.due and search.held:
            search.follow(wall.push(now, search.most), now)

    def _answers_again(self, now: float) -> None:
        """A server that was away starts cold."""
        self._search.ramp(min(self._search.limit, self._start), now, "answers again")
        self._evidence_since = now
        self._open_gently(now)

    def _open_gently(self, at: float, *, at_once: int = AT_ONCE, hold: float = 0.0) -> None:
        self._soft_start = SoftStart(at, floor=self._in_flight + at_once, hold=hold)


def _longest_silence(in_flight: int, latency: float) -> float:
    """Seconds in which nothing at all may happen though the machine is awake and busy."""
    if not in_flight:
        return 0.0
    return _SILENT_LATENCIES * latency or _LONGEST_FIRST_LATENCY
