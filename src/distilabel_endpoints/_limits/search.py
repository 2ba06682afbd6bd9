"""The search for the limit by goodput: ramp up, then hold, and probe now and then.

Rules
- Probes are half an octave up or down, measured against the same server just before; after one
  that was rejected a quarter, and further down if several were kept in a row.
- Up is kept for clearly more goodput, down for hardly less: the same goodput with a shorter queue
  wins. What a probe did not show is not believed, and the next probe in that direction waits
  twice as long.
- Evidence counts only at a saturated limit, and from one latency after the limit changed.
- A cut begins a generation; what was sent before it cannot cut again. A pause does too, and what
  was refused before it tells nothing new; time-outs do, as they come from further back.
- Latency is never a signal by itself: longer answers and fuller batches look like overload.

Fast growth from a start: a little more with every completion, until a doubling brings nothing.

A round lasts until the limit has doubled and answers have come from there; it needs no whole
latency if latencies differ, and exactly one if they are all the same and answers come in
waves. Growth within it is smooth, so a server that refuses is met at its very wall. If the
last doubling hardly brought more completions per second, growth stops and looks for one round
more; then it continues, or ends at what the measured speed needs. An idle server has to fill up
first: growth to few requests is fast and not judged, and the round after it is short, so that
there is soon a speed to compare with. Pure: clock readings are arguments.

Evidence about one limit: what was in flight, how long it took, what came of it.

By Little's law the goodput at a limit is `in flight x work / latency`, each summed over the
completions. Work is tokens, or 1 a completion if they are not counted. It hardly depends on how
long the answers are, and needs no more than a few dozen completions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

__all__ = ["LEAST", "SATURATED", "Evidence", "Phase", "Ramp", "Search"]

# variance; of the server's own speed per completion, which no latency shows.
_SERVICE: Final = 0.1


class Evidence:
    """Running sums over completions."""

    __slots__ = ("_cross", "_load", "_time2", "_work2", "lost", "n", "since", "time", "work")

    def __init__(self, since: float) -> None:
        self.since = since
        self.n = self.lost = 0
        self.time = self.work = 0.0
        self._load = self._work2 = self._time2 = self._cross = 0.0

    def add(self, load: float, work: float, latency: float) -> None:
        """One completion; work 0 for one that timed out."""
        self.n += 1
        self.time += latency
        self.work += work
        self._load += load
        self._work2 += work * work
        self._time2 += latency * latency
        self._cross += work * latency

    def fade(self) -> None:
        """Halve the weight of everything so far."""
        self.n //= 2
        self.lost //= 2
        self.time /= 2
        self.work /= 2
        self._load /= 2
        self._work2 /= 2
        self._time2 /= 2
        self._cross /= 2

    @property
    def load(self) -> float:
        """Mean number in flight."""
        return self._load / self.n

    @property
    def latency(self) -> float:
        """Mean latency, in seconds."""
        return self.time / self.n

    def log_goodput(self) -> float:
        """Logarithm of work per second."""
        return math.log(max(self.load * self.work / max(self.time, 1e-9), 1e-9))

    def variance(self) -> float:
        """Of `log_goodput`: scatter of work around its pace, and the server's own unevenness."""
        if self.work <= 0.0:
            return 1.0
        pace = self.work / max(self.time, 1e-9)
        scatter = self._work2 - 2.0 * pace * self._cross + pace * pace * self._time2
        return max(scatter, 0.0) / (self.work * self.work) + _SERVICE / max(self.n, 1)


# completions; without which nothing is concluded.
LEAST: Final = 16
# requests; by which the limit grows with each completion of a ramp.
_GROWTH: Final = 2
# requests; the same, in the first round of all: each answer shows that the server works.
_FIRST_GROWTH: Final = 8
# requests; with which the first round ends, while an idle server still fills up.
_FIRST_TOP: Final = 128
# ratio; by which the second round raises the limit: the first whose speed means something.
_SECOND_RISE: Final = 1.6
# ratio; a doubling that brings less speed than this is doubted.
_PLATEAU: Final = 1.15
# ratio; the same, if the limit is already well above what the measured speed needs.
_SUSPECT: Final = 1.4
# ratio; a doubling that leaves less speed than this ends the ramp at once, at half.
_COLLAPSE: Final = 0.9
# ratio; a round that is this much slower than the last need not come to its end.
_SLOW_ROUND: Final = 0.7
# ratio; of requests in flight to what the first latencies say the speed needs: batching makes
# all slower.
_AMPLE: Final = 6.0
# ratio; a ramp ends no lower than its top divided by this.
_SMALLEST_SHARE: Final = 8


class _Round(NamedTuple):
    """What completed while the limit doubled."""

    n: int
    seconds: float
    work: float
    limit: int
    """At its end."""

    @property
    def speed(self) -> float:
        """Completions per second."""
        return self.n / self.seconds


class Ramp:
    """One climb. `over` once it has ended.

    Args:
        now: a clock reading, in seconds.
        limit: to begin with.
        idle: the server has done nothing yet.
    """

    __slots__ = (
        "_before",
        "_doubted",
        "_first",
        "_fresh",
        "_growth",
        "_n",
        "_opening",
        "_since",
        "_top",
        "_work",
        "over",
    )

    def __init__(self, now: float, limit: int, *, idle: bool = False) -> None:
        self.over = False
        self._first = (0, 0.0, 0.0)
        opening = ((_FIRST_GROWTH, _FIRST_TOP / limit), (_GROWTH, _SECOND_RISE))
        self._begin(now, limit, opening if idle and limit < _FIRST_TOP else ())

    def void(self, now: float, limit: int) -> None:
        """Forget how fast it went so far, and continue from here."""
        self._begin(now, limit, ())

    def _begin(self, now: float, limit: int, opening: Iterable[tuple[int, float]]) -> None:
        self._opening = iter(opening)
        self._before: _Round | None = None
        self._doubted: _Round | None = None
        self._start_round(now, limit)

    def grow(
        self,
        now: float,
        limit: int,
        bound: int,
        *,
        work: float,
        latency: float,
        full: bool = True,
    ) -> int:
        """The limit after one more completion; it grows only where it is `full`."""
        self._n += 1
        self._work += work
        self._fresh += now - latency >= self._since
        n, sum_latency, sum_work = self._first
        if n < LEAST:
            self._first = n + 1, sum_latency + latency, sum_work + work
        if self._doubted is not None:
            return self._look(now, limit, self._doubted) if full else limit
        if not full:
            return limit
        if limit >= bound:
            self.over = True
            return limit
        limit = min(limit + self._growth, bound, self._top)
        ended = limit >= self._top or self._is_slow(now)
        return self._compare(now, limit) if ended and self._fresh >= LEAST else limit

    def _start_round(self, now: float, limit: int) -> None:
        self._since = now
        self._n = self._fresh = 0
        self._work = 0.0
        self._growth, rise = next(self._opening, (_GROWTH, 2.0))
        self._top = math.ceil(rise * limit)

    def _is_slow(self, now: float) -> bool:
        before = self._before
        seconds = now - self._since
        return before is not None and self._n < _SLOW_ROUND * before.speed * seconds

    def _end_round(self, now: float, limit: int) -> _Round:
        ended = _Round(self._n, max(now - self._since, 1e-9), self._work, limit)
        self._start_round(now, limit)
        return ended

    def _compare(self, now: float, limit: int) -> int:
        """A doubling later, and answered from there: was it worth it?"""
        before, ended = self._before, self._end_round(now, limit)
        self._before = ended
        if before is None:
            return limit
        need = self._need(ended)
        enough = _SUSPECT if limit > 1.5 * need else _PLATEAU
        gain = ended.speed / before.speed
        if gain >= enough:
            return limit
        if gain < _COLLAPSE:
            return self._end(limit, min(need, limit / 2))
        self._doubted = before
        return limit

    def _look(self, now: float, limit: int, before: _Round) -> int:
        """A moment without growth: what grew may only not have come through yet."""
        if self._n < max(LEAST, limit // 4) or self._fresh < LEAST:
            return limit
        self._doubted, ended = None, self._end_round(now, limit)
        self._before = ended
        gain = ended.speed / before.speed
        if gain >= _SUSPECT:
            return limit
        # Speeds only rise with the limit, and ever less: this much that round shows already.
        shown = before.limit * gain
        need = max(self._need(ended), shown / 2)
        return self._end(limit, min(need, max(shown, before.limit)))

    def _end(self, limit: int, need: float) -> int:
        self.over = True
        return max(1, limit // _SMALLEST_SHARE, min(limit, int(need)))

    def _need(self, ended: _Round) -> float:
        """In flight that keep up this speed at the latency seen first, amply.

        The first latencies are those of the quickest answers, and batching makes all slower.
        """
        n, latency, work = self._first
        by_count = ended.speed * latency / n
        by_work = ended.work / ended.seconds * latency / max(work, 1e-9)
        return _AMPLE * max(by_count, by_work)


# share; of the limit that must be in flight for a completion to say anything about it.
SATURATED: Final = 0.8
# ratio; of a probed limit to the one that is held: half an octave.
_STEP: Final = 2**0.5
# ratio; of the next probe after a rejected one: the best may lie between.
_SMALL_STEP: Final = 2**0.25
# ratio; of the fourth and later probes that are kept in a row.
_LARGE_STEP: Final = 2.0
# gain of log goodput per log limit; more keeps a higher limit, less a lower one.
_ELASTICITY: Final = 0.07
# standard deviations; by which a margin decides before all evidence is in.
_SURE: Final = 2.0
# standard deviations; by which a probe down must be slower to be ended within a latency.
_MUCH_SLOWER: Final = 3.0
# standard deviations; a lower limit may seem this much worse and is kept.
_NOT_WORSE: Final = 0.25
# variance of log goodput; at which a probe down is decided.
_VARIANCE_DOWN: Final = 0.0024
# variance of log goodput; at which a probe up is decided.
_VARIANCE_UP: Final = 0.0016
# completions; at least, of which evidence four times as large needs no smaller variance.
_MUCH: Final = 64
# latencies; the unit in which probes wait.
_EPOCH: Final = 3.0
# epochs; the longest wait for the next probe up, after rejected ones.
_PATIENCE_UP: Final = 8.0
# epochs; the longest wait for the next probe down.
_PATIENCE_DOWN: Final = 32.0
# epochs; before the first probe down from the user's own ceiling.
_AFTER_CEILING: Final = 16.0
# epochs; before the first probe up after a cut that ended a ramp.
_AFTER_CUT_UP: Final = 4.0
# epochs; before the first probe down after such a cut.
_AFTER_CUT_DOWN: Final = 8.0
# gain of log goodput per log limit; a probe up that brings more starts a new ramp.
_STEEP: Final = 0.6
# time-outs; that may together be overload.
_TIMEOUTS: Final = 5
# share; of time-outs among completions that halves the limit.
_TIMEOUT_SHARE: Final = 0.2
# share; of the last latency in the smoothed one.
_SMOOTHING: Final = 0.05


class Phase(StrEnum):
    """What the search is doing."""

    RAMP = "ramping up"
    HOLD = "holding"
    UP = "probing up"
    DOWN = "probing down"


class _Direction:
    """How far the next probe in a direction goes, and how long it has to wait, in epochs."""

    __slots__ = ("_kept", "_most", "_since", "epochs", "step")

    def __init__(self, most: float, now: float) -> None:
        self._most = most
        self._kept = 0
        self.step = _STEP
        self.restart(now, 1.0)

    def restart(self, now: float, epochs: float) -> None:
        self.epochs = epochs
        self._since = now

    def small(self) -> None:
        """Begin with a small step."""
        self.step = _SMALL_STEP

    def kept(self) -> None:
        """A probe was worth it: the fourth and later ones in a row go further."""
        self._kept += 1
        self.step = _STEP if self._kept < 3 else _LARGE_STEP

    def turned(self) -> None:
        """The limit has grown: as if none had been kept."""
        self._kept = 0
        self.step = _STEP

    def rejected(self, now: float) -> None:
        """The best may lie between: every second attempt is half as far."""
        self._kept = 0
        self.step = _SMALL_STEP if self.step == _STEP else _STEP
        self.restart(now, min(max(self.epochs, 1.0) * 2.0, self._most))

    def due(self, epoch: float) -> float:
        return self._since + self.epochs * epoch


class Search:
    """The limit, and the evidence for it.

    Args:
        start: the first limit.
        most: never more than this.
        now: a clock reading, in seconds.
        floor: probes go no lower: that few requests hurt no server, and one slow row must not be
            taken for a slow endpoint.
    """

    def __init__(self, start: int, most: int, now: float, *, floor: int = 1) -> None:
        self.most = most
        self._floor = max(1, min(floor, most))
        self.bound = most
        """At most this for now: `most`, or less if the server refused."""
        self.limit = min(start, most)
        self.phase = Phase.RAMP
        self.generation = self.changed = 0
        """Of what is sent now, pauses begin one too; and that of the last cut or ramp."""
        self.latency = 0.0
        """Smoothed seconds from sending to the answer."""
        self.reason = "start"
        """Why the limit is what it is."""
        self._ramp = Ramp(now, self.limit, idle=True)
        self._warm = now
        self._evidence = Evidence(now)
        self._next_check = LEAST
        self._base = Evidence(now)
        self._base_limit = self.limit
        self._usual = 0.0
        self._up = _Direction(_PATIENCE_UP, now)
        self._down = _Direction(_PATIENCE_DOWN, now)

    def ramp(self, limit: int, now: float, reason: str) -> None:
        """Start growing from `limit`."""
        self._change()
        self.limit = max(1, min(limit, self.bound))
        self.reason = reason
        self.phase = Phase.RAMP
        self._warm = now
        self._evidence = Evidence(now)
        self._ramp = Ramp(now, self.limit)

    def cut(self, limit: int, now: float, reason: str) -> None:
        """Go down to `limit` at once, and hold there."""
        self._change()
        self.limit = max(1, min(limit, self.limit, self.most))
        self.reason = reason
        if self.phase is Phase.RAMP:
            self._up.restart(now, _AFTER_CUT_UP)
            self._down.restart(now, _AFTER_CUT_DOWN)
        self.phase = Phase.HOLD
        self._measure(now)

    def _change(self) -> None:
        self.generation += 1
        self.changed = self.generation

    def widen(self, most: int, now: float) -> None:
        """`most` may be more from now on: grow from where the limit is."""
        if most > self.most:
            self.most = self.bound = most
            self.ramp(self.limit, now, "max_concurrency was raised")

    def confine(self, bound: int) -> None:
        """Never above `bound` until further notice."""
        self.bound = max(1, min(bound, self.most))

    @property
    def held(self) -> bool:
        """It is the bound that keeps the limit from growing."""
        return self.phase is Phase.HOLD and self.limit >= SATURATED * self.bound

    def follow(self, bound: int, now: float) -> None:
        """The bound that held us has moved out."""
        self.confine(bound)
        if self.bound > self.limit:
            self.limit = self.bound
            self.reason = f"trying {self.limit} again"
            self._measure(now)

    def void(self, now: float) -> None:
        """Forget the evidence of this epoch (a suspend, an idle time); the limit stays."""
        if self.phase is Phase.RAMP:
            self._ramp.void(now, self.limit)
            self._evidence = Evidence(now)
            return
        if self.phase is not Phase.HOLD:
            self._reject(now)
        self._measure(now)

    def complete(
        self, now: float, latency: float, work: float, *, in_flight: int, load: float
    ) -> None:
        """One completion.

        Args:
            now: when.
            latency: seconds since it was sent.
            work: what it brought; 0 for a timeout that says the server is overloaded.
            in_flight: how many were, this one included.
            load: how many were in flight during its life, on average.
        """
        smoothing = _SMOOTHING if self.latency else 1.0
        self.latency += (latency - self.latency) * smoothing
        if now < self._warm:
            return
        evidence = self._evidence
        evidence.add(load, work, latency)
        if work <= 0.0:
            self._lose(now)
        elif self.phase is Phase.RAMP:
            if evidence.n > 2 * max(_MUCH, self.limit):
                evidence.fade()
            self._climb(now, work, latency, full=in_flight >= SATURATED * self.limit)
        elif evidence.n >= self._next_check:
            self._next_check = evidence.n + max(4, evidence.n >> 3)
            self._check(now)

    def _lose(self, now: float) -> None:
        evidence = self._evidence
        evidence.lost += 1
        if evidence.lost >= _TIMEOUTS and evidence.lost > _TIMEOUT_SHARE * evidence.n:
            self.cut(self.limit // 2, now, "many requests broke off or timed out")

    def _climb(self, now: float, work: float, latency: float, *, full: bool) -> None:
        ramp, before = self._ramp, self.limit
        self.limit = ramp.grow(now, before, self.bound, work=work, latency=latency, full=full)
        if not ramp.over:
            return
        at_bound = before >= self.bound
        self.reason = "at its maximum" if at_bound else f"no faster above {before}"
        self._up.restart(now, 1.0)
        self._down.restart(now, _AFTER_CEILING if at_bound else 0.0)
        if at_bound:
            self._down.small()
        self.phase = Phase.HOLD
        self._measure(now)

    def _measure(self, now: float, stretch: float = 1.0) -> None:
        """Collect evidence anew, from when the limit will have made itself felt."""
        self._warm = now + self.latency * stretch
        self._evidence = Evidence(self._warm)
        self._next_check = max(LEAST, self.limit // 2)

    def _check(self, now: float) -> None:
        evidence = self._evidence
        if now - evidence.since < self.latency and not self._is_much_slower(evidence):
            return
        if evidence.load < SATURATED * self.limit:
            if self.phase is not Phase.HOLD:
                self._reject(now)
            self._evidence = Evidence(now)
            self._next_check = LEAST
        elif self.phase is Phase.HOLD:
            self._consider(now)
        else:
            self._judge(now)

    def _is_much_slower(self, evidence: Evidence) -> bool:
        """A probe down that need not be watched for a whole latency: each moment costs speed."""
        if self.phase is not Phase.DOWN:
            return False
        loss = self._base.log_goodput() - evidence.log_goodput()
        return loss > _MUCH_SLOWER * math.sqrt(self._base.variance() + evidence.variance())

    def _consider(self, now: float) -> None:
        """Holding: is a probe due, and the evidence to compare it with sufficient?"""
        evidence = self._evidence
        much = 4 * max(_MUCH, self.limit)
        if evidence.n > 2 * much:
            evidence.fade()
            self._next_check = evidence.n
        self._notice_change(now)
        full, variance = evidence.n >= much, evidence.variance()
        higher = min(self.bound, math.ceil(self.limit * self._up.step))
        epoch = _EPOCH * self.latency
        due_up = self._up.due(epoch) if higher > 1.02 * self.limit else math.inf
        due_down = self._down.due(epoch) if self.limit > self._floor else math.inf
        if due_down <= due_up:
            if now >= due_down and (full or variance <= _VARIANCE_DOWN / 2):
                lower = min(math.ceil(self.limit / self._down.step), self.limit - 1)
                self._probe(now, Phase.DOWN, max(self._floor, lower))
        elif now >= due_up and (full or variance <= _VARIANCE_UP / 2):
            self._probe(now, Phase.UP, higher)

    def _notice_change(self, now: float) -> None:
        """Latencies twice or half as long as usual: other rows or another server. Probe soon."""
        latency = self._evidence.latency
        if self._usual and not 0.5 < latency / self._usual < 2.0:
            self._usual = latency
            for direction in (self._up, self._down):
                direction.restart(now, min(direction.epochs, 1.0))

    def _probe(self, now: float, phase: Phase, limit: int) -> None:
        self._base, self._base_limit = self._evidence, self.limit
        self._usual = self._base.latency
        self.phase = phase
        self.limit = limit
        self._measure(now, max(1.0, limit / self._base_limit))

    def _judge(self, now: float) -> None:
        """Keep the probed limit, go back, or measure more."""
        base, evidence = self._base, self._evidence
        gain = evidence.log_goodput() - base.log_goodput()
        margin = gain - _ELASTICITY * math.log(self.limit / self._base_limit)
        variance = base.variance() + evidence.variance()
        noise = math.sqrt(variance)
        down = self.phase is Phase.DOWN
        enough = evidence.n >= 2 * self.limit and (
            variance < (_VARIANCE_DOWN if down else _VARIANCE_UP)
            or evidence.n >= 8 * max(_MUCH, self.limit)
        )
        if abs(margin) < _SURE * noise and not enough:
            return
        if margin > (-_NOT_WORSE * noise if down else noise):
            self._accept(now, gain)
        else:
            self._reject(now)

    def _accept(self, now: float, gain: float) -> None:
        step = math.log(self.limit / self._base_limit)
        up = self.phase is Phase.UP
        self.reason = f"{'faster' if up else 'as fast'} at {self.limit}"
        self.phase = Phase.HOLD
        self._evidence.fade()
        self._next_check = self._evidence.n
        if up:
            self._up.turned()
            self._down.turned()
        else:
            self._down.kept()
        self._up.restart(now, 0.0 if up else self._up.epochs)
        self._down.restart(now, self._down.epochs if up else self._down.epochs / 4.0)
        if up and gain > _STEEP * step:
            self.ramp(self.limit, now, self.reason)

    def _reject(self, now: float) -> None:
        (self._up if self.phase is Phase.UP else self._down).rejected(now)
        self.limit = min(self._base_limit, self.bound)
        self.phase = Phase.HOLD
        self._measure(now)
