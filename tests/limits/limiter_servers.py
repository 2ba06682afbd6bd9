"""The servers a limiter is judged on, and what the best fixed limit gets out of each."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from dataclasses import dataclass
from functools import cache
from typing import Any

from fluid import Control, Outcome, Server, plateau, simulate

from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings, Permit

SECONDS = 1500.0
THIRD = SECONDS / 3

# Published throughputs by concurrency: a small mixture-of-experts model on two B200, a 405B model
# on MI325X, a large mixture-of-experts model on two B200 that collapses when too many run.
NANO = (
    (1, 277), (8, 1881), (16, 3455), (32, 5600), (64, 8120),
    (128, 11556), (256, 15552), (512, 18746), (1024, 18829),
)  # fmt: skip
BIG = ((1, 130), (10, 1090), (50, 4381), (100, 6802))
COLLAPSE = (
    (1, 73), (8, 570), (16, 1054), (32, 2120), (64, 3816), (128, 3799), (256, 1586),
)  # fmt: skip

NINE = {
    "A": Server(curve=NANO),
    "B": Server(curve=BIG, slots=100),
    "C": Server(curve=COLLAPSE),
    "D": Server(curve=NANO, admit=128),
    "E": Server(curve=BIG, slots=100, tokens=128, per_minute=600),
    "F": Server(curve=BIG, slots=100, refuse=0.5),
    "G": Server(curve=BIG, slots=100, down_until=180),
    "H": Server(curve=BIG, slots=100, tokens=64, later_tokens=1024, shift_at=500),
    "I": Server(curve=BIG, slots=100, tokens=1024, gateway=60),
}
NAMES = {
    "A": "queues; fastest at 512 at once",
    "B": "queues beyond 100 slots",
    "C": "collapses beyond 128",
    "D": "429 beyond 128",
    "E": "429 beyond 600 a minute",
    "F": "429 for every second request",
    "G": "503 for the first 180 s",
    "H": "answers 16 times as long from 500 s on",
    "I": "a gateway gives up after 60 s",
}


@dataclass(frozen=True, slots=True)
class Best:
    """Tokens that the best fixed limit gets: overall, in the first 300 s, in the last third."""

    limit: int
    overall: float
    first: float
    last: float


# Recomputed by `pytest -m prove tests/limits/test_limiter_servers.py`.
BEST = {
    "A": Best(1024, 27395462, 5275422, 9218951),
    "B": Best(100, 9424174, 1865121, 3154923),
    "C": Best(128, 5475740, 1068711, 1838272),
    "D": Best(128, 15642690, 3099265, 5231254),
    "E": Best(128, 1970376, 400225, 651909),
    "F": Best(192, 9429419, 1867929, 3152716),
    "G": Best(192, 8285781, 724238, 3155010),
    "H": Best(128, 9144207, 1539996, 3346775),
    "I": Best(100, 9218901, 1763876, 3104405),
}
GRID = (32, 64, 80, 100, 128, 192, 256, 512, 640, 1024)


def limiter(rng: random.Random) -> Limiter:
    """With nothing tuned."""
    return Limiter(LimiterSettings(), rng=rng, now=0.0)


class FixedLimit:
    """The oracle: so many at once, and after a refusal a slot rests for a moment."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._resting: list[float] = []

    def acquire(self, now: float, tokens: int = 0) -> Permit | None:
        while self._resting and self._resting[0] <= now:
            heapq.heappop(self._resting)
        if self.in_flight + len(self._resting) >= self.limit:
            return None
        self.in_flight += 1
        return Permit(0, now, tokens=tokens, in_flight=self.in_flight, probe=False)

    def next_time(self, now: float) -> float | None:
        return self._resting[0] if self._resting else None

    def _end(self, rest_until: float | None = None) -> None:
        self.in_flight -= 1
        if rest_until is not None:
            heapq.heappush(self._resting, rest_until)

    def succeed(
        self, permit: Permit, now: float, *, output_tokens: int | None, input_tokens: int | None
    ) -> None:
        self._end()

    def push_back(self, permit: Permit, now: float, *, retry_after: float | None) -> None:
        self._end(now + 0.5)

    def unavailable(self, permit: Permit, now: float) -> None:
        self._end(now + 1.0)

    def fail(self, permit: Permit, now: float, *, timed_out: bool = False) -> None:
        self._end()


def fixed(server: Server, limit: int) -> Best:
    """What a fixed limit gets."""
    outcome = simulate(server, lambda _: FixedLimit(limit), seconds=SECONDS)
    return Best(limit, outcome.delivered(), outcome.delivered(0, 300), outcome.delivered(2 * THIRD))


@dataclass(frozen=True, slots=True)
class Score:
    """A limiter against the best fixed limit, as shares."""

    overall: float
    first: float
    last: float
    refused: float
    timed_out: float
    outcome: Outcome


@cache
def score(name: str, seed: int) -> Score:
    """Play the limiter against one of the nine."""
    outcome = simulate(NINE[name], limiter, seconds=SECONDS, seed=seed)
    best = BEST[name]
    return Score(
        outcome.delivered() / best.overall,
        outcome.delivered(0, 300) / best.first,
        outcome.delivered(2 * THIRD) / best.last,
        outcome.refused / outcome.sent,
        outcome.timed_out / outcome.sent,
        outcome,
    )


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Greedy list scheduling over our time, and the share that was refused."""

    share: float
    refused: float


def efficiency(
    slots: int,
    *,
    rows: int,
    seed: int = 0,
    settings: LimiterSettings | None = None,
    **changes: Any,
) -> Efficiency:
    """Play rows against a server of so many slots; the bound is exact, as lengths are known."""
    rng = random.Random(1000 + seed)
    lengths = [100.0 * rng.lognormvariate(-0.32, 0.8) for _ in range(rows)]
    waiting = list(reversed(lengths))

    def length(_: random.Random, __: float) -> float:
        # A refused row comes back last; its length is drawn anew, which changes nothing.
        return waiting.pop() if waiting else 100.0 * rng.lognormvariate(-0.32, 0.8)

    def make(rng: random.Random) -> Control:
        return Limiter(settings or LimiterSettings(), rng=rng, now=0.0)

    outcome = simulate(plateau(slots, **changes), make, rows=rows, seed=seed, length=length)
    return Efficiency(
        greedy(lengths, slots) / 100.0 / outcome.seconds, outcome.refused / outcome.sent
    )


def greedy(lengths: list[float], slots: int) -> float:
    """The end of a run in which every row starts on the first slot that is free."""
    free = [0.0] * slots
    end = 0.0
    for length in lengths:
        at = heapq.heapreplace(free, free[0] + length)
        end = max(end, at + length)
    return end


def best_goodput(server: Server, at: float) -> float:
    """Tokens per second of the best fixed limit at a time, in the long run, analytically."""
    tokens = server.tokens
    if server.later_tokens is not None and at >= server.shift_at:
        tokens = server.later_tokens
    most = min(server.slots, server.admit or server.slots)
    candidates = sorted({*range(1, min(most, 64) + 1), *range(64, most + 1, 8), most} - {0})
    others = (0, server.tenants) if server.tenants else (0,)
    best = max(
        statistics.mean(_goodput(server, min(n, most - o), tokens, others=o) for o in others)
        for n in candidates
    )
    if server.per_minute is not None:
        best = min(best, server.per_minute / 60.0 * tokens)
    return best


def _goodput(server: Server, running: int, tokens: float, *, others: int) -> float:
    pace = server.speed(running + others) / (running + others)
    if server.gateway is None:
        # Decoding goes on in the time that reading leaves, by those that are not in their prefill:
        # tokens x rate = (1 - rate x reading) x (running - rate x prefill) x pace
        reading = server.prompt / server.reading
        linear = pace * (server.prefill + running * reading) + tokens
        root = linear**2 - 4.0 * running * reading * server.prefill * pace**2
        return tokens * 2.0 * running * pace / (linear + math.sqrt(root))
    most = (server.gateway - server.prefill) * pace
    lengths = [tokens * x for x in _lengths(server.sigma)]
    kept = math.fsum(length for length in lengths if length <= most)
    seconds = math.fsum(server.prefill + min(length, most) / pace for length in lengths)
    return running * kept / seconds


def _lengths(sigma: float | None) -> list[float]:
    """Five hundred lengths of mean 1."""
    rng = random.Random(1)
    if sigma is None:
        return [rng.expovariate(1.0) for _ in range(500)]
    return [rng.lognormvariate(-(sigma**2) / 2, sigma) for _ in range(500)]
