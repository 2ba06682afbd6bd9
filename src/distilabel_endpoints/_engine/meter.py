"""What came through lately: rates over the last seconds, latencies of the last answers.

Constant time per event: a ring of seconds and a ring of latencies, sorted only when asked.
"""

from __future__ import annotations

__all__ = ["Meter"]

_SECONDS = 20
_LATENCIES = 256


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
