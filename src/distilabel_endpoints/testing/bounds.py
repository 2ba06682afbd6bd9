"""The least time that a run could have taken, given how long each request was served for."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heapreplace

__all__ = ["greedy_bound"]


def greedy_bound(latencies: Iterable[float], slots: int) -> float:
    """Seconds of greedy list scheduling: each request in order starts on the first free slot.

    With `endpoint.latencies` this is exact: efficiency is the bound over the wall time.
    """
    free = [0.0] * slots
    heapify(free)
    for latency in latencies:
        heapreplace(free, free[0] + latency)
    return max(free)
