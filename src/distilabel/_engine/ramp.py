"""Fast growth from a start: a little more with every completion, until a doubling brings nothing.

Growth is smooth, so a server that refuses is met at its very wall, and needs no whole round of
latencies. Completions per second are compared octave by octave; where the last doubling of the
limit brought hardly more, growth stops, looks once more at what comes without growing, and
either goes on or ends at what the measured speed needs. Pure: clock readings are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["LEAST", "Ramp"]

LEAST = 16
"""Completions without which nothing is concluded."""

_GROWTH = 2
_SEGMENT = 2**0.5
_PLATEAU = 1.15
_SUSPECT = 1.4
_COLLAPSE = 0.9
_AMPLE = 6.0
_SMALLEST_SHARE = 8


class _Segment(NamedTuple):
    """What completed while the limit grew by half an octave."""

    n: int
    seconds: float
    work: float


class Ramp:
    """One climb. `over` once it has ended."""

    __slots__ = ("_early", "_first", "_mark", "_n", "_segments", "_since", "_work", "over")

    def __init__(self, now: float, limit: int) -> None:
        self.over = False
        self._segments: list[_Segment] = []
        self._first = (0, 0.0, 0.0)
        self._early: float | None = None
        self._start_segment(now, limit)

    def grow(self, now: float, limit: int, bound: int, *, work: float, latency: float) -> int:
        """The limit after one more completion at a saturated `limit`."""
        self._n += 1
        self._work += work
        n, sum_latency, sum_work = self._first
        if n < LEAST:
            self._first = n + 1, sum_latency + latency, sum_work + work
        if self._early is not None:
            return self._look(now, limit)
        if limit >= bound:
            self.over = True
            return limit
        limit = min(limit + _GROWTH, bound)
        return self._compare(now, limit) if limit >= self._mark else limit

    def void(self, now: float, limit: int) -> None:
        """Forget what was seen so far, and go on from here."""
        self._segments.clear()
        self._early = None
        self._start_segment(now, limit)

    def _start_segment(self, now: float, limit: int) -> None:
        self._since = now
        self._n = 0
        self._work = 0.0
        self._mark = limit * _SEGMENT

    def _end_segment(self, now: float, limit: int) -> _Segment:
        segment = _Segment(self._n, max(now - self._since, 1e-9), self._work)
        self._start_segment(now, limit)
        return segment

    def _compare(self, now: float, limit: int) -> int:
        """Half an octave further: is it still worth it?"""
        segments = self._segments
        segments.append(self._end_segment(now, limit))
        early, late = _speed(segments[-4:-2]), _speed(segments[-2:])
        if early is None or late is None:
            return limit
        need = self._need(segments[-2:])
        enough = _SUSPECT if limit > 1.5 * need else _PLATEAU
        if late >= enough * early:
            return limit
        if late < _COLLAPSE * early:
            return self._end(limit, min(need, limit / 2))
        self._early = early
        return limit

    def _look(self, now: float, limit: int) -> int:
        """A moment without growth: what grew may only not have come through yet."""
        if self._n < max(LEAST, limit // 4):
            return limit
        early, self._early = self._early, None
        segment = self._end_segment(now, limit)
        if early is not None and segment.n / segment.seconds >= _SUSPECT * early:
            self._segments = [segment]
            return limit
        return self._end(limit, self._need([segment]))

    def _end(self, limit: int, need: float) -> int:
        self.over = True
        return max(1, limit // _SMALLEST_SHARE, min(limit, int(need)))

    def _need(self, segments: Sequence[_Segment]) -> float:
        """In flight that keep up this speed at the latency seen first, amply.

        The first latencies are those of the quickest answers, and batching makes all slower.
        """
        n, latency, work = self._first
        seconds = sum(segment.seconds for segment in segments)
        by_count = sum(segment.n for segment in segments) / seconds * latency / max(n, 1)
        by_work = sum(segment.work for segment in segments) / seconds * latency / max(work, 1e-9)
        return _AMPLE * max(by_count, by_work)


def _speed(segments: Sequence[_Segment]) -> float | None:
    """Completions per second, if there are enough to say."""
    n = sum(segment.n for segment in segments)
    if n < LEAST:
        return None
    return n / math.fsum(segment.seconds for segment in segments)
