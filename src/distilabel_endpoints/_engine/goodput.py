"""Evidence about one limit: what was in flight, how long it took, what came of it.

By Little's law the goodput at a limit is `in flight x work / latency`, each summed over the
completions. Work is tokens, or 1 a completion where nobody counts them. It hardly depends on how
long the answers are, and needs no more than a few dozen completions.
"""

from __future__ import annotations

import math

__all__ = ["Evidence"]

_SERVICE = 0.1
"""Variance of the server's own speed, per completion: no latency shows it."""


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
