"""The search for the limit by goodput: ramp up, then hold, and probe now and then.

Rules
- Probes are half an octave up or down, measured against the same server just before; after one
  that was rejected a quarter, and further down where several were kept in a row.
- Up is kept for clearly more goodput, down for hardly less: the same goodput with a shorter queue
  wins. What a probe did not show is not believed, and the next probe in that direction waits
  twice as long.
- Evidence counts only at a saturated limit, and from one latency after the limit changed.
- A cut begins a generation; what was sent before it cannot cut again. A pause does too, and what
  was refused before it tells nothing new; time-outs do, as they come from further back.
- Latency is never a signal by itself: longer answers and fuller batches look like overload.
"""

from __future__ import annotations

import math
from enum import StrEnum

from distilabel_endpoints._engine.goodput import Evidence
from distilabel_endpoints._engine.ramp import LEAST, Ramp

__all__ = ["SATURATED", "Phase", "Search"]

SATURATED = 0.8
"""Share of the limit that must be in flight for a completion to say anything about it."""

_STEP, _SMALL_STEP, _LARGE_STEP = 2**0.5, 2**0.25, 2.0
_ELASTICITY = 0.07
_SURE, _NOT_WORSE = 2.0, 0.25
_VARIANCE_DOWN, _VARIANCE_UP = 0.0024, 0.0016
_MUCH = 64
_EPOCH = 3.0
_PATIENCE_UP, _PATIENCE_DOWN = 8.0, 32.0
_AFTER_CEILING, _AFTER_CUT_UP, _AFTER_CUT_DOWN = 16.0, 4.0, 8.0
_STEEP = 0.6
_TIMEOUTS, _TIMEOUT_SHARE = 5, 0.2
_SMOOTHING = 0.05


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
        """A probe was worth it: the third and later ones in a row go further."""
        self._kept += 1
        self.step = _STEP if self._kept < 2 else _LARGE_STEP

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
        floor: probes go no lower: so few requests hurt no server, and one slow row must not be
            taken for a slow endpoint.
    """

    def __init__(self, start: int, most: int, now: float, *, floor: int = 1) -> None:
        self.most = most
        self._floor = max(1, min(floor, most))
        self.bound = most
        """At most this for now: `most`, or less where the server refused."""
        self.limit = min(start, most)
        self.phase = Phase.RAMP
        self.generation = self.changed = 0
        """Of what is sent now, pauses begin one too; and that of the last cut or ramp."""
        self.latency = 0.0
        """Smoothed seconds from sending to the answer."""
        self.reason = "start"
        """Why the limit is what it is."""
        self._ramp = Ramp(now, self.limit)
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

    def confine(self, bound: int) -> None:
        """Never above `bound` until further notice."""
        self.bound = max(1, min(bound, self.most))

    @property
    def held(self) -> bool:
        """It is the bound that keeps the limit from growing."""
        return self.phase is Phase.HOLD and self.limit >= 0.9 * self.bound

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
            if in_flight >= SATURATED * self.limit:
                self._climb(now, work, latency)
        elif evidence.n >= self._next_check:
            self._next_check = evidence.n + max(4, evidence.n >> 3)
            self._check(now)

    def _lose(self, now: float) -> None:
        evidence = self._evidence
        evidence.lost += 1
        if evidence.lost >= _TIMEOUTS and evidence.lost > _TIMEOUT_SHARE * evidence.n:
            self.cut(self.limit // 2, now, "many requests timed out")

    def _climb(self, now: float, work: float, latency: float) -> None:
        ramp, before = self._ramp, self.limit
        self.limit = ramp.grow(now, before, self.bound, work=work, latency=latency)
        if not ramp.over:
            return
        at_bound = before >= self.bound
        self.reason = "at its ceiling" if at_bound else f"no more goodput above {before}"
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
        if now - evidence.since < self.latency:
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
        """Keep the probed limit, go back, or go on measuring."""
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
        self.reason = f"{'more' if up else 'the same'} goodput at {self.limit}"
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
