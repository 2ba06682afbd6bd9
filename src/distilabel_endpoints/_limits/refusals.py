"""What refusals (429) mean: too many at once, too many per second, or nothing to do with us.

Each explanation is tried in turn, and the next refusals judge it.
1. Too many at once. Pause until the refusals of this burst are in; what the server then has in
   flight is what it keeps: the wall. The limit goes a little below it. A wall that is refused at
   another height each time is none; nor is one that is suddenly met at half the height. A refusal
   below the wall cuts nothing, and speaks against it. From here on sends keep a distance, until
   the wall has been met again at the same height: a server that admits them one by one refuses all
   but one of a crowd, which would look like a wall at one. Nor is it a wall if one is refused that
   is alone. A wall far below the limit is tried again sooner, for the same reason.
2. Too many per second. Count what is accepted for a second, and send a little less. That ends
   refusals which a rate limit causes, and also those of a wall. Of a crowd much less comes through
   than one by one, so a measured rate grows fast until it is refused. What was accepted just before
   that is kept: a refusal after the rate has grown says nothing about less. Only if refusals
   continue was it saved-up credit, and the rate is what was accepted on average.
3. Neither. As large a share is refused as before, also at a rate that had been accepted, or in
   many rounds at whatever rate: pacing does not help, so it goes, and refusals no longer count as
   long as their share stays.
A round in which nothing is accepted doubles the pause. Pure: clock readings are arguments.

Where the server refused, and how much longer to believe it.

A wall met again at the same height is believed twice as long before it is tried; one that gives
way is pushed further and further, every few seconds. Pure: clock readings are arguments.

How many a second: a token bucket, and the gate whose rate is learned from refusals.

Rules
- A need larger than the bucket is met by a full bucket, which then goes into debt: nothing waits
  for ever, and the rate holds on average.
- Pure: clock readings (seconds, monotonic) are arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["SAMPLE", "Cut", "Lift", "RateBucket", "RateGate", "Refusals", "Stage", "Wall"]

# requests; that make a share worth comparing.
SAMPLE: Final = 20
# units; rounding errors of a bucket that count as full.
_SLACK: Final = 1e-6
# seconds; the least wait for a bucket, so that no timer fires in vain.
_SOON: Final = 1e-3
# requests a second; the lowest rate that refusals can lead to: one in twenty seconds.
_SLOWEST: Final = 0.05
# seconds; of sends that a late one may catch up; some servers admit no two at once.
_CATCH_UP: Final = 0.005
# seconds; without a refusal after which a learned rate has doubled.
_DOUBLES_IN: Final = 150.0
# seconds; the same, of a rate that was measured while a crowd was refused: a server that admits
# one by one would take much more.
_SOON_DOUBLES_IN: Final = 10.0
# seconds; without a refusal after which a learned rate limits nothing, and is dropped.
_QUIET: Final = 260.0


class RateBucket:
    """`rate` units a second, at most `capacity` of them saved up."""

    __slots__ = ("_at", "_level", "capacity", "rate")

    def __init__(
        self, rate: float, capacity: float, now: float, level: float | None = None
    ) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity if level is None else level
        self._at = now

    def _refill(self, now: float) -> float:
        elapsed = now - self._at
        if elapsed > 0.0:
            self._at = now
            self._level = min(self.capacity, self._level + elapsed * self.rate)
        return self._level

    def ready(self, now: float, need: float) -> bool:
        """Whether `need` units may be taken at once."""
        return self._refill(now) >= min(need, self.capacity) - _SLACK

    def take(self, need: float) -> None:
        """Take units, also more than there are; a negative need gives back."""
        self._level = min(self.capacity, self._level - need)

    def when(self, now: float, need: float) -> float:
        """When `ready` will be true; infinite if never at this rate."""
        if self.ready(now, need):
            return now
        if self.rate <= 0.0:
            return math.inf
        missing = min(need, self.capacity) - self._level
        return now + max(missing / self.rate, _SOON)


class RateGate:
    """Sends per second that the server was seen to accept.

    `rate` at first, then, once tried, quadratically more with the time that passes without a
    refusal. A gate that was not refused for minutes limits nothing, and is dropped. One goes after
    the other, as some servers admit no two at once; who comes late catches up by a few
    milliseconds.

    Args:
        now: a clock reading.
        rate: to begin with.
        measured: it is what was accepted on average, not where growth met a refusal.
        doubles_in: seconds without a refusal after which it has doubled.
    """

    __slots__ = ("_bucket", "_doubles_in", "_quiet_since", "base", "measured")

    def __init__(
        self, now: float, rate: float, *, measured: bool = False, doubles_in: float = _DOUBLES_IN
    ) -> None:
        self.base = max(rate, _SLOWEST)
        self.measured = measured
        self._doubles_in = doubles_in
        self._bucket = RateBucket(self.base, 1.0 + _CATCH_UP * self.base, now, level=0.0)
        self._quiet_since = now

    @property
    def rate(self) -> float:
        """Sends per second, as of now."""
        return self._bucket.rate

    @property
    def grown(self) -> bool:
        """The rate is above the one it began with."""
        return self._bucket.rate > 1.02 * self.base

    def rate_before(self, refused_at: float) -> float:
        """Sends per second two sends before one that was refused: that much was accepted."""
        return self._rate_at(refused_at - 2.0 / self._bucket.rate)

    def _rate_at(self, now: float) -> float:
        quiet = max(now - self._quiet_since, 0.0)
        return self.base * (1.0 + (quiet / self._doubles_in) ** 2)

    def ready(self, now: float) -> bool:
        """Whether one may be sent."""
        return self._bucket.ready(now, 1.0)

    def when(self, now: float) -> float:
        """When the next one may be sent."""
        return self._bucket.when(now, 1.0)

    def sent(self, now: float, sends: int) -> bool:
        """Count a send, the `sends`-th since the last refusal. False: drop the gate."""
        bucket = self._bucket
        bucket.take(1.0)
        if sends < SAMPLE:
            self._quiet_since = now
        bucket.rate = self._rate_at(now)
        bucket.capacity = 1.0 + _CATCH_UP * bucket.rate
        return now - self._quiet_since <= _QUIET


# seconds; a wall is believed in before a higher one is tried; doubled when it is met again.
_WAIT: Final = 5.0
# seconds; the same, of a wall that may be none.
_SHORT_WAIT: Final = 1.0
# seconds; the longest such wait.
_LONGEST_WAIT: Final = 300.0
# share; by which the first push goes beyond a wall; doubled with each that is not refused.
_FIRST_STEP: Final = 0.05
# share; the same, of a wall that was met again at the same height.
_STEP_AGAIN: Final = 0.005
# share; the largest push.
_LARGEST_STEP: Final = 1.0
# share; by which two walls may differ and are the same.
_TOLERANCE: Final = 0.1
# share; of the last wall: one that is met lower is none.
_FALLEN: Final = 0.5


class Wall:
    """The most that may be in flight, as far as is known."""

    __slots__ = ("_first_wait", "_step", "_wait", "due", "height", "kept")

    def __init__(self) -> None:
        self.height: float | None = None
        """None: no wall is known."""
        self.kept = 0
        """What the server had in flight when it last refused."""
        self.due = math.inf
        """When to push."""
        self._wait = self._first_wait = _WAIT
        self._step = _FIRST_STEP

    def hit(self, now: float, kept: int, *, before: int = 0) -> bool:
        """Refused, with `kept` in flight. True if that is as high as the last time.

        A wall far below the limit `before` it may only be how many of a crowd are let in at once.
        """
        expected = abs(kept - self.kept) <= math.ceil(_TOLERANCE * self.kept - 0.5)
        self._first_wait = _WAIT if kept >= _FALLEN * before else _SHORT_WAIT
        self._wait = min(2.0 * self._wait, _LONGEST_WAIT) if expected else self._first_wait
        self._step = _STEP_AGAIN if expected else _FIRST_STEP
        self.kept = max(kept, 1)
        self.height = float(self.kept)
        self.due = now + self._wait
        return expected

    def push(self, now: float, most: int) -> int:
        """Believe in a somewhat higher wall, or at `most` in none; how high one may go."""
        height = self.height or 1.0
        self.height = max(height * (1.0 + self._step), height + 1.0)
        self._step = min(2.0 * self._step, _LARGEST_STEP)
        self.due = now + self._first_wait
        if self.height >= most:
            self.fall()
            return most
        return int(self.height)

    def fall(self) -> None:
        """There is no wall."""
        self.height = None
        self.kept = 0
        self.due = math.inf


# share; of what the server kept, to which the limit goes at first.
_CUT_FIRST: Final = 0.97
# share; the same, of a wall that was met again at the same height.
_CUT_KNOWN: Final = 0.99
# share; the same, after a wall that was met at another height.
_CUT_AGAIN: Final = 0.85
# bursts; at walls of different heights, after which it is not a wall.
_STRIKES: Final = 3
# share; of the wall: a refusal at less in flight was not caused by the number in flight.
_BELOW: Final = 0.75
# limits; of requests without a refusal, after which the explanation begins anew.
_LONG_CLEAN: Final = 10
# seconds; awaited at least for the other refusals of a burst.
_SETTLE_LEAST: Final = 0.02
# seconds; awaited at most.
_SETTLE_MOST: Final = 0.5
# seconds; the longest pause, doubled with each round in which nothing is accepted.
_LONGEST_PAUSE: Final = 15.0
# share; of refusals behind a gate that only asks for a little less.
_FEW: Final = 0.03
# ratio; to the share before pacing, from which on pacing does not help.
_SAME_SHARE: Final = 0.5
# seconds; over which an accepted rate is measured at least.
_MEASURED: Final = 1.0
# share; of refusals that is not an accident: something else is wrong.
_NEARLY_ALL: Final = 0.97
# share; of the accepted rate that is sent.
_MARGIN: Final = 0.97
# share; of a rate: so much less was accepted than is sent, as of a crowd that is admitted one by
# one.
_CROWDED: Final = 0.7
# refusals; that are more than a single accident.
_RUNS: Final = 3
# rounds; behind a gate, whether it had grown or not, with accepted and refused requests, that
# show how many are refused. A quota that is used up refuses all for a time.
_MANY: Final = 20
# requests; over which refusals at random are counted again.
_WATCHED: Final = 100
# delays; of a refusal, for which they are counted at least, so that few are still to come.
_WATCHED_DELAYS: Final = 10.0
# ratio; of accepted requests to before, below which refusals are explained anew.
_WORSE: Final = 0.4


class Stage(StrEnum):
    """Which explanation is being tried."""

    CLEAR = "clear"
    CONCURRENCY = "too many at once"
    RATE = "measuring the server's rate"
    GATED = "rate-limited by the server"
    RANDOM = "refusals at random"


@dataclass(frozen=True, slots=True)
class Cut:
    """Go down to `limit`."""

    limit: int


@dataclass(frozen=True, slots=True)
class Lift:
    """The limit was not the cause: take up the search where it was interrupted, at `limit`."""

    limit: int


class Refusals:
    """Counts what is sent and refused, and says what to do about it."""

    def __init__(self) -> None:
        self.stage = Stage.CLEAR
        self.gate: RateGate | None = None
        self.wall = Wall()
        self.settle_at: float | None = None
        """While set, nothing is sent: the refusals of a burst are awaited."""
        self.delay = 0.05
        """Smoothed seconds from sending to a refusal."""
        self.fruitless = 0
        """Rounds in a row in which nothing was accepted."""
        self._limit_before = 1
        self._answered = 0
        self._load = self._lowest = self._burst = 0
        self._sent_at = -math.inf
        self._strikes = 0
        self._met_again = False
        self._share = 0.0
        self._saves_credit = False
        self._paced_sends = self._paced_refused = self._paced_rounds = self._unprovoked = 0
        self._sends = self._refused = self._accepted = self._sends_at_last = 0
        self._since = -math.inf

    @property
    def evenly(self) -> bool:
        """Whether sends keep a distance, as refusals are being explained."""
        stage = self.stage
        return stage is Stage.RATE or (stage is Stage.CONCURRENCY and not self._met_again)

    def sent(self, now: float) -> None:
        """One was sent."""
        self._sends += 1
        gate = self.gate
        if gate is not None and not gate.sent(now, self._sends):
            self.gate = None
            self.stage = Stage.CLEAR

    def answered(self) -> None:
        """One was answered: while settling, the server had kept it until now."""
        self._answered += 1

    def refused(self, now: float, *, sent_at: float, load: int, limit: int, current: bool) -> bool:
        """One was refused. True: pause until `settle_at`, then ask `settled`.

        Args:
            now: when.
            sent_at: when it was sent.
            load: how many were in flight then.
            limit: the limit as it is.
            current: it was sent after the last cut.
        """
        took = now - sent_at
        self.delay += 0.2 * (took - self.delay)
        recent = sent_at >= self._since
        self._refused += recent
        self._burst += 1
        self._lowest = min(self._lowest, load)
        if self.stage is Stage.RANDOM:
            self._watch(now)
            return False
        if self.settle_at is not None or not (current and recent):
            return False
        self._load, self._sent_at = load, sent_at
        self._explain(now, limit)
        settle = min(max(1.5 * max(self.delay, took), _SETTLE_LEAST), _SETTLE_MOST)
        self.settle_at = now + min(settle * 2.0 ** min(self.fruitless, 20), _LONGEST_PAUSE)
        self._answered = 0
        self._burst = 1
        self._lowest = load
        return True

    def _explain(self, now: float, limit: int) -> None:
        """A refusal after a long clean time has another cause than those before it."""
        clean = self._sends - self._sends_at_last - 1
        self._sends_at_last = self._sends
        scale = max(SAMPLE, limit)
        if clean >= scale:
            self.fruitless = 0
        if self.stage is Stage.GATED:
            return
        if self.stage is Stage.CLEAR or clean >= _LONG_CLEAN * scale:
            self.stage = Stage.CONCURRENCY
            self._limit_before = limit
            self._strikes = -1
            self._met_again = False
            self._restart(now)

    def settled(self, now: float, in_flight: int) -> Cut | Lift | None:
        """The pause is over, and all refusals of the burst are in."""
        self.settle_at = None
        accepted = self._sends - self._refused
        if accepted > self._accepted:
            self.fruitless = 0
        else:
            self.fruitless += 1
        self._accepted = accepted
        if self.stage is Stage.CONCURRENCY:
            return self._cut(now, in_flight + self._answered)
        if self.stage is Stage.RATE:
            return self._measure_rate(now)
        if self.stage is Stage.GATED:
            return self._test_gate(now)
        return None

    def _cut(self, now: float, kept: int) -> Cut | None:
        wall = self.wall
        above, fallen = self._load > wall.kept, kept < _FALLEN * wall.kept
        pell_mell = fallen or self._lowest < _BELOW * kept
        alone = not kept and not self.fruitless
        as_expected = above and wall.hit(now, kept, before=self._limit_before)
        self._strikes = 0 if as_expected else self._strikes + 1
        self._met_again |= as_expected
        if self._strikes >= _STRIKES or alone or (pell_mell and self._burst >= _RUNS):
            self.stage = Stage.RATE
            self._restart(now)
            self.settle_at = None if self.fruitless else now + _MEASURED
            return None
        if not above:
            return None
        factor = _CUT_FIRST if self._strikes <= 0 else _CUT_AGAIN
        factor = _CUT_KNOWN if as_expected else factor
        return Cut(max(1, math.ceil(factor * kept)))

    def _measure_rate(self, now: float) -> Lift | None:
        elapsed = now - self._since
        if self._accepted < 2:
            return None
        if self._sends < SAMPLE or elapsed < _MEASURED:
            self.settle_at = now + _MEASURED
            return None
        # A few say little of their share: as low as it may well be.
        self._saves_credit = False
        self._share = max(self._refused - math.sqrt(self._refused), 0.5) / self._sends
        self._pace(now, _MARGIN * self._accepted / elapsed, _SOON_DOUBLES_IN)
        self.wall.fall()
        return Lift(self._limit_before)

    def _pace(self, now: float, rate: float, doubles_in: float) -> None:
        self.stage = Stage.GATED
        self.gate = RateGate(now, rate, measured=True, doubles_in=doubles_in)
        self._paced_sends = self._paced_refused = self._paced_rounds = self._unprovoked = 0
        self._restart(now)

    def _test_gate(self, now: float) -> Lift | None:
        gate = self.gate
        assert gate is not None  # it comes and goes with the stage
        self._unprovoked += gate.measured and not gate.grown and not self.fruitless
        self._paced_rounds += not self.fruitless
        sends, refused = self._paced_sends + self._sends, self._paced_refused + self._refused
        counted = min(self._unprovoked, refused) >= _RUNS or self._paced_rounds >= _MANY
        if sends >= SAMPLE and counted:
            share = refused / sends
            if _SAME_SHARE * self._share <= share < _NEARLY_ALL:
                self.stage = Stage.RANDOM
                self.gate = None
                self._share = share
                self._restart(now)
                return Lift(self._limit_before)
        measurable = self._accepted >= SAMPLE // 2
        measured = _MARGIN * self._accepted / max(now - self._since, 1.0) if measurable else 0.0
        few = self._refused <= _FEW * self._sends
        if gate.grown or (few and self._refused >= _RUNS):
            # Known by now: what was accepted before the rate grew, or that it is a little too much.
            base = _MARGIN * (gate.rate_before(self._sent_at) if gate.grown else gate.base)
            if gate.grown and self._saves_credit:
                base = max(gate.base, measured)
            self.gate = RateGate(now, base)
            self._paced_sends, self._paced_refused = sends, refused
            self._restart(now)
        elif self._sends >= SAMPLE and self._refused >= _RUNS and measurable:
            self._saves_credit = measured >= _CROWDED * gate.base
            self._pace(now, measured, _DOUBLES_IN if self._saves_credit else _SOON_DOUBLES_IN)
        return None

    def _watch(self, now: float) -> None:
        """Refusals at random: unless many more than before."""
        if self._sends < _WATCHED or now - self._since < _WATCHED_DELAYS * self.delay:
            return
        if self._sends - self._refused < _WORSE * (1.0 - self._share) * self._sends:
            self.stage = Stage.CLEAR
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._sends = self._refused = self._accepted = self._sends_at_last = 0
        self._since = now
