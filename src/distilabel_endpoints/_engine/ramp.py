"""Fast growth from a start: a little more with every completion, until a doubling brings nothing.

A round lasts until the limit has doubled and answers have come from there; it needs no whole
latency where latencies differ, and exactly one where they are all the same and answers come in
waves. Growth within it is smooth, so a server that refuses is met at its very wall. Where the
last doubling hardly brought more completions per second, growth stops and looks for one round
more; then it goes on, or ends at what the measured speed needs. Pure: clock readings are
arguments.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LEAST", "Ramp"]

LEAST = 16
"""Completions without which nothing is concluded."""

_GROWTH = 2
_PLATEAU = 1.15
_SUSPECT = 1.4
_COLLAPSE = 0.9
_AMPLE = 6.0
_SMALLEST_SHARE = 8


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
    """One climb. `over` once it has ended."""

    __slots__ = ("_before", "_doubted", "_first", "_fresh", "_n", "_since", "_top", "_work", "over")

    def __init__(self, now: float, limit: int) -> None:
        self.over = False
        self._first = (0, 0.0, 0.0)
        self.void(now, limit)

    def void(self, now: float, limit: int) -> None:
        """Forget how fast it went so far, and go on from here."""
        self._before: _Round | None = None
        self._doubted: _Round | None = None
        self._start_round(now, limit)

    def grow(self, now: float, limit: int, bound: int, *, work: float, latency: float) -> int:
        """The limit after one more completion at a saturated `limit`."""
        self._n += 1
        self._work += work
        self._fresh += now - latency >= self._since
        n, sum_latency, sum_work = self._first
        if n < LEAST:
            self._first = n + 1, sum_latency + latency, sum_work + work
        if self._doubted is not None:
            return self._look(now, limit, self._doubted)
        if limit >= bound:
            self.over = True
            return limit
        limit = min(limit + _GROWTH, bound, self._top)
        return self._compare(now, limit) if limit >= self._top and self._fresh >= LEAST else limit

    def _start_round(self, now: float, limit: int) -> None:
        self._since = now
        self._n = self._fresh = 0
        self._work = 0.0
        self._top = 2 * limit

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
